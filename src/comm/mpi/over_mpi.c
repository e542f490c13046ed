/* Collectives by MPI, blocking in the stream's thread: Open MPI moves a nonblocking collective only while somebody calls it.
 * MPI moves bytes and this backend sums: a reduction is an exchange of slices (MPI_Alltoall, the same bytes as a ring) and a sum in
 * rank order, so results are those of shared memory to the bit, whatever algorithm MPI picks, and 16-bit types are rounded once.
 * Everything goes in chunks of at most the scratch memory, so counts have no limit. */
#include "config.h"

#include <limits.h>
#include <string.h>

#include "comm/mpi/comm_mpi.h"
#include "comm/mpi/sum.h"
#include "launch/mpi_group.h"

enum { LARGEST = 1 << 30 }; /* bytes in one call of MPI */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* `bytes` bytes that follow each other at a distance of `stride`: one chunk of every rank's part of a long buffer. */
static zrt_status chunk_type(size_t bytes, size_t stride, MPI_Datatype *type_out)
{
    MPI_Datatype run;
    ZRT_TRY(zrt__mpi_check(MPI_Type_contiguous((int)bytes, MPI_BYTE, &run), "a type of bytes"));
    zrt_status status =
        zrt__mpi_check(MPI_Type_create_resized(run, 0, (MPI_Aint)stride, type_out), "a type of bytes with a stride");
    MPI_Type_free(&run);
    if (status == ZRT_OK)
        status = zrt__mpi_check(MPI_Type_commit(type_out), "a type of bytes with a stride");
    return status;
}

zrt_status zrt__over_mpi_all_gather(zrt__comm_mpi *comm, const zrt__collective *c)
{
    size_t bytes = c->count * zrt_dtype_bytes(c->dtype), limit = least(LARGEST, comm->chunk_bytes);
    char *recv = c->recv, *own = recv + (size_t)comm->base.rank * bytes;
    bool in_place = own == c->send;
    if (bytes <= limit)
        return zrt__mpi_check(MPI_Allgather(in_place ? MPI_IN_PLACE : c->send, (int)bytes, MPI_BYTE, recv, (int)bytes,
                                            MPI_BYTE, comm->mpi),
                              "MPI_Allgather");
    for (size_t at = 0; at < bytes; at += limit) {
        size_t n = least(limit, bytes - at);
        MPI_Datatype type;
        ZRT_TRY(chunk_type(n, bytes, &type));
        zrt_status status = zrt__mpi_check(MPI_Allgather(in_place ? MPI_IN_PLACE : (const char *)c->send + at, (int)n,
                                                         MPI_BYTE, recv + at, 1, type, comm->mpi),
                                           "MPI_Allgather");
        MPI_Type_free(&type);
        if (status != ZRT_OK)
            return status;
    }
    return ZRT_OK;
}

zrt_status zrt__over_mpi_reduce_scatter(zrt__comm_mpi *comm, const zrt__collective *c)
{
    int size = comm->base.size;
    size_t element = zrt_dtype_bytes(c->dtype), bytes = c->count * element;
    size_t chunk = least(comm->scratch_bytes / (size_t)size, comm->chunk_bytes) / element;
    for (size_t at = 0; at < c->count; at += chunk) {
        size_t n = least(chunk, c->count - at);
        MPI_Datatype type;
        ZRT_TRY(chunk_type(n * element, bytes, &type));
        zrt_status status = zrt__mpi_check(MPI_Alltoall((const char *)c->send + at * element, 1, type, comm->scratch,
                                                        (int)(n * element), MPI_BYTE, comm->mpi),
                                           "MPI_Alltoall");
        MPI_Type_free(&type);
        if (status != ZRT_OK)
            return status;
        for (int i = 0; i < size; i++)
            comm->parts[i] = comm->scratch + (size_t)i * n * element;
        zrt__sum_parts((char *)c->recv + at * element, comm->parts, size, n, c->dtype, c->op);
    }
    return ZRT_OK;
}

/* What fits the scratch memory of every rank as a whole goes to all: one exchange instead of two. */
static zrt_status all_reduce_small(zrt__comm_mpi *comm, const zrt__collective *c)
{
    size_t bytes = c->count * zrt_dtype_bytes(c->dtype);
    ZRT_TRY(zrt__mpi_check(MPI_Allgather(c->send, (int)bytes, MPI_BYTE, comm->scratch, (int)bytes, MPI_BYTE, comm->mpi),
                           "MPI_Allgather"));
    for (int i = 0; i < comm->base.size; i++)
        comm->parts[i] = comm->scratch + (size_t)i * bytes;
    zrt__sum_parts(c->recv, comm->parts, comm->base.size, c->count, c->dtype, c->op);
    return ZRT_OK;
}

/* Slices of a chunk may be short or empty at its end. Counts and places are in bytes, at most the scratch memory. */
static zrt_status all_reduce_chunk(zrt__comm_mpi *comm, const zrt__collective *c, const char *send, char *recv,
                                   size_t n)
{
    int size = comm->base.size, rank = comm->base.rank;
    size_t element = zrt_dtype_bytes(c->dtype), each = (n + (size_t)size - 1) / (size_t)size;
    int *send_counts = comm->counts, *send_places = send_counts + size, *counts = send_places + size,
        *places = counts + size;
    size_t mine = least(n, (size_t)(rank + 1) * each) - least(n, (size_t)rank * each);
    for (int i = 0; i < size; i++) {
        size_t from = least(n, (size_t)i * each), to = least(n, (size_t)(i + 1) * each);
        send_counts[i] = (int)((to - from) * element);
        send_places[i] = (int)(from * element);
        counts[i] = (int)(mine * element);
        places[i] = (int)((size_t)i * mine * element);
        comm->parts[i] = comm->scratch + places[i];
    }
    ZRT_TRY(zrt__mpi_check(
        MPI_Alltoallv(send, send_counts, send_places, MPI_BYTE, comm->scratch, counts, places, MPI_BYTE, comm->mpi),
        "MPI_Alltoallv"));
    zrt__sum_parts(recv + send_places[rank], comm->parts, size, mine, c->dtype, c->op);
    return zrt__mpi_check(
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, recv, send_counts, send_places, MPI_BYTE, comm->mpi),
        "MPI_Allgatherv");
}

zrt_status zrt__over_mpi_all_reduce(zrt__comm_mpi *comm, const zrt__collective *c)
{
    size_t element = zrt_dtype_bytes(c->dtype), bytes = c->count * element;
    size_t chunk = least(comm->scratch_bytes, comm->chunk_bytes * (size_t)comm->base.size);
    chunk = (chunk / (size_t)comm->base.size & ~(size_t)63) * (size_t)comm->base.size / element;
    if (bytes <= ZRT__SMALL_BYTES && bytes * (size_t)comm->base.size <= comm->scratch_bytes)
        return all_reduce_small(comm, c);
    for (size_t at = 0; at < c->count; at += chunk)
        ZRT_TRY(all_reduce_chunk(comm, c, (const char *)c->send + at * element, (char *)c->recv + at * element,
                                 least(chunk, c->count - at)));
    return ZRT_OK;
}

zrt_status zrt__over_mpi_broadcast(zrt__comm_mpi *comm, const zrt__collective *c)
{
    size_t bytes = c->count * zrt_dtype_bytes(c->dtype), limit = least(LARGEST, comm->chunk_bytes);
    if (comm->base.rank == c->root && c->recv != c->send)
        memcpy(c->recv, c->send, bytes);
    for (size_t at = 0; at < bytes; at += limit)
        ZRT_TRY(zrt__mpi_check(
            MPI_Bcast((char *)c->recv + at, (int)least(limit, bytes - at), MPI_BYTE, c->root, comm->mpi), "MPI_Bcast"));
    return ZRT_OK;
}

zrt_status zrt__over_mpi_barrier(zrt__comm_mpi *comm, const zrt__collective *c)
{
    (void)c;
    return zrt__mpi_check(MPI_Barrier(comm->mpi), "MPI_Barrier");
}
