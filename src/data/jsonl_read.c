#include "config.h"

#include "data/jsonl_read.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/encode_threads.h"
#include "data/jsonl_sample.h"
#include "data/jsonl_share.h"
#include "data/text_blocks.h"

enum { BLOCKS_PER_THREAD = 4 };

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
    const zrt__group *group; /* NULL: this rank alone */
    jsonl_block *blocks;     /* of this rank */
    zrt__text_block other;   /* of another rank */
    int64_t *blocks_of;      /* by rank, of a batch */
    int64_t n_bytes;         /* of the file so far */
    zrt__samples batch;      /* of this rank */
    const char *path;        /* of the file at hand */
    zrt__jsonl_form form;
    bool has_form;
    zrt__samples of_file;
    zrt__jsonl_result *result;
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

/* What the threads made of this rank's blocks, end to end. */
static zrt_status gather_blocks(jsonl_reading *reading, size_t n, zrt__jsonl_part *part)
{
    zrt__samples *batch = &reading->batch;

    for (size_t b = 0; b < n; b++) {
        const jsonl_block *block = &reading->blocks[b];
        for (size_t i = 0; i < block->samples.n; i++) {
            zrt__sample sample = block->samples.samples[i];
            ZRT_TRY(zrt__samples_append(batch, block->samples.tokens.data + sample.first, sample));
        }
        part->counts.n_read += block->counts.n_read;
        part->counts.n_bad += block->counts.n_bad;
        part->counts.n_empty += block->counts.n_empty;
        part->counts.n_truncated += block->counts.n_truncated;
        part->counts.n_tokens += block->counts.n_tokens;
    }
    part->n_samples = (int64_t)batch->n;
    part->n_tokens = (int64_t)batch->tokens.n;
    return ZRT_OK;
}

/* The text of a batch: ranks have blocks one after the other. All look for the form until a line has it. */
static zrt_status read_text(jsonl_reading *reading, zrt__text_reader *reader, size_t *n_out, bool *more)
{
    int n_ranks = reading->group != NULL ? zrt__group_size(reading->group) : 1;
    int rank = reading->group != NULL ? zrt__group_rank(reading->group) : 0;

    *n_out = 0;
    for (int r = 0; r < n_ranks; r++) {
        for (int64_t i = 0; i < reading->blocks_of[r] && *more; i++) {
            zrt__text_block *block = r == rank ? &reading->blocks[i].text : &reading->other;
            ZRT_TRY(zrt__text_reader_next(reader, block, more));
            if (!*more)
                break;
            *n_out += r == rank;
            reading->n_bytes += (int64_t)block->text.n;
            if (!reading->has_form)
                ZRT_TRY(each_line(block, choose_form, reading));
        }
    }
    if (!reading->has_form) /* nothing but bad lines so far */
        reading->form = (zrt__jsonl_form){.kind = ZRT__JSONL_TEXT, .first = "text", .end_token = -1};
    return ZRT_OK;
}

static zrt_status read_batch(jsonl_reading *reading, zrt__text_reader *reader, bool *more)
{
    zrt__jsonl_part part = {0};
    size_t n = 0, first = reading->of_file.n;

    reading->batch.n = reading->batch.tokens.n = 0;
    zrt_status status = read_text(reading, reader, &n, more);
    if (status == ZRT_OK)
        status = zrt__encode_threads_run(reading->threads, n, read_block, reading);
    if (status == ZRT_OK)
        status = gather_blocks(reading, n, &part);
    part.failed = status != ZRT_OK;
    part.more = *more;
    part.n_read = reading->n_bytes;
    ZRT_TRY(zrt__jsonl_share(reading->group, reading->path, status, &part, &reading->batch, &reading->of_file,
                             &reading->result->counts));
    for (size_t i = first; i < reading->of_file.n; i++)
        if (reading->of_file.samples[i].n > reading->result->longest)
            reading->result->longest = reading->of_file.samples[i].n;
    return ZRT_OK;
}

/* The end of a file's samples is held out. */
static zrt_status take_file(jsonl_reading *reading, zrt__samples *to, zrt__samples *held_out)
{
    const zrt__samples *from = &reading->of_file;
    size_t end = from->n;

    if (to != held_out)
        end -= (size_t)llrint((double)from->n * reading->options->held_out_fraction);
    for (size_t i = 0; i < from->n; i++) {
        zrt__samples *part = i < end ? to : held_out;
        if (part != NULL)
            ZRT_TRY(zrt__samples_append(part, from->tokens.data + from->samples[i].first, from->samples[i]));
    }
    return ZRT_OK;
}

static zrt_status agree(const jsonl_reading *reading, zrt_status status)
{
    return reading->group != NULL ? zrt__group_agree(reading->group, status) : status;
}

static zrt_status read_file(jsonl_reading *reading, const char *path, zrt__samples *to, zrt__samples *held_out)
{
    zrt__text_reader *reader = NULL;
    int64_t before = reading->result->counts.n_read;
    zrt_status status;

    reading->path = path;
    reading->n_bytes = 0;
    reading->of_file.n = reading->of_file.tokens.n = 0;
    status = agree(reading, zrt__text_reader_open(path, ZRT__BLOCK_LINE, &reader));
    for (bool more = true; more && status == ZRT_OK;)
        status = read_batch(reading, reader, &more);
    zrt__text_reader_close(&reader);
    ZRT_TRY(status);
    if (reading->result->counts.n_read == before)
        return zrt__fail(ZRT_ERR_INPUT, "%s: is empty; leave it out", path);
    return agree(reading, take_file(reading, to, held_out));
}

/* How many blocks of a batch each rank has. */
static zrt_status share_blocks(jsonl_reading *reading, size_t n_blocks)
{
    int64_t mine = (int64_t)n_blocks;
    int n_ranks = reading->group != NULL ? zrt__group_size(reading->group) : 1;

    reading->blocks_of = zrt__calloc((size_t)n_ranks, sizeof *reading->blocks_of);
    ZRT_TRY(agree(reading, reading->blocks_of != NULL ? ZRT_OK : ZRT_ERR_MEMORY));
    if (reading->group != NULL)
        return zrt__group_all_gather(reading->group, &mine, reading->blocks_of, sizeof mine);
    reading->blocks_of[0] = mine;
    return ZRT_OK;
}

zrt_status zrt__jsonl_read(const zrt__group *group, const zrt_tokenizer *tokenizer, const zrt_jsonl_options *options,
                           const zrt__data_path *paths, size_t n_paths, zrt__samples *to, zrt__samples *held_out,
                           zrt__jsonl_result *result_out)
{
    jsonl_reading reading = {.options = options, .tokenizer = tokenizer, .group = group, .result = result_out};
    size_t n_blocks = 0;
    zrt_status status;

    *result_out = (zrt__jsonl_result){0};
    status = zrt__encode_threads_create(tokenizer, options->n_threads, &reading.threads);
    if (status == ZRT_OK) {
        n_blocks = BLOCKS_PER_THREAD * (size_t)zrt__encode_threads_n(reading.threads);
        reading.blocks = zrt__calloc(n_blocks, sizeof *reading.blocks);
        status = reading.blocks != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    }
    status = agree(&reading, status);
    if (status == ZRT_OK)
        status = share_blocks(&reading, n_blocks);
    for (size_t i = 0; status == ZRT_OK && i < n_paths; i++)
        status = read_file(&reading, paths[i].path, to, held_out);
    for (size_t i = 0; reading.blocks != NULL && i < n_blocks; i++) {
        zrt__bytes_release(&reading.blocks[i].text.text);
        zrt__samples_release(&reading.blocks[i].samples);
        zrt__jsonl_scratch_release(&reading.blocks[i].scratch);
    }
    free(reading.blocks);
    free(reading.blocks_of);
    zrt__bytes_release(&reading.other.text);
    zrt__samples_release(&reading.of_file);
    zrt__samples_release(&reading.batch);
    zrt__encode_threads_destroy(&reading.threads);
    result_out->classifies = reading.form.kind == ZRT__JSONL_CLASSIFICATION;
    result_out->last_path = reading.path;
    return status;
}
