/* manifest.json: the commit record of a checkpoint. What it says about data is checked against the model before anything is read; every
 * byte of every file, its own included, is under a checksum that it holds. */
#ifndef ZRT_CHECKPOINT_MANIFEST_H
#define ZRT_CHECKPOINT_MANIFEST_H

#include "checkpoint/shard_file.h"

#define ZRT__MANIFEST_VERSION 1
#define ZRT__MANIFEST_NAME "manifest.json"
#define ZRT__INDEX_NAME "index.h5"

/* The scalars of a run after `step` steps. */
typedef struct zrt__run_state {
    int64_t step, skipped, unskipped;
    int64_t samples; /* the engine's own count of samples */
    uint64_t seed;   /* all the state that the generators have */
    double loss_scale;
    int64_t scaler_iteration, last_overflow;
    int64_t hysteresis_left, scale_at_minimum;
    double loss, grad_norm, used_learning_rate, used_loss_scale, counted; /* of the last step */
} zrt__run_state;

typedef struct zrt__user_blob {
    char *name;
    void *data;
    size_t bytes;
} zrt__user_blob;

/* Checksums (CRC32C) of a rank's file. */
typedef struct zrt__shard_sums {
    uint32_t header, whole;
    uint32_t *blocks; /* of all datasets, one after the other */
} zrt__shard_sums;

typedef struct zrt__manifest {
    zrt__run_state state;
    zrt__layout layout;
    zrt__shard_geometry geometry;
    char *model_name, *model_config; /* config.json as transformers reads it; NULL: it has no such model */
    char *configuration;             /* resolved, JSON text; NULL: none */
    char *optimizer;                 /* NULL: no states by design, as after an import */
    char *compute_dtype;
    int stage;
    double metric; /* NAN: none */
    char *metric_name;
    bool greater_is_better;
    zrt__user_blob *blobs;
    size_t n_blobs, blobs_capacity;
    zrt__shard_sums *shards; /* layout.world */
    int64_t index_bytes;
    uint32_t index_sum;
} zrt__manifest;

/* Frees what the fields hold. */
void zrt__manifest_free(zrt__manifest *manifest);
/* Room for the checksums of all files. After layout and geometry are finished. */
zrt_status zrt__manifest_allocate_shards(zrt__manifest *manifest);

/* The checksum of a whole file from those of its pieces. */
uint32_t zrt__shard_sum(const zrt__shard_geometry *geometry, const zrt__shard_sums *sums);

/* A hash of the names and shapes. */
uint64_t zrt__manifest_model_hash(const zrt__layout *layout);

/* What the best are chosen by: the smaller the better, NAN where there is none. Those of one kind (name and direction) compare. */
double zrt__manifest_score(const zrt__manifest *manifest, uint64_t *kind_out);

/* The bytes of the file. Gives them, released with free(). */
zrt_status zrt__manifest_print(const zrt__manifest *manifest, char **text_out, size_t *bytes_out);
/* Reads them; `path` is for messages. Errors: ZRT_ERR_INPUT, ZRT_ERR_NOT_SUPPORTED (a newer format), ZRT_ERR_MEMORY. */
zrt_status zrt__manifest_parse(const char *path, const char *text, size_t bytes, zrt__manifest *manifest_out);
/* Reads FOLDER/manifest.json. */
zrt_status zrt__manifest_read(const char *folder, zrt__manifest *manifest_out);

/* Sets a blob; NULL data removes it. Copies. */
zrt_status zrt__blobs_set(zrt__user_blob **blobs, size_t *n_blobs, size_t *capacity, const char *name, const void *data,
                          size_t bytes);
const zrt__user_blob *zrt__blobs_find(const zrt__user_blob *blobs, size_t n_blobs, const char *name);
void zrt__blobs_free(zrt__user_blob *blobs, size_t n_blobs);

/* ---- between the files of this folder ---- */

/* The numbers of zrt__run_state: name, kind (i integer, u unsigned, d double). */
#define ZRT__RUN_STATE_TABLE(X) \
    X(step, i)                  \
    X(skipped, i)               \
    X(unskipped, i)             \
    X(samples, i)               \
    X(seed, u)                  \
    X(loss_scale, d)            \
    X(scaler_iteration, i)      \
    X(last_overflow, i)         \
    X(hysteresis_left, i)       \
    X(scale_at_minimum, i)      \
    X(loss, d)                  \
    X(grad_norm, d)             \
    X(used_learning_rate, d)    \
    X(used_loss_scale, d)       \
    X(counted, d)

/* The end of the file: the checksum of all bytes before it. */
#define ZRT__MANIFEST_TAIL ",\n \"crc32c\": \"%08x\"\n}\n"
#define ZRT__MANIFEST_TAIL_BYTES 26

#endif
