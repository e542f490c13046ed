/* From what a user names to the files that it means. */
#ifndef ZRT_DATA_DATASET_PATHS_H
#define ZRT_DATA_DATASET_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include <zerort/status.h>

typedef struct zrt__data_path {
    char *path;
    char *object;       /* dataset of an HDF5 file, NULL: not named */
    bool from_wildcard; /* matched, not named: an empty text file is then passed over */
} zrt__data_path;

/* Paths with wildcards become the files that match, in byte order, so that all ranks have the same order; the others stay as
 * they are. Gives an array of *n_out. */
zrt_status zrt__data_paths_expand(const char *const *paths, int n_paths, zrt__data_path **files_out, size_t *n_out);
void zrt__data_paths_destroy(zrt__data_path **files, size_t n);

#endif
