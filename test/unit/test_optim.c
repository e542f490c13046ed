/* Schedules' parameters, the loss scaler's corners, optimizers' states and attributes. The rates themselves: test/schedules. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "optim/loss_scaler.h"
#include "optim/schedule.h"
#include "optim/update.h"
#include "tap.h"

static void test_schedule_parameters(void)
{
    zrt__schedule_type type;
    zrt__schedule s;
    for (int i = 0; i < ZRT__N_SCHEDULES; i++)
        tap_ok(zrt__schedule_type_find(zrt__schedule_type_name((zrt__schedule_type)i), &type) == ZRT_OK &&
                   (int)type == i,
               "%s is found", zrt__schedule_type_name((zrt__schedule_type)i));
    tap_ok(zrt__schedule_type_find("reduce_lr_on_plateau", &type) == ZRT_ERR_CONFIG &&
               strstr(zrt_error_message(), "warmup_stable_decay") != NULL,
           "an unknown schedule lists the known ones");

    zrt__schedule_init(&s, ZRT__SCHEDULE_WARMUP_LR, 1e-3);
    tap_ok(zrt__schedule_set_number(&s, "total_num_steps", 10) == ZRT_ERR_CONFIG &&
               strstr(zrt_error_message(), "warmup_max_lr") != NULL,
           "WarmupLR has no total_num_steps");
    tap_ok(zrt__schedule_set_number(&s, "warmup_num_steps", 2.5) == ZRT_ERR_CONFIG &&
               zrt__schedule_set_number(&s, "warmup_num_steps", -1) == ZRT_ERR_CONFIG &&
               zrt__schedule_set_number(&s, "warmup_num_steps", (double)NAN) == ZRT_ERR_CONFIG &&
               zrt__schedule_set_number(&s, "warmup_num_steps", (double)INFINITY) == ZRT_ERR_CONFIG,
           "counts are whole numbers");
    tap_ok(zrt__schedule_set_number(&s, "warmup_max_lr", (double)NAN) == ZRT_ERR_CONFIG, "rates are numbers");
    tap_ok(zrt__schedule_set_number(&s, "warmup_type", 1) == ZRT_ERR_CONFIG &&
               zrt__schedule_set_text(&s, "warmup_type", "cosine") == ZRT_ERR_CONFIG &&
               zrt__schedule_set_text(&s, "warmup_type", "linear") == ZRT_OK && s.warmup_type == ZRT__RAMP_LINEAR &&
               zrt__schedule_set_text(&s, "warmup_num_steps", "10") == ZRT_ERR_CONFIG,
           "names and numbers are told apart");
    tap_ok(zrt__schedule_set_number(&s, "warmup_num_steps", 1) == ZRT_OK && zrt__schedule_check(&s) == ZRT_OK &&
               zrt__schedule_rate(&s, 2) == 5e-4 && zrt__schedule_rate(&s, 3) == 1e-3,
           "a warm-up of 1 step takes 2, and warmup_max_lr is the optimizer's where it is not given");
    tap_ok(zrt__schedule_set_number(&s, "warmup_num_steps", 0) == ZRT_OK && zrt__schedule_check(&s) == ZRT_ERR_CONFIG,
           "a warm-up of 0 steps is refused, as upstream");

    static const struct {
        zrt__schedule_type type;
        const char *named;
    } lacking[] = {
        {ZRT__SCHEDULE_WARMUP_DECAY_LR, "total"},    {ZRT__SCHEDULE_WARMUP_COSINE_LR, "total"},
        {ZRT__SCHEDULE_ONE_CYCLE, "cycle_min_lr"},   {ZRT__SCHEDULE_LINEAR, "total"},
        {ZRT__SCHEDULE_COSINE_WITH_MIN_LR, "total"}, {ZRT__SCHEDULE_WARMUP_STABLE_DECAY, "total"},
    };
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++) {
        zrt__schedule_init(&s, lacking[i].type, 1e-3);
        tap_ok(zrt__schedule_check(&s) == ZRT_ERR_CONFIG && strstr(zrt_error_message(), lacking[i].named) != NULL,
               "%s needs its %s", zrt__schedule_type_name(lacking[i].type), lacking[i].named);
    }
    zrt__schedule_init(&s, ZRT__SCHEDULE_COSINE_WITH_MIN_LR, 1e-3);
    s.total_steps = 10;
    tap_ok(zrt__schedule_check(&s) == ZRT_ERR_CONFIG, "cosine_with_min_lr needs a minimum");
    zrt__schedule_set_number(&s, "min_lr_rate", 0.1);
    tap_ok(zrt__schedule_check(&s) == ZRT_OK && fabs(zrt__schedule_rate(&s, 10) - 1e-4) < 1e-18, "as a ratio");
    zrt__schedule_set_number(&s, "min_lr", 1e-5);
    tap_ok(zrt__schedule_check(&s) == ZRT_ERR_CONFIG, "but not twice");
    zrt__schedule_init(&s, ZRT__SCHEDULE_POLYNOMIAL, 1e-7);
    s.total_steps = 10;
    tap_ok(zrt__schedule_check(&s) == ZRT_ERR_CONFIG && strstr(zrt_error_message(), "lr_end") != NULL,
           "polynomial ends below the learning rate");
    zrt__schedule_init(&s, ZRT__SCHEDULE_POLYNOMIAL, 1e-3);
    s.total_steps = 10;
    s.warmup_steps = 10;
    tap_ok(zrt__schedule_rate(&s, 10) == 1e-3 && fabs(zrt__schedule_rate(&s, 11) - 1e-7) < 1e-20,
           "a schedule that is all warm-up stays finite");
    zrt__schedule_init(&s, ZRT__SCHEDULE_WARMUP_STABLE_DECAY, 1.0);
    zrt__schedule_set_number(&s, "num_stable_steps", 2);
    zrt__schedule_set_number(&s, "num_decay_steps", 4);
    zrt__schedule_set_text(&s, "decay_type", "1-sqrt");
    s.warmup_steps = 2;
    tap_ok(zrt__schedule_check(&s) == ZRT_OK && zrt__schedule_rate(&s, 1) == 0.5 && zrt__schedule_rate(&s, 3) == 1.0 &&
               zrt__schedule_rate(&s, 5) == 0.5 && zrt__schedule_rate(&s, 8) == 0.0,
           "warmup_stable_decay without a total");
}

static void test_schedule_betas(void)
{
    zrt__schedule s;
    double beta1 = 0.0, beta2 = 0.0;
    zrt__schedule_init(&s, ZRT__SCHEDULE_LINEAR, 1e-3);
    tap_ok(!zrt__schedule_betas(&s, 3, &beta1, &beta2), "only OneCycle moves betas");
    zrt__schedule_init(&s, ZRT__SCHEDULE_ONE_CYCLE, 1e-3);
    s.cycle_first_step_size = 10;
    tap_ok(zrt__schedule_betas(&s, 10, &beta1, &beta2) && fabs(beta1 - 0.8) < 1e-15 && beta2 == 0.99 &&
               zrt__schedule_betas(&s, 20, &beta1, &beta2) && fabs(beta1 - 0.9) < 1e-15,
           "against the rate");
    zrt__schedule_set_number(&s, "cycle_momentum", 0);
    tap_ok(!zrt__schedule_betas(&s, 10, &beta1, &beta2), "unless cycle_momentum is false");
}

static void test_loss_scaler(void)
{
    zrt__step_rules rules = {.dynamic_loss_scale = true, .min_loss_scale = 1.0, .scale_window = 2, .hysteresis = 1};
    zrt__step_state state;
    memset(&state, 0, sizeof state);
    zrt__loss_scaler_init(&rules, 2.0, &state);
    zrt__loss_scaler_update(&rules, true, &state);
    tap_ok(state.loss_scale == 1.0 && state.scale_at_minimum == 0, "an overflow halves the scale");
    zrt__loss_scaler_update(&rules, true, &state);
    tap_ok(state.loss_scale == 1.0 && state.scale_at_minimum == 1, "at the minimum it stays and says so");
    zrt__loss_scaler_update(&rules, false, &state);
    zrt__loss_scaler_update(&rules, false, &state);
    bool early = state.loss_scale != 1.0;
    zrt__loss_scaler_update(&rules, false, &state);
    tap_ok(!early && state.loss_scale == 2.0, "after an overflow growth takes a window and a step");
    rules.dynamic_loss_scale = false;
    zrt__loss_scaler_update(&rules, true, &state);
    tap_ok(state.loss_scale == 2.0, "a static scale stays");
}

static void test_optimizers(void)
{
    static const struct {
        const char *name;
        zrt__optimizer_type type;
        int n_states;
        zrt__kernel kernel;
    } rules[] = {
        {"AdamW", ZRT__OPTIMIZER_ADAMW, 2, ZRT__KERNEL_adamw},
        {"adam", ZRT__OPTIMIZER_ADAM, 2, ZRT__KERNEL_adamw},
        {"SGD", ZRT__OPTIMIZER_SGD, 0, ZRT__KERNEL_sgd},
        {"Lion", ZRT__OPTIMIZER_LION, 1, ZRT__KERNEL_lion},
        {"adamw_torch_fused", ZRT__OPTIMIZER_ADAMW, 2, ZRT__KERNEL_adamw},
    };
    zrt__optimizer o;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        zrt__optimizer_type type;
        bool found = zrt__optimizer_type_find(rules[i].name, &type) == ZRT_OK && type == rules[i].type;
        zrt__optimizer_init(&o, rules[i].type);
        tap_ok(found && zrt__optimizer_check(&o) == ZRT_OK && zrt__optimizer_n_states(&o) == rules[i].n_states &&
                   zrt__optimizer_kernel(&o) == rules[i].kernel,
               "%s: its states and kernel", rules[i].name);
    }
    zrt__optimizer_type type;
    tap_ok(zrt__optimizer_type_find("Lamb", &type) == ZRT_ERR_NOT_SUPPORTED &&
               strstr(zrt_error_message(), "Lamb") != NULL &&
               zrt__optimizer_type_find("AdamV", &type) == ZRT_ERR_CONFIG,
           "others are refused by name");

    zrt__optimizer_init(&o, ZRT__OPTIMIZER_SGD);
    o.momentum = 0.9;
    tap_ok(zrt__optimizer_n_states(&o) == 1 && strcmp(zrt__optimizer_state_name(&o, 0), "momentum") == 0,
           "SGD with momentum");
    o.nesterov = true;
    o.dampening = 0.1;
    tap_ok(zrt__optimizer_check(&o) == ZRT_ERR_CONFIG, "Nesterov with dampening is refused");

    zrt__optimizer_init(&o, ZRT__OPTIMIZER_ADAMW);
    o.weight_decay = 0.1;
    tap_ok(zrt__optimizer_decays(&o, 2) && !zrt__optimizer_decays(&o, 1) &&
               strcmp(zrt__optimizer_state_name(&o, 1), "exp_avg_sq") == 0,
           "matrices decay, vectors do not");
    o.decay_vectors = true;
    tap_ok(zrt__optimizer_decays(&o, 1), "unless asked for");
    zrt__attributes decayed, plain;
    zrt__optimizer_attributes(&o, true, &decayed);
    zrt__optimizer_attributes(&o, false, &plain);
    tap_ok(decayed.optimizer.weight_decay == 0.1f && plain.optimizer.weight_decay == 0.0f &&
               plain.optimizer.lr_factor == 1.0f && plain.optimizer.beta2 == 0.999f && plain.optimizer.adam_w_mode &&
               plain.optimizer.bias_correction,
           "attributes of the two groups");
    o.beta1 = 1.0;
    tap_ok(zrt__optimizer_check(&o) == ZRT_ERR_CONFIG && strstr(zrt_error_message(), "betas") != NULL,
           "beta 1 of 1 is refused");
    o.beta1 = 0.9;
    o.weight_decay = (double)NAN;
    tap_ok(zrt__optimizer_check(&o) == ZRT_ERR_CONFIG && strstr(zrt_error_message(), "weight_decay") != NULL,
           "NaN is refused");
}

int main(void)
{
    test_schedule_parameters();
    test_schedule_betas();
    test_loss_scaler();
    test_optimizers();
    return tap_done();
}
