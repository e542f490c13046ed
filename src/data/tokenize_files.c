#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zerort/text_data.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/dataset_paths.h"
#include "data/encode_threads.h"
#include "data/jsonl_sample.h"
#include "data/text_blocks.h"
#include "data/token_format.h"

enum { BLOCKS_PER_THREAD = 4 };

typedef struct tokenize_block {
    zrt__text_block text;
    zrt__ids tokens;
    zrt__bytes out;
    int64_t n_documents, n_bad;
    const char *path;
    bool is_jsonl;
} tokenize_block;

typedef struct tokenizing {
    const zrt_tokenize_options *options;
    zrt__encode_threads *threads;
    tokenize_block *blocks;
    size_t n_blocks;
    int element_bytes;
    FILE *file;
    char *partial; /* the name that the file has until it is whole */
    zrt_tokenize_counts counts;
    int64_t disk_bytes, disk_total;
} tokenizing;

/* ---- a block ---- */

static zrt_status put_document(const tokenizing *t, zrt_encoder *encoder, const char *text, size_t n,
                               tokenize_block *block)
{
    const int32_t *ids;
    int64_t n_ids;

    ZRT_TRY(zrt_encoder_encode(encoder, text, n, t->options->special, &ids, &n_ids));
    ZRT_TRY(zrt__ids_reserve(&block->tokens, (size_t)n_ids + 1));
    memcpy(block->tokens.data + block->tokens.n, ids, (size_t)n_ids * sizeof *ids);
    block->tokens.n += (size_t)n_ids;
    if (t->options->end_token_id >= 0)
        block->tokens.data[block->tokens.n++] = t->options->end_token_id;
    block->n_documents++;
    return ZRT_OK;
}

static zrt_status put_json_line(const tokenizing *t, zrt_encoder *encoder, int64_t line, const char *text, size_t n,
                                tokenize_block *block)
{
    const char *column = t->options->text_column ? t->options->text_column : "text", *document;
    size_t n_document;
    json_t *json = NULL;
    zrt_status status = zrt__jsonl_parse(block->path, line, text, n, &json);

    if (status == ZRT_OK)
        status = zrt__jsonl_text(block->path, line, json, column, &document, &n_document);
    if (status == ZRT_OK && n_document > 0)
        status = put_document(t, encoder, document, n_document, block);
    json_decref(json);
    if (status == ZRT_ERR_INPUT && t->options->skip_bad_lines) {
        block->n_bad++;
        return ZRT_OK;
    }
    return status;
}

static zrt_status put_text(const tokenizing *t, zrt_encoder *encoder, int64_t line, const char *text, size_t n,
                           tokenize_block *block)
{
    size_t valid = zrt__utf8_valid_prefix(text, n);

    if (n == 0)
        return ZRT_OK;
    if (valid == n)
        return put_document(t, encoder, text, n, block);
    if (t->options->skip_bad_lines) {
        block->n_bad++;
        return ZRT_OK;
    }
    for (size_t i = 0; i < valid; i++)
        line += text[i] == '\n';
    return zrt__fail(ZRT_ERR_INPUT, "%s: line %" PRId64 ": is not UTF-8 (0x%02x); write the file again as UTF-8",
                     block->path, line, (unsigned char)text[valid]);
}

/* Bytes of the document at `text`, its line feeds with it, and of them those that are not encoded. */
static size_t document_length(zrt_document kind, const char *text, size_t n, size_t *dropped_out)
{
    *dropped_out = 0;
    if (kind == ZRT_DOCUMENT_FILE)
        return n;
    for (size_t at = 0; at < n;) {
        const char *feed = memchr(text + at, '\n', n - at);
        size_t end = feed ? (size_t)(feed - text) + 1 : n, feeds = end;
        if (feed == NULL)
            return n;
        while (feeds < n && text[feeds] == '\n')
            feeds++;
        if (kind == ZRT_DOCUMENT_LINE || feeds > end) {
            size_t length = kind == ZRT_DOCUMENT_LINE ? end : feeds;
            *dropped_out = length - (end - 1);
            return length;
        }
        at = end;
    }
    return n;
}

static zrt_status encode_block(void *argument, zrt_encoder *encoder, size_t index)
{
    tokenizing *t = argument;
    tokenize_block *block = &t->blocks[index];
    const char *text = block->text.text.data;
    size_t n = block->text.text.n, bytes, dropped;
    zrt_document kind = block->is_jsonl ? ZRT_DOCUMENT_LINE : t->options->document;
    int64_t line = block->text.first_line;

    block->tokens.n = block->out.n = 0;
    block->n_documents = block->n_bad = 0;
    for (size_t at = 0; at < n; at += bytes) {
        bytes = document_length(kind, text + at, n - at, &dropped);
        if (!block->is_jsonl)
            ZRT_TRY(put_text(t, encoder, line, text + at, bytes - dropped, block));
        else if (bytes - dropped > 0)
            ZRT_TRY(put_json_line(t, encoder, line, text + at, bytes - dropped, block));
        for (size_t i = at; i < at + bytes; i++)
            line += text[i] == '\n';
    }
    ZRT_TRY(zrt__bytes_reserve(&block->out, block->tokens.n * (size_t)t->element_bytes + 1));
    for (size_t i = 0; i < block->tokens.n; i++) {
        uint16_t narrow = (uint16_t)block->tokens.data[i];
        if (t->element_bytes == 2)
            memcpy(block->out.data + 2 * i, &narrow, 2);
        else
            memcpy(block->out.data + 4 * i, &block->tokens.data[i], 4);
    }
    block->out.n = block->tokens.n * (size_t)t->element_bytes;
    return ZRT_OK;
}

/* ---- files ---- */

static zrt_status write_blocks(tokenizing *t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const tokenize_block *block = &t->blocks[i];
        if (fwrite(block->out.data, 1, block->out.n, t->file) != block->out.n)
            return zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s", t->partial, strerror(errno));
        t->counts.n_tokens += (int64_t)block->tokens.n;
        t->counts.n_documents += block->n_documents;
        t->counts.n_bad += block->n_bad;
        t->counts.n_bytes += (int64_t)block->text.text.n;
    }
    if (t->counts.n_tokens > (int64_t)UINT32_MAX)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "more than %" PRIu32 " tokens do not go into one .bin; give the files in several parts",
                         UINT32_MAX);
    return ZRT_OK;
}

/* Fills blocks from the files in turn, so that many small files keep all threads busy. */
static zrt_status run(tokenizing *t, const zrt__data_path *paths, size_t n_paths)
{
    zrt__text_reader *reader = NULL;
    size_t next = 0, n = 1;
    zrt_status status = ZRT_OK;

    while (status == ZRT_OK && n > 0) {
        for (n = 0; status == ZRT_OK && n < t->n_blocks;) {
            bool has;
            if (reader == NULL) {
                if (next == n_paths)
                    break;
                bool is_jsonl = zrt_path_is_jsonl(paths[next].path);
                status = zrt__text_reader_open(paths[next].path,
                                               is_jsonl || t->options->document == ZRT_DOCUMENT_LINE ? ZRT__BLOCK_LINE
                                               : t->options->document == ZRT_DOCUMENT_PARAGRAPH ? ZRT__BLOCK_PARAGRAPH
                                                                                                : ZRT__BLOCK_FILE,
                                               &reader);
                if (status != ZRT_OK)
                    break;
                next++;
            }
            t->blocks[n].path = paths[next - 1].path;
            t->blocks[n].is_jsonl = zrt_path_is_jsonl(paths[next - 1].path);
            status = zrt__text_reader_next(reader, &t->blocks[n].text, &has);
            if (status == ZRT_OK && !has) {
                t->disk_bytes += zrt__text_reader_size(reader);
                zrt__text_reader_close(&reader);
            }
            n += status == ZRT_OK && has;
        }
        if (status == ZRT_OK)
            status = zrt__encode_threads_run(t->threads, n, encode_block, t);
        if (status == ZRT_OK)
            status = write_blocks(t, n);
        if (status == ZRT_OK && t->options->progress != NULL)
            t->options->progress(t->options->progress_argument,
                                 t->disk_bytes + (reader ? zrt__text_reader_position(reader) : 0), t->disk_total,
                                 t->counts.n_tokens);
    }
    zrt__text_reader_close(&reader);
    return status;
}

static zrt_status add_up(tokenizing *t, const zrt__data_path *paths, size_t n_paths)
{
    for (size_t i = 0; i < n_paths; i++) {
        zrt__text_reader *reader;
        ZRT_TRY(zrt__text_reader_open(paths[i].path, ZRT__BLOCK_LINE, &reader));
        t->disk_total += zrt__text_reader_size(reader);
        zrt__text_reader_close(&reader);
    }
    return ZRT_OK;
}

static zrt_status write_header(tokenizing *t)
{
    int32_t header[ZRT__BIN_HEADER_INTS] = {0};

    header[0] = t->element_bytes == 2 ? ZRT__BIN_MAGIC_GPT2 : ZRT__BIN_MAGIC_LLAMA3;
    header[1] = t->element_bytes == 2 ? ZRT__BIN_VERSION_GPT2 : ZRT__BIN_VERSION_LLAMA3;
    header[2] = (int32_t)(uint32_t)t->counts.n_tokens;
    if (fseek(t->file, 0, SEEK_SET) != 0 || fwrite(header, sizeof header, 1, t->file) != 1)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s", t->partial, strerror(errno));
    return ZRT_OK;
}

static zrt_status write_file(tokenizing *t, const zrt__data_path *paths, size_t n_paths, const char *out_path)
{
    zrt_status status;

    t->file = fopen(t->partial, "wb");
    if (t->file == NULL)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s", out_path, strerror(errno));
    status = write_header(t);
    if (status == ZRT_OK)
        status = run(t, paths, n_paths);
    if (status == ZRT_OK && t->counts.n_tokens == 0)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: holds no text", paths[0].path);
    if (status == ZRT_OK)
        status = write_header(t);
    if (fclose(t->file) != 0 && status == ZRT_OK)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s", out_path, strerror(errno));
    if (status == ZRT_OK && rename(t->partial, out_path) != 0)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s", out_path, strerror(errno));
    if (status != ZRT_OK)
        unlink(t->partial);
    return status;
}

zrt_status zrt_tokenize_files(const char *const *paths, int n_paths, const zrt_tokenizer *tokenizer,
                              const zrt_tokenize_options *options, const char *out_path,
                              zrt_tokenize_counts *counts_out)
{
    tokenizing t = {.options = options, .element_bytes = zrt_tokenizer_n_ids(tokenizer) <= 65536 ? 2 : 4};
    zrt__data_path *expanded = NULL;
    size_t n_expanded = 0;
    zrt_status status = zrt__data_paths_expand(paths, n_paths, &expanded, &n_expanded);

    if (status == ZRT_OK)
        status = add_up(&t, expanded, n_expanded);
    if (status == ZRT_OK)
        status = zrt__encode_threads_create(tokenizer, options->n_threads, &t.threads);
    if (status == ZRT_OK) {
        t.n_blocks = BLOCKS_PER_THREAD * (size_t)zrt__encode_threads_n(t.threads);
        t.blocks = zrt__calloc(t.n_blocks, sizeof *t.blocks);
        t.partial = zrt__format("%s.partial-%ld", out_path, (long)getpid());
        status = t.blocks != NULL && t.partial != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    }
    if (status == ZRT_OK)
        status = write_file(&t, expanded, n_expanded, out_path);
    for (size_t i = 0; t.blocks != NULL && i < t.n_blocks; i++) {
        zrt__bytes_release(&t.blocks[i].text.text);
        zrt__ids_release(&t.blocks[i].tokens);
        zrt__bytes_release(&t.blocks[i].out);
    }
    free(t.blocks);
    free(t.partial);
    zrt__encode_threads_destroy(&t.threads);
    zrt__data_paths_destroy(&expanded, n_expanded);
    if (counts_out != NULL)
        *counts_out = t.counts;
    return status;
}
