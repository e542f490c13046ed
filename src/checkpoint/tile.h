/* A rank's shard in tiles: what is copied, checksummed and written at a time. */
#ifndef ZRT_CHECKPOINT_TILE_H
#define ZRT_CHECKPOINT_TILE_H

#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"
#include "device/device.h"

/* Where the values come from. */
typedef struct zrt__save_source {
    void *user;
    /* Enqueues copies of elements [first, first + n) of this rank's dataset to `out`. stream NULL: copies at once. */
    zrt_status (*copy)(void *user, zrt__stream *stream, int dataset, int64_t first, int64_t n, float *out);
    /* After the copy: turns what it left in `out` into fp32. */
    void (*convert)(void *user, int dataset, int64_t first, int64_t n, float *out);
    /* Host memory that has the elements from `first` on as they are to be written, NULL: they must be copied; how many that is true
     * of. The member may be NULL: all are copied. */
    const float *(*lend)(void *user, int dataset, int64_t first, int64_t *n_out);
} zrt__save_source;

/* What tiles are made of and where they go. */
typedef struct zrt__tiles {
    const zrt__manifest *manifest; /* its layout and geometry */
    zrt__save_source source;
    zrt__disk_file *file;
    zrt__shard_sums *sums;
    int64_t tile_bytes;
    bool lends; /* what the host has is written from there */
} zrt__tiles;

int64_t zrt__tiles_count(const zrt__tiles *tiles);
/* Copies what of a tile must be copied to `slot`, tile_bytes long. */
zrt_status zrt__tile_copy(const zrt__tiles *tiles, int64_t index, zrt__stream *stream, float *slot);
/* Converts, checksums and writes it. From any thread. */
zrt_status zrt__tile_write(const zrt__tiles *tiles, int64_t index, float *slot);

#endif
