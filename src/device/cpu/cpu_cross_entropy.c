/* Softmax cross entropy over the vocabulary. */
#include "config.h"

#ifndef ZRT__ISA

#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_cross_entropy.c"
#define ZRT__GRAIN 8192 /* elements worth a thread's waking */
#define ZRT__NOT_COUNTED (-100)
#define ZRT__CHUNKS \
    128 /* parts of the rows whose losses are summed on their own: a number that no thread count changes */

struct job {
    const zrt_view *logits, *gradient; /* gradient NULL: only the loss */
    const int32_t *labels;
    float *lse; /* NULL: not wanted */
    const float *scale;
    int64_t n, width, chunk; /* chunk: rows */
    double loss[ZRT__CHUNKS], counted[ZRT__CHUNKS];
};

#include "device/cpu/cpu_isa.h"

static struct job job_of(const zrt__call *call)
{
    struct job job = {.logits = &call->in[0], .labels = call->in[1].data};
    job.n = zrt_view_elements(&call->in[1]);
    job.width = job.logits->dims[job.logits->n_dims - 1];
    job.chunk = (job.n + ZRT__CHUNKS - 1) / ZRT__CHUNKS;
    return job;
}

static void run(zrt__stream *stream, struct job *job, double *sums, bool adds)
{
    int64_t n_chunks = job->n > 0 ? (job->n + job->chunk - 1) / job->chunk : 0;
    zrt__cpu_parallel(stream, n_chunks, 1 + ZRT__GRAIN / (job->chunk * job->width + 1), ZRT__PICK(losses), job);
    if (!adds)
        sums[0] = sums[1] = 0.0;
    for (int64_t i = 0; i < n_chunks; i++) {
        sums[0] += job->loss[i];
        sums[1] += job->counted[i];
    }
}

zrt_status zrt__cpu_cross_entropy_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = job_of(call);
    job.lse = call->out[1].data;
    run(stream, &job, call->out[0].data, call->accumulate & 1u);
    return ZRT_OK;
}

zrt_status zrt__cpu_cross_entropy_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = job_of(call);
    job.lse = call->in[2].data;
    job.scale = call->in[3].data;
    job.gradient = &call->out[0];
    zrt__cpu_parallel(stream, job.n, 1 + ZRT__GRAIN / (job.width + 1), ZRT__PICK(gradients), &job);
    return ZRT_OK;
}

zrt_status zrt__cpu_cross_entropy(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job = job_of(call);
    job.scale = call->in[2].data;
    job.gradient = &call->out[1];
    run(stream, &job, call->out[0].data, call->accumulate & 1u);
    return ZRT_OK;
}

#else

#define UNITS (ZRT__LANES / VW)

static inline float ZRT__EACH(largest)(const float *x, size_t n)
{
    vf most[UNITS];
    size_t i = 0;
    EACH_UNIT most[u] = v_all(-INFINITY);
    for (; i + ZRT__LANES <= n; i += ZRT__LANES)
        EACH_UNIT most[u] = v_max(v_load(x + i + u * VW), most[u]);
    float lanes[ZRT__LANES], result = -INFINITY;
    EACH_UNIT v_store(lanes + u * VW, most[u]);
    for (int k = 0; k < ZRT__LANES; k++)
        result = lanes[k] > result ? lanes[k] : result;
    for (; i < n; i++)
        result = x[i] > result ? x[i] : result;
    return result;
}

static inline void ZRT__EACH(sum_exp)(const float *x, size_t n, float shift, float lanes[ZRT__LANES])
{
    vf sums[UNITS];
    size_t i = 0;
    EACH_UNIT sums[u] = v_load(lanes + u * VW);
    for (; i + ZRT__LANES <= n; i += ZRT__LANES)
        EACH_UNIT sums[u] += v_exp(v_load(x + i + u * VW) - shift);
    EACH_UNIT v_store(lanes + u * VW, sums[u]);
    for (size_t k = 0; i + k < n; k += VW) {
        size_t left = n - i - k;
        float terms[VW];
        v_store(terms, v_exp(v_load_n(x + i + k, left) - shift));
        for (size_t t = 0; t < VW && t < left; t++)
            lanes[k + t] += terms[t];
    }
}

/* dlogits of a row; logits may lie in the same place. */
static void ZRT__EACH(gradient)(const struct job *job, int64_t row, float lse)
{
    const zrt_view *logits = job->logits, *out = job->gradient;
    float scale = *job->scale, buffer[ZRT__TILE], out_buffer[ZRT__TILE];
    size_t width = (size_t)job->width, step = tile_size(logits->dtype == ZRT_FLOAT32, width);
    int64_t at = row * job->width, label = job->labels[row];
    if (label == ZRT__NOT_COUNTED) {
        memset((char *)out->data + (size_t)at * zrt_dtype_bytes(out->dtype), 0, width * zrt_dtype_bytes(out->dtype));
        return;
    }
    for (size_t i = 0; i < width; i += step) {
        size_t n = width - i < step ? width - i : step;
        const float *x = tile_in(logits, at + (int64_t)i, n, buffer);
        float *dx = tile_out(out, at + (int64_t)i, out_buffer);
        float at_label = 0.0f;
        bool here = label >= (int64_t)i && label < (int64_t)(i + n);
        if (here) /* before it is overwritten; 1 - softmax without cancelling more than it must */
            at_label = expm1f(x[label - (int64_t)i] - lse);
        for (size_t k = 0; k < n; k += VW)
            v_store_n(dx + k, v_exp(v_load_n(x + k, n - k) - lse) * scale, n - k);
        if (here)
            dx[label - (int64_t)i] = at_label * scale;
        tile_done(out, at + (int64_t)i, n, dx);
    }
}

static void ZRT__EACH(gradients)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    for (int64_t row = begin; row < end; row++)
        ZRT__EACH(gradient)(job, row, job->lse[row]);
}

static double ZRT__EACH(log_sum_exp)(const struct job *job, int64_t row)
{
    const zrt_view *logits = job->logits;
    size_t width = (size_t)job->width, step = tile_size(logits->dtype == ZRT_FLOAT32, width);
    int64_t at = row * job->width;
    float buffer[ZRT__TILE], most = -INFINITY, lanes[ZRT__LANES] = {0};
    for (size_t i = 0; i < width; i += step) {
        size_t n = width - i < step ? width - i : step;
        float m = ZRT__EACH(largest)(tile_in(logits, at + (int64_t)i, n, buffer), n);
        most = m > most ? m : most;
    }
    for (size_t i = 0; i < width; i += step) {
        size_t n = width - i < step ? width - i : step;
        ZRT__EACH(sum_exp)(tile_in(logits, at + (int64_t)i, n, buffer), n, most, lanes);
    }
    return (double)most + log((double)lanes_total(lanes));
}

static void ZRT__EACH(losses)(void *arg, int64_t begin, int64_t end)
{
    struct job *job = arg;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t last = (chunk + 1) * job->chunk < job->n ? (chunk + 1) * job->chunk : job->n;
        double loss = 0.0, counted = 0.0;
        for (int64_t row = chunk * job->chunk; row < last; row++) {
            int64_t label = job->labels[row];
            double exact = ZRT__EACH(log_sum_exp)(job, row);
            if (job->lse != NULL)
                job->lse[row] = (float)exact;
            if (label != ZRT__NOT_COUNTED) {
                float one;
                counted += 1.0;
                loss += label < 0 || label >= job->width
                            ? (double)NAN
                            : exact - (double)*tile_in(job->logits, row * job->width + label, 1, &one);
            }
            if (job->gradient != NULL)
                ZRT__EACH(gradient)(job, row, (float)exact);
        }
        job->loss[chunk] = loss;
        job->counted[chunk] = counted;
    }
}

#endif
