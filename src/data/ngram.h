/* An n-gram model by counting: the yardstick that a trained model must beat. */
#ifndef ZRT_DATA_NGRAM_H
#define ZRT_DATA_NGRAM_H

#include <stdint.h>

#include <zerort/status.h>

typedef struct zrt__ngram zrt__ngram;

/* order: the longest n-gram. ZRT_ERR_NOT_SUPPORTED where `order` tokens of the vocabulary do not fit 63 bits. */
zrt_status zrt__ngram_create(int order, int64_t vocab_size, zrt__ngram **ngram_out);
void zrt__ngram_destroy(zrt__ngram **ngram);

/* The next tokens are not what follows those before. */
void zrt__ngram_restart(zrt__ngram *ngram);
zrt_status zrt__ngram_count(zrt__ngram *ngram, const int32_t *tokens, int64_t n);
/* Adds -ln p of each token; the first `n_unscored` are only history. */
double zrt__ngram_score(zrt__ngram *ngram, const int32_t *tokens, int64_t n, int64_t n_unscored);

#endif
