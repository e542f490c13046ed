/* Between a test and the disk: counts the calls that write below a folder, makes one of them fail, or records them. The functions of
 * libc are defined here, so this is included by one file of a program only. Also a small checkpoint to write, without MPI. */
#ifndef ZRT_TEST_CHECKPOINT_IO_H
#define ZRT_TEST_CHECKPOINT_IO_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "checkpoint/restore.h"
#include "checkpoint/run_checkpoints.h"
#include "checkpoint/saver.h"

typedef enum io_kind {
    IO_MKDIR,
    IO_CREATE,
    IO_RESERVE,
    IO_WRITE,
    IO_SYNC,
    IO_RENAME,
    IO_EXCHANGE,
    IO_UNLINK,
    IO_RMDIR
} io_kind;
typedef enum io_fault { FAULT_NONE, FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT, FAULT_KILL } io_fault;

typedef struct io_call {
    io_kind kind;
    char path[160], to[160]; /* below the watched folder; "" is the folder */
    int64_t offset;
    size_t bytes;
    char *data;
} io_call;

static struct {
    pthread_mutex_t lock;
    char folder[128]; /* "": nothing is watched */
    int count, at;    /* the call that fails, from 1; 0: none */
    bool sticky;
    io_fault fault;
    bool records;
    io_call *calls;
    size_t n_calls, capacity;
} io = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The path below the watched folder; false where it is elsewhere. */
static bool io_below(const char *path, char out[160])
{
    size_t n = strlen(io.folder);
    if (n == 0 || strncmp(path, io.folder, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return false;
    snprintf(out, 160, "%s", path[n] == '/' ? path + n + 1 : "");
    return true;
}

static bool io_fd(int fd, char out[160])
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return io_below(path, out);
}

/* Counts a call; what is to become of it. Its error is in errno. */
static io_fault io_enter(io_kind kind, const char *path, const char *to, int64_t offset, size_t bytes, const void *data)
{
    pthread_mutex_lock(&io.lock);
    io_fault fault = FAULT_NONE;
    io.count++;
    if (io.at > 0 && (io.count == io.at || (io.sticky && io.count > io.at)) && kind != IO_UNLINK && kind != IO_RMDIR)
        fault = io.fault != FAULT_SHORT || kind == IO_WRITE ? io.fault : FAULT_NONE;
    if (io.records && fault == FAULT_NONE) {
        if (io.n_calls == io.capacity) {
            io.capacity = io.capacity * 2 + 64;
            io.calls = realloc(io.calls, io.capacity * sizeof *io.calls);
        }
        io_call *call = &io.calls[io.n_calls++];
        *call = (io_call){.kind = kind, .offset = offset, .bytes = bytes};
        snprintf(call->path, sizeof call->path, "%s", path);
        snprintf(call->to, sizeof call->to, "%s", to != NULL ? to : "");
        if (data != NULL) {
            call->data = malloc(bytes + 1);
            memcpy(call->data, data, bytes);
        }
    }
    pthread_mutex_unlock(&io.lock);
    if (fault == FAULT_KILL)
        raise(SIGKILL);
    errno = fault == FAULT_EIO ? EIO : ENOSPC;
    return fault;
}

#define IO_REAL(name, type) type *real = (type *)(uintptr_t)dlsym(RTLD_NEXT, name)
typedef int io_open_fn(const char *, int, ...);
typedef int io_path_fn(const char *);
typedef int io_mkdir_fn(const char *, mode_t);
typedef int io_two_fn(const char *, const char *);
typedef int io_at_fn(int, const char *, int);
typedef int io_renameat_fn(int, const char *, int, const char *, unsigned);
typedef int io_reserve_fn(int, off_t, off_t);
typedef int io_fd_fn(int);
typedef ssize_t io_pwrite_fn(int, const void *, size_t, off_t);

int open(const char *path, int flags, ...)
{
    char below[160];
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
        if (io_below(path, below) && io_enter(IO_CREATE, below, NULL, 0, 0, NULL) != FAULT_NONE)
            return -1;
    }
    IO_REAL("open", io_open_fn);
    return real(path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
    char below[160];
    if (io_below(path, below) && io_enter(IO_MKDIR, below, NULL, 0, 0, NULL) != FAULT_NONE)
        return -1;
    IO_REAL("mkdir", io_mkdir_fn);
    return real(path, mode);
}

int posix_fallocate(int fd, off_t offset, off_t bytes)
{
    char below[160];
    if (io_fd(fd, below) && io_enter(IO_RESERVE, below, NULL, offset, (size_t)bytes, NULL) != FAULT_NONE)
        return errno;
    IO_REAL("posix_fallocate", io_reserve_fn);
    return real(fd, offset, bytes);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    char below[160];
    if (io_fd(fd, below)) {
        io_fault fault = io_enter(IO_WRITE, below, NULL, offset, bytes, data);
        if (fault == FAULT_SHORT)
            bytes = bytes > 4096 ? 4096 : (bytes + 1) / 2;
        else if (fault != FAULT_NONE)
            return -1;
    }
    IO_REAL("pwrite", io_pwrite_fn);
    return real(fd, data, bytes, offset);
}

int fsync(int fd)
{
    char below[160];
    if (io_fd(fd, below) && io_enter(IO_SYNC, below, NULL, 0, 0, NULL) != FAULT_NONE)
        return -1;
    IO_REAL("fsync", io_fd_fn);
    return real(fd);
}

int rename(const char *from, const char *to)
{
    char below[160], other[160];
    if (io_below(from, below) && io_below(to, other) && io_enter(IO_RENAME, below, other, 0, 0, NULL) != FAULT_NONE)
        return -1;
    IO_REAL("rename", io_two_fn);
    return real(from, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    char below[160], other[160];
    struct stat info;
    bool refuses = flags == RENAME_NOREPLACE && lstat(to, &info) == 0;
    io_kind kind = flags == RENAME_EXCHANGE ? IO_EXCHANGE : IO_RENAME;
    if (!refuses && io_below(from, below) && io_below(to, other) &&
        io_enter(kind, below, other, 0, 0, NULL) != FAULT_NONE)
        return -1;
    IO_REAL("renameat2", io_renameat_fn);
    return real(from_folder, from, to_folder, to, flags);
}

int unlinkat(int folder, const char *name, int flags)
{
    char below[160], path[336];
    if (io_fd(folder, below)) {
        snprintf(path, sizeof path, "%s/%s", below, name);
        io_enter(IO_UNLINK, path, NULL, 0, 0, NULL);
    }
    IO_REAL("unlinkat", io_at_fn);
    return real(folder, name, flags);
}

int unlink(const char *path)
{
    char below[160];
    struct stat info;
    if (lstat(path, &info) == 0 && io_below(path, below))
        io_enter(IO_UNLINK, below, NULL, 0, 0, NULL);
    IO_REAL("unlink", io_path_fn);
    return real(path);
}

int rmdir(const char *path)
{
    char below[160];
    if (io_below(path, below))
        io_enter(IO_RMDIR, below, NULL, 0, 0, NULL);
    IO_REAL("rmdir", io_path_fn);
    return real(path);
}

/* ---- a small checkpoint ---- */

enum { IO_SLOTS = 4 };

static zrt_status io_lay_out(zrt__layout *layout)
{
    const int64_t matrix[2] = {37, 41}, vector[1] = {100};
    *layout = (zrt__layout){.world = 1, .n_states = 2, .states = {"exp_avg", "exp_avg_sq"}};
    ZRT_TRY(zrt__layout_add_buffer(layout, true, 1600, 0));
    ZRT_TRY(zrt__layout_add_buffer(layout, false, 128, 0));
    ZRT_TRY(zrt__layout_add_parameter(layout, "h.0.weight", 2, matrix, 0, 0));
    ZRT_TRY(zrt__layout_add_parameter(layout, "ln.weight", 1, vector, 1, 0));
    return zrt__layout_finish(layout);
}

/* Values that name the step, the dataset and the element. */
static zrt_status io_copy(void *user, zrt__stream *stream, int dataset, int64_t first, int64_t n, float *out)
{
    const int64_t *step = user;
    (void)stream;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(*step * 100000 + dataset * 10000 + first + i);
    return ZRT_OK;
}

static void io_convert(void *user, int dataset, int64_t first, int64_t n, float *out)
{
    (void)user;
    (void)dataset;
    (void)first;
    (void)n;
    (void)out;
}

/* Saves FOLDER/checkpoint-<step>. */
static inline zrt_status io_save(const char *folder, int64_t step, int64_t keep_last)
{
    static char ring[IO_SLOTS * 65536] __attribute__((aligned(4096)));
    zrt__manifest manifest = {.state = {.step = step, .loss_scale = 1, .last_overflow = -1},
                              .metric = 0.5,
                              .model_name = zrt__strdup("small"),
                              .compute_dtype = zrt__strdup("fp32"),
                              .optimizer = zrt__strdup("AdamW")};
    zrt__saver *saver = NULL;
    zrt_status status = io_lay_out(&manifest.layout);
    zrt__saver_options options = {
        .ring = ring, .tile_bytes = zrt__saver_tile_bytes(&manifest.layout), .n_slots = IO_SLOTS};
    zrt__save_request request = {
        .folder = folder, .manifest = &manifest, .source = {&step, io_copy, io_convert, NULL}, .keep_last = keep_last};
    if (status == ZRT_OK)
        status = zrt__saver_create(&options, &saver);
    if (status == ZRT_OK)
        status = zrt__saver_start(saver, &request);
    if (status == ZRT_OK)
        status = zrt__saver_wait(saver);
    zrt__saver_destroy(&saver);
    zrt__manifest_free(&manifest);
    return status;
}

/* Whether a checkpoint is whole and holds the values of its step. */
static inline bool io_is_whole(const char *folder, int64_t step)
{
    zrt__restore *restore = NULL;
    char *path = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, step);
    bool good = path != NULL && zrt__restore_open(path, NULL, &restore) == ZRT_OK &&
                zrt__restore_verify_rest(restore) == ZRT_OK;
    if (good) {
        const zrt__layout_parameter *p =
            zrt__layout_parameter_find(&zrt__restore_manifest(restore)->layout, "h.0.weight");
        float value = 0, wanted = 0;
        good = p != NULL && zrt__restore_read(restore, 1, p, 7, 1, &value) == ZRT_OK &&
               io_copy(&step, NULL, 1, 7, 1, &wanted) == ZRT_OK && value == wanted;
    }
    zrt__restore_close(&restore);
    free(path);
    return good;
}

/* The first that loads of those that a start would try; -1: none. */
static inline int64_t io_newest_whole(const char *folder)
{
    int64_t *steps = NULL, found = -1;
    size_t n = 0;
    if (zrt__checkpoint_list(folder, &steps, &n) != ZRT_OK)
        return -1;
    for (size_t i = 0; i < n && found < 0; i++)
        if (io_is_whole(folder, steps[i]))
            found = steps[i];
    free(steps);
    return found;
}

static inline void io_watch(const char *folder)
{
    size_t n = strlen(folder);
    if (n >= sizeof io.folder)
        exit(99);
    memcpy(io.folder, folder, n + 1);
    io.count = 0;
    io.at = 0;
}

/* Makes the scratch folder where nothing waits for a disk. */
static inline void io_prefer_memory(void)
{
    if (access("/dev/shm", W_OK | X_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
}

#endif
