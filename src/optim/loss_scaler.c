#include "config.h"

#include "optim/loss_scaler.h"

void zrt__loss_scaler_init(const zrt__step_rules *rules, double initial_scale, zrt__step_state *state)
{
    state->loss_scale = initial_scale;
    state->scaler_iteration = 0;
    state->last_overflow = -1;
    state->hysteresis_left = rules->hysteresis;
    state->scale_at_minimum = 0;
}

static void after_overflow(const zrt__step_rules *rules, zrt__step_state *state)
{
    if (rules->hysteresis > 1 && state->hysteresis_left > 1) {
        state->hysteresis_left--;
    } else {
        if (state->loss_scale <= rules->min_loss_scale)
            state->scale_at_minimum = 1;
        double half = state->loss_scale / 2.0;
        state->loss_scale = half > rules->min_loss_scale ? half : rules->min_loss_scale;
    }
    state->last_overflow = state->scaler_iteration;
}

static void after_clean_step(const zrt__step_rules *rules, zrt__step_state *state)
{
    if (rules->consecutive_hysteresis)
        state->hysteresis_left = rules->hysteresis;
    int64_t clean = state->scaler_iteration - state->last_overflow - 1;
    if (clean > 0 && rules->scale_window > 0 && clean % rules->scale_window == 0) {
        state->hysteresis_left = rules->hysteresis;
        state->loss_scale *= 2.0;
    }
}

void zrt__loss_scaler_update(const zrt__step_rules *rules, bool overflow, zrt__step_state *state)
{
    if (!rules->dynamic_loss_scale)
        return;
    if (overflow)
        after_overflow(rules, state);
    else
        after_clean_step(rules, state);
    state->scaler_iteration++;
}
