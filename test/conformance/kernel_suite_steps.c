/* Scalars of a step, update rules, users' ops. */
#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static bool scale_begin(suite *s, bool later)
{
    suite_case c = {.accumulate = later};
    zrt__step_state state = {.loss_scale = 1024.0, .sums = {1, 2, 3, 4, 5, 6, 7, 8}}, got;
    double capacity = 96.0;
    suite_in(s, &c, 0, ZRT_FLOAT64, 0.0, 1, SUITE_DIMS(1));
    suite_set(&c.in[0], &capacity);
    suite_state(&c.out[0], &state, sizeof state);
    bool ok = suite_run(s, &c, ZRT__KERNEL_scale_begin);
    memcpy(&got, c.out[0].view.data, sizeof got);
    for (int i = 0; i < 8; i++)
        ok = got.sums[i] == (later ? i + 1.0 : 0.0) && ok;
    ok = got.grad_scale == (float)(1024.0 / 96.0) && got.loss_scale == 1024.0 && ok;
    suite_free(&c);
    return ok;
}

static zrt__step_state decide(suite *s, const zrt__step_rules *rules, const zrt__step_state *state, bool *ok)
{
    suite_case c = {0};
    zrt__step_rules constants = *rules;
    zrt__step_state got;
    void *rates = NULL;
    size_t bytes = (size_t)rules->n_learning_rates * sizeof(double);
    /* both runs read it: the CPU's memory is the host's, and other devices are given one for all */
    if (s->ops->allocate(s->devices[0], ZRT__MEMORY_DEVICE, bytes, &rates) == ZRT_OK) {
        s->ops->copy(s->streams[0], rates, rules->learning_rates, bytes);
        s->ops->stream_synchronize(s->streams[0]);
    }
    constants.learning_rates = rates;
    c.in[0].view = (zrt_view){.data = &constants, .dtype = ZRT_UINT8, .n_dims = 1, .dims = {sizeof constants}};
    suite_state(&c.out[0], state, sizeof *state);
    *ok = suite_run(s, &c, ZRT__KERNEL_step_decide) && *ok;
    memcpy(&got, c.out[0].view.data, sizeof got);
    c.in[0].view.data = NULL;
    suite_free(&c);
    s->ops->release(s->devices[0], ZRT__MEMORY_DEVICE, rates, bytes);
    return got;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

static bool decisions(suite *s)
{
    static const double rates[] = {0.1, 0.2, 0.3};
    zrt__step_rules rules = {.max_grad_norm = 2.0, .learning_rates = rates, .n_learning_rates = 3};
    zrt__step_state state = {
        .capacity = 80.0, .loss_scale = 4.0, .sums = {120.0, 60.0, 900.0}, .unskipped = 4, .skipped = 7};
    bool ok = true;
    zrt__step_state got = decide(s, &rules, &state, &ok);
    double norm = 30.0 / 4.0 * 80.0 / 60.0;
    ok = ok && near(got.grad_norm, norm) && near(got.loss, 2.0) &&
         near((double)got.update_scale, 80.0 / (60.0 * 4.0) * 2.0 / (norm + 1e-6));
    ok = ok && got.learning_rate == 0.2f && got.used_learning_rate == 0.2 && got.unskipped == 5 && got.skipped == 7 &&
         !got.skip && !got.stop;
    ok = ok && got.loss_scale == 4.0 && got.used_loss_scale == 4.0 && got.counted == 60.0;
    rules.max_grad_norm = 0.0;
    got = decide(s, &rules, &state, &ok);
    ok = ok && near((double)got.update_scale, 80.0 / 240.0);
    rules.max_grad_norm = 2.0 * norm; /* a bound is no wish */
    got = decide(s, &rules, &state, &ok);
    ok = ok && near((double)got.update_scale, 80.0 / 240.0);
    state.sums[3] = 1.0;
    state.sums[4] = 2.0;
    got = decide(s, &rules, &state, &ok);
    ok = ok && got.skip && got.stop && got.unskipped == 4 && got.skipped == 8 && got.loss_scale == 4.0;
    state.sums[3] = state.sums[1] = 0.0; /* nothing counted: a skip, without an overflow */
    rules.dynamic_loss_scale = true;
    rules.scale_window = 1000;
    rules.hysteresis = 1;
    got = decide(s, &rules, &state, &ok);
    return ok && got.skip && got.skipped == 8 && got.loss_scale == 4.0 && got.update_scale == 0.0f &&
           isfinite(got.loss) && isfinite(got.grad_norm);
}

/* DeepSpeed's scaler over a history of overflows, from its published description. */
static bool scaler(suite *s, int hysteresis, bool consecutive, int window, double smallest)
{
    static const double rate = 0.1;
    zrt__step_rules rules = {.dynamic_loss_scale = true,
                             .min_loss_scale = smallest,
                             .scale_window = window,
                             .hysteresis = hysteresis,
                             .consecutive_hysteresis = consecutive,
                             .learning_rates = &rate,
                             .n_learning_rates = 1};
    zrt__step_state state = {.capacity = 1.0, .loss_scale = 256.0, .last_overflow = -1, .hysteresis_left = hysteresis};
    double scale = 256.0;
    int left = hysteresis, last = -1, at_minimum = 0;
    bool ok = true;
    for (int step = 0; step < 60; step++) {
        bool overflow = suite_below(s, 4) == 0 && step < 40;
        state.sums[1] = 1.0;
        state.sums[3] = overflow;
        state = decide(s, &rules, &state, &ok);
        ok = ok && state.used_loss_scale == scale;
        if (overflow && (hysteresis == 1 || left == 1)) {
            at_minimum |= scale == smallest;
            scale = scale / 2.0 > smallest ? scale / 2.0 : smallest;
        } else if (overflow) {
            left--;
        } else {
            left = consecutive ? hysteresis : left;
            if (step - last - 1 > 0 && (step - last - 1) % window == 0) {
                left = hysteresis;
                scale *= 2.0;
            }
        }
        last = overflow ? step : last;
        ok = ok && state.loss_scale == scale && state.scale_at_minimum == at_minimum;
    }
    return ok;
}

enum rule { ADAMW, SGD, LION };

/* Plain formulas of PyTorch's AdamW and SGD, and of Chen et al.; three steps, the second skipped. */
static bool update(suite *s, enum rule rule, zrt_dtype dtype, int variant, int64_t n)
{
    zrt__attributes a = {.optimizer = {.beta1 = 0.9f,
                                       .beta2 = 0.999f,
                                       .eps = 1e-8f,
                                       .weight_decay = variant & 1 ? 0.1f : 0.0f,
                                       .lr_factor = 0.5f,
                                       .adam_w_mode = !(variant & 2),
                                       .bias_correction = !(variant & 4),
                                       .nesterov = variant & 2,
                                       .momentum = variant & 4 ? 0.0f : 0.8f,
                                       .dampening = variant & 8 ? 0.3f : 0.0f}};
    static const zrt__kernel kernels[] = {ZRT__KERNEL_adamw, ZRT__KERNEL_sgd, ZRT__KERNEL_lion};
    bool has_first = rule != SGD || !(variant & 4), has_second = rule == ADAMW, copies = variant & 8, ok = true;
    double *p = calloc((size_t)n + 1, sizeof *p), *m = calloc((size_t)n + 1, sizeof *m),
           *v = calloc((size_t)n + 1, sizeof *v);
    double *kernel_p = calloc((size_t)n + 1, sizeof *p), *kernel_m = calloc((size_t)n + 1, sizeof *m),
           *kernel_v = calloc((size_t)n + 1, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        p[i] = kernel_p[i] = (double)(float)suite_uniform(s);
    int t = 0;
    /* where decay in the gradient cancels it, Adam divides what is left by its own size: roundings with it */
    double tolerance = rule == ADAMW && variant & 2 ? 2e-5 : 1e-6;
    for (int step = 0; step < 3; step++) {
        bool skip = step == 1;
        t += !skip;
        zrt__step_state state = {.update_scale = 0.25f, .learning_rate = 0.02f, .skip = skip, .unskipped = t};
        suite_case c = {.attributes = a};
        double *g = suite_in(s, &c, 0, dtype, 1.0, 1, &n), rate = (double)0.02f * 0.5,
               decay = variant & 1 ? (double)0.1f : 0.0;
        suite_state(&c.in[1], &state, sizeof state);
        suite_out(s, &c, 0, ZRT_FLOAT32, 0.0, 1, &n);
        suite_set(&c.out[0], kernel_p);
        if (has_first) {
            suite_out(s, &c, 1, ZRT_FLOAT32, 0.0, 1, &n);
            suite_set(&c.out[1], kernel_m);
        }
        if (has_second) {
            suite_out(s, &c, 2, ZRT_FLOAT32, 0.0, 1, &n);
            suite_set(&c.out[2], kernel_v);
        }
        if (copies)
            suite_out(s, &c, 3, dtype == ZRT_FLOAT32 ? ZRT_BFLOAT16 : dtype, 0.0, 1, &n);
        ok = suite_run(s, &c, kernels[rule]) && ok;
        for (int64_t i = 0; i < n && !skip; i++) {
            double x = g[i] * 0.25;
            if (rule == ADAMW) {
                x += variant & 2 ? decay * p[i] : 0.0;
                p[i] *= variant & 2 ? 1.0 : 1.0 - rate * decay;
                m[i] = 0.9 * m[i] + (1.0 - 0.9) * x;
                v[i] = 0.999 * v[i] + (1.0 - 0.999) * x * x;
                double first = variant & 4 ? m[i] : m[i] / (1.0 - pow(0.9, t)),
                       second = variant & 4 ? v[i] : v[i] / (1.0 - pow(0.999, t));
                p[i] -= rate * first / (sqrt(second) + 1e-8);
            } else if (rule == SGD) {
                x += decay * p[i];
                if (has_first) {
                    m[i] = t == 1 ? x : (double)0.8f * m[i] + (1.0 - (variant & 8 ? (double)0.3f : 0.0)) * x;
                    x = variant & 2 ? x + (double)0.8f * m[i] : m[i];
                }
                p[i] -= rate * x;
            } else {
                double direction = 0.9 * m[i] + (1.0 - 0.9) * x;
                p[i] = p[i] * (1.0 - rate * decay) - rate * (direction > 0.0 ? 1.0 : direction < 0.0 ? -1.0 : 0.0);
                m[i] = 0.999 * m[i] + (1.0 - 0.999) * x;
            }
        }
        ok = suite_near(c.out[0].values, p, n, tolerance, "weights") && ok;
        ok = (!has_first || suite_near(c.out[1].values, m, n, tolerance, "first")) && ok;
        ok = (!has_second || suite_near(c.out[2].values, v, n, tolerance, "second")) && ok;
        if (copies && !skip)
            ok = suite_near(c.out[3].values, c.out[0].values, n, suite_tolerance(c.out[3].view.dtype), "copy") && ok;
        memcpy(kernel_p, c.out[0].values, (size_t)n * sizeof *p);
        if (has_first)
            memcpy(kernel_m, c.out[1].values, (size_t)n * sizeof *p);
        if (has_second)
            memcpy(kernel_v, c.out[2].values, (size_t)n * sizeof *p);
        suite_free(&c);
    }
    free(p);
    free(m);
    free(v);
    free(kernel_p);
    free(kernel_m);
    free(kernel_v);
    return ok;
}

static zrt_status twice(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                        const void *given)
{
    if (context->is_cuda)
        return ZRT_ERR_NOT_SUPPORTED;
    for (int64_t i = 0; i < zrt_view_elements(output); i++)
        ((float *)output->data)[i] = *(const float *)given * ((const float *)inputs[0].data)[i];
    return ZRT_OK;
}

static zrt_status twice_backward(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                                 const zrt_view *grad_output, const zrt_view *grad_inputs, const void *given)
{
    (void)inputs;
    if (((const float *)output->data)[0] != 10.0f || grad_inputs[1].data != NULL)
        return ZRT_ERR_INTERNAL;
    return twice(context, grad_output, &grad_inputs[0], given);
}

static bool user(suite *s)
{
    static const float factor = 2.0f;
    static const zrt_op op = {.name = "twice", .n_inputs = 2, .forward = twice, .backward = twice_backward};
    const int64_t n = 3;
    suite_case c = {.attributes.user = {&op, &factor, 2}};
    double five[3] = {5, 6, 7}, ten[3] = {10, 12, 14};
    for (int i = 0; i < 4; i++) /* two inputs, y, dy */
        suite_in(s, &c, i, ZRT_FLOAT32, 0.0, 1, &n);
    suite_set(&c.in[0], five);
    suite_out(s, &c, 0, ZRT_FLOAT32, 0.0, 1, &n);
    bool ok = suite_run(s, &c, ZRT__KERNEL_user_forward) && suite_near(c.out[0].values, ten, n, 0.0, "user");
    suite_set(&c.in[2], ten);
    suite_set(&c.in[3], five);
    ok = suite_run(s, &c, ZRT__KERNEL_user_backward) && suite_near(c.out[0].values, ten, n, 0.0, "user backward") && ok;
    suite_free(&c);
    return ok;
}

void suite_steps(suite *s)
{
    static const char *const names[] = {"adamw", "sgd", "lion"};
    tap_ok(scale_begin(s, false) && scale_begin(s, true), "scale_begin");
    tap_ok(decisions(s), "step_decide: norm, clipping, skips");
    tap_ok(scaler(s, 2, false, 5, 1.0) && scaler(s, 1, false, 3, 128.0) && scaler(s, 3, true, 4, 1.0) &&
               scaler(s, 2, false, 2, 256.0),
           "step_decide: loss scale");
    for (int rule = ADAMW; rule <= LION; rule++) {
        for (int t = 0; t < 3; t++) {
            bool ok = true;
            for (int variant = 0; variant < 16; variant++)
                ok = update(s, (enum rule)rule, suite_dtypes[t], variant, 0) &&
                     update(s, (enum rule)rule, suite_dtypes[t], variant, 531) &&
                     update(s, (enum rule)rule, suite_dtypes[t], variant, variant == 3 ? 30001 : 7) && ok;
            tap_ok(ok, "%s, gradient in %s", names[rule], zrt_dtype_name(suite_dtypes[t]));
        }
    }
    if (strcmp(s->ops->name, "cpu") == 0)
        tap_ok(user(s), "an op of a user's own");
}
