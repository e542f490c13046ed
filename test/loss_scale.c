/* Compares the loss scaler with recorded runs of DeepSpeed's: the function on the host and the CPU device's step_decide.
 *
 *     test/loss_scale [FILE]
 *
 * FILE (default: loss_scale.json of the golden data) is a list of
 *   {"fp16": {"initial_scale_power": P, "loss_scale_window": W, "hysteresis": H, "consecutive_hysteresis": B, "min_loss_scale": M},
 *    "steps": [[overflow, scale before, scale after], ..]} */
#include "config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/kernels.h"
#include "optim/loss_scaler.h"
#include "tap.h"

static const double learning_rates[1] = {1e-3};

static zrt__step_rules read_rules(json_t *fp16)
{
    return (zrt__step_rules){
        .dynamic_loss_scale = true,
        .min_loss_scale = json_number_value(json_object_get(fp16, "min_loss_scale")),
        .scale_window = json_integer_value(json_object_get(fp16, "loss_scale_window")),
        .hysteresis = (int32_t)json_integer_value(json_object_get(fp16, "hysteresis")),
        .consecutive_hysteresis = json_is_true(json_object_get(fp16, "consecutive_hysteresis")),
        .learning_rates = learning_rates,
        .n_learning_rates = 1,
    };
}

/* What decides a step: the function itself, or a kernel on a stream. */
typedef struct decider {
    const char *name;
    zrt__stream *stream; /* NULL: the function */
} decider;

static zrt_status decide(const decider *with, zrt__step_rules *rules, bool overflow, zrt__step_state *state)
{
    if (with->stream == NULL) {
        zrt__loss_scaler_update(rules, overflow, state);
        return ZRT_OK;
    }
    state->sums[0] = 2.0;
    state->sums[1] = 1.0;
    state->sums[2] = state->loss_scale * state->loss_scale;
    state->sums[3] = overflow ? 3.0 : 0.0;
    zrt__call call = {
        .in = {{.data = rules, .dtype = ZRT_UINT8, .n_dims = 1, .dims = {sizeof *rules}}},
        .out = {{.data = state, .dtype = ZRT_UINT8, .n_dims = 1, .dims = {sizeof *state}}},
    };
    const zrt__device_ops *ops = with->stream->device->ops;
    ZRT_TRY(ops->launch(with->stream, zrt__kernel_get(&zrt__kernel_cpu_ops, ZRT__KERNEL_step_decide), &call));
    return ops->stream_synchronize(with->stream);
}

static void compare(size_t number, json_t *test, const decider *with)
{
    json_t *fp16 = json_object_get(test, "fp16"), *steps = json_object_get(test, "steps");
    zrt__step_rules rules = read_rules(fp16);
    zrt__step_state state;
    memset(&state, 0, sizeof state);
    state.capacity = 1.0;
    zrt__loss_scaler_init(&rules, ldexp(1.0, (int)json_integer_value(json_object_get(fp16, "initial_scale_power"))),
                          &state);
    size_t n_wrong = 0;
    int64_t n_overflows = 0;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *step = json_array_get(steps, i);
        bool overflow = json_integer_value(json_array_get(step, 0)) != 0;
        double want_before = json_number_value(json_array_get(step, 1)),
               want_after = json_number_value(json_array_get(step, 2));
        double before = state.loss_scale;
        n_overflows += overflow;
        if (decide(with, &rules, overflow, &state) != ZRT_OK) {
            tap_diag("step %zu: %s", i, zrt_error_message());
            n_wrong++;
            break;
        }
        bool right = before == want_before && state.loss_scale == want_after;
        if (with->stream != NULL)
            right = right && state.skip == (overflow ? 1 : 0) && state.skipped == n_overflows &&
                    state.unskipped == (int64_t)i + 1 - n_overflows;
        if (!right && n_wrong++ == 0)
            tap_diag("step %zu (overflow %d): scale %g to %g, recorded %g to %g", i, overflow, before, state.loss_scale,
                     want_before, want_after);
    }
    tap_ok(json_array_size(steps) > 0 && n_wrong == 0, "case %zu: %s, %zu steps, %lld overflows", number, with->name,
           json_array_size(steps), (long long)n_overflows);
}

int main(int argc, char **argv)
{
    char path[4096];
    const char *golden = getenv("ZRT_GOLDEN");
    snprintf(path, sizeof path, "%s/loss_scale.json", golden != NULL ? golden : ZRT_GOLDEN_DIR);
    json_error_t error;
    json_t *cases = json_load_file(argc > 1 ? argv[1] : path, 0, &error);
    if (!json_is_array(cases) || json_array_size(cases) == 0) {
        fprintf(stderr, "%s: %s\n", argc > 1 ? argv[1] : path, cases == NULL ? error.text : "not a list of cases");
        json_decref(cases);
        return 2;
    }
    zrt__device *device = NULL;
    zrt__stream *stream = NULL;
    zrt__device_options options = {.n_threads = 1};
    zrt_status status = zrt__device_cpu_ops.open(&options, &device);
    if (status == ZRT_OK)
        status = device->ops->stream_create(device, "compute", true, &stream);
    if (!tap_ok(status == ZRT_OK, "the CPU device opens"))
        tap_diag("%s", zrt_error_message());
    for (size_t i = 0; i < json_array_size(cases); i++) {
        compare(i, json_array_get(cases, i), &(decider){.name = "function"});
        if (stream != NULL)
            compare(i, json_array_get(cases, i), &(decider){.name = "step_decide on the CPU", .stream = stream});
    }
    if (stream != NULL)
        device->ops->stream_destroy(&stream);
    if (device != NULL)
        zrt__device_cpu_ops.close(&device);
    json_decref(cases);
    return tap_done();
}
