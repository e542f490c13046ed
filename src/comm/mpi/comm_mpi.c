#include "config.h"

#include "comm/mpi/comm_mpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "comm/mpi/sum.h"
#include "launch/activity.h"
#include "launch/mpi_group.h"

enum { PAGE = 4096, SCRATCH_BYTES = 4 << 20, LEAST_SLICE_BYTES = 64 << 10, LEAST_CHUNK_BYTES = 64 };

/* ---- opening ---- */

static size_t number_from_environment(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    unsigned long long value = text != NULL ? strtoull(text, NULL, 10) : 0;
    return value > 0 ? (size_t)value : otherwise;
}

static void comm_free(zrt__comm_mpi *comm)
{
    if (comm == NULL)
        return;
    free(comm->counts);
    free(comm->parts);
    free(comm->chunks);
    free(comm->recvs);
    free(comm->sends);
    free(comm->scratch);
    free(comm->label);
    free(comm);
}

static zrt__comm_mpi *comm_new(const zrt__group *group, const char *label)
{
    zrt__comm_mpi *comm = zrt__calloc(1, sizeof *comm);
    size_t size = (size_t)zrt__group_size(group);
    if (comm == NULL)
        return NULL;
    comm->base = (zrt__comm){&zrt__comm_mpi_ops, zrt__group_rank(group), zrt__group_size(group)};
    comm->group = group;
    comm->mpi = MPI_COMM_NULL;
    comm->label = zrt__strdup(label != NULL ? label : "communicator");
    comm->sends = zrt__calloc(size, sizeof *comm->sends);
    comm->recvs = zrt__calloc(size, sizeof *comm->recvs);
    comm->chunks = zrt__calloc(size, sizeof *comm->chunks);
    comm->parts = zrt__calloc(size, sizeof *comm->parts);
    comm->counts = zrt__calloc(4 * size, sizeof *comm->counts);
    if (comm->label == NULL || comm->sends == NULL || comm->recvs == NULL || comm->chunks == NULL ||
        comm->parts == NULL || comm->counts == NULL) {
        comm_free(comm);
        return NULL;
    }
    return comm;
}

/* Whether the ranks share memory: all on one host, and nobody's environment asks for MPI (ZERORT_COMM=mpi). */
static zrt_status wants_sharing(const zrt__group *group, bool *wants_out)
{
    const char *text = getenv("ZERORT_COMM");
    int64_t against = text != NULL && strcmp(text, "mpi") == 0;
    ZRT_TRY(zrt__group_sum_int64(group, &against, 1));
    *wants_out = against == 0 && zrt__group_is_local(group);
    return ZRT_OK;
}

/* Leaves no segment where a rank cannot map the memory of another, in containers of their own for example. */
static zrt_status open_shared(zrt__comm_mpi *comm)
{
    ZRT_TRY(zrt__host_of(comm->group, &comm->host));
    bool first = !comm->host->tried;
    if (!first && !comm->host->usable)
        return ZRT_OK;
    zrt_status status = zrt__meeting_open(comm->group, comm->host, comm->label, &comm->meeting);
    if (first && status == ZRT_ERR_COMM) {
        zrt__log(ZRT_LOG_WARNING, "ranks of this host cannot share memory and use MPI instead: %s",
                 zrt_error_message());
        status = ZRT_OK;
    } else if (first) {
        comm->host->usable = status == ZRT_OK;
    }
    if (first)
        comm->host->tried = status == ZRT_OK;
    return status;
}

static zrt_status open_over_mpi(zrt__comm_mpi *comm)
{
    size_t scratch_bytes = (size_t)comm->base.size * LEAST_SLICE_BYTES;
    comm->chunk_bytes = number_from_environment("ZERORT_COMM_CHUNK", SIZE_MAX / 2 / (size_t)comm->base.size);
    comm->chunk_bytes = comm->chunk_bytes < LEAST_CHUNK_BYTES ? LEAST_CHUNK_BYTES : comm->chunk_bytes & ~(size_t)63;
    comm->scratch_bytes = scratch_bytes > SCRATCH_BYTES ? scratch_bytes : SCRATCH_BYTES;
    comm->scratch = zrt__malloc(comm->scratch_bytes);
    ZRT_TRY(zrt__group_agree(comm->group, comm->scratch != NULL ? ZRT_OK : ZRT_ERR_MEMORY));
    zrt_status status = zrt__mpi_check(MPI_Comm_dup(zrt__group_comm(comm->group), &comm->mpi), "a communicator");
    return zrt__group_agree(comm->group, status);
}

static void comm_close(zrt__comm **base)
{
    if (base == NULL || *base == NULL)
        return;
    zrt__comm_mpi *comm = (zrt__comm_mpi *)*base;
    zrt__meeting_close(&comm->meeting);
    if (comm->mpi != MPI_COMM_NULL)
        MPI_Comm_free(&comm->mpi);
    comm_free(comm);
    *base = NULL;
}

static zrt_status comm_open(const zrt__group *group, zrt__device *device, const char *label, zrt__comm **comm_out)
{
    (void)device; /* its memory is the host's */
    bool shares = false;
    *comm_out = NULL;
    zrt__comm_mpi *comm = comm_new(group, label);
    zrt_status status = zrt__group_agree(group, comm != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK && comm->base.size > 1) {
        status = wants_sharing(group, &shares);
        if (status == ZRT_OK && shares)
            status = open_shared(comm);
        if (status == ZRT_OK && (!shares || comm->meeting.segment == NULL))
            status = open_over_mpi(comm);
    }
    zrt__comm *base = comm != NULL ? &comm->base : NULL;
    if (status != ZRT_OK) {
        comm_close(&base);
        return status;
    }
    *comm_out = base;
    return ZRT_OK;
}

/* ---- memory ---- */

static zrt_status map_own(size_t bytes, zrt__comm_memory *memory)
{
    if (bytes > SIZE_MAX / 2)
        return zrt__fail(ZRT_ERR_MEMORY, "%zu bytes of memory", bytes);
    ZRT_TRY(zrt__memory_is_there(bytes));
    size_t mapped = bytes == 0 ? PAGE : (bytes + PAGE - 1) / PAGE * PAGE;
    void *data = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return zrt__fail(ZRT_ERR_MEMORY, "mapping %zu bytes: %s", mapped, strerror(errno));
    madvise(data, mapped, MADV_HUGEPAGE);
    memory->data = data;
    memory->mapped_bytes = mapped;
    return ZRT_OK;
}

static void memory_free(zrt__comm_mpi *comm, zrt__comm_memory *memory)
{
    if (memory == NULL)
        return;
    if (memory->segment != NULL)
        zrt__segment_destroy(comm->host, &memory->segment);
    else if (memory->data != NULL)
        munmap(memory->data, memory->mapped_bytes);
    free(memory);
}

static zrt_status comm_allocate(zrt__comm *base, size_t bytes, zrt__comm_memory **memory_out, void **data_out)
{
    zrt__comm_mpi *comm = (zrt__comm_mpi *)base;
    zrt__comm_memory *memory = zrt__calloc(1, sizeof *memory);
    bool shared = comm->meeting.segment != NULL;
    zrt_status status = memory != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    *memory_out = NULL;
    *data_out = NULL;
    if (!shared && status == ZRT_OK)
        status = map_own(bytes, memory);
    status = zrt__group_agree(comm->group, status);
    if (status == ZRT_OK && shared)
        status = zrt__segment_create(comm->group, comm->host, bytes, bytes, false, true, &memory->segment);
    if (status != ZRT_OK) {
        memory_free(comm, memory);
        return status;
    }
    memory->bytes = bytes;
    comm->allocated_bytes += bytes;
    *memory_out = memory;
    *data_out = shared ? memory->segment->parts[comm->base.rank] : memory->data;
    return ZRT_OK;
}

static void comm_release(zrt__comm *base, zrt__comm_memory **memory)
{
    zrt__comm_mpi *comm = (zrt__comm_mpi *)base;
    if (memory == NULL || *memory == NULL)
        return;
    comm->allocated_bytes -= (*memory)->bytes;
    memory_free(comm, *memory);
    *memory = NULL;
}

static size_t comm_allocated_bytes(const zrt__comm *comm)
{
    return ((const zrt__comm_mpi *)comm)->allocated_bytes;
}

/* ---- collectives ---- */

/* One rank: what it would get is what it gives. */
static void copy_alone(const zrt__collective *c)
{
    if (c->recv != c->send)
        memmove(c->recv, c->send, c->count * zrt_dtype_bytes(c->dtype));
}

static zrt_status run(const zrt__collective *c, bool reduces, zrt__collective_fn *shared, zrt__collective_fn *over_mpi)
{
    zrt__comm_mpi *comm = (zrt__comm_mpi *)c->comm;
    if (reduces)
        ZRT_TRY(zrt__sum_check(c->dtype, c->op));
    if (c->count == 0)
        return ZRT_OK;
    if (comm->base.size == 1) {
        copy_alone(c);
        return ZRT_OK;
    }
    zrt__activity *activity = zrt__group_activity(comm->group);
    int number = zrt__activity_begin(activity, comm->label, c->label);
    zrt_status status = comm->meeting.segment != NULL ? shared(comm, c) : over_mpi(comm, c);
    zrt__activity_end(activity, number);
    if (status != ZRT_OK && comm->meeting.segment == NULL)
        return zrt__fail_context(status, "%s: %s: ", comm->label, c->label != NULL ? c->label : "a collective");
    return status;
}

static zrt_status comm_all_gather(zrt__stream *stream, const void *arg)
{
    (void)stream;
    return run(arg, false, zrt__shared_all_gather, zrt__over_mpi_all_gather);
}

static zrt_status comm_reduce_scatter(zrt__stream *stream, const void *arg)
{
    (void)stream;
    return run(arg, true, zrt__shared_reduce_scatter, zrt__over_mpi_reduce_scatter);
}

static zrt_status comm_all_reduce(zrt__stream *stream, const void *arg)
{
    (void)stream;
    return run(arg, true, zrt__shared_all_reduce, zrt__over_mpi_all_reduce);
}

static zrt_status comm_broadcast(zrt__stream *stream, const void *arg)
{
    (void)stream;
    return run(arg, false, zrt__shared_broadcast, zrt__over_mpi_broadcast);
}

static zrt_status comm_barrier(zrt__stream *stream, const void *arg)
{
    (void)stream;
    const zrt__collective *c = arg;
    zrt__comm_mpi *comm = (zrt__comm_mpi *)c->comm;
    if (comm->base.size == 1)
        return ZRT_OK;
    return comm->meeting.segment != NULL ? zrt__shared_barrier(comm, c) : zrt__over_mpi_barrier(comm, c);
}

const zrt__comm_ops zrt__comm_mpi_ops = {
    .name = "mpi",
    .open = comm_open,
    .close = comm_close,
    .allocate = comm_allocate,
    .release = comm_release,
    .allocated_bytes = comm_allocated_bytes,
    .all_gather = comm_all_gather,
    .reduce_scatter = comm_reduce_scatter,
    .all_reduce = comm_all_reduce,
    .broadcast = comm_broadcast,
    .barrier = comm_barrier,
};
