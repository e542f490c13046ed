#include "config.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/dataset.h"
#include "data/ngram.h"

enum { CHUNK_TOKENS = 65536 };

/* Tokens of one sample, or the next part of the stream, in `tokens` of `capacity`. */
static zrt_status read_part(const zrt_dataset *dataset, int64_t at, int64_t end, int64_t capacity, int32_t *tokens,
                            int64_t *n_out)
{
    if (dataset->in_rows)
        return zrt__dataset_read_tokens_of_row(dataset, at, tokens, n_out);
    *n_out = end - at < capacity ? end - at : capacity;
    return zrt__dataset_read_tokens(dataset, at, *n_out, tokens);
}

static zrt_status count_all(zrt__ngram *ngram, const zrt_dataset *dataset, int32_t *tokens, int64_t capacity)
{
    int64_t end = dataset->in_rows ? dataset->n_rows : dataset->n_tokens, n;

    zrt__ngram_restart(ngram);
    for (int64_t at = 0; at < end; at += dataset->in_rows ? 1 : n) {
        ZRT_TRY(read_part(dataset, at, end, capacity, tokens, &n));
        if (dataset->in_rows)
            zrt__ngram_restart(ngram);
        ZRT_TRY(zrt__ngram_count(ngram, tokens, n));
    }
    return ZRT_OK;
}

static zrt_status score_all(zrt__ngram *ngram, const zrt_dataset *dataset, int32_t *tokens, int64_t capacity,
                            double *nats_out, int64_t *count_out)
{
    /* Labels of a stream are its tokens 1 to n_rows * length. */
    int64_t end = dataset->in_rows ? dataset->n_rows : dataset->n_rows * dataset->length + 1, n, count = 0;
    double nats = 0.0;

    zrt__ngram_restart(ngram);
    for (int64_t at = 0; at < end; at += dataset->in_rows ? 1 : n) {
        int64_t n_unscored = dataset->in_rows || at == 0 ? 1 : 0;

        ZRT_TRY(read_part(dataset, at, end, capacity, tokens, &n));
        if (dataset->in_rows)
            zrt__ngram_restart(ngram);
        nats += zrt__ngram_score(ngram, tokens, n, n_unscored);
        count += n - n_unscored;
    }
    *nats_out = nats / (double)count;
    *count_out = count;
    return ZRT_OK;
}

/* 256 for text; what the options said; otherwise one more than the largest token that is there. */
static zrt_status vocabulary_of(const zrt_dataset *train, const zrt_dataset *evaluation, int32_t *tokens,
                                int64_t capacity, int64_t *vocab_size_out)
{
    const zrt_dataset *both[2] = {train, evaluation};
    int64_t vocab_size = train->vocab_size > evaluation->vocab_size ? train->vocab_size : evaluation->vocab_size;

    if (train->is_text && evaluation->is_text)
        vocab_size = 256;
    for (int d = 0;
         d < 2 && (train->vocab_size == 0 || evaluation->vocab_size == 0) && !(train->is_text && evaluation->is_text);
         d++) {
        int64_t end = both[d]->in_rows ? both[d]->n_rows : both[d]->n_tokens, n;
        for (int64_t at = 0; at < end; at += both[d]->in_rows ? 1 : n) {
            ZRT_TRY(read_part(both[d], at, end, capacity, tokens, &n));
            for (int64_t i = 0; i < n; i++)
                vocab_size = tokens[i] >= vocab_size ? (int64_t)tokens[i] + 1 : vocab_size;
        }
    }
    *vocab_size_out = vocab_size;
    return ZRT_OK;
}

zrt_status zrt_dataset_ngram_loss(const zrt_dataset *train, const zrt_dataset *evaluation, int order, double *nats_out,
                                  int64_t *count_out)
{
    int64_t vocab_size, count, capacity = CHUNK_TOKENS;
    zrt__ngram *ngram = NULL;
    int32_t *tokens;
    zrt_status status;

    if (!train->is_files || !evaluation->is_files)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "n-grams are counted in files of tokens, not in arrays in memory");
    if (capacity < train->length + 1)
        capacity = train->length + 1;
    if (capacity < evaluation->length + 1)
        capacity = evaluation->length + 1;
    tokens = zrt__malloc((size_t)capacity * sizeof *tokens);
    if (tokens == NULL)
        return ZRT_ERR_MEMORY;
    status = vocabulary_of(train, evaluation, tokens, capacity, &vocab_size);
    if (status == ZRT_OK)
        status = zrt__ngram_create(order, vocab_size, &ngram);
    if (status == ZRT_OK)
        status = count_all(ngram, train, tokens, capacity);
    if (status == ZRT_OK)
        status = score_all(ngram, evaluation, tokens, capacity, nats_out, count_out != NULL ? count_out : &count);
    zrt__ngram_destroy(&ngram);
    free(tokens);
    return status;
}
