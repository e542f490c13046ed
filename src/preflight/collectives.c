/* Collectives on numbers whose results are known, and how fast they are. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "comm/comm.h"
#include "preflight/preflight.h"

enum { PART = 1 << 20, ROUNDS = 5 }; /* elements of a rank's part, fp32 */

typedef struct lane {
    zrt__preflight *p;
    zrt__device *device;
    const zrt__comm_ops *ops;
    zrt__stream *stream;
    zrt__comm *comm;
    zrt__comm_memory *memory;
    float *data; /* of the device: [n_ranks PART], what is sent and received in place */
    float *host; /* likewise */
} lane;

/* Small whole numbers: their sums are exact in any order. */
static float number(int rank, size_t i)
{
    return (float)((i * 7 + (size_t)rank * 3) % 61);
}

static float sum_of(int n_ranks, size_t i)
{
    float sum = 0;
    for (int r = 0; r < n_ranks; r++)
        sum += number(r, i);
    return sum;
}

typedef enum kind { ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE, N_KINDS } kind;
static const char *const names[N_KINDS] = {"all-gather", "reduce-scatter", "all-reduce"};

static void prepare(const lane *l, kind k)
{
    int rank = l->comm->rank;
    size_t n = (size_t)l->comm->size * PART;
    for (size_t i = 0; i < n; i++)
        l->host[i] = k == ALL_GATHER ? (i / PART == (size_t)rank ? number(rank, i) : -1) : number(rank, i);
}

static bool is_right(const lane *l, kind k)
{
    int size = l->comm->size, rank = l->comm->rank;
    size_t first = k == REDUCE_SCATTER ? (size_t)rank * PART : 0,
           end = k == REDUCE_SCATTER ? first + PART : (size_t)size * PART;
    for (size_t i = first; i < end; i++)
        if (l->host[i] != (k == ALL_GATHER ? number((int)(i / PART), i) : sum_of(size, i)))
            return false;
    return true;
}

static zrt_status enqueue(const lane *l, kind k)
{
    float *mine = l->data + (size_t)l->comm->rank * PART;
    zrt__collective c = {.comm = l->comm, .dtype = ZRT_FLOAT32, .op = ZRT__REDUCE_SUM, .label = "preflight"};
    zrt__launch_fn *fn = k == ALL_GATHER       ? l->ops->all_gather
                         : k == REDUCE_SCATTER ? l->ops->reduce_scatter
                                               : l->ops->all_reduce;
    c.send = k == ALL_GATHER ? mine : l->data;
    c.recv = k == REDUCE_SCATTER ? mine : l->data;
    c.count = k == ALL_REDUCE ? (size_t)l->comm->size * PART : PART;
    zrt_status status = l->device->ops->launch(l->stream, fn, &c);
    return status != ZRT_OK ? status : l->device->ops->stream_synchronize(l->stream);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Whether the first result is right, and the seconds of the best round of those after it. */
static zrt_status run(const lane *l, kind k, bool *right_out, double *seconds_out)
{
    const zrt__device_ops *device = l->device->ops;
    size_t bytes = (size_t)l->comm->size * PART * sizeof(float);
    zrt_status status = ZRT_OK;
    double best = 1e300;
    for (int round = 0; round <= ROUNDS && status == ZRT_OK; round++) {
        prepare(l, k);
        status = device->copy(l->stream, l->data, l->host, bytes);
        if (status == ZRT_OK)
            status = device->stream_synchronize(l->stream);
        status = zrt__group_agree(l->p->world, status);
        if (status != ZRT_OK)
            return status;
        double begin = now(), seconds;
        status = enqueue(l, k);
        seconds = now() - begin;
        if (round == 0 && status == ZRT_OK) {
            status = device->copy(l->stream, l->host, l->data, bytes);
            if (status == ZRT_OK)
                status = device->stream_synchronize(l->stream);
            *right_out = status == ZRT_OK && is_right(l, k);
        } else if (seconds < best) {
            best = seconds;
        }
        status = zrt__group_agree(l->p->world, status);
    }
    *seconds_out = best;
    return status;
}

static zrt_status check(lane *l)
{
    zrt__preflight *p = l->p;
    char subject[64];
    int n = l->comm->size;
    for (int k = 0; k < N_KINDS; k++) {
        bool right = false;
        double seconds = 0;
        zrt__finding finding = {0};
        zrt_status status = run(l, (kind)k, &right, &seconds);
        if (status == ZRT_OK)
            status = zrt__preflight_max(p, &seconds);
        if (status != ZRT_OK)
            return status;
        /* As nccl-tests counts: what crosses the slowest link. */
        double bus = (double)n * PART * sizeof(float) * (n - 1) / n * (k == ALL_REDUCE ? 2 : 1) / seconds;
        snprintf(subject, sizeof subject, "%s (%s)", names[k], strcmp(l->ops->name, "mpi") == 0 ? "MPI" : "NCCL");
        if (right)
            zrt__finding_set(&finding, ZRT_PREFLIGHT_OK, "right, %.2f GB/s bus bandwidth", bus * 1e-9);
        else
            zrt__finding_set(&finding, ZRT_PREFLIGHT_ERROR,
                             "a result is wrong: memory, network or its driver damage data; do not train on this host");
        status = zrt__preflight_gather(p, subject, &finding);
        if (status != ZRT_OK)
            return status;
    }
    return ZRT_OK;
}

static zrt_status open_lane(lane *l)
{
    const zrt__device_ops *device = l->device->ops;
    size_t bytes = (size_t)l->p->placement->size * PART * sizeof(float);
    void *data = NULL;
    l->host = zrt__malloc(bytes);
    zrt_status status = l->host == NULL ? ZRT_ERR_MEMORY : ZRT_OK;
    if (status == ZRT_OK)
        status = device->stream_create(l->device, "preflight", true, &l->stream);
    status = zrt__group_agree(l->p->world, status);
    if (status == ZRT_OK)
        status = l->ops->open(l->p->world, l->device, "preflight", &l->comm);
    if (status == ZRT_OK)
        status = l->ops->allocate(l->comm, bytes, &l->memory, &data);
    l->data = data;
    return zrt__group_agree(l->p->world, status);
}

zrt_status zrt__preflight_collectives(zrt__preflight *p, zrt__device *device)
{
    lane l = {.p = p, .device = device, .ops = &zrt__comm_mpi_ops};
    if (p->placement->size == 1)
        return ZRT_OK; /* nothing is exchanged */
    if (strcmp(device->ops->name, "cuda") == 0) {
#ifdef ZRT_HAVE_NCCL
        l.ops = &zrt__comm_nccl_ops;
#else
        zrt__preflight_say(p, ZRT_PREFLIGHT_ERROR, "collectives of GPUs",
                           "this zerort was built without NCCL (configure --with-nccl)");
        return ZRT_OK;
#endif
    }
    zrt_status status = open_lane(&l);
    if (status == ZRT_OK)
        status = check(&l);
    if (status != ZRT_OK) {
        /* One rank's failure is all ranks': they have agreed. */
        zrt__preflight_say(p, ZRT_PREFLIGHT_ERROR, "collectives", "%s", zrt_error_message());
        status = ZRT_OK;
    }
    if (l.memory != NULL)
        l.ops->release(l.comm, &l.memory);
    if (l.comm != NULL)
        l.ops->close(&l.comm);
    if (l.stream != NULL)
        device->ops->stream_destroy(&l.stream);
    free(l.host);
    return status;
}
