#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/dataset.h"

enum { CHUNK_TOKENS = 2048 };

static zrt_status fail_token(const zrt_dataset *dataset, const zrt__token_file *file, int64_t position, int64_t token)
{
    char where[96], limit[64] = "2^31";

    if (file->n_dims == 2)
        snprintf(where, sizeof where, "row %" PRId64 ", column %" PRId64, position / file->width,
                 position % file->width);
    else
        snprintf(where, sizeof where, "position %" PRId64, position);
    if (dataset->vocab_size > 0)
        snprintf(limit, sizeof limit, "the vocabulary of %" PRId64, dataset->vocab_size);
    if (token < 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: token %" PRId64 " at %s is negative; tokens are 0 or more", file->name,
                         token, where);
    return zrt__fail(ZRT_ERR_INPUT,
                     "%s: token %" PRId64
                     " at %s is not below %s; use data that was made with the model's tokenizer, or a model "
                     "with a larger vocabulary",
                     file->name, token, where, limit);
}

/* Reads from one file and checks every token: one that is too large would index beyond the embedding. */
static zrt_status read_checked(const zrt_dataset *dataset, const zrt__token_file *file, int64_t first, int64_t n,
                               int32_t *tokens)
{
    int64_t wide[CHUNK_TOKENS];
    uint64_t limit = dataset->vocab_size > 0 ? (uint64_t)dataset->vocab_size : (uint64_t)INT32_MAX + 1;

    if (limit > (uint64_t)INT32_MAX + 1)
        limit = (uint64_t)INT32_MAX + 1;
    while (n > 0) {
        int64_t part = n < CHUNK_TOKENS ? n : CHUNK_TOKENS;
        uint64_t largest = 0;

        ZRT_TRY(zrt__token_file_read(file, dataset->descriptors, first, part, wide));
        for (int64_t i = 0; i < part; i++) {
            largest = (uint64_t)wide[i] > largest ? (uint64_t)wide[i] : largest; /* negative ones are the largest */
            tokens[i] = (int32_t)wide[i];
        }
        for (int64_t i = 0; largest >= limit && i < part; i++) {
            if ((uint64_t)wide[i] >= limit)
                return fail_token(dataset, file, first + i, wide[i]);
        }
        first += part;
        tokens += part;
        n -= part;
    }
    return ZRT_OK;
}

/* The extent that holds token or row `at`. */
static const zrt__extent *find_extent(const zrt_dataset *dataset, int64_t at)
{
    size_t low = 0, high = dataset->n_extents;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (dataset->extents[middle].start <= at)
            low = middle;
        else
            high = middle;
    }
    return &dataset->extents[low];
}

zrt_status zrt__dataset_read_tokens(const zrt_dataset *dataset, int64_t first, int64_t n, int32_t *tokens)
{
    const zrt__extent *extent = find_extent(dataset, first);

    for (; n > 0; extent++) {
        int64_t within = first - extent->start, part = extent->n - within < n ? extent->n - within : n;

        ZRT_TRY(read_checked(dataset, extent->file, extent->first + within, part, tokens));
        first += part;
        tokens += part;
        n -= part;
    }
    return ZRT_OK;
}

zrt_status zrt__dataset_read_tokens_of_row(const zrt_dataset *dataset, int64_t row, int32_t *tokens, int64_t *n_out)
{
    const zrt__extent *extent = find_extent(dataset, row);
    const zrt__token_file *file = extent->file;

    *n_out = file->width;
    return read_checked(dataset, file, (extent->first + row - extent->start) * file->width, file->width, tokens);
}

zrt_status zrt__dataset_read_row(const zrt_dataset *dataset, int64_t row, void *const *destinations, int32_t *scratch)
{
    int32_t *input = destinations[0], *labels = destinations[1];
    int64_t length = dataset->length, n = length + 1;

    if (dataset->samples != NULL) {
        zrt__samples_read_row(dataset->samples, row, length, destinations);
        return ZRT_OK;
    }
    if (!dataset->is_files) {
        for (int i = 0; i < dataset->n_fields; i++)
            memcpy(destinations[i], (const char *)dataset->fields[i].data + (size_t)row * dataset->row_bytes[i],
                   dataset->row_bytes[i]);
        return ZRT_OK;
    }
    if (dataset->in_rows)
        ZRT_TRY(zrt__dataset_read_tokens_of_row(dataset, row, scratch, &n));
    else
        ZRT_TRY(zrt__dataset_read_tokens(dataset, row * length, n, scratch));
    for (int64_t i = 0; i < length; i++) {
        input[i] = i < n ? scratch[i] : 0;
        labels[i] = i + 1 < n ? scratch[i + 1] : ZRT_LABEL_IGNORED;
    }
    return ZRT_OK;
}
