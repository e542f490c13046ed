/* Learning-rate schedules: the rate of an optimizer step as a pure function of its number. Steps are optimizer steps that
 * were not skipped, from 0. DeepSpeed's five schedulers and transformers' nine, as those libraries apply them. */
#ifndef ZRT_OPTIM_SCHEDULE_H
#define ZRT_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include <zerort/status.h>

/* enumerator, upstream's name */
#define ZRT__SCHEDULE_TABLE(X)                      \
    X(WARMUP_LR, "WarmupLR")                        \
    X(WARMUP_DECAY_LR, "WarmupDecayLR")             \
    X(WARMUP_COSINE_LR, "WarmupCosineLR")           \
    X(ONE_CYCLE, "OneCycle")                        \
    X(LR_RANGE_TEST, "LRRangeTest")                 \
    X(LINEAR, "linear")                             \
    X(COSINE, "cosine")                             \
    X(CONSTANT, "constant")                         \
    X(CONSTANT_WITH_WARMUP, "constant_with_warmup") \
    X(COSINE_WITH_RESTARTS, "cosine_with_restarts") \
    X(POLYNOMIAL, "polynomial")                     \
    X(INVERSE_SQRT, "inverse_sqrt")                 \
    X(COSINE_WITH_MIN_LR, "cosine_with_min_lr")     \
    X(WARMUP_STABLE_DECAY, "warmup_stable_decay")

typedef enum zrt__schedule_type {
#define ZRT__SCHEDULE_ENUM(id, name) ZRT__SCHEDULE_##id,
    ZRT__SCHEDULE_TABLE(ZRT__SCHEDULE_ENUM)
#undef ZRT__SCHEDULE_ENUM
        ZRT__N_SCHEDULES
} zrt__schedule_type;

typedef enum zrt__ramp { ZRT__RAMP_LOG, ZRT__RAMP_LINEAR, ZRT__RAMP_COSINE, ZRT__RAMP_ONE_MINUS_SQRT } zrt__ramp;

/* What a type does not name is not used by it. Negative counts and NaN rates stand for "not given". */
typedef struct zrt__schedule {
    zrt__schedule_type type;
    double learning_rate;  /* the optimizer's own */
    int64_t total_steps;   /* DeepSpeed's total_num_steps, transformers' num_training_steps */
    int64_t warmup_steps;  /* DeepSpeed's warmup_num_steps, transformers' num_warmup_steps */
    zrt__ramp warmup_type; /* DeepSpeed: log or linear; warmup_stable_decay: linear, cosine or 1-sqrt */

    double warmup_min_lr, warmup_max_lr;              /* WarmupLR, WarmupDecayLR */
    double warmup_min_ratio, cos_min_ratio;           /* WarmupCosineLR */
    double cycle_min_lr, cycle_max_lr, decay_lr_rate; /* OneCycle */
    int64_t cycle_first_step_size, cycle_second_step_size, cycle_first_stair_count, cycle_second_stair_count,
        decay_step_size;
    bool cycle_momentum;
    double cycle_min_mom, cycle_max_mom, decay_mom_rate;
    double lr_range_test_min_lr, lr_range_test_step_rate; /* LRRangeTest */
    int64_t lr_range_test_step_size;
    bool lr_range_test_staircase;

    double num_cycles;    /* cosine 0.5, cosine_with_restarts 1, cosine_with_min_lr 0.5, warmup_stable_decay 0.5 */
    double lr_end, power; /* polynomial */
    int64_t timescale;    /* inverse_sqrt */
    double min_lr, min_lr_rate;                /* cosine_with_min_lr: one of the two */
    int64_t num_decay_steps, num_stable_steps; /* warmup_stable_decay */
    zrt__ramp decay_type;
    double min_lr_ratio;
} zrt__schedule;

/* The type of that name. Errors: ZRT_ERR_CONFIG with the names there are. */
zrt_status zrt__schedule_type_find(const char *name, zrt__schedule_type *type_out);
const char *zrt__schedule_type_name(zrt__schedule_type type);
/* DeepSpeed's, whose parameters are under "scheduler"; otherwise transformers'. */
bool zrt__schedule_is_deepspeed(zrt__schedule_type type);

/* Upstream's defaults. warmup_steps and total_steps of transformers' types are arguments of theirs, not parameters: 0 and -1. */
void zrt__schedule_init(zrt__schedule *schedule, zrt__schedule_type type, double learning_rate);
/* A parameter by upstream's name (scheduler.params.*, lr_scheduler_kwargs.*; "num_warmup_steps" and "num_training_steps" of transformers'). Errors: ZRT_ERR_CONFIG (the type
 * has none of that name, not a whole number, out of range). */
zrt_status zrt__schedule_set_number(zrt__schedule *schedule, const char *key, double value);
zrt_status zrt__schedule_set_text(zrt__schedule *schedule, const char *key, const char *value);
/* What a type needs and combinations that upstream refuses. To be called after the last set. */
zrt_status zrt__schedule_check(const zrt__schedule *schedule);

/* The learning rate that optimizer step `step` uses. The schedule must have passed check. */
double zrt__schedule_rate(const zrt__schedule *schedule, int64_t step);

/* OneCycle with cycle_momentum, DeepSpeed's default, also moves Adam's betas: true, and those of `step`. False for all others. */
bool zrt__schedule_betas(const zrt__schedule *schedule, int64_t step, double *beta1_out, double *beta2_out);

#endif
