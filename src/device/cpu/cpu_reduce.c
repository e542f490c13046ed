/* Moving, adding up and measuring flat buffers. */
#include "config.h"

#ifndef ZRT__ISA

#include "base/half.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_reduce.c"
#define ZRT__GRAIN 16384 /* elements worth a thread's waking */
#define ZRT__CHUNKS 256  /* parts that are summed on their own: a number that no thread count changes */

struct job {
    const zrt_view *in, *out; /* out NULL: only measured */
    bool accumulate;
    int64_t n, chunk;
    double squares[ZRT__CHUNKS], non_finite[ZRT__CHUNKS];
};

#include "device/cpu/cpu_isa.h"

static void zero_bytes(void *arg, int64_t begin, int64_t end)
{
    memset((char *)((struct job *)arg)->out->data + begin, 0, (size_t)(end - begin));
}

zrt_status zrt__cpu_zero(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = {.out = &call->out[0]};
    int64_t bytes = zrt_view_elements(job.out) * (int64_t)zrt_dtype_bytes(job.out->dtype);
    zrt__cpu_parallel(stream, bytes, 16 * ZRT__GRAIN, zero_bytes, &job);
    return ZRT_OK;
}

zrt_status zrt__cpu_convert(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = {.in = &call->in[0], .out = &call->out[0]};
    zrt__cpu_parallel(stream, zrt_view_elements(job.in), ZRT__GRAIN, ZRT__PICK(convert), &job);
    return ZRT_OK;
}

zrt_status zrt__cpu_accumulate(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = {.in = &call->in[0], .out = &call->out[0], .accumulate = call->accumulate & 1u};
    int64_t n = zrt_view_elements(job.in);
    if (job.in->dtype == ZRT_FLOAT64) { /* the few sums of a step */
        const double *x = job.in->data;
        double *y = job.out->data;
        for (int64_t i = 0; i < n; i++)
            y[i] = job.accumulate ? y[i] + x[i] : x[i];
        return ZRT_OK;
    }
    zrt__cpu_parallel(stream, n, ZRT__GRAIN, job.accumulate ? ZRT__PICK(accumulate) : ZRT__PICK(convert), &job);
    return ZRT_OK;
}

static zrt_status measure(zrt__stream *stream, struct job *job, const zrt_view *sums_view, bool accumulate_sums)
{
    job->n = zrt_view_elements(job->in);
    job->chunk = (job->n + ZRT__CHUNKS - 1) / ZRT__CHUNKS;
    job->chunk = job->chunk < ZRT__GRAIN ? ZRT__GRAIN : (job->chunk + ZRT__LANES - 1) / ZRT__LANES * ZRT__LANES;
    int64_t n_chunks = (job->n + job->chunk - 1) / job->chunk;
    zrt__cpu_parallel(stream, n_chunks, 1, ZRT__PICK(measure_chunks), job);
    double *sums = sums_view->data;
    if (sums == NULL)
        return ZRT_OK;
    if (!accumulate_sums)
        sums[0] = sums[1] = 0.0;
    for (int64_t i = 0; i < n_chunks; i++) {
        sums[0] += job->squares[i];
        sums[1] += job->non_finite[i];
    }
    return ZRT_OK;
}

zrt_status zrt__cpu_sum_squares(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = {.in = &call->in[0]};
    return measure(stream, &job, &call->out[0], call->accumulate & 1u);
}

zrt_status zrt__cpu_gradient_reduced(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = {.in = &call->in[0], .out = &call->out[0], .accumulate = call->accumulate & 1u};
    return measure(stream, &job, &call->out[1], call->accumulate & 2u);
}

#else

static void ZRT__EACH(convert)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    float buffer[ZRT__TILE];
    if (job->in->dtype == ZRT_FLOAT64 || job->out->dtype == ZRT_FLOAT64) {
        zrt__convert((char *)job->out->data + (size_t)begin * zrt_dtype_bytes(job->out->dtype), job->out->dtype,
                     (const char *)job->in->data + (size_t)begin * zrt_dtype_bytes(job->in->dtype), job->in->dtype,
                     (size_t)(end - begin));
        return;
    }
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        narrow(job->out, at, n, tile_in(job->in, at, n, buffer));
    }
}

static inline void ZRT__EACH(add_tile)(const struct job *job, int64_t at, size_t n)
{
    float x_buffer[ZRT__TILE], old_buffer[ZRT__TILE], y_buffer[ZRT__TILE];
    const float *x = tile_in(job->in, at, n, x_buffer), *old = tile_in(job->out, at, n, old_buffer);
    float *y = tile_out(job->out, at, y_buffer);
    for (size_t k = 0; k < n; k += VW)
        v_store_n(y + k, v_load_n(old + k, n - k) + v_load_n(x + k, n - k), n - k);
    tile_done(job->out, at, n, y);
}

static void ZRT__EACH(accumulate)(void *arg, int64_t begin, int64_t end)
{
    for (int64_t at = begin; at < end; at += ZRT__TILE)
        ZRT__EACH(add_tile)(arg, at, end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE);
}

#define LONGS (VW / 2)
typedef double ZRT__EACH(vd) __attribute__((vector_size(4 * VW)));
typedef float ZRT__EACH(vh) __attribute__((vector_size(2 * VW), aligned(4), may_alias));

static inline bool ZRT__EACH(all_finite)(const float *x, size_t n)
{
    vi flags = {0};
    size_t i = 0;
    for (; i + VW <= n; i += VW)
        flags |= (vi_load((const int32_t *)(const void *)(x + i)) & 0x7f800000) == 0x7f800000;
    int32_t any[VW], found = 0;
    memcpy(any, &flags, sizeof any);
    for (int u = 0; u < VW; u++)
        found |= any[u];
    for (; i < n; i++)
        found |= !isfinite(x[i]);
    return found == 0;
}

/* Adds the squares of the finite elements to 16 lanes, and the count of the others. */
static inline void ZRT__EACH(square_tile)(const float *x, size_t n, double lanes[16], double *non_finite)
{
    ZRT__EACH(vd) sums[16 / LONGS];
    bool finite = ZRT__EACH(all_finite)(x, n);
    memcpy(sums, lanes, sizeof sums);
    for (size_t i = 0; i < n; i += 16) {
        const float *p = x + i;
        float padded[16];
        if (!finite || n - i < 16) {
            for (size_t k = 0; k < 16; k++) {
                bool counts = k < n - i, good = counts && isfinite(p[k]);
                padded[k] = good ? p[k] : 0.0f;
                *non_finite += counts && !good;
            }
            p = padded;
        }
        UNROLL for (int u = 0; u < 16 / LONGS; u++)
        {
            ZRT__EACH(vd) v = __builtin_convertvector(*(const ZRT__EACH(vh) *)(p + u * LONGS), ZRT__EACH(vd));
            sums[u] += v * v;
        }
    }
    memcpy(lanes, sums, sizeof sums);
}

static void ZRT__EACH(measure_chunks)(void *arg, int64_t begin, int64_t end)
{
    struct job *job = arg;
    const zrt_view *measured = job->out != NULL ? job->out : job->in;
    float buffer[ZRT__TILE];
    for (int64_t chunk = begin; chunk < end; chunk++) {
        double lanes[16] = {0}, non_finite = 0.0;
        int64_t last = (chunk + 1) * job->chunk < job->n ? (chunk + 1) * job->chunk : job->n;
        for (int64_t at = chunk * job->chunk; at < last; at += ZRT__TILE) {
            size_t n = last - at < ZRT__TILE ? (size_t)(last - at) : ZRT__TILE;
            if (job->out != NULL && job->accumulate)
                ZRT__EACH(add_tile)(job, at, n);
            else if (job->out != NULL && job->out->data != job->in->data)
                ZRT__EACH(convert)(job, at, at + (int64_t)n);
            ZRT__EACH(square_tile)(tile_in(measured, at, n, buffer), n, lanes, &non_finite);
        }
        for (int half = 8; half > 0; half /= 2)
            for (int k = 0; k < half; k++)
                lanes[k] += lanes[k + half];
        job->squares[chunk] = lanes[0];
        job->non_finite[chunk] = non_finite;
    }
}

#endif
