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
    int64_t length; /* tokens a row; the engine pads to the plan's bucket */
    int n_fields;
    const char *names[ZRT_BATCH_MAX_FIELDS]; /* "input_ids", "labels" (shifted: what position t predicts), ... */
    zrt_view fields[ZRT_BATCH_MAX_FIELDS];
    const int64_t *sample_ids; /* [n_rows] position of each row in the run's global order, the key of dropout; NULL: the
                                 * engine numbers the rows by step and rank */
    int64_t label_positions;   /* labels a row can have, by which the backward pass divides; 0: length */
} zrt_batch;

/* Opens files as a dataset of rows of `length` tokens, next-token prediction: input_ids and labels (what follows each).
 * The format goes by the extension: .npy (NumPy integers), .bin (llm.c, GPT-2's uint16 or Llama 3's uint32), .h5/.hdf5 (integers,
 * "file.h5:/path" names the dataset), and otherwise the bytes of UTF-8 text, one token each (vocabulary 256). Paths may hold
 * wildcards, which match in byte order. No file is read whole.
 * Files of one dimension are one stream, end to end in the order given (after the split of each): row r is its tokens
 * [r * length, (r + 1) * length], so that only the very last tokens may belong to no row. In files of two dimensions each row is
 * a row: of length + 1 tokens, or fewer, and then labels without a following token are ZRT_LABEL_IGNORED; wider ones are refused.
 * `split` chooses between the parts that held_out_fraction makes at the end of each file, which share no token.
 * Tokens at or beyond vocab_size (0: unchecked) or negative ones are ZRT_ERR_INPUT when they are read, by zrt_loader_next.
 * Errors: ZRT_ERR_INPUT (missing, empty, damaged, too short for one row: the file named), ZRT_ERR_IO (cannot be read). Local. */
typedef enum zrt_split { ZRT_SPLIT_ALL, ZRT_SPLIT_TRAIN, ZRT_SPLIT_EVALUATION } zrt_split;
typedef struct zrt_dataset_options {
    int64_t length;
    int64_t vocab_size;
    double held_out_fraction;
    zrt_split split;
} zrt_dataset_options;
ZRT_EXPORT zrt_status zrt_dataset_open(const char *const *paths, int n_paths, const zrt_dataset_options *options,
                                       zrt_dataset **dataset_out);

/* A dataset over arrays in memory: n_rows rows of each field (dims[0] is n_rows), lent until the dataset is destroyed. The length
 * of its batches is the second dimension of "input_ids" (without it, of "labels"; 1 where that has none). Local. */
ZRT_EXPORT zrt_status zrt_dataset_from_arrays(int64_t n_rows, int n_fields, const char *const *names,
                                              const zrt_view *fields, zrt_dataset **dataset_out);
ZRT_EXPORT void zrt_dataset_destroy(zrt_dataset **dataset);
ZRT_EXPORT int64_t zrt_dataset_n_rows(const zrt_dataset *dataset);
/* Tokens in the chosen part of the files; 0 for arrays. Local. */
ZRT_EXPORT int64_t zrt_dataset_n_tokens(const zrt_dataset *dataset);
/* True when every file is text, whose tokens are bytes: a model with another vocabulary makes nothing of them. Local. */
ZRT_EXPORT bool zrt_dataset_is_text(const zrt_dataset *dataset);

/* What counting reaches: mean nats a token of an n-gram model (Witten-Bell interpolation down to the uniform distribution over the
 * vocabulary) counted on all tokens of `train` and scored on exactly the labels that a loader over `evaluation` hands out, each
 * after the order - 1 tokens before it. order: 1 to 8. A few MB of bytes take a fraction of a second. Local.
 * Errors: ZRT_ERR_NOT_SUPPORTED for datasets of arrays, or where `order` tokens do not fit 63 bits. */
ZRT_EXPORT zrt_status zrt_dataset_ngram_loss(const zrt_dataset *train, const zrt_dataset *evaluation, int order,
                                             double *nats_out, int64_t *count_out);

/* A loader hands each rank its rows of each micro-step in a global order that does not depend on the number of ranks:
 * a permutation keyed by (seed, epoch), its whole state one counter of samples. An optimizer step takes the next
 * ranks x micro_batch_rows x accumulation_steps samples of the counter, so its set of samples is the same however that product is
 * made up. The last step of an epoch may have fewer: the micro-steps that get some share them as evenly as possible over the
 * ranks, and the others have none, so that the next epoch starts with a step. A thread prefetches. */
typedef struct zrt_loader_options {
    int64_t micro_batch_rows;   /* rows a rank and micro-step */
    int64_t accumulation_steps; /* micro-steps an optimizer step; 0 is 1 */
    uint64_t seed;
    bool shuffle;
    bool drop_last;   /* leave out a last step that is not full; otherwise it is short */
    int64_t n_epochs; /* 0: without end */
} zrt_loader_options;
/* Local; all ranks must give the same. The dataset is lent until the loader is destroyed. context may be NULL: one rank.
 * Errors: ZRT_ERR_USAGE (options), ZRT_ERR_INPUT (drop_last and not one full step). */
ZRT_EXPORT zrt_status zrt_loader_create(const zrt_context *context, const zrt_dataset *dataset,
                                        const zrt_loader_options *options, zrt_loader **loader_out);
ZRT_EXPORT void zrt_loader_destroy(zrt_loader **loader);

/* Lends the next micro-batch of this rank; ZRT_END after the last, on all ranks at the same call. An error of reading comes with
 * the batch that it would have been, and again from then on, until a seek. Local; not for two threads at once. */
ZRT_EXPORT zrt_status zrt_loader_next(zrt_loader *loader, const zrt_batch **batch_out);

/* The counter of samples handed out to all ranks (not those prefetched), over all epochs, and a jump to one, with which an
 * optimizer step starts; it ends what the last zrt_loader_next lent. Local; all ranks must jump alike. */
ZRT_EXPORT int64_t zrt_loader_position(const zrt_loader *loader);
ZRT_EXPORT zrt_status zrt_loader_seek(zrt_loader *loader, int64_t position);
/* Micro-batches in one epoch: a multiple of accumulation_steps. Local. */
ZRT_EXPORT int64_t zrt_loader_batches_per_epoch(const zrt_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
