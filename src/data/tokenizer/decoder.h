/* The decoder of a tokenizer.json: steps that rewrite a list of tokens' texts, which are then put together. */
#ifndef ZRT_DATA_TOKENIZER_DECODER_H
#define ZRT_DATA_TOKENIZER_DECODER_H

#include "data/tokenizer/expression.h"
#include "data/tokenizer/json_fields.h"

typedef enum zrt__decoder_kind {
    ZRT__DECODE_BYTE_LEVEL,
    ZRT__DECODE_WORDPIECE,
    ZRT__DECODE_REPLACE,
    ZRT__DECODE_BYTE_FALLBACK,
    ZRT__DECODE_FUSE,
    ZRT__DECODE_STRIP,
    ZRT__DECODE_METASPACE
} zrt__decoder_kind;

typedef struct zrt__decoder_step {
    zrt__decoder_kind kind;
    char *content; /* WordPiece's prefix, what is put in place, what is stripped, what a space became */
    size_t n;
    zrt__expression *expression;
    int64_t start, stop; /* characters stripped at most */
    bool flag;           /* WordPiece: tidies; Metaspace: a space was prepended */
} zrt__decoder_step;

typedef struct zrt__decoder {
    bool exists; /* without one, tokens stand with spaces between them */
    zrt__decoder_step *steps;
    size_t n_steps, capacity;
} zrt__decoder;

/* Texts one after another: text i ends at ends[i]. */
typedef struct zrt__token_texts {
    zrt__bytes text;
    size_t *ends;
    size_t n, capacity;
} zrt__token_texts;

zrt_status zrt__decoder_read(const zrt__json_object *object, zrt__decoder *decoder);
void zrt__decoder_release(zrt__decoder *decoder);

zrt_status zrt__token_texts_append(zrt__token_texts *texts, const char *text, size_t n);
void zrt__token_texts_release(zrt__token_texts *texts);

/* Texts in texts[0]; the result is in one of the two. */
zrt_status zrt__decoder_apply(const zrt__decoder *decoder, zrt__matcher *matcher, zrt__token_texts texts[2],
                              const zrt__bytes **text_out);

#endif
