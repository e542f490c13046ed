/* Which samples a rank takes: arithmetic on one counter. */
#ifndef ZRT_DATA_SAMPLER_H
#define ZRT_DATA_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include <zerort/status.h>

typedef struct zrt__sampler {
    int64_t n_rows; /* of the dataset */
    int rank, n_ranks;
    int64_t micro_rows, accumulation;
    uint64_t seed;
    bool shuffle, drop_last;
    int64_t n_epochs; /* 0: without end */
    /* The state is `position` where a step starts; the other two are how far the step is. */
    int64_t position;  /* samples of all ranks so far, over all epochs */
    int64_t step_left; /* samples of the step that no micro-step has taken yet */
    int64_t micro_step;
} zrt__sampler;

/* Samples [first, first + n) of the counter, one rank's share of a micro-step. */
typedef struct zrt__share {
    int64_t first, n;
} zrt__share;

/* Checks what the fields say and goes to position 0. */
zrt_status zrt__sampler_start(zrt__sampler *sampler);
void zrt__sampler_seek(zrt__sampler *sampler, int64_t position);
/* This rank's share of the next micro-step; false after the last. */
bool zrt__sampler_next(zrt__sampler *sampler, zrt__share *share_out);
/* The row of the dataset that is sample `at` of the counter. */
int64_t zrt__sampler_row(const zrt__sampler *sampler, int64_t at);
int64_t zrt__sampler_micro_steps_per_epoch(const zrt__sampler *sampler);

#endif
