/* Collectives of GPUs by NCCL. The id of a communicator goes over MPI; after that every collective is enqueued by NCCL on the stream.
 *
 * Every communicator asks for NCCL's zero-CTA policy. It takes effect where all memory of a call is registered with that very
 * communicator as a symmetric window, and only for what copies: so the all-gather of the communicator that allocated the
 * memory runs on the copy engines and takes no multiprocessor, and a reduce-scatter of the same memory by another
 * communicator is NCCL's ordinary one, which is the faster one (the symmetric one is 0.75 to 0.8 of it above 100 MB).
 *
 * NCCL's kernels wait on the device, so a rank that fails must be told to the others: a thread a communicator asks NCCL for
 * errors and MPI for notices of other ranks, and aborts. */
#ifndef ZRT_COMM_NCCL_COMM_NCCL_H
#define ZRT_COMM_NCCL_COMM_NCCL_H

#include <pthread.h>
#include <stdatomic.h>

#include "comm/comm.h"
#include "comm/nccl/nccl_library.h"
#include "launch/notices.h"

/* What a communicator needs to know of the device. */
typedef struct zrt__nccl_platform {
    zrt_status (*enter)(const zrt__device *device); /* makes the device the calling thread's */
    void *(*stream)(const zrt__stream *stream);     /* a cudaStream_t */
    zrt_status (*clear)(const zrt__device *device, void *data, size_t bytes); /* all bytes 0; waits */
    /* One rank has no NCCL to ask. */
    zrt_status (*allocate)(const zrt__device *device, size_t bytes, void **data_out);
    void (*release)(const zrt__device *device, void *data);
    zrt_status (*copy)(zrt__stream *stream, void *dst, const void *src, size_t bytes); /* enqueues; they may overlap */
    zrt_status (*check)(const zrt__device *device); /* the first failure of the device */
    /* All that waits for the device, now or later, gets this failure. Any thread. */
    void (*fail)(zrt__device *device, zrt_status status, const char *message);
    void (*describe)(const zrt__device *device, char *text, size_t n_bytes); /* "CUDA device 3" */
} zrt__nccl_platform;

typedef struct zrt__comm_nccl {
    zrt__comm base;
    const zrt__group *group; /* lent */
    zrt__device *device;     /* lent */
    const zrt__nccl_platform *platform;
    zrt__nccl library;
    char *label;
    char where[384]; /* "host h, CUDA device 3" */
    size_t allocated_bytes;
    void *token; /* device memory of the barrier */

    pthread_mutex_t lock;     /* nccl is used, or being aborted */
    _Atomic(ncclComm_t) nccl; /* NULL: one rank, or aborted */
    _Atomic uint64_t n_enqueued;

    zrt__notices *notices;
    pthread_t watch;
    bool watched, told; /* told: this rank's notice is sent */
    _Atomic bool stop, claimed, failed;
    char failure[1024]; /* written once, by whoever claims it, before `failed` */
} zrt__comm_nccl;

struct zrt__comm_memory {
    size_t bytes; /* as asked for */
    void *data;
    ncclWindow_t window; /* NULL: not registered */
};

/* zrt__comm_ops.open on any platform; `ops` is the table that opens. Collective over the group. */
zrt_status zrt__comm_nccl_open(const zrt__comm_ops *ops, const zrt__group *group, zrt__device *device,
                               const char *label, const zrt__nccl_platform *platform, zrt__comm **comm_out);

/* The rest of a table. */
void zrt__comm_nccl_close(zrt__comm **comm);
zrt_status zrt__comm_nccl_allocate(zrt__comm *comm, size_t bytes, zrt__comm_memory **memory_out, void **data_out);
void zrt__comm_nccl_release(zrt__comm *comm, zrt__comm_memory **memory);
size_t zrt__comm_nccl_allocated_bytes(const zrt__comm *comm);
zrt__launch_fn zrt__comm_nccl_all_gather, zrt__comm_nccl_reduce_scatter, zrt__comm_nccl_all_reduce,
    zrt__comm_nccl_broadcast, zrt__comm_nccl_barrier;

#define ZRT__COMM_NCCL_TABLE(open_function)                                                                          \
    {                                                                                                                \
        .name = "nccl", .open = (open_function), .close = zrt__comm_nccl_close, .allocate = zrt__comm_nccl_allocate, \
        .release = zrt__comm_nccl_release, .allocated_bytes = zrt__comm_nccl_allocated_bytes,                        \
        .all_gather = zrt__comm_nccl_all_gather, .reduce_scatter = zrt__comm_nccl_reduce_scatter,                    \
        .all_reduce = zrt__comm_nccl_all_reduce, .broadcast = zrt__comm_nccl_broadcast,                              \
        .barrier = zrt__comm_nccl_barrier                                                                            \
    }

/* ---- for the files of this folder ---- */

/* What NCCL said, as the one message: label, what, where, NCCL's text. */
zrt_status zrt__nccl_check(const zrt__comm_nccl *comm, ncclResult_t result, const char *what);
/* Connects: ncclCommInitRankConfig, given up after ZERORT_NCCL_TIMEOUT seconds. Collective over the group. */
zrt_status zrt__nccl_connect(zrt__comm_nccl *comm);
/* Starts the thread that watches. Local. */
zrt_status zrt__nccl_watch_start(zrt__comm_nccl *comm);
void zrt__nccl_watch_stop(zrt__comm_nccl *comm);
/* Remembers the first failure and gives it to the device. Any thread. */
void zrt__nccl_fail(zrt__comm_nccl *comm, const char *message);
/* Ends what NCCL runs. Any thread. */
void zrt__nccl_abort(zrt__comm_nccl *comm);
/* Tells the other ranks that this one has left or, with a message, failed. */
void zrt__nccl_tell(zrt__comm_nccl *comm, const char *failure);
/* Whether another rank has said that it left or failed; then `message` says what it means for this one. */
bool zrt__nccl_listen(zrt__comm_nccl *comm, char *message, size_t n_bytes);

#endif
