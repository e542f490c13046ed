/* Datasets, the sampler and the prefetching loader. */
#ifndef ZERORT_DATA_H
#define ZERORT_DATA_H

#include <stdbool.h>

#include <zerort/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zrt_context zrt_context;
typedef struct zrt_dataset zrt_dataset;
typedef struct zrt_loader zrt_loader;

#define ZRT_BATCH_MAX_FIELDS 8
#define ZRT_LABEL_IGNORED (-100)

/* One rank's rows of one micro-step. Arrays are [n_rows, ..] in the order of the model's fields. Lent: a loader's batch is
 * valid until the next zrt_loader_next. A rank may have no row (n_rows 0) while others have some. */
typedef struct zrt_batch {
    int64_t n_rows;
    int64_t length;             /* tokens a row; the engine pads to the plan's bucket */
    int n_fields;
    const char *names[ZRT_BATCH_MAX_FIELDS]; /* "input_ids", "labels" (shifted: what position t predicts), ... */
    zrt_view fields[ZRT_BATCH_MAX_FIELDS];
    const int64_t *sample_ids;  /* [n_rows] position of each row in the run's global order, the key of dropout; NULL: the
                                 * engine numbers the rows by step and rank */
    int64_t label_positions;    /* labels a row can have: the static capacity by which the backward pass divides; 0: length */
} zrt_batch;

/* Opens files as a dataset of rows of `length` tokens, next-token prediction: input_ids and labels (shifted by one).
 * The format goes by the extension: .bin (llm.c), .npy (NumPy integers), .h5/.hdf5 (a dataset of integers), and bytes of UTF-8 text otherwise. Paths may hold
 * wildcards. No file is read whole. `split` chooses between the parts that held_out_fraction makes at the end of each file.
 * Tokens at or beyond vocab_size (0: unchecked) are ZRT_ERR_INPUT when they are read. Local. */
typedef enum zrt_split { ZRT_SPLIT_ALL, ZRT_SPLIT_TRAIN, ZRT_SPLIT_EVALUATION } zrt_split;
typedef struct zrt_dataset_options {
    int64_t length;
    int64_t vocab_size;
    double held_out_fraction;
    zrt_split split;
} zrt_dataset_options;
ZRT_EXPORT zrt_status zrt_dataset_open(const char *const *paths, int n_paths, const zrt_dataset_options *options,
                                       zrt_dataset **dataset_out);

/* A dataset over arrays in memory: n_rows rows of each field, lent until the dataset is destroyed. Local. */
ZRT_EXPORT zrt_status zrt_dataset_from_arrays(int64_t n_rows, int n_fields, const char *const *names,
                                              const zrt_view *fields, zrt_dataset **dataset_out);
ZRT_EXPORT void zrt_dataset_destroy(zrt_dataset **dataset);
ZRT_EXPORT int64_t zrt_dataset_n_rows(const zrt_dataset *dataset);

/* A loader hands each rank its rows of each micro-step in a global order that does not depend on the number of ranks:
 * a permutation keyed by (seed, epoch), its whole state one counter of samples. A thread prefetches. */
typedef struct zrt_loader_options {
    int64_t micro_batch_rows; /* rows a rank and micro-step */
    uint64_t seed;
    bool shuffle;
    bool drop_last;           /* leave out a last batch that is not full; otherwise it is short */
    int64_t n_epochs;         /* 0: without end */
} zrt_loader_options;
ZRT_EXPORT zrt_status zrt_loader_create(const zrt_context *context, const zrt_dataset *dataset,
                                        const zrt_loader_options *options, zrt_loader **loader_out);
ZRT_EXPORT void zrt_loader_destroy(zrt_loader **loader);

/* Lends the next micro-batch of this rank; ZRT_END after the last, on all ranks at the same call. Local. */
ZRT_EXPORT zrt_status zrt_loader_next(zrt_loader *loader, const zrt_batch **batch_out);

/* The counter of samples handed out to all ranks, and a jump to one. Local; all ranks must jump alike. */
ZRT_EXPORT int64_t zrt_loader_position(const zrt_loader *loader);
ZRT_EXPORT zrt_status zrt_loader_seek(zrt_loader *loader, int64_t position);
/* Micro-batches in one epoch. */
ZRT_EXPORT int64_t zrt_loader_batches_per_epoch(const zrt_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
