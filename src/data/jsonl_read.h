/* JSONL files read and encoded, by the threads of one rank or by all ranks together. */
#ifndef ZRT_DATA_JSONL_READ_H
#define ZRT_DATA_JSONL_READ_H

#include <zerort/text_data.h>

#include "data/dataset_paths.h"
#include "data/samples.h"
#include "launch/launch.h"

/* What became of all lines. */
typedef struct zrt__jsonl_result {
    zrt_jsonl_counts counts;
    int64_t longest; /* tokens of a sample, whatever the split */
    bool classifies;
    const char *last_path; /* lent */
} zrt__jsonl_result;

/* Samples of all files, in the order of their lines: those at the end of each file to `held_out`, the others to `to`; all to one where
 * both are the same, none of a part that is NULL. group NULL: this rank reads alone. Otherwise collective: each rank reads all text,
 * encodes a part of it and gets the samples of all; errors are the same on all. */
zrt_status zrt__jsonl_read(const zrt__group *group, const zrt_tokenizer *tokenizer, const zrt_jsonl_options *options,
                           const zrt__data_path *paths, size_t n_paths, zrt__samples *to, zrt__samples *held_out,
                           zrt__jsonl_result *result_out);

#endif
