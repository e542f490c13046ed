#include "config.h"

#include "optim/schedule.h"

#include <math.h>

static double at_least(double value, double minimum)
{
    return value > minimum ? value : minimum;
}

/* ---- DeepSpeed: step 0 is what the constructor set, step i what the (i - 1)-th call of the scheduler set ---- */

static int64_t deepspeed_warmup_steps(const zrt__schedule *s)
{
    return s->warmup_steps < 2 ? 2 : s->warmup_steps;
}

/* iteration < warm-up steps */
static double deepspeed_ramp(const zrt__schedule *s, int64_t iteration)
{
    double n = (double)deepspeed_warmup_steps(s);
    return s->warmup_type == ZRT__RAMP_LINEAR ? (double)iteration / n : 1.0 / log(n) * log((double)iteration + 1.0);
}

static double warmup_lr(const zrt__schedule *s, int64_t iteration)
{
    double highest = isnan(s->warmup_max_lr) ? s->learning_rate : s->warmup_max_lr;
    int64_t warmup = deepspeed_warmup_steps(s);
    double gamma;
    if (iteration < 0)
        gamma = 0.0;
    else if (iteration < warmup)
        gamma = deepspeed_ramp(s, iteration);
    else if (s->type == ZRT__SCHEDULE_WARMUP_LR)
        gamma = 1.0;
    else
        gamma = at_least((double)(s->total_steps - iteration) / at_least((double)(s->total_steps - warmup), 1.0), 0.0);
    return s->warmup_min_lr + (highest - s->warmup_min_lr) * gamma;
}

static double warmup_cosine_lr(const zrt__schedule *s, int64_t iteration)
{
    int64_t warmup = deepspeed_warmup_steps(s);
    if (iteration < 0)
        return 0.0;
    if (iteration < warmup)
        return s->learning_rate * (s->warmup_min_ratio + deepspeed_ramp(s, iteration) * (1.0 - s->warmup_min_ratio));
    double progress = (double)(iteration - warmup + 1) / at_least((double)(s->total_steps - warmup), 1.0);
    double ratio = (1.0 + cos(M_PI * (progress < 1.0 ? progress : 1.0))) / 2.0;
    return s->learning_rate * at_least(s->cos_min_ratio + (1.0 - s->cos_min_ratio) * ratio, 0.0);
}

static int64_t second_step_size(const zrt__schedule *s)
{
    return s->cycle_second_step_size < 0 ? s->cycle_first_step_size : s->cycle_second_step_size;
}

/* Where `step` is between the bottom (0) and the top (1) of the cycle; step counts from 0 at the bottom. */
static double cycle_factor(const zrt__schedule *s, int64_t step)
{
    int64_t first = s->cycle_first_step_size, second = second_step_size(s);
    int64_t position = step % (first + second);
    bool rising = position <= first;
    int64_t stairs =
        rising || s->cycle_second_stair_count < 0 ? s->cycle_first_stair_count : s->cycle_second_stair_count;
    int64_t from_bottom = rising ? position : first + second - position, half = rising ? first : second;
    if (stairs > 0)
        return floor((double)from_bottom * (double)stairs / (double)half) / (double)stairs;
    return (double)from_bottom / (double)half;
}

/* Decay intervals after the cycle; negative within it. */
static double cycle_decay(const zrt__schedule *s, int64_t step)
{
    int64_t total = s->cycle_first_step_size + second_step_size(s);
    if (step <= total)
        return -1.0;
    return s->decay_step_size == 0 ? 0.0 : (double)(step - total) / (double)s->decay_step_size;
}

static double one_cycle_lr(const zrt__schedule *s, int64_t step)
{
    double decay = cycle_decay(s, step);
    if (decay >= 0.0)
        return s->cycle_min_lr / (1.0 + s->decay_lr_rate * decay);
    return s->cycle_min_lr + (s->cycle_max_lr - s->cycle_min_lr) * cycle_factor(s, step);
}

static double range_test_lr(const zrt__schedule *s, int64_t step)
{
    double interval = (double)step / (double)s->lr_range_test_step_size;
    if (s->lr_range_test_staircase)
        interval = floor(interval);
    return s->lr_range_test_min_lr * (1.0 + s->lr_range_test_step_rate * interval);
}

/* ---- transformers: a factor of the optimizer's rate ---- */

static double progress_after_warmup(const zrt__schedule *s, int64_t step)
{
    return (double)(step - s->warmup_steps) / at_least((double)(s->total_steps - s->warmup_steps), 1.0);
}

static double cosine_wave(double cycles, double progress)
{
    return 0.5 * (1.0 + cos(M_PI * cycles * 2.0 * progress));
}

static double polynomial_factor(const zrt__schedule *s, int64_t step)
{
    if (step > s->total_steps)
        return s->lr_end / s->learning_rate;
    double remaining =
        1.0 - (double)(step - s->warmup_steps) / at_least((double)(s->total_steps - s->warmup_steps), 1.0);
    return ((s->learning_rate - s->lr_end) * pow(remaining, s->power) + s->lr_end) / s->learning_rate;
}

static double stable_decay_ramp(const zrt__schedule *s, zrt__ramp ramp, double progress, bool decays)
{
    double factor;
    if (ramp == ZRT__RAMP_LINEAR)
        factor = decays ? 1.0 - progress : progress;
    else if (ramp == ZRT__RAMP_COSINE)
        factor = decays ? cosine_wave(s->num_cycles, progress) : 0.5 * (1.0 - cos(M_PI * progress));
    else
        factor = 1.0 - sqrt(decays ? progress : 1.0 - progress);
    return at_least(factor * (1.0 - s->min_lr_ratio) + s->min_lr_ratio, 0.0);
}

static double stable_decay_factor(const zrt__schedule *s, int64_t step)
{
    int64_t stable =
        s->num_stable_steps >= 0 ? s->num_stable_steps : s->total_steps - s->warmup_steps - s->num_decay_steps;
    int64_t decay_start = s->warmup_steps + stable;
    if (step < s->warmup_steps)
        return stable_decay_ramp(s, s->warmup_type, (double)step / (double)s->warmup_steps, false);
    if (step < decay_start)
        return 1.0;
    if (step < decay_start + s->num_decay_steps)
        return stable_decay_ramp(s, s->decay_type, (double)(step - decay_start) / (double)s->num_decay_steps, true);
    return s->min_lr_ratio;
}

static double transformers_factor(const zrt__schedule *s, int64_t step)
{
    if (s->type == ZRT__SCHEDULE_CONSTANT)
        return 1.0;
    if (s->type == ZRT__SCHEDULE_WARMUP_STABLE_DECAY)
        return stable_decay_factor(s, step);
    if (step < s->warmup_steps)
        return (double)step / (double)s->warmup_steps;
    double progress = progress_after_warmup(s, step);
    switch (s->type) {
    case ZRT__SCHEDULE_LINEAR:
        return at_least((double)(s->total_steps - step) / at_least((double)(s->total_steps - s->warmup_steps), 1.0),
                        0.0);
    case ZRT__SCHEDULE_COSINE:
        return at_least(cosine_wave(s->num_cycles, progress), 0.0);
    case ZRT__SCHEDULE_COSINE_WITH_RESTARTS:
        return progress >= 1.0 ? 0.0 : at_least(0.5 * (1.0 + cos(M_PI * fmod(s->num_cycles * progress, 1.0))), 0.0);
    case ZRT__SCHEDULE_POLYNOMIAL:
        return polynomial_factor(s, step);
    case ZRT__SCHEDULE_INVERSE_SQRT: {
        double scale = s->timescale > 0      ? (double)s->timescale
                       : s->warmup_steps > 0 ? (double)s->warmup_steps
                                             : 10000.0;
        return 1.0 / sqrt(((double)step + scale - (double)s->warmup_steps) / scale);
    }
    case ZRT__SCHEDULE_COSINE_WITH_MIN_LR: {
        double lowest = isnan(s->min_lr) ? s->min_lr_rate : s->min_lr / s->learning_rate;
        return at_least(cosine_wave(s->num_cycles, progress) * (1.0 - lowest) + lowest, 0.0);
    }
    default:
        return 1.0; /* constant_with_warmup */
    }
}

double zrt__schedule_rate(const zrt__schedule *schedule, int64_t step)
{
    switch (schedule->type) {
    case ZRT__SCHEDULE_WARMUP_LR:
    case ZRT__SCHEDULE_WARMUP_DECAY_LR:
        return warmup_lr(schedule, step - 1);
    case ZRT__SCHEDULE_WARMUP_COSINE_LR:
        return warmup_cosine_lr(schedule, step - 1);
    case ZRT__SCHEDULE_ONE_CYCLE:
        return one_cycle_lr(schedule, step);
    case ZRT__SCHEDULE_LR_RANGE_TEST:
        return range_test_lr(schedule, step);
    default:
        return schedule->learning_rate * transformers_factor(schedule, step);
    }
}

bool zrt__schedule_betas(const zrt__schedule *schedule, int64_t step, double *beta1_out, double *beta2_out)
{
    if (schedule->type != ZRT__SCHEDULE_ONE_CYCLE || !schedule->cycle_momentum)
        return false;
    double lowest = schedule->cycle_min_mom, highest = schedule->cycle_max_mom;
    double decay = cycle_decay(schedule, step);
    if (step == 0)
        *beta1_out = lowest; /* the constructor starts at the bottom of the momentum, the cycle at its top */
    else if (decay >= 0.0)
        *beta1_out = highest * (1.0 + schedule->decay_mom_rate * decay);
    else
        *beta1_out = highest - (highest - lowest) * cycle_factor(schedule, step);
    *beta2_out = 0.99;
    return true;
}
