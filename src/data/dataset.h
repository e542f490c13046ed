/* Inside of a dataset: rows of named fields, from arrays in memory or cut from files of tokens. */
#ifndef ZRT_DATA_DATASET_H
#define ZRT_DATA_DATASET_H

#include <zerort/data.h>

#include "data/samples.h"
#include "data/token_file.h"

/* A part of a file: tokens of a stream, or rows of a file of two dimensions. */
typedef struct zrt__extent {
    const zrt__token_file *file;
    int64_t first; /* in the file */
    int64_t start; /* in the dataset */
    int64_t n;
} zrt__extent;

struct zrt_dataset {
    int64_t n_rows, length, label_positions;
    int n_fields;
    char *names[ZRT_BATCH_MAX_FIELDS];
    zrt_view fields[ZRT_BATCH_MAX_FIELDS]; /* of one row: dims without the rows; `data` is of the arrays in memory */
    size_t row_bytes[ZRT_BATCH_MAX_FIELDS];
    struct zrt__samples *samples; /* only of JSONL */
    /* Only of files: */
    bool is_files, is_text;
    bool in_rows; /* files of two dimensions; otherwise all extents are one stream end to end */
    int64_t vocab_size, n_tokens;
    size_t n_files, n_extents;
    zrt__token_file *files;
    zrt__extent *extents;
    zrt__descriptors *descriptors;
};

/* Copies one row of every field to destinations[n_fields]. `scratch` has room for length + 1 tokens (files only). Thread safe. */
zrt_status zrt__dataset_read_row(const zrt_dataset *dataset, int64_t row, void *const *destinations, int32_t *scratch);

/* Tokens [first, first + n) of a dataset that is one stream. Thread safe. */
zrt_status zrt__dataset_read_tokens(const zrt_dataset *dataset, int64_t first, int64_t n, int32_t *tokens);

/* The tokens of one row of files of two dimensions, at most length + 1, and their count. Thread safe. */
zrt_status zrt__dataset_read_tokens_of_row(const zrt_dataset *dataset, int64_t row, int32_t *tokens, int64_t *n_out);

#endif
