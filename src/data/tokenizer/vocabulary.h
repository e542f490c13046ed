/* Tokens by content and by id. */
#ifndef ZRT_DATA_TOKENIZER_VOCABULARY_H
#define ZRT_DATA_TOKENIZER_VOCABULARY_H

#include "data/tokenizer/text.h"

enum { ZRT__MAX_TOKEN_ID = 1 << 22 };

typedef struct zrt__token {
    size_t offset; /* of its content in text */
    uint32_t n;
    bool exists;
} zrt__token;

typedef struct zrt__vocabulary {
    zrt__bytes text;
    zrt__token *tokens; /* by id */
    size_t n_ids, tokens_capacity;
    size_t n_contents; /* different contents */
    struct zrt__vocabulary_slot *slots;
    size_t n_slots; /* a power of two */
} zrt__vocabulary;

/* Adds a content; one that is there gets the new id. 0 <= id < ZRT__MAX_TOKEN_ID. */
zrt_status zrt__vocabulary_add(zrt__vocabulary *vocabulary, const char *content, size_t n, int32_t id);
/* -1 where there is none. */
int32_t zrt__vocabulary_find(const zrt__vocabulary *vocabulary, const char *content, size_t n);
/* NULL where there is none. */
const char *zrt__vocabulary_content(const zrt__vocabulary *vocabulary, int64_t id, size_t *n_out);
void zrt__vocabulary_release(zrt__vocabulary *vocabulary);

#endif
