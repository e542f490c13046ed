/* Items handed to threads, each with an encoder of its own. */
#ifndef ZRT_DATA_ENCODE_THREADS_H
#define ZRT_DATA_ENCODE_THREADS_H

#include <zerort/tokenizer.h>

/* Does item `index`. Items of different indices run at once. */
typedef zrt_status zrt__encode_item(void *argument, zrt_encoder *encoder, size_t index);

typedef struct zrt__encode_threads zrt__encode_threads;

/* n_threads 0: one for each processor that this process may use. The tokenizer is lent. */
zrt_status zrt__encode_threads_create(const zrt_tokenizer *tokenizer, int n_threads, zrt__encode_threads **threads_out);
void zrt__encode_threads_destroy(zrt__encode_threads **threads);
int zrt__encode_threads_n(const zrt__encode_threads *threads);

/* Items 0 .. n - 1, taken in order; returns when all are done. The error is that of the lowest item that failed. */
zrt_status zrt__encode_threads_run(zrt__encode_threads *threads, size_t n, zrt__encode_item *item, void *argument);

#endif
