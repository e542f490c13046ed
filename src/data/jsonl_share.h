/* What ranks that encode a file together tell each other. */
#ifndef ZRT_DATA_JSONL_SHARE_H
#define ZRT_DATA_JSONL_SHARE_H

#include <zerort/text_data.h>

#include "data/samples.h"
#include "launch/launch.h"

/* A rank's part of a batch of blocks. */
typedef struct zrt__jsonl_part {
    int64_t failed; /* 1: its status is an error */
    int64_t more; /* whether the file goes on, and bytes of it so far: the same on all ranks that read the same file */
    int64_t n_read;
    int64_t n_samples, n_tokens;
    zrt_jsonl_counts counts;
} zrt__jsonl_part;

/* Appends the samples of all ranks, in the order of the ranks, and adds up their counts. status is this rank's; the error is that of the lowest
 * rank that has one. group NULL: of this rank alone. Collective. */
zrt_status zrt__jsonl_share(const zrt__group *group, const char *path, zrt_status status, const zrt__jsonl_part *part,
                            const zrt__samples *samples, zrt__samples *to, zrt_jsonl_counts *counts);

#endif
