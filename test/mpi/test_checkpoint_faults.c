/* Calls that write, failed in turn on one rank of several while it trains: all ranks learn of it, one warns, training goes on, and the
 * older checkpoint stays. ZRT_TEST_FULL=1 also fails every call from the chosen one on. */
/* ranks: 2 3 */
#include "config.h"

#include "../unit/checkpoint_io.h"

#include <dirent.h>
#include <math.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "tap_mpi.h"

static const char *const names[] = {"none", "EIO", "ENOSPC", "a short write", "kill"};

typedef struct trial {
    zrt_engine *engine;
    char folder[128];
    int rank;
    int64_t acknowledged; /* step of the newest that was said to be saved */
    int n_warnings, n_bad;
} trial;

static void count_warnings(zrt_log_level level, const char *message, void *user)
{
    (void)message;
    if (level == ZRT_LOG_WARNING)
        ((trial *)user)->n_warnings++;
}

static zrt_status make_engine(zrt_context *context, zrt_model **model_out, zrt_engine **engine_out)
{
    const zrt_mlp_spec spec = {.n_features = 8, .hidden_size = 16, .n_hidden = 1, .n_classes = 4};
    zrt_config *config = NULL;
    ZRT_TRY(zrt_model_mlp(&spec, model_out));
    ZRT_TRY(zrt_config_create(&config));
    ZRT_TRY(zrt_config_set(config, "zero_optimization.stage", "1"));
    ZRT_TRY(zrt_config_set_argument(config, "per_device_train_batch_size", "2"));
    ZRT_TRY(zrt_config_set_argument(config, "per_device_eval_batch_size", "2"));
    ZRT_TRY(zrt_config_set_argument(config, "learning_rate", "1e-3"));
    zrt_status status = zrt_engine_create(context, *model_out, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static zrt_status step(zrt_engine *engine)
{
    static float features[16] = {0.5f, -0.25f, 1};
    static int32_t labels[2] = {1, 3};
    zrt_batch batch = {.n_rows = 2, .length = 1, .n_fields = 2, .names = {"features", "labels"}};
    zrt_metrics metrics;
    zrt_loss *loss = NULL;
    batch.fields[0] = (zrt_view){features, ZRT_FLOAT32, 2, {2, 8}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 1, {2}};
    ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
    ZRT_TRY(zrt_engine_backward(engine, loss));
    ZRT_TRY(zrt_engine_step(engine));
    ZRT_TRY(zrt_engine_metrics(engine, &metrics));
    return isfinite(metrics.loss) ? ZRT_OK : ZRT_ERR_INTERNAL;
}

/* Rank 0: the newest checkpoint and every other is whole, and nothing unfinished is there. */
static bool folder_is_good(const trial *t)
{
    int64_t *steps = NULL;
    size_t n = 0;
    bool good = zrt__checkpoint_list(t->folder, &steps, &n) == ZRT_OK && n > 0 && steps[0] >= t->acknowledged;
    for (size_t i = 0; i < n && good; i++) {
        zrt__restore *restore = NULL;
        char *path = zrt__checkpoint_path(t->folder, ZRT__CHECKPOINT_PREFIX, steps[i]);
        good = zrt__restore_open(path, NULL, &restore) == ZRT_OK && zrt__restore_verify_rest(restore) == ZRT_OK;
        zrt__restore_close(&restore);
        free(path);
    }
    free(steps);
    DIR *listing = opendir(t->folder);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;)
        good = good && strncmp(entry->d_name, ".tmp-", 5) != 0;
    if (listing != NULL)
        closedir(listing);
    return good;
}

/* One step and one save with the n-th call of rank `victim` failing. False where the save has fewer calls. */
static bool try_fault(trial *t, int victim, io_fault fault, bool sticky, int at)
{
    const zrt_save_options options = {.keep_last = 2};
    io_watch(t->rank == victim ? t->folder : "");
    io.fault = fault;
    io.sticky = sticky;
    io.at = at;
    int before = t->n_warnings;
    zrt_status stepped = step(t->engine), started = zrt_engine_save_async(t->engine, t->folder, &options);
    zrt_status after = step(t->engine), status = started == ZRT_OK ? zrt_engine_save_wait(t->engine) : started;
    int64_t saved = zrt_engine_step_count(t->engine) - 1;
    int reached = io.count >= at, bounds[3] = {(int)status, -(int)status, reached};
    bool told = status == ZRT_OK || *zrt_error_message() != '\0';
    io_watch("");
    if (t->rank != victim)
        bounds[2] = 0;
    MPI_Allreduce(MPI_IN_PLACE, bounds, 3, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    bool bad = stepped != ZRT_OK || after != ZRT_OK || bounds[0] != -bounds[1] || !told ||
               (fault == FAULT_SHORT && status != ZRT_OK);
    if (status == ZRT_OK)
        t->acknowledged = saved;
    else if (t->rank == 0 && t->n_warnings == before)
        bad = true; /* nobody would know */
    if (t->rank == 0)
        bad = !folder_is_good(t) || bad;
    if (bad)
        tap_diag("rank %d: %s at call %d of rank %d: status %d, steps %d %d: %s", t->rank, names[fault], at, victim,
                 status, stepped, after, zrt_error_message());
    t->n_bad += bad;
    return bounds[2] != 0;
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    trial t = {.engine = NULL};
    char made[128] = "";
    if (zrt_init(&argc, &argv, &context) != ZRT_OK)
        return 1;
    t.rank = zrt_rank(context);
    zrt_log_set_sink(count_warnings, &t);
    io_prefer_memory();
    if (t.rank == 0) {
        const char *parent = getenv("TMPDIR");
        snprintf(made, sizeof made, "%.80s/zerort-test.XXXXXX", parent != NULL ? parent : "/tmp");
        if (mkdtemp(made) == NULL)
            return 1;
    }
    MPI_Bcast(made, sizeof made, MPI_CHAR, 0, MPI_COMM_WORLD);
    snprintf(t.folder, sizeof t.folder, "%.100s/run", made);
    zrt_status status = make_engine(context, &model, &t.engine);
    if (status == ZRT_OK)
        status = zrt_engine_save(t.engine, t.folder, NULL);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK, "a first checkpoint (%s)",
               status == ZRT_OK ? "" : zrt_error_message());
    bool full = getenv("ZRT_TEST_FULL") != NULL;
    for (int victim = 0; victim < zrt_size(context) && status == ZRT_OK; victim++)
        for (int fault = FAULT_EIO; fault <= FAULT_SHORT; fault++)
            for (int sticky = 0; sticky <= (full ? 1 : 0); sticky++) {
                int n = 0;
                t.n_bad = 0;
                while (n < 200 && try_fault(&t, victim, (io_fault)fault, sticky == 1, n + 1))
                    n++;
                tap_ok_all(MPI_COMM_WORLD, t.n_bad == 0 && n > (victim == 0 ? 15 : 4) && n < 200,
                           "%s%s at each of %d calls of rank %d", names[fault], sticky == 1 ? " from then on" : "", n,
                           victim);
            }
    io_watch("");
    if (status == ZRT_OK)
        status = zrt_engine_save(t.engine, t.folder, NULL);
    if (status == ZRT_OK)
        status = zrt_engine_load(t.engine, t.folder, NULL);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK, "and the next save works and loads");
    zrt_engine_destroy(&t.engine);
    zrt_model_destroy(&model);
    if (t.rank == 0) {
        char command[256];
        snprintf(command, sizeof command, "rm -rf %.120s", made);
        if (system(command) != 0)
            printf("# %s stays\n", made);
    }
    zrt_log_set_sink(NULL, NULL);
    int failed = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return failed;
}
