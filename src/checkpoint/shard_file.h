/* The HDF5 side of a checkpoint. libhdf5 makes the metadata in memory; this library writes the bytes, so that a disk that is full
 * or fails meets code that expects it. */
#ifndef ZRT_CHECKPOINT_SHARD_FILE_H
#define ZRT_CHECKPOINT_SHARD_FILE_H

#include "checkpoint/layout.h"

#define ZRT__CHECKPOINT_MAX_DATASETS (1 + ZRT__CHECKPOINT_MAX_STATES)
/* Bytes under one checksum. Blocks begin with each dataset. */
#define ZRT__CHECKPOINT_BLOCK ((int64_t)1 << 20)

/* Where the data lies in a rank's file: the same in all of them. Behind the metadata the datasets follow each other to the end. */
typedef struct zrt__shard_geometry {
    int n_datasets;
    int64_t header_bytes;
    int64_t offsets[ZRT__CHECKPOINT_MAX_DATASETS], bytes[ZRT__CHECKPOINT_MAX_DATASETS];
    int64_t file_bytes;
    int64_t n_blocks; /* of all datasets */
} zrt__shard_geometry;

/* Fills in what follows from header_bytes and bytes. Checks all of it against the layout: ZRT_ERR_INPUT. */
zrt_status zrt__shard_geometry_finish(zrt__shard_geometry *geometry, const zrt__layout *layout);
/* First block of a dataset, and its number. */
int64_t zrt__shard_first_block(const zrt__shard_geometry *geometry, int dataset);
int64_t zrt__shard_dataset_blocks(const zrt__shard_geometry *geometry, int dataset);

/* The metadata of a rank's file: the bytes before the first dataset. Gives them; aligned to 4096. Local. */
zrt_status zrt__shard_header(const zrt__layout *layout, zrt__shard_geometry *geometry_out, void **header_out);

/* "rank00003.h5" */
void zrt__shard_name(int rank, char name[16]);

/* An attribute of the index. */
typedef struct zrt__index_attribute {
    const char *name;
    const char *text; /* NULL: the number */
    double number;
} zrt__index_attribute;

/* The file in which HDF5's tools see each parameter and state as one tensor (virtual datasets over the ranks' files). Gives its bytes,
 * released with free(). Local. */
zrt_status zrt__index_image(const zrt__layout *layout, const zrt__index_attribute *attributes, int n_attributes,
                            void **image_out, size_t *bytes_out);

#endif
