/* The loader as rank `rank` of `n_ranks`, without a context. */
#ifndef ZRT_DATA_LOADER_H
#define ZRT_DATA_LOADER_H

#include <zerort/data.h>

/* Batches that it has ready, or is making ready, at most. */
#define ZRT__LOADER_SLOTS 4

zrt_status zrt__loader_create(int rank, int n_ranks, const zrt_dataset *dataset, const zrt_loader_options *options,
                              zrt_loader **loader_out);

#endif
