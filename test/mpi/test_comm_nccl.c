/* comm/nccl without a GPU: over a pretended NCCL and the CPU device, by the suite of communication backends, and what happens
 * when ranks or NCCL fail. */
/* ranks: 1 2 3 4 */
/* timeout: 240 */
#include "config.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zerort/mpi.h>

#include "base/error.h"
#include "comm/nccl/comm_nccl.h"
#include "conformance/comm_suite.h"
#include "cuda/pretended_nccl.h"
#include "tap_mpi.h"

#define MISSING "/nowhere/libnccl.so.2"

/* ---- a device of host memory ---- */

static char failure[1024];
static _Atomic int n_failures;
static _Atomic bool device_broken;

static zrt_status enter(const zrt__device *device)
{
    (void)device;
    return ZRT_OK;
}

static void *stream_handle(const zrt__stream *stream)
{
    return (void *)(uintptr_t)stream;
}

static zrt_status clear(const zrt__device *device, void *data, size_t bytes)
{
    (void)device;
    memset(data, 0, bytes);
    return ZRT_OK;
}

static zrt_status allocate(const zrt__device *device, size_t bytes, void **data_out)
{
    (void)device;
    if (posix_memalign(data_out, 4096, bytes) != 0)
        return zrt__fail(ZRT_ERR_MEMORY, "no memory");
    return ZRT_OK;
}

static void release(const zrt__device *device, void *data)
{
    (void)device;
    free(data);
}

static zrt_status copy(zrt__stream *stream, void *dst, const void *src, size_t bytes)
{
    (void)stream;
    memmove(dst, src, bytes);
    return ZRT_OK;
}

static zrt_status check(const zrt__device *device)
{
    (void)device;
    return device_broken ? zrt__fail(ZRT_ERR_DEVICE, "an illegal memory access on the pretended device") : ZRT_OK;
}

static void fail(zrt__device *device, zrt_status status, const char *message)
{
    (void)device;
    (void)status;
    snprintf(failure, sizeof failure, "%s", message);
    n_failures++;
}

static void describe(const zrt__device *device, char *text, size_t n_bytes)
{
    (void)device;
    snprintf(text, n_bytes, "pretended device 5");
}

static const zrt__nccl_platform platform = {enter, stream_handle, clear, allocate, release,
                                            copy,  check,         fail,  describe};

static zrt_status open_here(const zrt__group *group, zrt__device *device, const char *label, zrt__comm **comm_out);
static const zrt__comm_ops ops = ZRT__COMM_NCCL_TABLE(open_here);

static zrt_status open_here(const zrt__group *group, zrt__device *device, const char *label, zrt__comm **comm_out)
{
    return zrt__comm_nccl_open(&ops, group, device, label, &platform, comm_out);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A function of the pretended library, which is not linked. */
static void *pretended(const char *name)
{
    void *handle = dlopen(PRETENDED_NCCL_FILE, RTLD_NOW | RTLD_NOLOAD);
    return handle != NULL ? dlsym(handle, name) : NULL;
}

static pretended_counts counts(void)
{
    pretended_counts (*get)(void) = NULL;
    void *symbol = pretended("pretended_get_counts");
    memcpy(&get, &symbol, sizeof get);
    return get != NULL ? get() : (pretended_counts){-1, -1, -1};
}

static void set_fault(pretended_fault kind, int rank)
{
    void (*set)(pretended_fault, int) = NULL;
    void *symbol = pretended("pretended_set_fault");
    memcpy(&set, &symbol, sizeof set);
    if (set != NULL)
        set(kind, rank);
}

/* ---- */

static void alone(const zrt__group *world, zrt__device *device)
{
    zrt__comm *comm = NULL;
    setenv("ZERORT_NCCL_LIBRARY", MISSING, 1);
    bool ok = open_here(world, device, "alone", &comm) == ZRT_OK;
    tap_ok_all(MPI_COMM_WORLD, ok, "one rank needs no NCCL");
    ops.close(&comm);
}

static void missing(const zrt__group *world, zrt__device *device)
{
    zrt__comm *comm = NULL;
    setenv("ZERORT_NCCL_LIBRARY", MISSING, 1);
    zrt_status status = open_here(world, device, "missing", &comm);
    setenv("ZERORT_NCCL_LIBRARY", PRETENDED_NCCL_FILE, 1);
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_ERR_NOT_SUPPORTED && comm == NULL && strstr(zrt_error_message(), MISSING) != NULL,
               "a library that is missing is named: %s", zrt_error_message());
}

/* The gather of the communicator that allocated takes no multiprocessor, another's reduction is an ordinary one. */
static void zero_cta(const zrt__group *world, zrt__device *device)
{
    zrt__comm *gather = NULL, *reduce = NULL;
    zrt__comm_memory *memory = NULL, *second = NULL;
    void *data = NULL, *shard = NULL;
    size_t size = (size_t)zrt__group_size(world), rank = (size_t)zrt__group_rank(world);
    pretended_counts before = counts();
    bool ok = open_here(world, device, "gather", &gather) == ZRT_OK &&
              open_here(world, device, "reduce", &reduce) == ZRT_OK &&
              ops.allocate(gather, 4096 * size, &memory, &data) == ZRT_OK &&
              ops.allocate(gather, 4096, &second, &shard) == ZRT_OK;
    if (!tap_ok_all(MPI_COMM_WORLD, ok, "communicators with registered memory"))
        return;
    zrt__stream stream = {device, "none"};
    zrt__collective c = {
        .comm = gather, .send = shard, .recv = data, .count = 1024, .dtype = ZRT_FLOAT32, .label = "unit"};
    ok = ops.all_gather(&stream, &c) == ZRT_OK;
    c.send = (char *)data + rank * 4096;
    ok = ops.all_gather(&stream, &c) == ZRT_OK && ok;
    c = (zrt__collective){
        .comm = reduce, .send = data, .recv = shard, .count = 1024, .dtype = ZRT_FLOAT32, .op = ZRT__REDUCE_AVERAGE};
    ok = ops.reduce_scatter(&stream, &c) == ZRT_OK && ok;
    pretended_counts after = counts();
    tap_ok_all(MPI_COMM_WORLD, ok && after.zero_cta_gathers == before.zero_cta_gathers + 2,
               "gathers of registered memory go by the zero-CTA policy");
    tap_ok_all(MPI_COMM_WORLD, after.symmetric_reductions == before.symmetric_reductions,
               "reductions by another communicator are plain");
    ops.release(gather, &memory);
    ops.release(gather, &second);
    ops.close(&gather);
    ops.close(&reduce);
    tap_ok_all(MPI_COMM_WORLD, counts().aborts == before.aborts && n_failures == 0, "nothing is aborted by closing");
}

static void does_not_connect(const zrt__group *world, zrt__device *device, pretended_fault fault, const char *wanted)
{
    zrt__comm *comm = NULL;
    set_fault(fault, 1);
    setenv("ZERORT_NCCL_TIMEOUT", "1", 1);
    double start = now();
    zrt_status status = open_here(world, device, "first", &comm);
    double took = now() - start;
    char said[1024];
    snprintf(said, sizeof said, "%s", zrt_error_message());
    MPI_Barrier(MPI_COMM_WORLD);
    set_fault(PRETENDED_NOTHING, -1);
    unsetenv("ZERORT_NCCL_TIMEOUT");
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_ERR_COMM && comm == NULL && took < 5 && strstr(said, wanted) != NULL &&
                   strstr(said, "pretended device 5") != NULL && strstr(said, "host ") != NULL,
               "a rank that %s: all are told in time: %s", fault == PRETENDED_HANG ? "does not come" : "cannot connect",
               said);
}

typedef struct waiting {
    zrt__comm *comm;
    zrt_status status;
    char said[1024];
    double took;
} waiting;

static waiting wait_in_barrier(zrt__comm *comm, zrt__device *device)
{
    zrt__stream stream = {device, "none"};
    zrt__collective c = {.comm = comm, .label = "barrier"};
    waiting w = {.comm = comm};
    double start = now();
    w.status = ops.barrier(&stream, &c);
    w.took = now() - start;
    snprintf(w.said, sizeof w.said, "%s", zrt_error_message());
    return w;
}

static void breaks(const zrt__group *world, zrt__device *device)
{
    zrt__comm *comm = NULL;
    int before = n_failures;
    bool ok = open_here(world, device, "breaking", &comm) == ZRT_OK;
    MPI_Barrier(MPI_COMM_WORLD);
    set_fault(PRETENDED_BREAK, 1);
    waiting w = {0};
    if (ok)
        w = wait_in_barrier(comm, device);
    /* ranks other than 1 wait in the next one */
    if (ok && w.status == ZRT_OK)
        w = wait_in_barrier(comm, device);
    set_fault(PRETENDED_NOTHING, -1);
    tap_ok_all(MPI_COMM_WORLD,
               ok && w.status == ZRT_ERR_COMM && w.took < 5 && strstr(w.said, "remote process error") != NULL &&
                   strstr(w.said, "rank 1") != NULL,
               "an asynchronous error of rank 1 ends the waiting of all: %s", w.said);
    tap_ok_all(MPI_COMM_WORLD, n_failures == before + 1 && strstr(failure, "remote process error") != NULL,
               "and the device of each knows, once");
    ok = ok && wait_in_barrier(comm, device).status == ZRT_ERR_COMM;
    tap_ok_all(MPI_COMM_WORLD, ok, "and the communicator stays failed");
    ops.close(&comm);
}

static void leaves(const zrt__group *world, zrt__device *device, bool broken)
{
    zrt__comm *comm = NULL;
    waiting w = {.status = ZRT_ERR_COMM};
    bool ok = open_here(world, device, "leaving", &comm) == ZRT_OK;
    if (ok && (w = wait_in_barrier(comm, device)).status != ZRT_OK) {
        tap_diag("the first barrier: %s", w.said);
        ok = false;
    }
    w.status = ZRT_ERR_COMM;
    if (zrt__group_rank(world) == 1) {
        device_broken = broken;
        ops.close(&comm);
        device_broken = false;
    } else if (ok) {
        w = wait_in_barrier(comm, device);
        ok = strstr(w.said, broken ? "illegal memory access" : "rank 1 closed") != NULL;
    }
    tap_ok_all(MPI_COMM_WORLD, ok && w.status == ZRT_ERR_COMM && w.took < 5,
               "a rank that %s ends the waiting of all: %s", broken ? "loses its device" : "closes", w.said);
    ops.close(&comm);
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt__device *device = NULL;
    zrt__device_options options = {.n_threads = 1};
    if (zrt_init(&argc, &argv, &context) != ZRT_OK || zrt__device_cpu_ops.open(&options, &device) != ZRT_OK)
        return 1;
    const zrt__group *world = zrt__context_world(context);
    if (zrt__group_size(world) == 1)
        alone(world, device);
    setenv("ZERORT_NCCL_LIBRARY", PRETENDED_NCCL_FILE, 1);
    comm_suite suite = {.ops = &ops,
                        .group = world,
                        .device = device,
                        .mpi = MPI_COMM_WORLD,
                        .name = "nccl",
                        .largest = 70003,
                        .rings = true};
    comm_suite_run(&suite);
    if (zrt__group_size(world) > 1) {
        missing(world, device);
        zero_cta(world, device);
        does_not_connect(world, device, PRETENDED_HANG, "NCCL_DEBUG");
        does_not_connect(world, device, PRETENDED_REFUSE, "no socket interface found");
        breaks(world, device);
        leaves(world, device, false);
        leaves(world, device, true);
    }
    zrt__device_cpu_ops.close(&device);
    int status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
