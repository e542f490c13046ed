#include "config.h"

#include "conformance/comm_suite.h"

#include <stdlib.h>
#include <string.h>

#include "conformance/comm_values.h"
#include "tap_mpi.h"

static const char *const kind_names[N_KINDS] = {"all_gather", "reduce_scatter", "all_reduce", "broadcast"};
static const zrt_dtype dtypes[] = {ZRT_FLOAT32, ZRT_FLOAT16, ZRT_BFLOAT16, ZRT_FLOAT64,
                                   ZRT_INT32,   ZRT_INT64,   ZRT_UINT8};

enum { N_DTYPES = sizeof dtypes / sizeof *dtypes, GUARD_BYTES = 64, N_COMMS = 3, N_ROUNDS = 24 };

/* Where the buffers of a case are taken from. */
typedef struct arena {
    char *data;
    size_t bytes, used;
} arena;

/* ---- one case ---- */

typedef struct buffers {
    void *send, *recv;
    size_t send_elements, recv_elements;
    char *host; /* room for the larger one and a guard */
    zrt__collective collective;
} buffers;

static void *take(arena *from, size_t bytes)
{
    void *data = from->data + from->used;
    from->used += (bytes + GUARD_BYTES + 63) / 64 * 64;
    return from->used <= from->bytes ? data : NULL;
}

/* Lays the buffers out and writes what this rank gives and guards. Offsets differ between ranks. */
static bool prepare(const comm_suite *s, zrt__comm *comm, zrt__stream *stream, const comm_case *t, arena *registered,
                    arena *other, buffers *b)
{
    const zrt__device_ops *device = s->device->ops;
    size_t element = zrt_dtype_bytes(t->dtype), size = (size_t)comm->size, rank = (size_t)comm->rank;
    b->send_elements = t->kind == REDUCE_SCATTER ? t->count * size : t->count;
    b->recv_elements = t->kind == ALL_GATHER ? t->count * size : t->count;
    size_t own = t->kind == ALL_GATHER || t->kind == REDUCE_SCATTER ? rank * t->count * element : 0;
    take(t->send_registered ? registered : other, s->rings && t->send_registered ? 0 : 64 * rank);
    if (t->in_place && t->kind == ALL_GATHER) {
        b->recv = take(t->send_registered ? registered : other, b->recv_elements * element);
        b->send = (char *)b->recv + own;
    } else {
        b->send = take(t->send_registered ? registered : other, b->send_elements * element);
        b->recv = t->in_place ? (char *)b->send + own
                              : take(t->recv_registered ? registered : other, b->recv_elements * element);
    }
    size_t larger = b->send_elements > b->recv_elements ? b->send_elements : b->recv_elements;
    b->host = calloc(1, larger * element + GUARD_BYTES);
    if (b->send == NULL || b->recv == NULL || b->host == NULL)
        return false;
    bool ok = true;
    /* the guard first, as the send buffer may be part of the receive buffer */
    memset(b->host, 0x5a, b->recv_elements * element + GUARD_BYTES);
    bool guarded = !(t->in_place && t->kind == REDUCE_SCATTER);
    ok = device->copy(stream, b->recv, b->host, b->recv_elements * element + (guarded ? GUARD_BYTES : 0)) == ZRT_OK &&
         device->stream_synchronize(stream) == ZRT_OK;
    for (size_t i = 0; i < b->send_elements; i++)
        comm_value(b->host + i * element, t->seed, comm->rank, i, t->dtype);
    ok = ok && device->copy(stream, b->send, b->host, b->send_elements * element) == ZRT_OK &&
         device->stream_synchronize(stream) == ZRT_OK;
    b->collective = (zrt__collective){.comm = comm,
                                      .send = b->send,
                                      .recv = b->recv,
                                      .count = t->count,
                                      .dtype = t->dtype,
                                      .op = t->op,
                                      .root = t->root,
                                      .label = "a case"};
    return ok;
}

static zrt__launch_fn *function(const comm_suite *s, comm_kind k)
{
    return k == ALL_GATHER       ? s->ops->all_gather
           : k == REDUCE_SCATTER ? s->ops->reduce_scatter
           : k == ALL_REDUCE     ? s->ops->all_reduce
                                 : s->ops->broadcast;
}

/* True when what was received is right, the guard is whole and what was sent is unchanged. */
static bool check(const comm_suite *s, zrt__comm *comm, zrt__stream *stream, const comm_case *t, const buffers *b)
{
    const zrt__device_ops *device = s->device->ops;
    size_t element = zrt_dtype_bytes(t->dtype), wrong = SIZE_MAX;
    size_t own = (size_t)comm->rank * t->count;
    bool guarded = !(t->in_place && t->kind == REDUCE_SCATTER);
    if (device->copy(stream, b->host, b->recv, b->recv_elements * element + (guarded ? GUARD_BYTES : 0)) != ZRT_OK ||
        device->stream_synchronize(stream) != ZRT_OK)
        return false;
    for (size_t i = 0; i < b->recv_elements && wrong == SIZE_MAX; i++) {
        comm_number want = {0};
        if (t->kind == ALL_GATHER)
            comm_value(&want, t->seed, (int)(i / t->count), i % t->count, t->dtype);
        else if (t->kind == BROADCAST)
            comm_value(&want, t->seed, t->root, i, t->dtype);
        else
            comm_reduced(&want, t->seed, comm->size, t->kind == REDUCE_SCATTER ? own + i : i, t->dtype, t->op);
        if (!comm_equal(t, comm->size, s->rings, want, b->host + i * element))
            wrong = i;
    }
    for (size_t i = 0; guarded && i < GUARD_BYTES && wrong == SIZE_MAX; i++)
        if (b->host[b->recv_elements * element + i] != 0x5a)
            wrong = b->recv_elements + i / element;
    if (wrong == SIZE_MAX && !t->in_place) {
        device->copy(stream, b->host, b->send, b->send_elements * element);
        device->stream_synchronize(stream);
        for (size_t i = 0; i < b->send_elements && wrong == SIZE_MAX; i++) {
            comm_number want = {0};
            comm_value(&want, t->seed, comm->rank, i, t->dtype);
            if (memcmp(&want, b->host + i * element, element) != 0)
                wrong = i;
        }
    }
    if (wrong != SIZE_MAX)
        tap_diag("%s %s: %zu %s op %d%s%s%s: wrong at %zu", s->name, kind_names[t->kind], t->count,
                 zrt_dtype_name(t->dtype), (int)t->op, t->in_place ? " in place" : "",
                 t->send_registered ? " send registered" : "", t->recv_registered ? " recv registered" : "", wrong);
    return wrong == SIZE_MAX;
}

static bool run_case(const comm_suite *s, zrt__comm *comm, zrt__stream *stream, const comm_case *t, arena registered,
                     arena other)
{
    buffers b = {0};
    const zrt__device_ops *device = s->device->ops;
    bool ok = prepare(s, comm, stream, t, &registered, &other, &b);
    ok = ok && device->launch(stream, function(s, t->kind), &b.collective) == ZRT_OK;
    if (device->stream_synchronize(stream) != ZRT_OK) {
        tap_diag("%s: %s", s->name, zrt_error_message());
        ok = false;
    }
    ok = ok && check(s, comm, stream, t, &b);
    free(b.host);
    return ok;
}

/* ---- points ---- */

/* Every count, place and operation of one collective and type. */
static bool run_cases(const comm_suite *s, zrt__comm *comm, zrt__stream *stream, comm_kind k, zrt_dtype dtype,
                      arena registered, arena other)
{
    const size_t counts[] = {0, 1, 7, 63, 1025, 4099, 70001, s->largest};
    bool reduces = k == REDUCE_SCATTER || k == ALL_REDUCE, ok = true;
    bool whole = dtype == ZRT_INT32 || dtype == ZRT_INT64 || dtype == ZRT_UINT8;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int op = 0; op < (reduces ? 3 : 1); op++)
            for (int place = 0; place < 8; place++) {
                comm_case t = {.kind = k,
                               .dtype = dtype,
                               .op = (zrt__reduce_op)op,
                               .count = counts[c],
                               .in_place = (place & 1) != 0,
                               .send_registered = (place & 2) != 0,
                               .recv_registered = (place & 4) != 0,
                               .seed = c * 100 + (size_t)op * 10 + (size_t)place,
                               .root = (int)((c + (size_t)place) % (size_t)comm->size)};
                /* values and sums of the reference take most of the time */
                bool large = counts[c] >= 70001, largest = counts[c] == s->largest;
                bool rare = (large && reduces && op != (int)(c % 2)) ||
                            (largest && dtype != ZRT_FLOAT32 && dtype != ZRT_BFLOAT16) || (large && place == 4);
                if (counts[c] > s->largest || (t.in_place && t.send_registered != t.recv_registered) || rare ||
                    (op == ZRT__REDUCE_AVERAGE && whole))
                    continue;
                ok = run_case(s, comm, stream, &t, registered, other) && ok;
            }
    return ok;
}

/* Ranks that put their buffers in different kinds of memory must still go the same way. */
static bool run_mixed(const comm_suite *s, zrt__comm *comm, zrt__stream *stream, arena registered, arena other)
{
    bool ok = true;
    for (int k = 0; k < N_KINDS; k++)
        for (int in_place = 0; in_place < 2; in_place++) {
            bool odd = comm->rank % 2 != 0;
            comm_case t = {.kind = (comm_kind)k,
                           .dtype = ZRT_FLOAT32,
                           .count = s->largest / 2 + 3,
                           .in_place = in_place != 0,
                           .send_registered = odd,
                           .recv_registered = odd,
                           .seed = 77 + (uint64_t)k,
                           .root = comm->size - 1};
            ok = run_case(s, comm, stream, &t, registered, other) && ok;
        }
    return ok;
}

typedef struct lane {
    zrt__comm *comm;
    zrt__stream *stream;
    comm_case cases[N_ROUNDS];
    buffers buffers[N_ROUNDS];
} lane;

/* Several communicators run at once, each on its own stream, each with its own sequence. */
static bool run_concurrently(const comm_suite *s, lane *lanes, arena registered, arena other)
{
    const zrt__device_ops *device = s->device->ops;
    bool ok = true;
    for (int l = 0; l < N_COMMS; l++)
        for (int i = 0; i < N_ROUNDS; i++) {
            comm_case *t = &lanes[l].cases[i];
            *t = (comm_case){.kind = (comm_kind)((l + i) % N_KINDS),
                             .dtype = dtypes[(l * 5 + i) % 4],
                             .count = 1 + (size_t)(i * 397 + l * 31) * (i % 3 == 0 ? 7 : 1) % (s->largest / 4),
                             .op = i % 2 != 0 ? ZRT__REDUCE_AVERAGE : ZRT__REDUCE_SUM,
                             .root = i % lanes[l].comm->size,
                             .in_place = i % 5 == 0,
                             .send_registered = i % 4 != 1,
                             .recv_registered = i % 4 != 1,
                             .seed = 1000 + (uint64_t)(l * N_ROUNDS + i)};
            ok = prepare(s, lanes[l].comm, lanes[l].stream, t, &registered, &other, &lanes[l].buffers[i]) && ok;
        }
    for (int i = 0; ok && i < N_ROUNDS; i++)
        for (int l = 0; l < N_COMMS; l++)
            ok = device->launch(lanes[l].stream, function(s, lanes[l].cases[i].kind),
                                &lanes[l].buffers[i].collective) == ZRT_OK &&
                 ok;
    for (int l = 0; l < N_COMMS; l++)
        for (int i = 0; i < N_ROUNDS; i++) {
            if (i == 0 && device->stream_synchronize(lanes[l].stream) != ZRT_OK) {
                tap_diag("%s", zrt_error_message());
                ok = false;
            }
            ok = ok && check(s, lanes[l].comm, lanes[l].stream, &lanes[l].cases[i], &lanes[l].buffers[i]);
            free(lanes[l].buffers[i].host);
        }
    return ok;
}

static bool run_barriers(const comm_suite *s, zrt__comm *comm, zrt__stream *stream)
{
    zrt__collective barrier = {.comm = comm, .label = "barrier"};
    bool ok = true;
    for (int i = 0; i < 100; i++)
        ok = s->device->ops->launch(stream, s->ops->barrier, &barrier) == ZRT_OK && ok;
    return s->device->ops->stream_synchronize(stream) == ZRT_OK && ok;
}

static bool all_zero(const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (data[i] != 0)
            return false;
    return true;
}

static void memory_points(const comm_suite *s, zrt__comm *comm, zrt__stream *stream)
{
    zrt__comm_memory *a = NULL, *b = NULL, *c = NULL;
    void *x = NULL, *y = NULL, *z = NULL;
    char *host = calloc(1, 12345);
    tap_ok_all(s->mpi, s->ops->allocated_bytes(comm) == 0, "%s: nothing is allocated at first", s->name);
    bool ok = s->ops->allocate(comm, 12345, &a, &x) == ZRT_OK && s->ops->allocate(comm, 4096, &b, &y) == ZRT_OK;
    tap_ok_all(s->mpi, ok && (uintptr_t)x % 4096 == 0 && (uintptr_t)y % 4096 == 0, "%s: memory is aligned to 4096",
               s->name);
    tap_ok_all(s->mpi, s->ops->allocated_bytes(comm) == 12345 + 4096, "%s: allocated bytes are exact", s->name);
    if (ok && host != NULL) {
        s->device->ops->copy(stream, host, x, 12345);
        s->device->ops->stream_synchronize(stream);
    }
    tap_ok_all(s->mpi, ok && host != NULL && all_zero(host, 12345), "%s: memory is zero", s->name);
    s->ops->release(comm, &a);
    tap_ok_all(s->mpi, a == NULL && s->ops->allocated_bytes(comm) == 4096, "%s: released memory is not counted",
               s->name);
    s->ops->release(comm, &b);
    zrt_status status = s->ops->allocate(comm, (size_t)1 << 50, &c, &z);
    tap_ok_all(s->mpi, status == ZRT_ERR_MEMORY && c == NULL && strlen(zrt_error_message()) > 0,
               "%s: more than the machine has is refused", s->name);
    tap_ok_all(s->mpi, s->ops->allocated_bytes(comm) == 0, "%s: a refused allocation is not counted", s->name);
    free(host);
}

void comm_suite_run(const comm_suite *s)
{
    const zrt__device_ops *device = s->device->ops;
    lane *lanes = calloc(N_COMMS, sizeof *lanes);
    size_t size = (size_t)zrt__group_size(s->group);
    arena registered = {.bytes = (s->largest + 4096) * 8 * (size + 1) + ((size_t)8 << 20) * size},
          other = {.bytes = registered.bytes};
    zrt__comm_memory *memory = NULL;
    void *data = NULL;
    bool ok = lanes != NULL;
    for (int l = 0; l < N_COMMS && ok; l++)
        ok = s->ops->open(s->group, s->device, "suite", &lanes[l].comm) == ZRT_OK &&
             device->stream_create(s->device, "suite", false, &lanes[l].stream) == ZRT_OK;
    if (!tap_ok_all(s->mpi, ok, "%s: communicators open", s->name)) {
        tap_diag("%s", zrt_error_message());
        return;
    }
    tap_ok_all(s->mpi, lanes[0].comm->size == (int)size && lanes[0].comm->rank == zrt__group_rank(s->group),
               "%s: a communicator knows its rank and size", s->name);
    memory_points(s, lanes[0].comm, lanes[0].stream);
    ok = s->ops->allocate(lanes[0].comm, registered.bytes, &memory, &data) == ZRT_OK;
    registered.data = data;
    ok = device->allocate(s->device, ZRT__MEMORY_DEVICE, other.bytes, &data) == ZRT_OK && ok;
    other.data = data;
    if (!tap_ok_all(s->mpi, ok, "%s: memory for the cases", s->name)) {
        tap_diag("%s", zrt_error_message());
        return;
    }
    for (int k = 0; k < N_KINDS; k++)
        for (int d = 0; d < N_DTYPES; d++)
            tap_ok_all(s->mpi,
                       run_cases(s, lanes[d % N_COMMS].comm, lanes[d % N_COMMS].stream, (comm_kind)k, dtypes[d],
                                 registered, other),
                       "%s: %s of %s", s->name, kind_names[k], zrt_dtype_name(dtypes[d]));
    if (!s->rings)
        tap_ok_all(s->mpi, run_mixed(s, lanes[1].comm, lanes[1].stream, registered, other),
                   "%s: registered memory on some ranks only", s->name);
    tap_ok_all(s->mpi, run_barriers(s, lanes[0].comm, lanes[0].stream), "%s: barriers", s->name);
    for (int i = 0; i < 3; i++)
        tap_ok_all(s->mpi, run_concurrently(s, lanes, registered, other), "%s: %d communicators at once, round %d",
                   s->name, N_COMMS, i);
    device->release(s->device, ZRT__MEMORY_DEVICE, other.data, other.bytes);
    s->ops->release(lanes[0].comm, &memory);
    for (int l = 0; l < N_COMMS; l++) {
        device->stream_destroy(&lanes[l].stream);
        s->ops->close(&lanes[l].comm);
    }
    tap_ok_all(s->mpi, lanes[0].comm == NULL, "%s: communicators close", s->name);
    free(lanes);
}
