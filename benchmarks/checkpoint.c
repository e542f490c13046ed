/* Saving and loading beside what the disk does. One JSON line a world that saves, and one a pair of worlds that saves and loads;
 * the same as a table on standard error. Medians.
 *
 *   mpirun -np 3 benchmarks/checkpoint [FOLDER [MIB [REPEATS]]]      FOLDER: where to write (.); MIB: of one checkpoint (1200)
 *
 * disk_gb_s   O_DIRECT writes of as many bytes to as many files, the fastest of 1 to 3 threads a rank, reserved and fsynced like those
 *             of a checkpoint; they take turns with the saves
 * save_gb_s   zrt_engine_save, until it is committed; checksums included
 * stall_s     what the steps during a save in the background took longer than others, and the call itself
 * staged_stall_s  the same with a ring as long as the shard (zerort.checkpoint_staging_bytes)
 * copy_s      copying a rank's shard in memory, which a save can stop training for
 * load_s      zrt_engine_load with the page cache emptied before, warm_gb_s when the files are in it; ratio: the time to that of what
 *             the same world saved */
/* ranks: 3 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <zerort/mpi.h>
#include <zerort/zerort.h>

enum {
    N_LAYERS = 6,
    FEATURES = 256,
    ROWS = 8,
    MAX_WORLD = 3,
    MAX_REPEATS = 50,
    MAX_STEPS = 1000,
    DISK_THREADS = 3,
    N_STALLS = 3
};
enum { DISK_BLOCK = 4 << 20 };
/* The fewest training steps that "others" are. */
enum { FREE_STEPS = 9 };

#define TRY(call)                                                     \
    do {                                                              \
        zrt_status try_ = (call);                                     \
        if (try_ != ZRT_OK) {                                         \
            fprintf(stderr, "checkpoint: %s\n", zrt_error_message()); \
            MPI_Abort(MPI_COMM_WORLD, zrt_status_exit_code(try_));    \
        }                                                             \
    } while (0)
#define CHECK(holds)                      \
    do {                                  \
        if (!(holds)) {                   \
            perror("checkpoint: disk");   \
            MPI_Abort(MPI_COMM_WORLD, 1); \
        }                                 \
    } while (0)

typedef struct setup {
    char folder[512];
    int64_t hidden;
    int repeats;
    MPI_Comm comm; /* of the world that is at work */
    int world, rank;
    zrt_context *context;
    zrt_model *model;
    zrt_engine *engine;
    int64_t bytes; /* of a checkpoint's data */
} setup;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double median(double *values, int n)
{
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && values[k] < values[k - 1]; k--) {
            double swapped = values[k];
            values[k] = values[k - 1];
            values[k - 1] = swapped;
        }
    return n == 0 ? 0 : n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/* The slowest rank's, on all. */
static double slowest(const setup *s, double seconds)
{
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, s->comm);
    return seconds;
}

/* ---- the disk ---- */

typedef struct disk_writer {
    pthread_t thread;
    int fd;
    const char *data;
    int64_t first, bytes, stride;
} disk_writer;

static void *write_blocks(void *argument)
{
    disk_writer *w = argument;
    for (int64_t at = w->first; at < w->bytes; at += w->stride) {
        size_t n = (size_t)(w->bytes - at < DISK_BLOCK ? w->bytes - at : DISK_BLOCK);
        CHECK(pwrite(w->fd, w->data, n, at) == (ssize_t)n);
    }
    return NULL;
}

/* Seconds that each rank's file of its share takes. */
static double write_disk(const setup *s, const char *data, int n_threads)
{
    char path[600];
    int64_t bytes = s->bytes / s->world / 4096 * 4096;
    disk_writer writers[DISK_THREADS];
    /* Folders of their own, as checkpoints are: file systems put a folder's files near each other. */
    snprintf(path, sizeof path, "%s/disk%d", s->folder, n_threads);
    CHECK(s->rank != 0 || mkdir(path, 0700) == 0);
    snprintf(path, sizeof path, "%s/disk%d/%d", s->folder, n_threads, s->rank);
    MPI_Barrier(s->comm);
    double begin = now();
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT, 0600);
    CHECK(fd >= 0 && posix_fallocate(fd, 0, bytes) == 0);
    for (int i = 0; i < n_threads; i++) {
        writers[i] = (disk_writer){.fd = fd,
                                   .data = data + (size_t)i * DISK_BLOCK,
                                   .first = (int64_t)i * DISK_BLOCK,
                                   .bytes = bytes,
                                   .stride = (int64_t)n_threads * DISK_BLOCK};
        CHECK(pthread_create(&writers[i].thread, NULL, write_blocks, &writers[i]) == 0);
    }
    for (int i = 0; i < n_threads; i++)
        pthread_join(writers[i].thread, NULL);
    CHECK(fsync(fd) == 0 && close(fd) == 0);
    double seconds = slowest(s, now() - begin);
    unlink(path);
    MPI_Barrier(s->comm);
    snprintf(path, sizeof path, "%s/disk%d", s->folder, n_threads);
    CHECK(s->rank != 0 || rmdir(path) == 0);
    return seconds;
}

static void remove_tree(const char *path)
{
    char command[700];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    CHECK(system(command) == 0);
}

/* The page cache forgets a checkpoint's files. */
static void forget(const setup *s, const char *run)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/checkpoint-1", run);
    DIR *listing = opendir(path);
    for (struct dirent *entry; s->rank == 0 && listing != NULL && (entry = readdir(listing)) != NULL;) {
        snprintf(path, sizeof path, "%s/checkpoint-1/%s", run, entry->d_name);
        int fd = open(path, O_RDONLY);
        if (fd >= 0) {
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
    }
    if (listing != NULL)
        closedir(listing);
    MPI_Barrier(s->comm);
}

/* ---- an engine ---- */

/* staging: bytes of the ring; 0: the default */
static void open_engine(setup *s, int64_t staging)
{
    zrt_config *config = NULL;
    char rows[16], bytes[32];
    const zrt_mlp_spec spec = {
        .n_features = FEATURES, .hidden_size = s->hidden, .n_hidden = N_LAYERS, .n_classes = FEATURES};
    snprintf(rows, sizeof rows, "%d", ROWS);
    TRY(zrt_init_comm(s->comm, &s->context));
    TRY(zrt_model_mlp(&spec, &s->model));
    TRY(zrt_config_create(&config));
    TRY(zrt_config_set(config, "zero_optimization.stage", "1"));
    snprintf(bytes, sizeof bytes, "%lld", (long long)staging);
    if (staging > 0)
        TRY(zrt_config_set(config, "zerort.checkpoint_staging_bytes", bytes));
    TRY(zrt_config_set_argument(config, "per_device_train_batch_size", rows));
    TRY(zrt_config_set_argument(config, "per_device_eval_batch_size", rows));
    TRY(zrt_config_set_argument(config, "learning_rate", "1e-4"));
    TRY(zrt_engine_create(s->context, s->model, config, &s->engine));
    zrt_config_destroy(&config);
    s->bytes = zrt_model_n_elements(s->model) * 3 * (int64_t)sizeof(float);
}

static void close_engine(setup *s)
{
    zrt_engine_destroy(&s->engine);
    zrt_model_destroy(&s->model);
    zrt_finalize(&s->context);
}

static double step(const setup *s)
{
    static float features[ROWS * FEATURES];
    static int32_t labels[ROWS];
    zrt_batch batch = {.n_rows = ROWS, .length = 1, .n_fields = 2, .names = {"features", "labels"}};
    zrt_metrics metrics;
    zrt_loss *loss = NULL;
    for (int i = 0; i < ROWS * FEATURES; i++)
        features[i] = (float)(i * 37 % 100) * 1e-2f - 0.5f;
    batch.fields[0] = (zrt_view){features, ZRT_FLOAT32, 2, {ROWS, FEATURES}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 1, {ROWS}};
    double begin = now();
    TRY(zrt_engine_forward(s->engine, &batch, &loss));
    TRY(zrt_engine_backward(s->engine, loss));
    TRY(zrt_engine_step(s->engine));
    TRY(zrt_engine_metrics(s->engine, &metrics));
    return now() - begin;
}

/* ---- saving ---- */

static double save_once(const setup *s, const char *run)
{
    MPI_Barrier(s->comm);
    double begin = now();
    TRY(zrt_engine_save(s->engine, run, NULL));
    return slowest(s, now() - begin);
}

static double copy_shard(const setup *s)
{
    size_t bytes = (size_t)(s->bytes / s->world), piece = 64 << 20;
    char *from = malloc(bytes), *to = malloc(piece);
    CHECK(from != NULL && to != NULL);
    memset(from, 1, bytes);
    memset(to, 2, piece);
    MPI_Barrier(s->comm);
    double begin = now();
    for (size_t at = 0; at < bytes; at += piece)
        memcpy(to, from + at, bytes - at < piece ? bytes - at : piece);
    double seconds = slowest(s, now() - begin);
    volatile char last = to[piece - 1]; /* or the copies could be left out */
    (void)last;
    free(from);
    free(to);
    return seconds;
}

/* Steps that train while a save runs, until all of them together took as long as it did: what it cost them. */
static double measure_stall(const setup *s, const char *run, double save_s, double *step_s_out)
{
    double times[FREE_STEPS], cost;
    for (int i = -2; i < FREE_STEPS; i++) {
        double seconds = step(s);
        if (i >= 0)
            times[i] = seconds;
    }
    double usual = slowest(s, median(times, FREE_STEPS)), total = 0;
    MPI_Barrier(s->comm);
    double begin = now();
    TRY(zrt_engine_save_async(s->engine, run, NULL));
    cost = slowest(s, now() - begin);
    for (int i = 0; i < MAX_STEPS && total < 1.5 * save_s + cost; i++) { /* the same on all ranks */
        double seconds = slowest(s, step(s));
        cost += seconds > usual ? seconds - usual : 0;
        total += seconds;
    }
    TRY(zrt_engine_save_wait(s->engine));
    *step_s_out = usual;
    return cost;
}

static void bench_save(setup *s, const char *run)
{
    double disk[DISK_THREADS][MAX_REPEATS], save[MAX_REPEATS], best = 1e30, step_s, stall[N_STALLS];
    char *data = NULL, scratch[600];
    CHECK(posix_memalign((void **)&data, 4096, (size_t)DISK_THREADS * DISK_BLOCK) == 0);
    for (size_t i = 0; i < (size_t)DISK_THREADS * DISK_BLOCK; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    snprintf(scratch, sizeof scratch, "%s/scratch", s->folder);
    step(s);                                /* moments of zeros are no data */
    for (int i = -1; i < s->repeats; i++) { /* the first is not counted */
        for (int t = 0; t < DISK_THREADS; t++) {
            double seconds = write_disk(s, data, t + 1);
            if (i >= 0)
                disk[t][i] = seconds;
        }
        double seconds = save_once(s, i == s->repeats - 1 ? run : scratch);
        if (i >= 0)
            save[i] = seconds;
        MPI_Barrier(s->comm);
        if (s->rank == 0) {
            snprintf(scratch, sizeof scratch, "%s/scratch/checkpoint-1", s->folder);
            remove_tree(scratch);
            snprintf(scratch, sizeof scratch, "%s/scratch", s->folder);
        }
        MPI_Barrier(s->comm);
    }
    free(data);
    for (int t = 0; t < DISK_THREADS; t++) {
        double seconds = median(disk[t], s->repeats);
        best = seconds < best ? seconds : best;
    }
    double save_s = median(save, s->repeats), gb = 1e-9 * (double)s->bytes, copy = copy_shard(s);
    for (int i = 0; i < N_STALLS; i++)
        stall[i] = measure_stall(s, scratch, save_s, &step_s);
    double stall_s = median(stall, N_STALLS);
    close_engine(s);
    open_engine(s, s->bytes);
    for (int i = 0; i < N_STALLS; i++)
        stall[i] = measure_stall(s, scratch, save_s, &step_s);
    double staged_s = median(stall, N_STALLS);
    if (s->rank == 0) {
        printf("{\"bench\": \"checkpoint save\", \"world\": %d, \"bytes\": %lld, \"disk_gb_s\": %.3f, \"save_gb_s\": "
               "%.3f, "
               "\"ratio\": %.3f, \"stall_s\": %.3f, \"staged_stall_s\": %.3f, \"copy_s\": %.3f, \"save_s\": %.3f, "
               "\"step_s\": %.3f}\n",
               s->world, (long long)s->bytes, gb / best, gb / save_s, best / save_s, stall_s, staged_s, copy, save_s,
               step_s);
        fflush(stdout);
        fprintf(stderr,
                "save by %d   disk %5.2f GB/s   save %5.2f GB/s   %3.0f%%   stands still %.2f s of %.2f s, %.2f s with "
                "a ring "
                "for all (a copy %.2f s)\n",
                s->world, gb / best, gb / save_s, 100 * best / save_s, stall_s, save_s, staged_s, copy);
    }
}

/* ---- loading ---- */

static double load_once(const setup *s, const char *run)
{
    MPI_Barrier(s->comm);
    double begin = now();
    TRY(zrt_engine_load(s->engine, run, NULL));
    return slowest(s, now() - begin);
}

static void bench_load(const setup *s)
{
    double cold[MAX_WORLD][MAX_REPEATS], warm[MAX_WORLD][MAX_REPEATS], cold_s[MAX_WORLD], warm_s[MAX_WORLD];
    char run[600];
    for (int i = 0; i < s->repeats; i++)
        for (int k = 0; k < MAX_WORLD; k++) {
            int w = (i + k) % MAX_WORLD; /* none is always the first */
            snprintf(run, sizeof run, "%s/run%d", s->folder, w + 1);
            forget(s, run);
            cold[w][i] = load_once(s, run);
            warm[w][i] = load_once(s, run);
        }
    for (int w = 0; w < MAX_WORLD; w++) {
        cold_s[w] = median(cold[w], s->repeats);
        warm_s[w] = median(warm[w], s->repeats);
    }
    for (int w = 0; w < MAX_WORLD && s->rank == 0; w++) {
        double ratio = cold_s[w] / cold_s[s->world - 1], warm_ratio = warm_s[w] / warm_s[s->world - 1];
        double gb = 1e-9 * (double)s->bytes;
        printf("{\"bench\": \"checkpoint load\", \"saved_by\": %d, \"world\": %d, \"bytes\": %lld, \"load_s\": %.3f, "
               "\"load_gb_s\": %.3f, \"ratio\": %.3f, \"warm_gb_s\": %.3f, \"warm_ratio\": %.3f}\n",
               w + 1, s->world, (long long)s->bytes, cold_s[w], gb / cold_s[w], ratio, gb / warm_s[w], warm_ratio);
        fflush(stdout);
        fprintf(stderr,
                "load by %d of what %d saved   %5.2f GB/s   %.2f times its own   in the page cache %5.2f GB/s   %.2f\n",
                s->world, w + 1, gb / cold_s[w], ratio, gb / warm_s[w], warm_ratio);
    }
}

/* Ranks that have nothing to do must not keep a core busy. */
static void rest(void)
{
    MPI_Request request;
    int done = 0;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static void with_world(setup *s, int world, bool saves)
{
    char run[600];
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split(MPI_COMM_WORLD, rank < world ? 0 : MPI_UNDEFINED, rank, &s->comm);
    s->world = world;
    s->rank = rank;
    if (rank < world) {
        open_engine(s, 0);
        snprintf(run, sizeof run, "%s/run%d", s->folder, world);
        if (saves)
            bench_save(s, run);
        else
            bench_load(s);
        close_engine(s);
        MPI_Comm_free(&s->comm);
    }
    rest();
}

int main(int argc, char **argv)
{
    setup s = {.repeats = argc > 3 ? atoi(argv[3]) : 5};
    double mib = argc > 2 ? atof(argv[2]) : 1200;
    int provided, rank, size;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != MAX_WORLD || s.repeats < 1 || s.repeats > MAX_REPEATS || mib < 1) {
        fprintf(stderr, "checkpoint: run it with %d ranks; MIB is at least 1, REPEATS 1 to %d\n", MAX_WORLD,
                MAX_REPEATS);
        MPI_Finalize();
        return 2;
    }
    while ((double)(N_LAYERS * s.hidden * s.hidden) * 12 < mib * 1048576)
        s.hidden += 64;
    snprintf(s.folder, sizeof s.folder, "%.400s/checkpoint-bench.XXXXXX", argc > 1 ? argv[1] : ".");
    if (rank == 0)
        CHECK(mkdtemp(s.folder) != NULL);
    MPI_Bcast(s.folder, sizeof s.folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (int world = 1; world <= MAX_WORLD; world++)
        with_world(&s, world, true);
    for (int world = 1; world <= MAX_WORLD; world++)
        with_world(&s, world, false);
    if (rank == 0)
        remove_tree(s.folder);
    MPI_Finalize();
    return 0;
}
