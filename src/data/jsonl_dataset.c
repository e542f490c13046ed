#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/dataset.h"
#include "data/dataset_paths.h"
#include "data/jsonl_read.h"

enum { LENGTH_BUCKET = 64 };

static zrt_status add_field(zrt_dataset *dataset, const char *name, bool has_length)
{
    int i = dataset->n_fields;

    dataset->names[i] = zrt__strdup(name);
    if (dataset->names[i] == NULL)
        return ZRT_ERR_MEMORY;
    dataset->fields[i] = (zrt_view){.dtype = ZRT_INT32, .n_dims = has_length ? 1 : 0, .dims = {dataset->length}};
    dataset->row_bytes[i] = sizeof(int32_t) * (has_length ? (size_t)dataset->length : 1);
    dataset->n_fields++;
    return ZRT_OK;
}

static zrt_status finish(const zrt_jsonl_options *options, const zrt__jsonl_result *result, bool held_out,
                         zrt_dataset *dataset)
{
    zrt__samples *samples = dataset->samples;

    dataset->length = options->length;
    if (dataset->length == 0) {
        dataset->length = (result->longest + LENGTH_BUCKET - 1) / LENGTH_BUCKET * LENGTH_BUCKET;
        if (options->longest > 0 && dataset->length > options->longest)
            dataset->length = options->longest;
    }
    if (samples->n == 0 && held_out)
        return zrt__fail(ZRT_ERR_INPUT, "%s: too few samples to hold some out for evaluation; give an evaluation file",
                         result->last_path);
    if (samples->n == 0)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: no sample is left of %" PRId64 " lines: %" PRId64 " bad, %" PRId64 " empty",
                         result->last_path, result->counts.n_read, result->counts.n_bad, result->counts.n_empty);
    samples->classifies = result->classifies;
    if (samples->classifies && options->packing)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: samples of classification cannot be packed", result->last_path);
    if (options->packing)
        ZRT_TRY(zrt__samples_pack(samples, dataset->length));
    dataset->n_rows = (int64_t)(options->packing ? samples->n_rows : samples->n);
    dataset->n_tokens = (int64_t)samples->tokens.n;
    dataset->label_positions = samples->classifies ? 1 : dataset->length;
    ZRT_TRY(add_field(dataset, "input_ids", true));
    if (samples->classifies) {
        ZRT_TRY(add_field(dataset, "attention_mask", true));
        ZRT_TRY(add_field(dataset, "token_type_ids", true));
    }
    ZRT_TRY(add_field(dataset, "labels", !samples->classifies));
    if (!options->packing)
        return ZRT_OK;
    ZRT_TRY(add_field(dataset, "position_ids", true));
    return add_field(dataset, "segment_ids", true);
}

static zrt_status check(const zrt_tokenizer *tokenizer, int n_paths, const zrt_jsonl_options *options)
{
    if (n_paths < 1)
        return zrt__fail(ZRT_ERR_INPUT, "no data file is named; give one or more");
    if (options->length < 0 || options->length >= INT32_MAX)
        return zrt__fail(ZRT_ERR_USAGE, "a row of %" PRId64 " tokens is not possible", options->length);
    if (!(options->held_out_fraction >= 0 && options->held_out_fraction < 1))
        return zrt__fail(ZRT_ERR_USAGE, "a held-out fraction of %g is not possible", options->held_out_fraction);
    if (options->vocab_size > 0 && zrt_tokenizer_n_ids(tokenizer) > options->vocab_size)
        return zrt__fail(ZRT_ERR_INPUT,
                         "the tokenizer does not fit the model: it has %" PRId64
                         " tokens and the model's vocabulary %" PRId64
                         "; take the tokenizer.json of the model's folder",
                         zrt_tokenizer_n_ids(tokenizer), options->vocab_size);
    return ZRT_OK;
}

static zrt_status make(zrt_dataset **dataset_out)
{
    zrt_dataset *dataset = zrt__calloc(1, sizeof *dataset);

    if (dataset != NULL)
        dataset->samples = zrt__calloc(1, sizeof *dataset->samples);
    *dataset_out = dataset;
    return dataset != NULL && dataset->samples != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
}

typedef struct outputs {
    zrt_dataset *rest, *held_out; /* NULL: not wanted; both the same: all */
    zrt_jsonl_counts counts;
} outputs;

static zrt_status read_into(const char *const *paths, int n_paths, const zrt_tokenizer *tokenizer,
                            const zrt_jsonl_options *options, zrt_status status, outputs *out)
{
    const zrt__group *group = options->context != NULL ? zrt__context_world(options->context) : NULL;
    zrt__jsonl_result result = {0};
    zrt_jsonl_options mine = *options;
    zrt__data_path *expanded = NULL;
    size_t n_expanded = 0;

    if (status == ZRT_OK)
        status = zrt__data_paths_expand(paths, n_paths, &expanded, &n_expanded);
    if (group != NULL)
        status = zrt__group_agree(group, status);
    if (group != NULL && mine.n_threads == 0)
        mine.n_threads = zrt__context_placement(options->context)->n_threads;
    if (status == ZRT_OK)
        status = zrt__jsonl_read(group, tokenizer, &mine, expanded, n_expanded,
                                 out->rest != NULL ? out->rest->samples : NULL,
                                 out->held_out != NULL ? out->held_out->samples : NULL, &result);
    if (status == ZRT_OK && out->rest != NULL)
        status = finish(options, &result, false, out->rest);
    if (status == ZRT_OK && out->held_out != NULL && out->held_out != out->rest)
        status = finish(options, &result, true, out->held_out);
    if (group != NULL)
        status = zrt__group_agree(group, status);
    zrt__data_paths_destroy(&expanded, n_expanded);
    out->counts = result.counts;
    return status;
}

zrt_status zrt_dataset_open_jsonl(const char *const *paths, int n_paths, const zrt_tokenizer *tokenizer,
                                  const zrt_jsonl_options *options, zrt_jsonl_counts *counts_out,
                                  zrt_dataset **dataset_out)
{
    outputs out = {0};
    zrt_dataset *dataset;

    *dataset_out = NULL;
    ZRT_TRY(check(tokenizer, n_paths, options)); /* of what all ranks give alike */
    zrt_status status = make(&dataset);
    out.rest = options->split != ZRT_SPLIT_EVALUATION ? dataset : NULL;
    out.held_out = options->split != ZRT_SPLIT_TRAIN ? dataset : NULL;
    status = read_into(paths, n_paths, tokenizer, options, status, &out);
    if (counts_out != NULL)
        *counts_out = out.counts;
    if (status != ZRT_OK)
        zrt_dataset_destroy(&dataset);
    *dataset_out = dataset;
    return status;
}

zrt_status zrt_dataset_open_jsonl_split(const char *const *paths, int n_paths, const zrt_tokenizer *tokenizer,
                                        const zrt_jsonl_options *options, zrt_jsonl_counts *counts_out,
                                        zrt_dataset **train_out, zrt_dataset **held_out_out)
{
    outputs out = {0};

    *train_out = *held_out_out = NULL;
    ZRT_TRY(check(tokenizer, n_paths, options));
    zrt_status status = make(&out.rest);
    if (status == ZRT_OK)
        status = make(&out.held_out);
    status = read_into(paths, n_paths, tokenizer, options, status, &out);
    if (counts_out != NULL)
        *counts_out = out.counts;
    if (status != ZRT_OK) {
        zrt_dataset_destroy(&out.rest);
        zrt_dataset_destroy(&out.held_out);
    }
    *train_out = out.rest;
    *held_out_out = out.held_out;
    return status;
}

int64_t zrt_dataset_length(const zrt_dataset *dataset)
{
    return dataset->length;
}

bool zrt_dataset_is_classification(const zrt_dataset *dataset)
{
    return dataset->samples != NULL && dataset->samples->classifies;
}

bool zrt_path_is_jsonl(const char *path)
{
    static const char *const endings[] = {".jsonl", ".json", ".jsonl.gz", ".json.gz"};
    size_t n = strlen(path);

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t length = strlen(endings[i]);
        if (n > length && strcmp(path + n - length, endings[i]) == 0)
            return true;
    }
    return false;
}
