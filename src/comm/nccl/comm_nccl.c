#include "config.h"

#include "comm/nccl/comm_nccl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

enum { TOKEN_BYTES = 64 };

zrt_status zrt__nccl_check(const zrt__comm_nccl *comm, ncclResult_t result, const char *what)
{
    const char *last = "";
    if (result == ncclSuccess)
        return ZRT_OK;
    if (comm->library.ncclGetLastError != NULL)
        last = comm->library.ncclGetLastError(comm->nccl);
    if (last == NULL)
        last = "";
    return zrt__fail(ZRT_ERR_COMM, "%s: %s failed on %s: NCCL: %s%s%s", comm->label, what, comm->where,
                     comm->library.ncclGetErrorString(result), *last != '\0' ? ": " : "", last);
}

/* ---- opening ---- */

static void comm_free(zrt__comm_nccl *comm)
{
    if (comm == NULL)
        return;
    zrt__notices_close(&comm->notices);
    if (comm->library.handle != NULL)
        zrt__nccl_unload(&comm->library);
    pthread_mutex_destroy(&comm->lock);
    free(comm->label);
    free(comm);
}

static zrt__comm_nccl *comm_new(const zrt__comm_ops *ops, const zrt__group *group, zrt__device *device,
                                const char *label, const zrt__nccl_platform *platform)
{
    char host[128] = "unknown", description[192] = "";
    zrt__comm_nccl *comm = zrt__calloc(1, sizeof *comm);
    if (comm == NULL)
        return NULL;
    pthread_mutex_init(&comm->lock, NULL);
    comm->base = (zrt__comm){ops, zrt__group_rank(group), zrt__group_size(group)};
    comm->group = group;
    comm->device = device;
    comm->platform = platform;
    comm->label = zrt__strdup(label != NULL ? label : "communicator");
    gethostname(host, sizeof host - 1);
    platform->describe(device, description, sizeof description);
    snprintf(comm->where, sizeof comm->where, "host %s, %s", host, description);
    if (comm->label == NULL) {
        comm_free(comm);
        return NULL;
    }
    return comm;
}

/* Releases speak different protocols. */
static zrt_status same_version(zrt__comm_nccl *comm)
{
    int first = comm->library.version;
    char own_text[32], first_text[32];
    ZRT_TRY(zrt__group_broadcast(comm->group, &first, sizeof first, 0));
    zrt__nccl_version_text(comm->library.version, own_text);
    zrt__nccl_version_text(first, first_text);
    zrt_status status = ZRT_OK;
    if (first != comm->library.version)
        status = zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                           "NCCL is %s on %s and %s on rank 0: give all ranks the same, by LD_LIBRARY_PATH for example",
                           own_text, comm->where, first_text);
    return zrt__group_agree(comm->group, status);
}

static zrt_status make_token(zrt__comm_nccl *comm)
{
    ZRT_TRY(comm->platform->enter(comm->device));
    if (comm->library.ncclMemAlloc(&comm->token, TOKEN_BYTES) != ncclSuccess)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: %s has no memory left for NCCL", comm->label, comm->where);
    return comm->platform->clear(comm->device, comm->token, TOKEN_BYTES);
}

static zrt_status open_nccl(zrt__comm_nccl *comm)
{
    ZRT_TRY(zrt__group_agree(comm->group, zrt__nccl_load(&comm->library)));
    ZRT_TRY(same_version(comm));
    ZRT_TRY(zrt__notices_open(comm->group, &comm->notices));
    ZRT_TRY(zrt__nccl_connect(comm));
    ZRT_TRY(zrt__group_agree(comm->group, make_token(comm)));
    return zrt__group_agree(comm->group, zrt__nccl_watch_start(comm));
}

void zrt__comm_nccl_close(zrt__comm **base)
{
    if (base == NULL || *base == NULL)
        return;
    zrt__comm_nccl *comm = (zrt__comm_nccl *)*base;
    zrt__nccl_watch_stop(comm);
    bool failed = atomic_load(&comm->failed);
    if (!failed && comm->nccl != NULL && comm->platform->check(comm->device) != ZRT_OK) {
        failed = true;
        zrt__nccl_tell(comm, zrt_error_message());
    }
    zrt__nccl_tell(comm, failed ? comm->failure : NULL);
    bool entered = comm->platform->enter(comm->device) == ZRT_OK;
    if (comm->nccl != NULL && entered && !failed) {
        comm->library.ncclCommDestroy(comm->nccl);
        comm->nccl = NULL;
    }
    if (comm->nccl != NULL)
        zrt__nccl_abort(comm);
    if (comm->token != NULL && entered)
        comm->library.ncclMemFree(comm->token);
    comm_free(comm);
    *base = NULL;
}

zrt_status zrt__comm_nccl_open(const zrt__comm_ops *ops, const zrt__group *group, zrt__device *device,
                               const char *label, const zrt__nccl_platform *platform, zrt__comm **comm_out)
{
    *comm_out = NULL;
    zrt__comm_nccl *comm = comm_new(ops, group, device, label, platform);
    zrt_status status = zrt__group_agree(group, comm != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK && comm->base.size > 1)
        status = open_nccl(comm);
    if (status != ZRT_OK) {
        zrt__comm *unfinished = comm != NULL ? &comm->base : NULL;
        zrt__comm_nccl_close(&unfinished);
        return status;
    }
    *comm_out = &comm->base;
    return ZRT_OK;
}

/* ---- memory ---- */

static zrt_status take_memory(zrt__comm_nccl *comm, size_t bytes, zrt__comm_memory *memory)
{
    ZRT_TRY(comm->platform->enter(comm->device));
    if (comm->base.size == 1) {
        ZRT_TRY(comm->platform->allocate(comm->device, bytes > 0 ? bytes : 1, &memory->data));
    } else {
        ncclResult_t result = comm->library.ncclMemAlloc(&memory->data, bytes > 0 ? bytes : 1);
        if (result != ncclSuccess) {
            memory->data = NULL;
            return zrt__fail(ZRT_ERR_MEMORY, "%s: %s gave no %zu bytes for collectives: %s", comm->label, comm->where,
                             bytes, comm->library.ncclGetErrorString(result));
        }
    }
    return comm->platform->clear(comm->device, memory->data, bytes);
}

/* Without windows collectives work the same, on multiprocessors. */
static zrt_status register_memory(zrt__comm_nccl *comm, size_t bytes, zrt__comm_memory *memory)
{
    if (comm->library.ncclCommWindowRegister == NULL || comm->library.version < ZRT__NCCL_ZERO_CTA)
        return ZRT_OK;
    size_t rounded = (bytes + NCCL_WIN_REQUIRED_ALIGNMENT - 1) / NCCL_WIN_REQUIRED_ALIGNMENT;
    rounded = (rounded > 0 ? rounded : 1) * NCCL_WIN_REQUIRED_ALIGNMENT;
    pthread_mutex_lock(&comm->lock);
    ncclResult_t result = comm->nccl == NULL
                              ? ncclInvalidUsage
                              : comm->library.ncclCommWindowRegister(comm->nccl, memory->data, rounded, &memory->window,
                                                                     NCCL_WIN_COLL_SYMMETRIC);
    pthread_mutex_unlock(&comm->lock);
    return zrt__nccl_check(comm, result, "registering memory");
}

static void free_memory(zrt__comm_nccl *comm, zrt__comm_memory *memory)
{
    if (memory == NULL)
        return;
    if (memory->data != NULL && comm->platform->enter(comm->device) == ZRT_OK) {
        pthread_mutex_lock(&comm->lock);
        if (memory->window != NULL && comm->nccl != NULL)
            comm->library.ncclCommWindowDeregister(comm->nccl, memory->window);
        pthread_mutex_unlock(&comm->lock);
        if (comm->base.size == 1)
            comm->platform->release(comm->device, memory->data);
        else
            comm->library.ncclMemFree(memory->data);
    }
    free(memory);
}

zrt_status zrt__comm_nccl_allocate(zrt__comm *base, size_t bytes, zrt__comm_memory **memory_out, void **data_out)
{
    zrt__comm_nccl *comm = (zrt__comm_nccl *)base;
    zrt__comm_memory *memory = zrt__calloc(1, sizeof *memory);
    *memory_out = NULL;
    *data_out = NULL;
    zrt_status status = memory != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (status == ZRT_OK) {
        memory->bytes = bytes;
        status = take_memory(comm, bytes, memory);
    }
    status = zrt__group_agree(comm->group, status);
    if (status == ZRT_OK && comm->base.size > 1)
        status = zrt__group_agree(comm->group, register_memory(comm, bytes, memory));
    if (status != ZRT_OK) {
        free_memory(comm, memory);
        return status;
    }
    comm->allocated_bytes += bytes;
    *memory_out = memory;
    *data_out = memory->data;
    return ZRT_OK;
}

void zrt__comm_nccl_release(zrt__comm *base, zrt__comm_memory **memory)
{
    zrt__comm_nccl *comm = (zrt__comm_nccl *)base;
    if (memory == NULL || *memory == NULL)
        return;
    comm->allocated_bytes -= (*memory)->bytes;
    free_memory(comm, *memory);
    *memory = NULL;
}

size_t zrt__comm_nccl_allocated_bytes(const zrt__comm *comm)
{
    return ((const zrt__comm_nccl *)comm)->allocated_bytes;
}

/* ---- collectives ---- */

static ncclDataType_t nccl_dtype(zrt_dtype dtype)
{
    switch (dtype) {
    case ZRT_FLOAT32:
        return ncclFloat32;
    case ZRT_FLOAT16:
        return ncclFloat16;
    case ZRT_BFLOAT16:
        return ncclBfloat16;
    case ZRT_FLOAT64:
        return ncclFloat64;
    case ZRT_INT32:
        return ncclInt32;
    case ZRT_INT64:
        return ncclInt64;
    case ZRT_UINT8:
        return ncclUint8;
    }
    return ncclUint8;
}

static ncclRedOp_t nccl_op(zrt__reduce_op op)
{
    return op == ZRT__REDUCE_AVERAGE ? ncclAvg : op == ZRT__REDUCE_MAX ? ncclMax : ncclSum;
}

typedef enum kind { ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE, BROADCAST, BARRIER } kind;

static const char *const kind_names[] = {"all-gather", "reduce-scatter", "all-reduce", "broadcast", "barrier"};

static zrt_status check_op(const zrt__collective *c)
{
    bool whole = c->dtype == ZRT_INT32 || c->dtype == ZRT_INT64 || c->dtype == ZRT_UINT8;
    if (whole && c->op == ZRT__REDUCE_AVERAGE)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "an average of integers (%s) is not supported",
                         zrt_dtype_name(c->dtype));
    return ZRT_OK;
}

static ncclResult_t call(zrt__comm_nccl *comm, ncclComm_t nccl, kind k, const zrt__collective *c, void *stream)
{
    const zrt__nccl *n = &comm->library;
    switch (k) {
    case ALL_GATHER:
        return n->ncclAllGather(c->send, c->recv, c->count, nccl_dtype(c->dtype), nccl, stream);
    case REDUCE_SCATTER:
        return n->ncclReduceScatter(c->send, c->recv, c->count, nccl_dtype(c->dtype), nccl_op(c->op), nccl, stream);
    case ALL_REDUCE:
        return n->ncclAllReduce(c->send, c->recv, c->count, nccl_dtype(c->dtype), nccl_op(c->op), nccl, stream);
    case BROADCAST:
        return n->ncclBroadcast(c->send, c->recv, c->count, nccl_dtype(c->dtype), c->root, nccl, stream);
    case BARRIER:
        break;
    }
    return n->ncclAllReduce(comm->token, comm->token, 1, ncclInt32, ncclSum, nccl, stream);
}

static zrt_status run(zrt__stream *stream, const zrt__collective *c, kind k)
{
    zrt__comm_nccl *comm = (zrt__comm_nccl *)c->comm;
    char what[256];
    if (k == REDUCE_SCATTER || k == ALL_REDUCE)
        ZRT_TRY(check_op(c));
    if (k != BARRIER && c->count == 0)
        return ZRT_OK;
    if (comm->base.size == 1) {
        if (k == BARRIER || c->send == c->recv)
            return ZRT_OK;
        return comm->platform->copy(stream, c->recv, c->send, c->count * zrt_dtype_bytes(c->dtype));
    }
    atomic_fetch_add(&comm->n_enqueued, 1);
    pthread_mutex_lock(&comm->lock);
    ncclComm_t nccl = comm->nccl; /* once: the watching thread takes it away from whoever is stuck in NCCL */
    bool usable = nccl != NULL && !atomic_load(&comm->failed);
    ncclResult_t result = usable ? call(comm, nccl, k, c, comm->platform->stream(stream)) : ncclSuccess;
    zrt_status status = ZRT_OK;
    if (result != ncclSuccess && !atomic_load(&comm->failed)) {
        snprintf(what, sizeof what, "%s%s%s", kind_names[k], c->label != NULL ? " of " : "",
                 c->label != NULL ? c->label : "");
        status = zrt__nccl_check(comm, result, what);
    }
    pthread_mutex_unlock(&comm->lock);
    if (atomic_load(&comm->failed))
        return zrt__fail_with(ZRT_ERR_COMM, comm->failure);
    if (status != ZRT_OK)
        zrt__nccl_fail(comm, zrt_error_message());
    return status;
}

zrt_status zrt__comm_nccl_all_gather(zrt__stream *stream, const void *arg)
{
    return run(stream, arg, ALL_GATHER);
}

zrt_status zrt__comm_nccl_reduce_scatter(zrt__stream *stream, const void *arg)
{
    return run(stream, arg, REDUCE_SCATTER);
}

zrt_status zrt__comm_nccl_all_reduce(zrt__stream *stream, const void *arg)
{
    return run(stream, arg, ALL_REDUCE);
}

zrt_status zrt__comm_nccl_broadcast(zrt__stream *stream, const void *arg)
{
    return run(stream, arg, BROADCAST);
}

zrt_status zrt__comm_nccl_barrier(zrt__stream *stream, const void *arg)
{
    return run(stream, arg, BARRIER);
}
