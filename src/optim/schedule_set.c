#include "config.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "optim/schedule.h"

static const char *const type_names[] = {
#define SCHEDULE_NAME(id, name) name,
    ZRT__SCHEDULE_TABLE(SCHEDULE_NAME)
#undef SCHEDULE_NAME
};

typedef enum kind { RATE, RATIO, NUMBER, COUNT, FLAG, RAMP } kind;

#define BIT(id) (1u << ZRT__SCHEDULE_##id)
#define DEEPSPEED_WARMUPS (BIT(WARMUP_LR) | BIT(WARMUP_DECAY_LR) | BIT(WARMUP_COSINE_LR))
#define TRANSFORMERS (~(DEEPSPEED_WARMUPS | BIT(ONE_CYCLE) | BIT(LR_RANGE_TEST)))

static const struct {
    const char *key;
    unsigned types;
    kind kind;
    size_t offset;
} parameters[] = {
#define PARAMETER(key, types, kind, field)               \
    {                                                    \
        key, types, kind, offsetof(zrt__schedule, field) \
    }
    PARAMETER("total_num_steps", BIT(WARMUP_DECAY_LR) | BIT(WARMUP_COSINE_LR), COUNT, total_steps),
    PARAMETER("warmup_num_steps", DEEPSPEED_WARMUPS, COUNT, warmup_steps),
    PARAMETER("warmup_type", DEEPSPEED_WARMUPS | BIT(WARMUP_STABLE_DECAY), RAMP, warmup_type),
    PARAMETER("warmup_min_lr", BIT(WARMUP_LR) | BIT(WARMUP_DECAY_LR), RATE, warmup_min_lr),
    PARAMETER("warmup_max_lr", BIT(WARMUP_LR) | BIT(WARMUP_DECAY_LR), RATE, warmup_max_lr),
    PARAMETER("warmup_min_ratio", BIT(WARMUP_COSINE_LR), RATIO, warmup_min_ratio),
    PARAMETER("cos_min_ratio", BIT(WARMUP_COSINE_LR), RATIO, cos_min_ratio),
    PARAMETER("cycle_min_lr", BIT(ONE_CYCLE), RATE, cycle_min_lr),
    PARAMETER("cycle_max_lr", BIT(ONE_CYCLE), RATE, cycle_max_lr),
    PARAMETER("decay_lr_rate", BIT(ONE_CYCLE), RATE, decay_lr_rate),
    PARAMETER("cycle_first_step_size", BIT(ONE_CYCLE), COUNT, cycle_first_step_size),
    PARAMETER("cycle_second_step_size", BIT(ONE_CYCLE), COUNT, cycle_second_step_size),
    PARAMETER("cycle_first_stair_count", BIT(ONE_CYCLE), COUNT, cycle_first_stair_count),
    PARAMETER("cycle_second_stair_count", BIT(ONE_CYCLE), COUNT, cycle_second_stair_count),
    PARAMETER("decay_step_size", BIT(ONE_CYCLE), COUNT, decay_step_size),
    PARAMETER("cycle_momentum", BIT(ONE_CYCLE), FLAG, cycle_momentum),
    PARAMETER("cycle_min_mom", BIT(ONE_CYCLE), RATIO, cycle_min_mom),
    PARAMETER("cycle_max_mom", BIT(ONE_CYCLE), RATIO, cycle_max_mom),
    PARAMETER("decay_mom_rate", BIT(ONE_CYCLE), NUMBER, decay_mom_rate),
    PARAMETER("lr_range_test_min_lr", BIT(LR_RANGE_TEST), RATE, lr_range_test_min_lr),
    PARAMETER("lr_range_test_step_size", BIT(LR_RANGE_TEST), COUNT, lr_range_test_step_size),
    PARAMETER("lr_range_test_step_rate", BIT(LR_RANGE_TEST), RATE, lr_range_test_step_rate),
    PARAMETER("lr_range_test_staircase", BIT(LR_RANGE_TEST), FLAG, lr_range_test_staircase),
    PARAMETER("num_training_steps", TRANSFORMERS, COUNT, total_steps),
    PARAMETER("num_warmup_steps", TRANSFORMERS, COUNT, warmup_steps),
    PARAMETER("num_cycles",
              BIT(COSINE) | BIT(COSINE_WITH_RESTARTS) | BIT(COSINE_WITH_MIN_LR) | BIT(WARMUP_STABLE_DECAY), NUMBER,
              num_cycles),
    PARAMETER("lr_end", BIT(POLYNOMIAL), RATE, lr_end),
    PARAMETER("power", BIT(POLYNOMIAL), NUMBER, power),
    PARAMETER("timescale", BIT(INVERSE_SQRT), COUNT, timescale),
    PARAMETER("min_lr", BIT(COSINE_WITH_MIN_LR), RATE, min_lr),
    PARAMETER("min_lr_rate", BIT(COSINE_WITH_MIN_LR), RATIO, min_lr_rate),
    PARAMETER("num_decay_steps", BIT(WARMUP_STABLE_DECAY), COUNT, num_decay_steps),
    PARAMETER("num_stable_steps", BIT(WARMUP_STABLE_DECAY), COUNT, num_stable_steps),
    PARAMETER("decay_type", BIT(WARMUP_STABLE_DECAY), RAMP, decay_type),
    PARAMETER("min_lr_ratio", BIT(WARMUP_STABLE_DECAY), RATIO, min_lr_ratio),
#undef PARAMETER
};

#define N_PARAMETERS (sizeof parameters / sizeof *parameters)

/* Appends to a list that becomes part of a message. */
static void list_add(char *list, size_t capacity, const char *name)
{
    size_t used = strlen(list);
    snprintf(list + used, capacity - used, "%s%s", used == 0 ? "" : ", ", name);
}

zrt_status zrt__schedule_type_find(const char *name, zrt__schedule_type *type_out)
{
    char list[400] = "";
    for (int i = 0; i < ZRT__N_SCHEDULES; i++) {
        if (strcmp(type_names[i], name) == 0) {
            *type_out = (zrt__schedule_type)i;
            return ZRT_OK;
        }
        list_add(list, sizeof list, type_names[i]);
    }
    return zrt__fail(ZRT_ERR_CONFIG, "learning-rate schedule '%.64s' is not known; there are %s", name, list);
}

const char *zrt__schedule_type_name(zrt__schedule_type type)
{
    return type_names[type];
}

bool zrt__schedule_is_deepspeed(zrt__schedule_type type)
{
    return type <= ZRT__SCHEDULE_LR_RANGE_TEST;
}

void zrt__schedule_init(zrt__schedule *schedule, zrt__schedule_type type, double learning_rate)
{
    *schedule = (zrt__schedule){
        .type = type,
        .learning_rate = learning_rate,
        .total_steps = -1,
        .warmup_steps = zrt__schedule_is_deepspeed(type) ? 1000 : 0,
        .warmup_type = zrt__schedule_is_deepspeed(type) ? ZRT__RAMP_LOG : ZRT__RAMP_LINEAR,
        .warmup_max_lr = type == ZRT__SCHEDULE_WARMUP_LR ? (double)NAN : 1e-3,
        .cos_min_ratio = 1e-4,
        .cycle_min_lr = (double)NAN,
        .cycle_max_lr = (double)NAN,
        .cycle_first_step_size = 2000,
        .cycle_second_step_size = -1,
        .cycle_second_stair_count = -1,
        .cycle_momentum = true,
        .cycle_min_mom = 0.8,
        .cycle_max_mom = 0.9,
        .lr_range_test_min_lr = 1e-3,
        .lr_range_test_step_size = 2000,
        .lr_range_test_step_rate = 1.0,
        .num_cycles = type == ZRT__SCHEDULE_COSINE_WITH_RESTARTS ? 1.0 : 0.5,
        .lr_end = 1e-7,
        .power = 1.0,
        .min_lr = (double)NAN,
        .min_lr_rate = (double)NAN,
        .num_decay_steps = -1,
        .num_stable_steps = -1,
        .decay_type = ZRT__RAMP_COSINE,
    };
}

/* The row of a parameter that the schedule's type has. */
static zrt_status find_parameter(const zrt__schedule *schedule, const char *key, size_t *row_out)
{
    char list[600] = "";
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        if ((parameters[i].types >> schedule->type & 1u) == 0)
            continue;
        if (strcmp(parameters[i].key, key) == 0) {
            *row_out = i;
            return ZRT_OK;
        }
        list_add(list, sizeof list, parameters[i].key);
    }
    return zrt__fail(ZRT_ERR_CONFIG, "schedule %s has no parameter '%.64s'; it has %s", type_names[schedule->type], key,
                     list);
}

zrt_status zrt__schedule_set_number(zrt__schedule *schedule, const char *key, double value)
{
    size_t row;
    ZRT_TRY(find_parameter(schedule, key, &row));
    const char *type = type_names[schedule->type];
    void *field = (char *)schedule + parameters[row].offset;
    switch (parameters[row].kind) {
    case RAMP:
        return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: %s is a name, not a number", type, key);
    case FLAG:
        if (value != 0.0 && value != 1.0)
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: %s is %g; it is true or false", type, key, value);
        *(bool *)field = value != 0.0;
        return ZRT_OK;
    case COUNT:
        if (!(value >= 0.0) || value > 9e15 || value != floor(value))
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: %s is %g; it is a whole number from 0", type, key, value);
        *(int64_t *)field = (int64_t)value;
        return ZRT_OK;
    case RATE:
    case RATIO:
        if (!(value >= 0.0) || isinf(value) || (parameters[row].kind == RATIO && value > 1.0))
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: %s is %g; it is at least 0%s", type, key, value,
                             parameters[row].kind == RATIO ? " and at most 1" : "");
        break;
    case NUMBER:
        if (!isfinite(value))
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: %s is %g", type, key, value);
        break;
    }
    *(double *)field = value;
    return ZRT_OK;
}

zrt_status zrt__schedule_set_text(zrt__schedule *schedule, const char *key, const char *value)
{
    static const char *const ramps[] = {"log", "linear", "cosine", "1-sqrt"};
    size_t row;
    ZRT_TRY(find_parameter(schedule, key, &row));
    if (parameters[row].kind != RAMP)
        return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: %s is '%.64s'; it is a number", type_names[schedule->type], key,
                         value);
    bool deepspeed = zrt__schedule_is_deepspeed(schedule->type);
    for (int i = deepspeed ? 0 : 1; i < (deepspeed ? 2 : 4); i++) {
        if (strcmp(ramps[i], value) == 0) {
            *(zrt__ramp *)((char *)schedule + parameters[row].offset) = (zrt__ramp)i;
            return ZRT_OK;
        }
    }
    return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: %s is '%.64s'; it is %s", type_names[schedule->type], key, value,
                     deepspeed ? "log or linear" : "linear, cosine or 1-sqrt");
}

zrt_status zrt__schedule_check(const zrt__schedule *s)
{
    const char *type = type_names[s->type];
    bool needs_total = s->type != ZRT__SCHEDULE_WARMUP_LR && s->type != ZRT__SCHEDULE_ONE_CYCLE &&
                       s->type != ZRT__SCHEDULE_LR_RANGE_TEST && s->type != ZRT__SCHEDULE_CONSTANT &&
                       s->type != ZRT__SCHEDULE_CONSTANT_WITH_WARMUP && s->type != ZRT__SCHEDULE_INVERSE_SQRT &&
                       !(s->type == ZRT__SCHEDULE_WARMUP_STABLE_DECAY && s->num_stable_steps >= 0);
    if (needs_total && s->total_steps < 0)
        return zrt__fail(ZRT_ERR_CONFIG, "schedule %s needs the total number of steps", type);
    switch (s->type) {
    case ZRT__SCHEDULE_WARMUP_LR:
    case ZRT__SCHEDULE_WARMUP_DECAY_LR:
    case ZRT__SCHEDULE_WARMUP_COSINE_LR:
        if (s->warmup_steps < 1)
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: warmup_num_steps must be at least 1", type);
        break;
    case ZRT__SCHEDULE_ONE_CYCLE:
        if (isnan(s->cycle_min_lr) || isnan(s->cycle_max_lr))
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s needs cycle_min_lr and cycle_max_lr", type);
        if (s->cycle_first_step_size < 1 || s->cycle_second_step_size == 0)
            return zrt__fail(ZRT_ERR_CONFIG,
                             "schedule %s: cycle_first_step_size and cycle_second_step_size must be at least 1", type);
        break;
    case ZRT__SCHEDULE_LR_RANGE_TEST:
        if (s->lr_range_test_step_size < 1)
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: lr_range_test_step_size must be at least 1", type);
        break;
    case ZRT__SCHEDULE_POLYNOMIAL:
        if (!(s->learning_rate > s->lr_end))
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: lr_end (%g) must be smaller than the learning rate (%g)",
                             type, s->lr_end, s->learning_rate);
        break;
    case ZRT__SCHEDULE_COSINE_WITH_MIN_LR:
        if (isnan(s->min_lr) == isnan(s->min_lr_rate))
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s needs one of min_lr and min_lr_rate", type);
        if (!isnan(s->min_lr) && !(s->learning_rate > 0.0))
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s: min_lr needs a learning rate above 0", type);
        break;
    case ZRT__SCHEDULE_WARMUP_STABLE_DECAY:
        if (s->num_decay_steps < 0)
            return zrt__fail(ZRT_ERR_CONFIG, "schedule %s needs num_decay_steps", type);
        break;
    default:
        break;
    }
    return ZRT_OK;
}
