/* The normalizer of a tokenizer.json: steps that rewrite a piece of text. */
#ifndef ZRT_DATA_TOKENIZER_NORMALIZER_H
#define ZRT_DATA_TOKENIZER_NORMALIZER_H

#include "data/tokenizer/expression.h"
#include "data/tokenizer/json_fields.h"

typedef enum zrt__normalizer_kind {
    ZRT__NORMALIZE_PREPEND,
    ZRT__NORMALIZE_REPLACE,
    ZRT__NORMALIZE_FORM, /* one of Unicode's four */
    ZRT__NORMALIZE_LOWERCASE,
    ZRT__NORMALIZE_STRIP,
    ZRT__NORMALIZE_STRIP_ACCENTS, /* marks */
    ZRT__NORMALIZE_STRIP_NONSPACING,
    ZRT__NORMALIZE_BERT_CLEAN,
    ZRT__NORMALIZE_BERT_CJK
} zrt__normalizer_kind;

typedef struct zrt__normalizer_step {
    zrt__normalizer_kind kind;
    char *content; /* prepended, put in place of matches */
    size_t n;
    zrt__expression *expression;
    bool composes, is_compatibility; /* forms: NFC, NFKC; NFKD, NFKC */
    bool left, right;                /* ends that are stripped */
} zrt__normalizer_step;

typedef struct zrt__normalizer {
    zrt__normalizer_step *steps;
    size_t n_steps, capacity;
} zrt__normalizer;

/* Appends the steps of `json`, the value of "normalizer" or one of a sequence. */
zrt_status zrt__normalizer_read(const zrt__json_object *object, zrt__normalizer *normalizer);
void zrt__normalizer_release(zrt__normalizer *normalizer);

/* Valid UTF-8 in and out. The result is the text itself or in one of the buffers. */
zrt_status zrt__normalizer_apply(const zrt__normalizer *normalizer, zrt__matcher *matcher, const char *text, size_t n,
                                 zrt__bytes buffers[2], const char **text_out, size_t *n_out);

/* The "pattern" of an object: {"String": ..} or {"Regex": ..}; NULL for an empty string, which matches nothing. */
zrt_status zrt__pattern_read(const zrt__json_object *object, zrt__expression **expression_out);

#endif
