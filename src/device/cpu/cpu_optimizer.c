/* Update rules over a shard: one pass reads the gradient and writes state, master weights and their copy in the compute dtype.
 * AVX-512, AVX2 and the portable version give the same bits: products are fused into sums only where it says so. */
#include "config.h"

#ifndef ZRT__ISA

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_optimizer.c"
#define ZRT__GRAIN 8192       /* elements worth a thread's waking */
#define ZRT__STREAMED 1048576 /* elements whose copies no cache keeps until they are read */

struct job {
    const zrt_view *gradient, *parameter; /* parameter NULL when absent */
    float *master, *first, *second;
    const float *from_master, *from_first, *from_second; /* the same where the update is in place */
    bool stream, stream_parameter;                       /* stores that pass the caches by */
    float gradient_scale, beta1, beta2, eps;
    float coupled;   /* of the weight, added to the gradient */
    float decay;     /* what the weight is multiplied by */
    float step_size; /* of first / (sqrt(second) * inverse_root + eps) */
    float inverse_root;
    float momentum, dampening;
    float carried;      /* of the old momentum: 0 at the first step */
    float rest1, rest2; /* 1 - beta */
    bool nesterov;
};

/* a * b + c, rounded once, where the instructions round twice: the sum is rounded to odd in fp64, from which the rounding to
 * fp32 is right (Boldo and Melquiond 2008). */
static inline float fused(float a, float b, float c)
{
    double product = (double)a * b, sum = product + c, part = sum - product;
    double error = (product - (sum - part)) + (c - part);
    int64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (error != 0.0 && (bits & 1) == 0 && isfinite(sum)) {
        bits += (error > 0.0) == (sum > 0.0) ? 1 : -1;
        memcpy(&sum, &bits, sizeof sum);
    }
    return (float)sum;
}

#include "device/cpu/cpu_isa.h"

#if defined(__x86_64__)
/* The processor's instructions, or fewer where ZERORT_UPDATE_ISA is "avx2" or "portable". */
static int update_isa(void)
{
    const char *wanted = getenv("ZERORT_UPDATE_ISA");
    int most = wanted == NULL ? 2 : strcmp(wanted, "portable") == 0 ? 0 : strcmp(wanted, "avx2") == 0 ? 1 : 2;
    int has = zrt__cpu_isa();
    return has < most ? has : most;
}
#define PICK(name) (update_isa() == 2 ? name##_avx512 : update_isa() == 1 ? name##_avx2 : name##_base)
#else
#define PICK(name) name##_base
#endif

/* The decimal that an fp32 number was written as: 1 - 0.999f is off by 13 millionths from what 1 - 0.999 is. */
static double decimal(float x)
{
    return nearbyint((double)x * 1e7) / 1e7;
}

/* True when the step is to change nothing. */
static bool prepare(const zrt__call *call, struct job *job)
{
    const zrt__step_state *state = call->in[1].data;
    if (state->skip)
        return true;
    bool apart = call->in[2].data != NULL;
    *job = (struct job){.gradient = &call->in[0],
                        .master = call->out[0].data,
                        .first = call->out[1].data,
                        .second = call->out[2].data,
                        .from_master = call->in[apart ? 2 : 0].data,
                        .from_first = call->in[apart ? 3 : 0].data,
                        .from_second = call->in[apart ? 4 : 0].data,
                        .stream = apart,
                        .stream_parameter = apart || zrt_view_elements(&call->in[0]) >= ZRT__STREAMED,
                        .parameter = call->out[3].data != NULL ? &call->out[3] : NULL,
                        .gradient_scale = state->update_scale,
                        .beta1 = call->attributes.optimizer.beta1,
                        .beta2 = call->attributes.optimizer.beta2,
                        .eps = call->attributes.optimizer.eps,
                        .rest1 = (float)(1.0 - decimal(call->attributes.optimizer.beta1)),
                        .rest2 = (float)(1.0 - decimal(call->attributes.optimizer.beta2)),
                        .decay = 1.0f,
                        .inverse_root = 1.0f,
                        .momentum = call->attributes.optimizer.momentum,
                        .dampening = call->attributes.optimizer.dampening,
                        .nesterov = call->attributes.optimizer.nesterov};
    if (!apart) {
        job->from_master = job->master;
        job->from_first = job->first;
        job->from_second = job->second;
    }
    return false;
}

static double learning_rate(const zrt__call *call)
{
    return (double)((const zrt__step_state *)call->in[1].data)->learning_rate *
           (double)call->attributes.optimizer.lr_factor;
}

zrt_status zrt__cpu_adamw(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job;
    if (prepare(call, &job))
        return ZRT_OK;
    double rate = learning_rate(call), weight_decay = (double)call->attributes.optimizer.weight_decay;
    double t = (double)((const zrt__step_state *)call->in[1].data)->unskipped;
    bool corrected = call->attributes.optimizer.bias_correction;
    double correction1 = corrected ? 1.0 - pow(decimal(job.beta1), t) : 1.0;
    double correction2 = corrected ? 1.0 - pow(decimal(job.beta2), t) : 1.0;
    if (call->attributes.optimizer.adam_w_mode)
        job.decay = (float)(1.0 - rate * weight_decay);
    else
        job.coupled = (float)weight_decay;
    job.step_size = (float)(rate / correction1);
    job.inverse_root = (float)(1.0 / sqrt(correction2));
    zrt__cpu_parallel(stream, zrt_view_elements(job.gradient), ZRT__GRAIN, PICK(adamw), &job);
    return ZRT_OK;
}

zrt_status zrt__cpu_sgd(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job;
    if (prepare(call, &job))
        return ZRT_OK;
    job.step_size = (float)learning_rate(call);
    job.coupled = call->attributes.optimizer.weight_decay;
    job.carried = job.momentum;
    if (((const zrt__step_state *)call->in[1].data)->unskipped <=
        1) { /* PyTorch: the first momentum is the gradient itself */
        job.carried = 0.0f;
        job.dampening = 0.0f;
    }
    zrt__cpu_parallel(stream, zrt_view_elements(job.gradient), ZRT__GRAIN, PICK(sgd), &job);
    return ZRT_OK;
}

zrt_status zrt__cpu_lion(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct job job;
    if (prepare(call, &job))
        return ZRT_OK;
    double rate = learning_rate(call);
    job.step_size = (float)rate;
    job.decay = (float)(1.0 - rate * (double)call->attributes.optimizer.weight_decay);
    zrt__cpu_parallel(stream, zrt_view_elements(job.gradient), ZRT__GRAIN, PICK(lion), &job);
    return ZRT_OK;
}

#else

#define exact_fma ZRT__EACH(zrt__exact_fma)
#define put ZRT__EACH(zrt__put)
#define put_copy ZRT__EACH(zrt__put_copy)

static inline vf exact_fma(vf a, vf b, vf c)
{
#if ZRT__ISA > 0
    return v_fma(a, b, c);
#else
    for (int i = 0; i < VW; i++)
        c[i] = fused(a[i], b[i], c[i]);
    return c;
#endif
}

/* The first n elements of v. */
static inline void put(float *p, vf v, size_t n, bool stream)
{
#if defined(__x86_64__)
    if (stream && n >= VW && (uintptr_t)p % sizeof v == 0) {
#if ZRT__ISA == 2
        _mm512_stream_ps(p, (__m512)v);
#elif ZRT__ISA == 1
        _mm256_stream_ps(p, (__m256)v);
#else
        _mm_stream_ps(p, (__m128)v);
#endif
        return;
    }
#endif
    (void)stream;
    v_store_n(p, v, n);
}

/* n <= ZRT__TILE parameters in the compute dtype. */
static inline void put_copy(const struct job *job, int64_t at, size_t n, const float *values)
{
#if defined(__x86_64__)
    size_t bytes = n * zrt_dtype_bytes(job->parameter->dtype);
    char *to = (char *)job->parameter->data + (size_t)at * zrt_dtype_bytes(job->parameter->dtype);
    if (job->stream_parameter && (uintptr_t)to % 32 == 0 && bytes % 32 == 0) {
        _Alignas(64) char narrowed[ZRT__TILE * sizeof(float)];
        zrt_view view = {.data = narrowed, .dtype = job->parameter->dtype};
        narrow(&view, 0, n, values);
#if ZRT__ISA > 0
        for (size_t i = 0; i < bytes; i += 32)
            _mm256_stream_si256((__m256i *)(void *)(to + i),
                                _mm256_load_si256((const __m256i *)(void *)(narrowed + i)));
#else
        for (size_t i = 0; i < bytes; i += 16)
            _mm_stream_si128((__m128i *)(void *)(to + i), _mm_load_si128((const __m128i *)(void *)(narrowed + i)));
#endif
        return;
    }
#endif
    narrow(job->parameter, at, n, values);
}

/* What was streamed is visible to whoever sees that the range is done. */
static inline void ZRT__EACH(finish)(const struct job *job)
{
#if defined(__x86_64__)
    if (job->stream || job->stream_parameter)
        _mm_sfence();
#endif
    (void)job;
}

/* `left` elements, VW at most. */
static inline __attribute__((always_inline)) void ZRT__EACH(adamw_vector)(const struct job *job, vf gradient,
                                                                          int64_t at, size_t left, float *weights,
                                                                          bool stream)
{
    vf weight = v_load_n(job->from_master + at, left), first = v_load_n(job->from_first + at, left);
    vf second = v_load_n(job->from_second + at, left);
    vf g = exact_fma(v_all(job->coupled), weight, gradient * job->gradient_scale);
    first = exact_fma(g - first, v_all(job->rest1), first);
    second = exact_fma(g * job->rest2, g, second * job->beta2);
    vf step = job->step_size * first / exact_fma(v_sqrt(second), v_all(job->inverse_root), v_all(job->eps));
    weight = exact_fma(weight, v_all(job->decay), -step);
    put(job->master + at, weight, left, stream);
    put(job->first + at, first, left, stream);
    put(job->second + at, second, left, stream);
    v_store_n(weights, weight, left);
}

/* Whole vectors of a tile; how many elements they are. A compiler makes a loop of each dtype. */
static inline __attribute__((always_inline)) size_t ZRT__EACH(adamw_vectors)(const struct job *job, zrt_dtype dtype,
                                                                             int64_t at, size_t n, float *weights,
                                                                             bool stream)
{
    const float *full = (const float *)job->gradient->data + at;
    const uint16_t *half = (const uint16_t *)job->gradient->data + at;
    size_t k = 0;
    for (; k + VW <= n; k += VW) {
        vf gradient = dtype == ZRT_FLOAT32   ? v_load(full + k)
                      : dtype == ZRT_FLOAT16 ? ZRT__EACH(fp16_in)(half + k)
                                             : ZRT__EACH(bf16_in)(half + k);
        ZRT__EACH(adamw_vector)(job, gradient, at + (int64_t)k, VW, weights + k, stream);
    }
    return k;
}

static void ZRT__EACH(adamw)(void *arg, int64_t begin, int64_t end)
{
    const struct job job = *(const struct job *)arg; /* which no store of ours can change */
    float last[ZRT__TILE], weights[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE, k;
        if (job.gradient->dtype == ZRT_FLOAT32)
            k = job.stream ? ZRT__EACH(adamw_vectors)(&job, ZRT_FLOAT32, at, n, weights, true)
                           : ZRT__EACH(adamw_vectors)(&job, ZRT_FLOAT32, at, n, weights, false);
        else if (job.gradient->dtype == ZRT_FLOAT16)
            k = job.stream ? ZRT__EACH(adamw_vectors)(&job, ZRT_FLOAT16, at, n, weights, true)
                           : ZRT__EACH(adamw_vectors)(&job, ZRT_FLOAT16, at, n, weights, false);
        else
            k = job.stream ? ZRT__EACH(adamw_vectors)(&job, ZRT_BFLOAT16, at, n, weights, true)
                           : ZRT__EACH(adamw_vectors)(&job, ZRT_BFLOAT16, at, n, weights, false);
        if (k < n)
            ZRT__EACH(adamw_vector)
        (&job, v_load_n(tile_in(job.gradient, at + (int64_t)k, n - k, last), n - k), at + (int64_t)k, n - k,
         weights + k, false);
        if (job.parameter != NULL)
            put_copy(&job, at, n, weights);
    }
    ZRT__EACH(finish)(&job);
}

static void ZRT__EACH(sgd)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    float buffer[ZRT__TILE], weights[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *gradient = tile_in(job->gradient, at, n, buffer);
        const float *p = job->from_master + at, *m = job->first != NULL ? job->from_first + at : NULL;
        for (size_t k = 0; k < n; k += VW) {
            size_t left = n - k;
            vf weight = v_load_n(p + k, left);
            vf g = exact_fma(v_all(job->coupled), weight, v_load_n(gradient + k, left) * job->gradient_scale);
            if (m != NULL) {
                vf momentum = (1.0f - job->dampening) * g;
                if (job->carried > 0.0f)
                    momentum = exact_fma(v_all(job->carried), v_load_n(m + k, left), momentum);
                put(job->first + at + k, momentum, left, job->stream);
                g = job->nesterov ? exact_fma(v_all(job->momentum), momentum, g) : momentum;
            }
            weight = exact_fma(v_all(-job->step_size), g, weight);
            put(job->master + at + k, weight, left, job->stream);
            v_store_n(weights + k, weight, left);
        }
        if (job->parameter != NULL)
            put_copy(job, at, n, weights);
    }
    ZRT__EACH(finish)(job);
}

static void ZRT__EACH(lion)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    float buffer[ZRT__TILE], weights[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *gradient = tile_in(job->gradient, at, n, buffer);
        const float *p = job->from_master + at, *m = job->from_first + at;
        for (size_t k = 0; k < n; k += VW) {
            size_t left = n - k;
            vf weight = v_load_n(p + k, left), momentum = v_load_n(m + k, left);
            vf away = exact_fma(v_load_n(gradient + k, left), v_all(job->gradient_scale), -momentum);
            vf direction = exact_fma(away, v_all(job->rest1), momentum);
            vf sign = v_select(direction > 0.0f, v_all(1.0f), v_select(direction < 0.0f, v_all(-1.0f), v_all(0.0f)));
            weight = exact_fma(weight, v_all(job->decay), -(job->step_size * sign));
            put(job->master + at + k, weight, left, job->stream);
            put(job->first + at + k, exact_fma(away, v_all(job->rest2), momentum), left, job->stream);
            v_store_n(weights + k, weight, left);
        }
        if (job->parameter != NULL)
            put_copy(job, at, n, weights);
    }
    ZRT__EACH(finish)(job);
}

#undef exact_fma
#undef put
#undef put_copy
#endif
