#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/dataset.h"
#include "data/dataset_paths.h"
#include "data/encode_threads.h"
#include "data/jsonl_sample.h"
#include "data/text_blocks.h"

enum { LENGTH_BUCKET = 64, BLOCKS_PER_THREAD = 4 };

typedef struct jsonl_block {
    zrt__text_block text;
    zrt__samples samples;
    zrt__jsonl_scratch scratch;
    zrt_jsonl_counts counts;
} jsonl_block;

typedef struct jsonl_reading {
    const zrt_jsonl_options *options;
    const zrt_tokenizer *tokenizer;
    zrt__encode_threads *threads;
    jsonl_block *blocks;
    size_t n_blocks;
    const char *path; /* of the file at hand */
    zrt__jsonl_form form;
    bool has_form;
    zrt__samples of_file;
    zrt_jsonl_counts counts;
    int64_t longest; /* tokens of a sample, whatever the split */
} jsonl_reading;

static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    }
    return true;
}

/* Calls for each line of a block; stops at the first that fails. */
typedef zrt_status line_fn(void *argument, int64_t line, const char *text, size_t n, bool *stop);
static zrt_status each_line(const zrt__text_block *block, line_fn *call, void *argument)
{
    const char *at = block->text.data, *end = at + block->text.n;
    bool stop = false;

    for (int64_t line = block->first_line; at < end && !stop; line++) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((feed != NULL ? feed : end) - at);
        if (line == 1 && n >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) {
            at += 3;
            n -= 3;
        }
        if (!is_blank(at, n))
            ZRT_TRY(call(argument, line, at, n, &stop));
        at += n + 1;
    }
    return ZRT_OK;
}

/* ---- a line ---- */

typedef struct line_work {
    const jsonl_reading *reading;
    jsonl_block *block;
    zrt_encoder *encoder;
} line_work;

static bool has_label(const int32_t *tokens, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        if (tokens[i] >= 0)
            return true;
    }
    return false;
}

static zrt_status encode_line(const line_work *work, int64_t line, const char *text, size_t n)
{
    const jsonl_reading *reading = work->reading;
    const zrt_jsonl_options *options = reading->options;
    zrt__jsonl_scratch *scratch = &work->block->scratch;
    bool classifies = reading->form.kind == ZRT__JSONL_CLASSIFICATION;
    zrt__sample sample;
    json_t *json;
    zrt_status status;
    bool truncated = false;

    ZRT_TRY(zrt__jsonl_parse(reading->path, line, text, n, &json));
    status = zrt__jsonl_encode(&reading->form, reading->path, line, json, work->encoder, scratch, &sample, &truncated);
    json_decref(json);
    ZRT_TRY(status);
    if (options->length == 0 && options->longest > 0 && sample.n > options->longest)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: line %" PRId64 ": the sample has %d tokens and the model sees %" PRId64
                         "; shorten it, or give --seq-length to have longer ones truncated",
                         reading->path, line, (int)sample.n, options->longest);
    if (options->length > 0 && sample.n > options->length) {
        sample.n = (int32_t)options->length;
        truncated = true;
    }
    if (classifies ? sample.n == 0 : !has_label(scratch->ids.data, sample.n)) {
        work->block->counts.n_empty++;
        return ZRT_OK;
    }
    work->block->counts.n_truncated += truncated;
    work->block->counts.n_tokens += sample.n;
    return zrt__samples_append(&work->block->samples, scratch->ids.data, sample);
}

static zrt_status read_line(void *argument, int64_t line, const char *text, size_t n, bool *stop)
{
    line_work *work = argument;
    zrt_status status;

    (void)stop;
    work->block->counts.n_read++;
    status = encode_line(work, line, text, n);
    if (status == ZRT_ERR_INPUT && work->reading->options->skip_bad_lines) {
        work->block->counts.n_bad++;
        return ZRT_OK;
    }
    return status;
}

static zrt_status read_block(void *argument, zrt_encoder *encoder, size_t index)
{
    jsonl_reading *reading = argument;
    jsonl_block *block = &reading->blocks[index];
    line_work work = {reading, block, encoder};

    block->samples.n = block->samples.tokens.n = 0;
    block->counts = (zrt_jsonl_counts){0};
    return each_line(&block->text, read_line, &work);
}

/* ---- files ---- */

static zrt_status choose_form(void *argument, int64_t line, const char *text, size_t n, bool *stop)
{
    jsonl_reading *reading = argument;
    json_t *json;
    zrt_status status = zrt__jsonl_parse(reading->path, line, text, n, &json);

    if (status == ZRT_OK) {
        status = zrt__jsonl_choose(reading->path, line, json, reading->options, reading->tokenizer, &reading->form);
        json_decref(json);
        *stop = reading->has_form = status == ZRT_OK;
        return status;
    }
    return status == ZRT_ERR_INPUT && reading->options->skip_bad_lines ? ZRT_OK : status;
}

static zrt_status take_block(jsonl_reading *reading, const jsonl_block *block)
{
    for (size_t i = 0; i < block->samples.n; i++) {
        zrt__sample sample = block->samples.samples[i];
        if (sample.n > reading->longest)
            reading->longest = sample.n;
        ZRT_TRY(zrt__samples_append(&reading->of_file, block->samples.tokens.data + sample.first, sample));
    }
    reading->counts.n_read += block->counts.n_read;
    reading->counts.n_bad += block->counts.n_bad;
    reading->counts.n_empty += block->counts.n_empty;
    reading->counts.n_truncated += block->counts.n_truncated;
    reading->counts.n_tokens += block->counts.n_tokens;
    return ZRT_OK;
}

static zrt_status read_blocks(jsonl_reading *reading, zrt__text_reader *reader)
{
    for (bool more = true; more;) {
        size_t n = 0;
        while (n < reading->n_blocks && more) {
            ZRT_TRY(zrt__text_reader_next(reader, &reading->blocks[n].text, &more));
            n += more;
        }
        for (size_t i = 0; i < n && !reading->has_form; i++)
            ZRT_TRY(each_line(&reading->blocks[i].text, choose_form, reading));
        if (!reading->has_form) /* nothing but bad lines so far */
            reading->form = (zrt__jsonl_form){.kind = ZRT__JSONL_TEXT, .first = "text", .end_token = -1};
        ZRT_TRY(zrt__encode_threads_run(reading->threads, n, read_block, reading));
        for (size_t i = 0; i < n; i++)
            ZRT_TRY(take_block(reading, &reading->blocks[i]));
    }
    return ZRT_OK;
}

/* The part of a file's samples that belongs to the split goes to the dataset. */
static zrt_status take_file(jsonl_reading *reading, zrt__samples *to)
{
    const zrt_jsonl_options *options = reading->options;
    const zrt__samples *from = &reading->of_file;
    size_t first = 0, end = from->n;

    if (options->split != ZRT_SPLIT_ALL)
        end = from->n - (size_t)llrint((double)from->n * options->held_out_fraction);
    if (options->split == ZRT_SPLIT_EVALUATION) {
        first = end;
        end = from->n;
    }
    for (size_t i = first; i < end; i++)
        ZRT_TRY(zrt__samples_append(to, from->tokens.data + from->samples[i].first, from->samples[i]));
    return ZRT_OK;
}

static zrt_status read_file(jsonl_reading *reading, const char *path, zrt__samples *to)
{
    zrt__text_reader *reader;
    int64_t before = reading->counts.n_read;
    zrt_status status;

    reading->path = path;
    reading->of_file.n = reading->of_file.tokens.n = 0;
    ZRT_TRY(zrt__text_reader_open(path, ZRT__BLOCK_LINE, &reader));
    status = read_blocks(reading, reader);
    zrt__text_reader_close(&reader);
    ZRT_TRY(status);
    if (reading->counts.n_read == before)
        return zrt__fail(ZRT_ERR_INPUT, "%s: is empty; leave it out", path);
    return take_file(reading, to);
}

static zrt_status read_files(jsonl_reading *reading, const zrt__data_path *paths, size_t n_paths, zrt__samples *to)
{
    zrt_status status = zrt__encode_threads_create(reading->tokenizer, reading->options->n_threads, &reading->threads);

    if (status == ZRT_OK) {
        reading->n_blocks = BLOCKS_PER_THREAD * (size_t)zrt__encode_threads_n(reading->threads);
        reading->blocks = zrt__calloc(reading->n_blocks, sizeof *reading->blocks);
        status = reading->blocks != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    }
    for (size_t i = 0; status == ZRT_OK && i < n_paths; i++)
        status = read_file(reading, paths[i].path, to);
    for (size_t i = 0; reading->blocks != NULL && i < reading->n_blocks; i++) {
        zrt__bytes_release(&reading->blocks[i].text.text);
        zrt__samples_release(&reading->blocks[i].samples);
        zrt__jsonl_scratch_release(&reading->blocks[i].scratch);
    }
    free(reading->blocks);
    zrt__samples_release(&reading->of_file);
    zrt__encode_threads_destroy(&reading->threads);
    return status;
}

/* ---- the dataset ---- */

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

static zrt_status finish(const jsonl_reading *reading, zrt_dataset *dataset)
{
    const zrt_jsonl_options *options = reading->options;
    zrt__samples *samples = dataset->samples;

    dataset->length = options->length;
    if (dataset->length == 0) {
        dataset->length = (reading->longest + LENGTH_BUCKET - 1) / LENGTH_BUCKET * LENGTH_BUCKET;
        if (options->longest > 0 && dataset->length > options->longest)
            dataset->length = options->longest;
    }
    if (samples->n == 0 && options->split == ZRT_SPLIT_EVALUATION)
        return zrt__fail(ZRT_ERR_INPUT, "%s: too few samples to hold some out for evaluation; give an evaluation file",
                         reading->path);
    if (samples->n == 0)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: no sample is left of %" PRId64 " lines: %" PRId64 " bad, %" PRId64 " empty",
                         reading->path, reading->counts.n_read, reading->counts.n_bad, reading->counts.n_empty);
    samples->classifies = reading->form.kind == ZRT__JSONL_CLASSIFICATION;
    if (samples->classifies && options->packing)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: samples of classification cannot be packed", reading->path);
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

zrt_status zrt_dataset_open_jsonl(const char *const *paths, int n_paths, const zrt_tokenizer *tokenizer,
                                  const zrt_jsonl_options *options, zrt_jsonl_counts *counts_out,
                                  zrt_dataset **dataset_out)
{
    jsonl_reading reading = {.options = options, .tokenizer = tokenizer};
    zrt__data_path *expanded = NULL;
    size_t n_expanded = 0;
    zrt_dataset *dataset;
    zrt_status status;

    *dataset_out = NULL;
    ZRT_TRY(check(tokenizer, n_paths, options));
    dataset = zrt__calloc(1, sizeof *dataset);
    if (dataset == NULL)
        return ZRT_ERR_MEMORY;
    dataset->samples = zrt__calloc(1, sizeof *dataset->samples);
    status = dataset->samples != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = zrt__data_paths_expand(paths, n_paths, &expanded, &n_expanded);
    if (status == ZRT_OK)
        status = read_files(&reading, expanded, n_expanded, dataset->samples);
    if (status == ZRT_OK)
        status = finish(&reading, dataset);
    zrt__data_paths_destroy(&expanded, n_expanded);
    if (counts_out != NULL)
        *counts_out = reading.counts;
    if (status != ZRT_OK)
        zrt_dataset_destroy(&dataset);
    *dataset_out = dataset;
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
