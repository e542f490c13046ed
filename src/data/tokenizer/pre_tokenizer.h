/* The pre-tokenizer of a tokenizer.json: steps that cut a piece of text into words. */
#ifndef ZRT_DATA_TOKENIZER_PRE_TOKENIZER_H
#define ZRT_DATA_TOKENIZER_PRE_TOKENIZER_H

#include "data/tokenizer/expression.h"
#include "data/tokenizer/json_fields.h"

typedef struct zrt__span {
    size_t start, end;
    bool at_start; /* of the whole text */
} zrt__span;

typedef struct zrt__pieces {
    const char *text; /* lent, or that of the buffer */
    zrt__span *spans;
    size_t n_spans, capacity;
    zrt__bytes buffer;
} zrt__pieces;

typedef enum zrt__split_behavior {
    ZRT__SPLIT_REMOVED,
    ZRT__SPLIT_ISOLATED,
    ZRT__SPLIT_MERGED_WITH_PREVIOUS,
    ZRT__SPLIT_MERGED_WITH_NEXT,
    ZRT__SPLIT_CONTIGUOUS
} zrt__split_behavior;

typedef enum zrt__prepend_scheme { ZRT__PREPEND_NEVER, ZRT__PREPEND_FIRST, ZRT__PREPEND_ALWAYS } zrt__prepend_scheme;

typedef struct zrt__pre_tokenizer_step {
    /* What is put in place of each space and before a piece; NULL: nothing is rewritten. */
    char *replacement;
    size_t n_replacement;
    bool replaces_spaces;
    zrt__prepend_scheme prepends;
    /* How it cuts: at characters of a kind, or at matches; neither: not at all. */
    bool (*is_delimiter)(uint32_t code);
    zrt__expression *expression;
    zrt__split_behavior behavior;
    bool inverted;
} zrt__pre_tokenizer_step;

typedef struct zrt__pre_tokenizer {
    zrt__pre_tokenizer_step *steps;
    size_t n_steps, capacity;
    bool is_byte_level; /* words are bytes, each a character of GPT-2's alphabet */
} zrt__pre_tokenizer;

zrt_status zrt__pre_tokenizer_read(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer);
void zrt__pre_tokenizer_release(zrt__pre_tokenizer *pre_tokenizer);

/* Cuts text[0, n), n > 0; the result is one of the two, valid as long as the text is. */
zrt_status zrt__pre_tokenizer_apply(const zrt__pre_tokenizer *pre_tokenizer, zrt__matcher *matcher, const char *text,
                                    size_t n, bool at_start, zrt__pieces pieces[2], const zrt__pieces **words_out);
void zrt__pieces_release(zrt__pieces *pieces);

#endif
