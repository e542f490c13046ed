/* Parsing the header of one safetensors file that is in memory. */
#ifndef ZRT_CHECKPOINT_SAFETENSORS_HEADER_H
#define ZRT_CHECKPOINT_SAFETENSORS_HEADER_H

#include "checkpoint/safetensors.h"

/* Appends the tensors of a file of `bytes` bytes at `data` to *entries. Their names are the caller's to free, also after an error;
 * path is only lent to them. */
zrt_status zrt__safetensors_parse(const char *path, const void *data, size_t bytes, zrt__safetensors_entry **entries,
                                  size_t *n_entries, size_t *capacity);

/* The file's spelling of a dtype; NULL where safetensors has none. */
const char *zrt__safetensors_dtype_name(zrt_dtype dtype);

#endif
