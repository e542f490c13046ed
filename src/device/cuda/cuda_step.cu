/* Scalars of a step: one thread. As src/device/cpu/cpu_step.c, which says why. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

__global__ void begin(const double *capacity, zrt__step_state *state, bool keep_sums)
{
    state->grad_scale = (float)(state->loss_scale / *capacity);
    if (!keep_sums)
        for (int i = 0; i < (int)(sizeof state->sums / sizeof *state->sums); i++)
            state->sums[i] = 0.0;
}

DEVICE void update_scale(const zrt__step_rules &rules, zrt__step_state *state, bool overflow)
{
    if (overflow) {
        if (rules.hysteresis == 1 || state->hysteresis_left == 1) {
            if (state->loss_scale <= rules.min_loss_scale)
                state->scale_at_minimum = 1;
            state->loss_scale = fmax(state->loss_scale / 2.0, rules.min_loss_scale);
        } else {
            state->hysteresis_left--;
        }
        state->last_overflow = state->scaler_iteration;
    } else {
        if (rules.consecutive_hysteresis)
            state->hysteresis_left = rules.hysteresis;
        int64_t clean = state->scaler_iteration - state->last_overflow - 1;
        if (clean > 0 && rules.scale_window > 0 && clean % rules.scale_window == 0) {
            if (!rules.consecutive_hysteresis)
                state->hysteresis_left = rules.hysteresis;
            state->loss_scale *= 2.0;
        }
    }
    state->scaler_iteration++;
}

__global__ void decide(zrt__step_rules rules, zrt__step_state *state)
{
    double counted = state->sums[1];
    bool overflow = state->sums[3] > 0.0, empty = !(counted > 0.0);

    state->counted = counted;
    state->stop = state->sums[4] > 0.0;
    state->loss = empty ? 0.0 : state->sums[0] / counted;
    state->grad_norm = empty ? 0.0 : sqrt(state->sums[2]) / state->loss_scale * state->capacity / counted;
    double factor = empty ? 0.0 : state->capacity / (counted * state->loss_scale);
    if (rules.max_grad_norm > 0.0)
        factor *= fmin(1.0, rules.max_grad_norm / (state->grad_norm + 1e-6));
    state->update_scale = (float)factor;
    state->used_loss_scale = state->loss_scale;
    double rate = rules.n_learning_rates > 0 ? rules.learning_rates[state->unskipped % rules.n_learning_rates] : 0.0;
    if (rules.n_learning_rates > 0)
        state->learning_rate = (float)rate;
    state->used_learning_rate = rate;
    state->skip = overflow || empty;
    if (state->skip)
        state->skipped++;
    else
        state->unskipped++;
    if (rules.dynamic_loss_scale)
        update_scale(rules, state, overflow);
}

} // namespace

extern "C" zrt_status zrt__cuda_scale_begin(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    ZRT__CUDA_LAUNCH(begin, 1, 1, 0, zrt__cuda_stream(stream), (const double *)c->in[0].data,
                     (zrt__step_state *)c->out[0].data, (c->accumulate & 1u) != 0);
    return ZRT_OK;
}

/* The rules go with the launch: they are constants. */
extern "C" zrt_status zrt__cuda_step_decide(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    ZRT__CUDA_LAUNCH(decide, 1, 1, 0, zrt__cuda_stream(stream), *(const zrt__step_rules *)c->in[0].data,
                     (zrt__step_state *)c->out[0].data);
    return ZRT_OK;
}
