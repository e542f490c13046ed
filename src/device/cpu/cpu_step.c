/* Scalars of a step. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "device/cpu/cpu_kernels.h"

zrt_status zrt__cpu_scale_begin(zrt__stream *stream, const void *arg)
{
    (void)stream;
    const zrt__call *call = arg;
    zrt__step_state *state = call->out[0].data;
    state->grad_scale = (float)(state->loss_scale / *(const double *)call->in[0].data);
    if (!(call->accumulate & 1u))
        memset(state->sums, 0, sizeof state->sums);
    return ZRT_OK;
}

/* DeepSpeed's DynamicLossScaler: halves the scale when overflows have used up the hysteresis, doubles it after a window
 * of clean steps. */
static void update_scale(const zrt__step_rules *rules, zrt__step_state *state, bool overflow)
{
    if (overflow) {
        if (rules->hysteresis == 1 || state->hysteresis_left == 1) {
            if (state->loss_scale <= rules->min_loss_scale)
                state->scale_at_minimum = 1;
            state->loss_scale = fmax(state->loss_scale / 2.0, rules->min_loss_scale);
        } else {
            state->hysteresis_left--;
        }
        state->last_overflow = state->scaler_iteration;
    } else {
        if (rules->consecutive_hysteresis)
            state->hysteresis_left = rules->hysteresis;
        int64_t clean = state->scaler_iteration - state->last_overflow - 1;
        if (clean > 0 && rules->scale_window > 0 && clean % rules->scale_window == 0) {
            if (!rules->consecutive_hysteresis)
                state->hysteresis_left = rules->hysteresis;
            state->loss_scale *= 2.0;
        }
    }
    state->scaler_iteration++;
}

zrt_status zrt__cpu_step_decide(zrt__stream *stream, const void *arg)
{
    (void)stream;
    const zrt__call *call = arg;
    const zrt__step_rules *rules = call->in[0].data;
    zrt__step_state *state = call->out[0].data;
    double counted = state->sums[1];
    bool overflow = state->sums[3] > 0.0, empty = !(counted > 0.0);

    state->counted = counted;
    state->stop = state->sums[4] > 0.0;
    state->loss = empty ? 0.0 : state->sums[0] / counted;
    state->grad_norm = empty ? 0.0 : sqrt(state->sums[2]) / state->loss_scale * state->capacity / counted;
    double factor = empty ? 0.0 : state->capacity / (counted * state->loss_scale);
    if (rules->max_grad_norm > 0.0)
        factor *= fmin(1.0, rules->max_grad_norm / (state->grad_norm + 1e-6));
    state->update_scale = (float)factor;
    state->used_loss_scale = state->loss_scale;
    if (rules->n_learning_rates > 0)
        state->learning_rate = (float)rules->learning_rates[state->unskipped % rules->n_learning_rates];
    state->used_learning_rate =
        rules->n_learning_rates > 0 ? rules->learning_rates[state->unskipped % rules->n_learning_rates] : 0.0;
    state->skip = overflow || empty;
    if (state->skip)
        state->skipped++;
    else
        state->unskipped++;
    if (rules->dynamic_loss_scale)
        update_scale(rules, state, overflow);
    return ZRT_OK;
}
