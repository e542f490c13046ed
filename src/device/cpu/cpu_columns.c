/* Some columns of a matrix: taken out, or added to. */
#include "config.h"

#ifndef ZRT__ISA

#include "base/error.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_columns.c"
#define ZRT__GRAIN 8192 /* elements worth a thread's waking */

struct job {
    const zrt__call *call;
    int64_t wide, n_some; /* columns */
};

#include "device/cpu/cpu_isa.h"

static zrt_status over_rows(zrt__stream *stream, zrt__cpu_range_fn *fn, const zrt__call *call, const zrt_view *wide,
                            const zrt_view *narrow)
{
    struct job job = {call, wide->dims[wide->n_dims - 1], narrow->dims[narrow->n_dims - 1]};
    int64_t first = call->attributes.columns.first;
    if (first < 0 || first + job.n_some > job.wide)
        return zrt__fail(ZRT_ERR_USAGE, "columns %lld to %lld of a matrix of %lld", (long long)first,
                         (long long)(first + job.n_some), (long long)job.wide);
    if (job.wide > 0)
        zrt__cpu_parallel(stream, zrt_view_elements(wide) / job.wide, 1 + ZRT__GRAIN / job.wide, fn, &job);
    return ZRT_OK;
}

static void get(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    const zrt_view *x = &job->call->in[0], *y = &job->call->out[0];
    size_t element = zrt_dtype_bytes(x->dtype), bytes = (size_t)job->n_some * element;
    for (int64_t row = begin; row < end; row++)
        memcpy((char *)y->data + (size_t)row * bytes,
               (const char *)x->data + (size_t)(row * job->wide + job->call->attributes.columns.first) * element,
               bytes);
}

zrt_status zrt__cpu_columns_get(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_rows(stream, get, call, &call->in[0], &call->out[0]);
}

zrt_status zrt__cpu_columns_add(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    return over_rows(stream, ZRT__PICK(add_columns), call, &call->in[0], &call->in[1]);
}

#else

static void ZRT__EACH(add_columns)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    const zrt_view *x = &job->call->in[0], *d = &job->call->in[1], *y = &job->call->out[0];
    float x_buffer[ZRT__TILE], d_buffer[ZRT__TILE], y_buffer[ZRT__TILE];
    size_t row_bytes = (size_t)job->wide * zrt_dtype_bytes(x->dtype);
    for (int64_t row = begin; row < end; row++) {
        if (y->data != x->data)
            memcpy((char *)y->data + (size_t)row * row_bytes, (const char *)x->data + (size_t)row * row_bytes,
                   row_bytes);
        for (int64_t at = 0; at < job->n_some; at += ZRT__TILE) {
            size_t n = job->n_some - at < ZRT__TILE ? (size_t)(job->n_some - at) : ZRT__TILE;
            int64_t to = row * job->wide + job->call->attributes.columns.first + at;
            const float *a = tile_in(x, to, n, x_buffer), *b = tile_in(d, row * job->n_some + at, n, d_buffer);
            float *out = tile_out(y, to, y_buffer);
            for (size_t i = 0; i < n; i += VW)
                v_store_n(out + i, v_load_n(a + i, n - i) + v_load_n(b + i, n - i), n - i);
            tile_done(y, to, n, out);
        }
    }
}

#endif
