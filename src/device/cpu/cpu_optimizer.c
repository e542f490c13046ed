/* Update rules over a shard: one pass reads the gradient and writes state, master weights and their 16-bit copy. */
#include "config.h"

#ifndef ZRT__ISA

#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_optimizer.c"
#define ZRT__GRAIN 8192 /* elements worth a thread's waking */

struct job {
    const zrt_view *gradient, *parameter; /* parameter NULL when absent */
    float *master, *first, *second;
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

#include "device/cpu/cpu_isa.h"

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
    *job = (struct job){.gradient = &call->in[0],
                        .master = call->out[0].data,
                        .first = call->out[1].data,
                        .second = call->out[2].data,
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
    zrt__cpu_parallel(stream, zrt_view_elements(job.gradient), ZRT__GRAIN, ZRT__PICK(adamw), &job);
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
    zrt__cpu_parallel(stream, zrt_view_elements(job.gradient), ZRT__GRAIN, ZRT__PICK(sgd), &job);
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
    zrt__cpu_parallel(stream, zrt_view_elements(job.gradient), ZRT__GRAIN, ZRT__PICK(lion), &job);
    return ZRT_OK;
}

#else

static void ZRT__EACH(adamw)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    float buffer[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *gradient = tile_in(job->gradient, at, n, buffer);
        float *p = job->master + at, *m = job->first + at, *v = job->second + at;
        for (size_t k = 0; k < n; k += VW) {
            vf weight = v_load_n(p + k, n - k), first = v_load_n(m + k, n - k), second = v_load_n(v + k, n - k);
            vf g = v_fma(v_all(job->coupled), weight, v_load_n(gradient + k, n - k) * job->gradient_scale);
            first = v_fma(g - first, v_all(job->rest1), first);
            second = v_fma(g * job->rest2, g, second * job->beta2);
            vf step = job->step_size * first / v_fma(v_sqrt(second), v_all(job->inverse_root), v_all(job->eps));
            v_store_n(p + k, weight * job->decay - step, n - k);
            v_store_n(m + k, first, n - k);
            v_store_n(v + k, second, n - k);
        }
        if (job->parameter != NULL)
            narrow(job->parameter, at, n, p);
    }
}

static void ZRT__EACH(sgd)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    float buffer[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *gradient = tile_in(job->gradient, at, n, buffer);
        float *p = job->master + at, *m = job->first != NULL ? job->first + at : NULL;
        for (size_t k = 0; k < n; k += VW) {
            vf weight = v_load_n(p + k, n - k);
            vf g = v_fma(v_all(job->coupled), weight, v_load_n(gradient + k, n - k) * job->gradient_scale);
            if (m != NULL) {
                vf momentum = (1.0f - job->dampening) * g;
                if (job->carried > 0.0f)
                    momentum = v_fma(v_all(job->carried), v_load_n(m + k, n - k), momentum);
                v_store_n(m + k, momentum, n - k);
                g = job->nesterov ? v_fma(v_all(job->momentum), momentum, g) : momentum;
            }
            v_store_n(p + k, v_fma(v_all(-job->step_size), g, weight), n - k);
        }
        if (job->parameter != NULL)
            narrow(job->parameter, at, n, p);
    }
}

static void ZRT__EACH(lion)(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    float buffer[ZRT__TILE];
    for (int64_t at = begin; at < end; at += ZRT__TILE) {
        size_t n = end - at < ZRT__TILE ? (size_t)(end - at) : ZRT__TILE;
        const float *gradient = tile_in(job->gradient, at, n, buffer);
        float *p = job->master + at, *m = job->first + at;
        for (size_t k = 0; k < n; k += VW) {
            vf weight = v_load_n(p + k, n - k), momentum = v_load_n(m + k, n - k);
            vf g = v_load_n(gradient + k, n - k) * job->gradient_scale;
            vf direction = v_fma(g - momentum, v_all(job->rest1), momentum);
            vf sign = v_select(direction > 0.0f, v_all(1.0f), v_select(direction < 0.0f, v_all(-1.0f), v_all(0.0f)));
            v_store_n(p + k, weight * job->decay - job->step_size * sign, n - k);
            v_store_n(m + k, v_fma(g - momentum, v_all(job->rest2), momentum), n - k);
        }
        if (job->parameter != NULL)
            narrow(job->parameter, at, n, p);
    }
}

#endif
