/* Regular expressions of tokenizer.json, which are Oniguruma's, by PCRE2. */
#ifndef ZRT_DATA_TOKENIZER_EXPRESSION_H
#define ZRT_DATA_TOKENIZER_EXPRESSION_H

#include "data/tokenizer/text.h"

typedef struct zrt__expression zrt__expression;
/* What matching needs besides, of one thread. */
typedef struct zrt__matcher zrt__matcher;

/* A pattern whose meaning PCRE2 would change is refused with the part named. `where` begins messages. */
zrt_status zrt__expression_compile(const char *where, const char *pattern, size_t n, zrt__expression **expression_out);
/* Matches the text itself; n > 0. */
zrt_status zrt__expression_literal(const char *text, size_t n, zrt__expression **expression_out);
void zrt__expression_destroy(zrt__expression **expression);

zrt_status zrt__matcher_create(zrt__matcher **matcher_out);
void zrt__matcher_destroy(zrt__matcher **matcher);

/* The first match that begins at `from` or later in valid UTF-8. */
zrt_status zrt__expression_find(const zrt__expression *expression, zrt__matcher *matcher, const char *text, size_t n,
                                size_t from, bool *found_out, size_t *start_out, size_t *end_out);

/* All matches in order, as Oniguruma's find_iter: an empty match right behind the last one is passed over. */
typedef struct zrt__matches {
    const zrt__expression *expression;
    zrt__matcher *matcher;
    const char *text;
    size_t n, at;
    size_t last_end; /* SIZE_MAX: none yet */
} zrt__matches;
static inline zrt__matches zrt__matches_of(const zrt__expression *expression, zrt__matcher *matcher, const char *text,
                                           size_t n)
{
    return (zrt__matches){expression, matcher, text, n, 0, SIZE_MAX};
}
zrt_status zrt__matches_next(zrt__matches *matches, bool *found_out, size_t *start_out, size_t *end_out);

/* The pattern as PCRE2 is to read it. */
zrt_status zrt__expression_translate(const char *where, const char *pattern, size_t n, zrt__bytes *translated);

#endif
