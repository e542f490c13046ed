/* What comm/nccl needs of NCCL, over MPI and host memory, so that it runs without a GPU: collectives run when they are called and
 * wait for the other ranks until they are aborted. */
#include "config.h"

#include <mpi.h>
#include <nccl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/mpi/sum.h"
#include "pretended_nccl.h"

enum { MAX_WINDOWS = 16 };

struct ncclWindow_vidmem {
    const char *data;
    size_t bytes;
};

struct ncclComm {
    MPI_Comm mpi;
    int rank, size, policy;
    _Atomic bool aborted, broken;
    struct ncclWindow_vidmem windows[MAX_WINDOWS];
    void *left[16]; /* what requests of an aborted call may still write */
    int n_left;
    struct ncclComm *next; /* all, so that what an aborted thread still uses stays reachable */
};

static _Atomic(struct ncclComm *) all;
static pretended_counts counts;
static _Thread_local char last[256];

static _Atomic int fault, fault_rank;

static bool faulty(pretended_fault kind, int rank)
{
    return atomic_load(&fault) == (int)kind && atomic_load(&fault_rank) == rank;
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

#define SHOWN __attribute__((visibility("default")))

SHOWN pretended_counts pretended_get_counts(void)
{
    return counts;
}

SHOWN void pretended_set_fault(pretended_fault kind, int rank)
{
    atomic_store(&fault_rank, rank);
    atomic_store(&fault, (int)kind);
}

SHOWN ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

SHOWN const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclSuccess ? "no error" : result == ncclRemoteError ? "remote process error" : "invalid usage";
}

SHOWN const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return last;
}

SHOWN ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 42, sizeof *id);
    return ncclSuccess;
}

SHOWN ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm_out, int size, ncclUniqueId id, int rank,
                                          ncclConfig_t *config)
{
    struct ncclComm *comm = calloc(1, sizeof *comm);
    int world = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    if (comm == NULL || id.internal[5] != 42 || size != world)
        return ncclInvalidUsage;
    comm->rank = rank;
    comm->size = size;
    comm->policy = config->CTAPolicy;
    comm->next = atomic_exchange(&all, comm);
    if (faulty(PRETENDED_REFUSE, rank)) {
        snprintf(last, sizeof last, "no socket interface found");
        return ncclRemoteError;
    }
    if (atomic_load(&fault) != PRETENDED_NOTHING) { /* a rank does not come: as NCCL, all wait */
        while (atomic_load(&fault) != PRETENDED_NOTHING)
            pause_briefly();
        return ncclRemoteError;
    }
    if (MPI_Comm_dup(MPI_COMM_WORLD, &comm->mpi) != MPI_SUCCESS)
        return ncclRemoteError;
    *comm_out = comm;
    return ncclSuccess;
}

SHOWN ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    (void)comm; /* its communicator stays: another rank may still be in the collective that this one has left */
    return ncclSuccess;
}

SHOWN ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    counts.aborts++;
    atomic_store(&comm->aborted, true);
    return ncclSuccess;
}

SHOWN ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *result)
{
    *result = atomic_load(&comm->broken) ? ncclRemoteError : ncclSuccess;
    return ncclSuccess;
}

SHOWN ncclResult_t ncclMemAlloc(void **data, size_t bytes)
{
    if (posix_memalign(data, 1 << 21, bytes) != 0)
        return ncclSystemError;
    memset(*data, 0x77, bytes < 65536 ? bytes : 65536);
    return ncclSuccess;
}

SHOWN ncclResult_t ncclMemFree(void *data)
{
    free(data);
    return ncclSuccess;
}

SHOWN ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void *data, size_t bytes, ncclWindow_t *window, int flags)
{
    if (bytes % NCCL_WIN_REQUIRED_ALIGNMENT != 0 || flags != NCCL_WIN_COLL_SYMMETRIC)
        return ncclInvalidUsage;
    MPI_Barrier(comm->mpi);
    for (int i = 0; i < MAX_WINDOWS; i++)
        if (comm->windows[i].data == NULL) {
            comm->windows[i] = (struct ncclWindow_vidmem){data, bytes};
            *window = &comm->windows[i];
            return ncclSuccess;
        }
    return ncclInvalidUsage;
}

SHOWN ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t window)
{
    (void)comm;
    window->data = NULL;
    return ncclSuccess;
}

/* ---- collectives ---- */

/* Point to point: libnbc, which has MPI's nonblocking collectives, loses some while other threads call MPI too. */
static ncclResult_t finish(struct ncclComm *comm, int n, MPI_Request *requests)
{
    int done = 0;
    if (faulty(PRETENDED_BREAK, comm->rank))
        atomic_store(&comm->broken, true);
    while (!done || atomic_load(&comm->broken)) {
        if (atomic_load(&comm->aborted))
            return ncclSuccess; /* as kernels that end; what they left in memory is nothing */
        if (!done && MPI_Testall(n, requests, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            return ncclRemoteError;
        if (!done || atomic_load(&comm->broken))
            pause_briefly();
    }
    return ncclSuccess;
}

/* The offset in a window, -1: in none. */
static int64_t place(const struct ncclComm *comm, const void *data, size_t bytes)
{
    for (int i = 0; i < MAX_WINDOWS; i++) {
        const struct ncclWindow_vidmem *w = &comm->windows[i];
        if (w->data != NULL && (const char *)data >= w->data && (const char *)data + bytes <= w->data + w->bytes)
            return (int64_t)i << 40 | ((const char *)data - w->data);
    }
    return -1;
}

/* Every rank's bytes, in rank order; in memory that an aborted request may still write. */
static ncclResult_t exchange(struct ncclComm *comm, const void *send, size_t bytes, char **parts_out)
{
    MPI_Request *requests = malloc(2 * (size_t)comm->size * sizeof *requests);
    char *parts = malloc(bytes * (size_t)comm->size + 1), *own = malloc(bytes + 1);
    int n = 0;
    if (requests == NULL || parts == NULL || own == NULL)
        return ncclSystemError;
    memcpy(own, send, bytes);
    memcpy(parts + (size_t)comm->rank * bytes, send, bytes);
    for (int peer = 0; peer < comm->size; peer++) {
        if (peer == comm->rank)
            continue;
        MPI_Irecv(parts + (size_t)peer * bytes, (int)bytes, MPI_BYTE, peer, 0, comm->mpi, &requests[n++]);
        MPI_Isend(own, (int)bytes, MPI_BYTE, peer, 0, comm->mpi, &requests[n++]);
    }
    ncclResult_t result = finish(comm, n, requests);
    bool whole = result == ncclSuccess && !atomic_load(&comm->aborted);
    if (whole) {
        free(own);
        free(requests);
    } else if (comm->n_left + 3 <= (int)(sizeof comm->left / sizeof *comm->left)) {
        comm->left[comm->n_left++] = own;
        comm->left[comm->n_left++] = parts;
        comm->left[comm->n_left++] = requests;
    }
    *parts_out = whole ? parts : NULL;
    return result;
}

static zrt_dtype dtype_of(ncclDataType_t type)
{
    return type == ncclFloat16    ? ZRT_FLOAT16
           : type == ncclBfloat16 ? ZRT_BFLOAT16
           : type == ncclFloat64  ? ZRT_FLOAT64
           : type == ncclInt32    ? ZRT_INT32
           : type == ncclInt64    ? ZRT_INT64
           : type == ncclUint8    ? ZRT_UINT8
                                  : ZRT_FLOAT32;
}

static void reduce(struct ncclComm *comm, const char *parts, size_t stride, size_t from, void *recv, size_t count,
                   ncclDataType_t type, ncclRedOp_t op)
{
    const char *at[64];
    size_t element = zrt_dtype_bytes(dtype_of(type));
    for (int i = 0; i < comm->size; i++) /* another order than the ranks' */
        at[i] = parts + (size_t)((i + 1) % comm->size) * stride + from * element;
    zrt__sum_parts(recv, at, comm->size, count, dtype_of(type),
                   op == ncclAvg   ? ZRT__REDUCE_AVERAGE
                   : op == ncclMax ? ZRT__REDUCE_MAX
                                   : ZRT__REDUCE_SUM);
}

SHOWN ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type, ncclComm_t comm,
                                 cudaStream_t stream)
{
    size_t bytes = count * zrt_dtype_bytes(dtype_of(type));
    char *parts = NULL;
    (void)stream;
    int64_t places[2] = {place(comm, send, bytes), place(comm, recv, bytes * (size_t)comm->size)}, first[2];
    if (places[0] >= 0 && places[1] >= 0 && comm->policy == NCCL_CTA_POLICY_ZERO) {
        counts.zero_cta_gathers++;
        if ((const char *)send >= (const char *)recv &&
            (const char *)send < (const char *)recv + bytes * (size_t)comm->size)
            places[0] = -2; /* in place: each rank's own part */
        memcpy(first, places, sizeof first);
        MPI_Bcast(first, 2, MPI_INT64_T, 0, comm->mpi);
        if (memcmp(first, places, sizeof first) != 0) {
            snprintf(last, sizeof last, "windows at different places");
            return ncclInvalidUsage;
        }
    }
    ncclResult_t result = exchange(comm, send, bytes, &parts);
    if (parts != NULL)
        memcpy(recv, parts, bytes * (size_t)comm->size);
    free(parts);
    return result;
}

SHOWN ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                     ncclComm_t comm, cudaStream_t stream)
{
    size_t bytes = count * zrt_dtype_bytes(dtype_of(type)) * (size_t)comm->size;
    char *parts = NULL;
    (void)stream;
    if (place(comm, send, bytes) >= 0)
        counts.symmetric_reductions++;
    ncclResult_t result = exchange(comm, send, bytes, &parts);
    if (parts != NULL)
        reduce(comm, parts, bytes, (size_t)comm->rank * count, recv, count, type, op);
    free(parts);
    return result;
}

SHOWN ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                 ncclComm_t comm, cudaStream_t stream)
{
    size_t bytes = count * zrt_dtype_bytes(dtype_of(type));
    char *parts = NULL;
    (void)stream;
    ncclResult_t result = exchange(comm, send, bytes, &parts);
    if (parts != NULL)
        reduce(comm, parts, bytes, 0, recv, count, type, op);
    free(parts);
    return result;
}

SHOWN ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type, int root,
                                 ncclComm_t comm, cudaStream_t stream)
{
    size_t bytes = count * zrt_dtype_bytes(dtype_of(type));
    MPI_Request *requests = malloc((size_t)comm->size * sizeof *requests);
    int n = 0;
    (void)stream;
    if (requests == NULL)
        return ncclSystemError;
    if (comm->rank == root && recv != send)
        memcpy(recv, send, bytes);
    if (comm->rank != root)
        MPI_Irecv(recv, (int)bytes, MPI_BYTE, root, 0, comm->mpi, &requests[n++]);
    for (int peer = 0; peer < comm->size && comm->rank == root; peer++)
        if (peer != root)
            MPI_Isend(recv, (int)bytes, MPI_BYTE, peer, 0, comm->mpi, &requests[n++]);
    ncclResult_t result = finish(comm, n, requests);
    if (atomic_load(&comm->aborted) && comm->n_left < (int)(sizeof comm->left / sizeof *comm->left))
        comm->left[comm->n_left++] = requests;
    else
        free(requests);
    return result;
}
