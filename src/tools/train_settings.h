/* What the loop itself needs of the resolved configuration. */
#ifndef ZRT_TOOLS_TRAIN_SETTINGS_H
#define ZRT_TOOLS_TRAIN_SETTINGS_H

#include <stdbool.h>

#include <zerort/config.h>

typedef enum train_state_dict {
    TRAIN_STATE_DICT_UNSAID,
    TRAIN_STATE_DICT_FULL,
    TRAIN_STATE_DICT_SHARDED
} train_state_dict;

typedef enum train_metric { TRAIN_EVAL_LOSS, TRAIN_EVAL_PERPLEXITY, TRAIN_EVAL_ACCURACY, TRAIN_EVAL_F1 } train_metric;

typedef struct train_settings {
    int64_t length; /* tokens a row; 0: not said */
    bool drop_last;
    int64_t micro_rows; /* a rank and micro-step */
    int64_t eval_rows;
    int64_t accumulation; /* micro-steps a step */
    int64_t max_steps;    /* 0: as many as the epochs have */
    double epochs;
    double collective_timeout;         /* seconds; 0: none */
    int64_t logging_steps, eval_steps; /* 0: never */
    uint64_t seed;
    int64_t save_steps; /* 0: never */
    bool saves_epochs;  /* save_steps is then what an epoch has */
    double save_minutes;
    int64_t keep_last, keep_best;
    bool load_best;
    train_metric best_metric; /* what the best is best in */
    bool greater_is_better;
    train_state_dict state_dict;
    char resume[4096]; /* never, auto, must or a folder */
} train_settings;

/* Local. Errors are those of resolving. */
zrt_status train_settings_read(zrt_config *config, int n_ranks, int64_t hidden_size, train_settings *settings_out);

#endif
