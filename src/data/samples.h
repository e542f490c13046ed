/* Encoded samples in memory, one in a row or packed. */
#ifndef ZRT_DATA_SAMPLES_H
#define ZRT_DATA_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include <zerort/status.h>

#include "data/tokenizer/text.h"

typedef struct zrt__sample {
    int64_t first; /* of its tokens */
    int32_t n;
    int32_t type_start; /* classification: tokens from here on have the type 1 */
    int32_t label;
} zrt__sample;

/* Tokens that are no label are stored as ~id. */
typedef struct zrt__samples {
    zrt__ids tokens;
    zrt__sample *samples;
    size_t n, capacity;
    bool classifies;
    /* Packing: row r has samples[packed[starts[r]]] .. samples[packed[starts[r + 1] - 1]]. NULL: one sample in a row. */
    size_t *starts;
    size_t *packed;
    size_t n_rows;
} zrt__samples;

/* Appends a sample with tokens [0, sample->n). */
zrt_status zrt__samples_append(zrt__samples *samples, const int32_t *tokens, zrt__sample sample);
/* Rows of `length` tokens: the longest first, each into the fullest row that has room. Samples of a row keep their order. */
zrt_status zrt__samples_pack(zrt__samples *samples, int64_t length);
/* Fields as zrt_dataset_open_jsonl names them. */
void zrt__samples_read_row(const zrt__samples *samples, int64_t row, int64_t length, void *const *destinations);
void zrt__samples_release(zrt__samples *samples);

#endif
