/* Collectives in memory that the ranks of a host share. A rank reads what it needs straight from the registered memory of the others;
 * other memory goes through a bounce area in two halves. The note of each rank says which of both, so that all go the same
 * way; all sums are in rank order, and so equal to the bit to those over MPI. */
#include "config.h"

#include <string.h>

#include "comm/mpi/comm_mpi.h"
#include "comm/mpi/sum.h"

typedef enum collective_kind { ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE, BROADCAST } collective_kind;

enum { SLICE_ELEMENTS = 64 }; /* slices begin at whole cache lines */

static const char *const kind_names[] = {"all-gather", "reduce-scatter", "all-reduce", "broadcast"};

static const char *name_of(const zrt__collective *c, collective_kind kind)
{
    return c->label != NULL ? c->label : kind_names[kind];
}

/* Every rank must be in the same collective: what differs is told instead of summed. */
static zrt_status compare(zrt__comm_mpi *comm, const zrt__note *mine, const char *name)
{
    for (int i = 0; i < comm->base.size; i++) {
        const zrt__note *other = zrt__meeting_note_of(&comm->meeting, i);
        if (other->kind == mine->kind && other->count == mine->count && other->dtype == mine->dtype &&
            other->op == mine->op && other->root == mine->root)
            continue;
        zrt__meeting_fail(&comm->meeting);
        return zrt__fail(
            ZRT_ERR_COMM,
            "%s: this rank is in %s (%s of %llu %s) and rank %d in %s of %llu %s: ranks must enqueue the same "
            "sequence",
            comm->label, name, kind_names[mine->kind], (unsigned long long)mine->count,
            zrt_dtype_name((zrt_dtype)mine->dtype), i, other->kind <= BROADCAST ? kind_names[other->kind] : "?",
            (unsigned long long)other->count, zrt_dtype_name((zrt_dtype)other->dtype));
    }
    return ZRT_OK;
}

/* Tells the others what this rank brings, and meets them. Where `payload_bytes` is not 0 the data go with the note. */
static zrt_status begin(zrt__comm_mpi *comm, const zrt__collective *c, collective_kind kind, size_t send_bytes,
                        size_t recv_bytes, size_t payload_bytes)
{
    zrt__note note = {
        .kind = kind, .dtype = (uint32_t)c->dtype, .op = (uint32_t)c->op, .root = c->root, .count = c->count};
    const char *name = name_of(c, kind);
    if (payload_bytes > 0) {
        memcpy(zrt__meeting_payload(&comm->meeting), c->send, payload_bytes);
    } else {
        note.send_known =
            send_bytes > 0 && zrt__host_find(comm->host, c->send, send_bytes, &note.send_segment, &note.send_offset);
        note.recv_known =
            recv_bytes > 0 && zrt__host_find(comm->host, c->recv, recv_bytes, &note.recv_segment, &note.recv_offset);
    }
    *zrt__meeting_note(&comm->meeting) = note;
    ZRT_TRY(zrt__meet(&comm->meeting, name));
    return compare(comm, &note, name);
}

static zrt_status meet(zrt__comm_mpi *comm, const zrt__collective *c, collective_kind kind)
{
    return zrt__meet(&comm->meeting, name_of(c, kind));
}

/* Addresses of all send (or receive) buffers after `begin`, NULL for those that are not in shared memory. True when none is NULL. */
static bool addresses(zrt__comm_mpi *comm, bool of_recv, char **at)
{
    bool all = true;
    for (int i = 0; i < comm->base.size; i++) {
        const zrt__note *note = zrt__meeting_note_of(&comm->meeting, i);
        bool known = of_recv ? note->recv_known : note->send_known;
        at[i] = !known    ? NULL
                : of_recv ? zrt__host_at(comm->host, i, note->recv_segment, note->recv_offset)
                          : zrt__host_at(comm->host, i, note->send_segment, note->send_offset);
        all = all && at[i] != NULL;
    }
    return all;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Ranks start at different peers, so that not all read the memory of the same one. */
static int peer(const zrt__comm_mpi *comm, int i)
{
    return (comm->base.rank + i) % comm->base.size;
}

zrt_status zrt__shared_all_gather(zrt__comm_mpi *comm, const zrt__collective *c)
{
    const zrt__meeting *m = &comm->meeting;
    size_t bytes = c->count * zrt_dtype_bytes(c->dtype);
    bool small = bytes <= ZRT__PAYLOAD_BYTES;
    char *recv = c->recv, *own = recv + (size_t)comm->base.rank * bytes, **sends = comm->sends;
    ZRT_TRY(begin(comm, c, ALL_GATHER, bytes, 0, small ? bytes : 0));
    if (own != c->send)
        memcpy(own, c->send, bytes);
    if (small) {
        for (int i = 0; i < comm->base.size; i++)
            if (i != comm->base.rank)
                memcpy(recv + (size_t)i * bytes, zrt__meeting_payload_of(m, i), bytes);
        return ZRT_OK;
    }
    bool direct = addresses(comm, false, sends);
    size_t chunk = direct ? bytes : ZRT__BOUNCE_BYTES;
    unsigned half = 0;
    for (size_t at = 0; at < bytes; at += chunk, half++) {
        size_t n = least(chunk, bytes - at);
        if (sends[comm->base.rank] == NULL)
            memcpy(zrt__meeting_bounce(m, comm->base.rank, half), (const char *)c->send + at, n);
        if (!direct)
            ZRT_TRY(meet(comm, c, ALL_GATHER));
        for (int i = 1; i < comm->base.size; i++) {
            int p = peer(comm, i);
            memcpy(recv + (size_t)p * bytes + at, sends[p] != NULL ? sends[p] + at : zrt__meeting_bounce(m, p, half),
                   n);
        }
    }
    return meet(comm, c, ALL_GATHER);
}

zrt_status zrt__shared_reduce_scatter(zrt__comm_mpi *comm, const zrt__collective *c)
{
    const zrt__meeting *m = &comm->meeting;
    int size = comm->base.size, rank = comm->base.rank;
    size_t element = zrt_dtype_bytes(c->dtype), bytes = c->count * element, all = bytes * (size_t)size;
    bool small = all <= ZRT__PAYLOAD_BYTES;
    char **sends = comm->sends;
    const char **parts = comm->parts;
    ZRT_TRY(begin(comm, c, REDUCE_SCATTER, all, 0, small ? all : 0));
    if (small) {
        for (int i = 0; i < size; i++)
            parts[i] = zrt__meeting_payload_of(m, i) + (size_t)rank * bytes;
        zrt__sum_parts(c->recv, parts, size, c->count, c->dtype, c->op);
        return ZRT_OK;
    }
    bool direct = addresses(comm, false, sends);
    size_t chunk = direct ? c->count : ZRT__BOUNCE_BYTES / ((size_t)size * element);
    unsigned half = 0;
    for (size_t at = 0; at < c->count; at += chunk, half++) {
        size_t n = least(chunk, c->count - at);
        if (sends[rank] == NULL)
            for (int i = 0; i < size; i++)
                memcpy(zrt__meeting_bounce(m, rank, half) + (size_t)i * chunk * element,
                       (const char *)c->send + (size_t)i * bytes + at * element, n * element);
        if (!direct)
            ZRT_TRY(meet(comm, c, REDUCE_SCATTER));
        for (int i = 0; i < size; i++)
            parts[i] = sends[i] != NULL ? sends[i] + (size_t)rank * bytes + at * element
                                        : zrt__meeting_bounce(m, i, half) + (size_t)rank * chunk * element;
        zrt__sum_parts((char *)c->recv + at * element, parts, size, n, c->dtype, c->op);
    }
    return meet(comm, c, REDUCE_SCATTER);
}

/* [from, to) of the elements that `rank` sums. */
static void slice(size_t count, int rank, int size, size_t *from, size_t *to)
{
    size_t each = (count + (size_t)size - 1) / (size_t)size;
    each = (each + SLICE_ELEMENTS - 1) / SLICE_ELEMENTS * SLICE_ELEMENTS;
    *from = least(count, (size_t)rank * each);
    *to = least(count, *from + each);
}

/* Each rank sums a slice into its own result and takes the other slices from the results of the others. */
static zrt_status sum_and_gather(zrt__comm_mpi *comm, const zrt__collective *c, size_t count, char *const *sends,
                                 char *const *results, char *recv)
{
    int size = comm->base.size, rank = comm->base.rank;
    size_t element = zrt_dtype_bytes(c->dtype), from, to;
    const char **parts = comm->parts;
    slice(count, rank, size, &from, &to);
    for (int i = 0; i < size; i++)
        parts[i] = sends[i] + from * element;
    zrt__sum_parts(results[rank] + from * element, parts, size, to - from, c->dtype, c->op);
    ZRT_TRY(meet(comm, c, ALL_REDUCE));
    for (int i = 0; i < size; i++) {
        int p = peer(comm, i);
        slice(count, p, size, &from, &to);
        if (results[p] != recv && to > from)
            memcpy(recv + from * element, results[p] + from * element, (to - from) * element);
    }
    return ZRT_OK;
}

zrt_status zrt__shared_all_reduce(zrt__comm_mpi *comm, const zrt__collective *c)
{
    const zrt__meeting *m = &comm->meeting;
    int size = comm->base.size, rank = comm->base.rank;
    size_t element = zrt_dtype_bytes(c->dtype), bytes = c->count * element;
    bool small = bytes <= ZRT__PAYLOAD_BYTES;
    ZRT_TRY(begin(comm, c, ALL_REDUCE, bytes, bytes, small ? bytes : 0));
    if (small) {
        for (int i = 0; i < size; i++)
            comm->parts[i] = zrt__meeting_payload_of(m, i);
        zrt__sum_parts(c->recv, comm->parts, size, c->count, c->dtype, c->op);
        return ZRT_OK;
    }
    bool sends_direct = addresses(comm, false, comm->sends), results_direct = addresses(comm, true, comm->recvs);
    if (sends_direct && results_direct) {
        ZRT_TRY(sum_and_gather(comm, c, c->count, comm->sends, comm->recvs, c->recv));
        return meet(comm, c, ALL_REDUCE);
    }
    /* In chunks; every rank's result is in its bounce area. Where the bounce area also holds what the rank gave, its own slice of that is
     * read by nobody else. */
    size_t chunk = ZRT__BOUNCE_BYTES / element;
    unsigned half = 0;
    for (size_t at = 0; at < c->count; at += chunk, half++) {
        size_t n = least(chunk, c->count - at);
        if (comm->sends[rank] == NULL)
            memcpy(zrt__meeting_bounce(m, rank, half), (const char *)c->send + at * element, n * element);
        ZRT_TRY(meet(comm, c, ALL_REDUCE));
        for (int i = 0; i < size; i++) {
            comm->recvs[i] = zrt__meeting_bounce(m, i, half);
            comm->chunks[i] = comm->sends[i] != NULL ? comm->sends[i] + at * element : comm->recvs[i];
        }
        ZRT_TRY(sum_and_gather(comm, c, n, comm->chunks, comm->recvs, (char *)c->recv + at * element));
    }
    return meet(comm, c, ALL_REDUCE);
}

zrt_status zrt__shared_broadcast(zrt__comm_mpi *comm, const zrt__collective *c)
{
    const zrt__meeting *m = &comm->meeting;
    size_t bytes = c->count * zrt_dtype_bytes(c->dtype);
    bool small = bytes <= ZRT__PAYLOAD_BYTES, root = comm->base.rank == c->root;
    ZRT_TRY(begin(comm, c, BROADCAST, root ? bytes : 0, 0, small && root ? bytes : 0));
    if (root && c->recv != c->send)
        memcpy(c->recv, c->send, bytes);
    if (small) {
        if (!root)
            memcpy(c->recv, zrt__meeting_payload_of(m, c->root), bytes);
        return ZRT_OK;
    }
    addresses(comm, false, comm->sends);
    const char *from = comm->sends[c->root];
    size_t chunk = from != NULL ? bytes : ZRT__BOUNCE_BYTES;
    unsigned half = 0;
    for (size_t at = 0; at < bytes; at += chunk, half++) {
        size_t n = least(chunk, bytes - at);
        if (root && from == NULL)
            memcpy(zrt__meeting_bounce(m, c->root, half), (const char *)c->send + at, n);
        if (from == NULL)
            ZRT_TRY(meet(comm, c, BROADCAST));
        if (!root)
            memcpy((char *)c->recv + at, from != NULL ? from + at : zrt__meeting_bounce(m, c->root, half), n);
    }
    return meet(comm, c, BROADCAST);
}

zrt_status zrt__shared_barrier(zrt__comm_mpi *comm, const zrt__collective *c)
{
    return zrt__meet(&comm->meeting, c->label != NULL ? c->label : "barrier");
}
