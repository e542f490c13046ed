/* Rows of a table by number, and the gradient of the table. */
#include "config.h"

#ifndef ZRT__ISA

#include "base/error.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_embedding.c"
#define ZRT__GRAIN 8192 /* elements worth a thread's waking */

struct job {
    const int32_t *ids;
    const zrt_view *rows, *add, *table; /* rows [n, C] are written (forward) or read (backward) */
    int64_t n, width;
};

#include "device/cpu/cpu_isa.h"

static zrt_status check_ids(const int32_t *ids, int64_t n, int64_t n_rows)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= n_rows)
            return zrt__fail(ZRT_ERR_INPUT,
                             "embedding: token %ld at position %lld is outside the table of %lld rows; check the "
                             "data's vocabulary",
                             (long)ids[i], (long long)i, (long long)n_rows);
    return ZRT_OK;
}

zrt_status zrt__cpu_embedding_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = {.ids = call->in[0].data,
                      .table = &call->in[1],
                      .add = call->in[2].data != NULL ? &call->in[2] : NULL,
                      .rows = &call->out[0],
                      .n = zrt_view_elements(&call->in[0]),
                      .width = call->in[1].dims[1]};
    zrt_status status = check_ids(job.ids, job.n, job.table->dims[0]);
    if (status == ZRT_OK && job.width > 0)
        zrt__cpu_parallel(stream, job.n, 1 + ZRT__GRAIN / job.width, ZRT__PICK(take_rows), &job);
    return status;
}

static void clear(void *arg, int64_t begin, int64_t end)
{
    const zrt_view *table = ((struct job *)arg)->table;
    size_t bytes = zrt_dtype_bytes(table->dtype);
    memset((char *)table->data + (size_t)begin * bytes, 0, (size_t)(end - begin) * bytes);
}

zrt_status zrt__cpu_embedding_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = {.ids = call->in[1].data,
                      .table = &call->out[0],
                      .rows = &call->in[0],
                      .n = zrt_view_elements(&call->in[1]),
                      .width = call->out[0].dims[1]};
    zrt_status status = check_ids(job.ids, job.n, job.table->dims[0]);
    if (status != ZRT_OK || job.width <= 0)
        return status;
    if (!(call->accumulate & 1u))
        zrt__cpu_parallel(stream, zrt_view_elements(job.table), 16 * ZRT__GRAIN, clear, &job);
    /* An fp32 table takes each row as it comes, by columns. A 16-bit one takes the fp32 sum of an id's rows, once. */
    if (job.table->dtype == ZRT_FLOAT32)
        zrt__cpu_parallel(stream, job.width, ZRT__LANES + ZRT__GRAIN / (job.n + 1), ZRT__PICK(sum_columns), &job);
    else
        zrt__cpu_parallel(stream, job.n, 1 + ZRT__GRAIN / job.width, ZRT__PICK(sum_ids), &job);
    return ZRT_OK;
}

#else

static void ZRT__EACH(take_rows)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    size_t width = (size_t)job->width, bytes = zrt_dtype_bytes(job->table->dtype);
    float table_buffer[ZRT__TILE], add_buffer[ZRT__TILE], row_buffer[ZRT__TILE];
    for (int64_t row = begin; row < end; row++) {
        int64_t from = job->ids[row] * job->width, to = row * job->width;
        if (job->add == NULL) {
            memcpy((char *)job->rows->data + (size_t)to * bytes, (const char *)job->table->data + (size_t)from * bytes,
                   width * bytes);
            continue;
        }
        for (int64_t at = 0; at < job->width; at += ZRT__TILE) {
            size_t n = job->width - at < ZRT__TILE ? (size_t)(job->width - at) : ZRT__TILE;
            const float *table = tile_in(job->table, from + at, n, table_buffer),
                        *add = tile_in(job->add, to + at, n, add_buffer);
            float *out = tile_out(job->rows, to + at, row_buffer);
            for (size_t k = 0; k < n; k += VW)
                v_store_n(out + k, v_load_n(table + k, n - k) + v_load_n(add + k, n - k), n - k);
            tile_done(job->rows, to + at, n, out);
        }
    }
}

static inline void ZRT__EACH(add_to)(float *sum, const float *x, size_t n)
{
    for (size_t k = 0; k < n; k += VW)
        v_store_n(sum + k, v_load_n(sum + k, n - k) + v_load_n(x + k, n - k), n - k);
}

static void ZRT__EACH(sum_columns)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    size_t step = tile_size(job->rows->dtype == ZRT_FLOAT32, (size_t)(end - begin));
    float buffer[ZRT__TILE];
    for (int64_t row = 0; row < job->n; row++) {
        float *sum = (float *)job->table->data + job->ids[row] * job->width;
        for (int64_t at = begin; at < end; at += (int64_t)step) {
            size_t n = (size_t)(end - at) < step ? (size_t)(end - at) : step;
            ZRT__EACH(add_to)(sum + at, tile_in(job->rows, row * job->width + at, n, buffer), n);
        }
    }
}

/* First index in [from, to) that holds id; `to` if none does. */
static inline int64_t ZRT__EACH(find_id)(const int32_t *ids, int64_t from, int64_t to, int32_t id)
{
    for (; from + 64 <= to; from += 64) {
        int32_t found = 0;
        for (int k = 0; k < 64; k++)
            found |= ids[from + k] == id;
        if (found)
            break;
    }
    while (from < to && ids[from] != id)
        from++;
    return from;
}

/* Ids whose first place is in [begin, end) */
static void ZRT__EACH(sum_ids)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    float sum[ZRT__TILE], buffer[ZRT__TILE];
    for (int64_t first = begin; first < end; first++) {
        int32_t id = job->ids[first];
        if (ZRT__EACH(find_id)(job->ids, 0, first, id) < first)
            continue;
        for (int64_t at = 0; at < job->width; at += ZRT__TILE) {
            size_t n = job->width - at < ZRT__TILE ? (size_t)(job->width - at) : ZRT__TILE;
            int64_t to = id * job->width + at;
            memcpy(sum, tile_in(job->table, to, n, buffer), n * sizeof *sum);
            for (int64_t row = first; row < job->n; row = ZRT__EACH(find_id)(job->ids, row + 1, job->n, id))
                ZRT__EACH(add_to)(sum, tile_in(job->rows, row * job->width + at, n, buffer), n);
            tile_done(job->table, to, n, sum);
        }
    }
}

#endif
