#include "config.h"

#include "data/tokenizer/expression.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/alloc.h"
#include "base/error.h"

enum { JIT_STACK_BYTES = 32 * 1024, JIT_STACK_MOST_BYTES = 8 * 1024 * 1024 };

struct zrt__expression {
    pcre2_code *code; /* NULL: literal */
    bool is_jit;
    char *literal;
    size_t n;
};

struct zrt__matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* only of texts that need more than PCRE2's own */
};

static zrt_status compile(const char *where, const zrt__bytes *pattern, const char *original,
                          zrt__expression *expression)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_SIZE offset = 0;
    int error = 0;

    if (context == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: out of memory", where);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    expression->code =
        pcre2_compile((PCRE2_SPTR)pattern->data, pattern->n,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, &error, &offset, context);
    pcre2_compile_context_free(context);
    if (expression->code == NULL) {
        PCRE2_UCHAR text[160] = "";
        pcre2_get_error_message(error, text, sizeof text);
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: the expression '%.120s' is not supported: %s", where, original,
                         (const char *)text);
    }
    expression->is_jit = pcre2_jit_compile(expression->code, PCRE2_JIT_COMPLETE) == 0;
    return ZRT_OK;
}

zrt_status zrt__expression_compile(const char *where, const char *pattern, size_t n, zrt__expression **expression_out)
{
    zrt__expression *expression = zrt__calloc(1, sizeof *expression);
    zrt__bytes translated = {0};
    zrt_status status = ZRT_ERR_MEMORY;

    *expression_out = NULL;
    if (expression != NULL)
        status = zrt__expression_translate(where, pattern, n, &translated);
    if (status == ZRT_OK)
        status = compile(where, &translated, pattern, expression);
    zrt__bytes_release(&translated);
    if (status != ZRT_OK)
        zrt__expression_destroy(&expression);
    *expression_out = expression;
    return status;
}

zrt_status zrt__expression_literal(const char *text, size_t n, zrt__expression **expression_out)
{
    zrt__expression *expression = zrt__calloc(1, sizeof *expression);

    *expression_out = NULL;
    if (expression == NULL)
        return ZRT_ERR_MEMORY;
    expression->literal = zrt__malloc(n);
    if (expression->literal == NULL) {
        free(expression);
        return ZRT_ERR_MEMORY;
    }
    memcpy(expression->literal, text, n);
    expression->n = n;
    *expression_out = expression;
    return ZRT_OK;
}

void zrt__expression_destroy(zrt__expression **expression)
{
    if (*expression == NULL)
        return;
    pcre2_code_free((*expression)->code);
    free((*expression)->literal);
    free(*expression);
    *expression = NULL;
}

zrt_status zrt__matcher_create(zrt__matcher **matcher_out)
{
    zrt__matcher *matcher = zrt__calloc(1, sizeof *matcher);

    *matcher_out = NULL;
    if (matcher == NULL)
        return ZRT_ERR_MEMORY;
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    if (matcher->data == NULL || matcher->context == NULL) {
        zrt__matcher_destroy(&matcher);
        return zrt__fail(ZRT_ERR_MEMORY, "out of memory for matching expressions");
    }
    *matcher_out = matcher;
    return ZRT_OK;
}

void zrt__matcher_destroy(zrt__matcher **matcher)
{
    if (*matcher == NULL)
        return;
    pcre2_match_data_free((*matcher)->data);
    pcre2_match_context_free((*matcher)->context);
    pcre2_jit_stack_free((*matcher)->stack);
    free(*matcher);
    *matcher = NULL;
}

static bool find_literal(const zrt__expression *expression, const char *text, size_t n, size_t from, size_t *start_out,
                         size_t *end_out)
{
    const char *at = memmem(text + from, n - from, expression->literal, expression->n);

    if (at == NULL)
        return false;
    *start_out = (size_t)(at - text);
    *end_out = *start_out + expression->n;
    return true;
}

zrt_status zrt__expression_find(const zrt__expression *expression, zrt__matcher *matcher, const char *text, size_t n,
                                size_t from, bool *found_out, size_t *start_out, size_t *end_out)
{
    int n_matches = PCRE2_ERROR_JIT_STACKLIMIT;
    const PCRE2_SIZE *offsets;

    if (expression->code == NULL) {
        *found_out = find_literal(expression, text, n, from, start_out, end_out);
        return ZRT_OK;
    }
    if (expression->is_jit)
        n_matches = pcre2_jit_match(expression->code, (PCRE2_SPTR)text, n, from, 0, matcher->data, matcher->context);
    if (n_matches == PCRE2_ERROR_JIT_STACKLIMIT && expression->is_jit && matcher->stack == NULL) {
        matcher->stack = pcre2_jit_stack_create(JIT_STACK_BYTES, JIT_STACK_MOST_BYTES, NULL);
        if (matcher->stack != NULL)
            pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
        n_matches = pcre2_jit_match(expression->code, (PCRE2_SPTR)text, n, from, 0, matcher->data, matcher->context);
    }
    if (n_matches == PCRE2_ERROR_JIT_STACKLIMIT)
        n_matches = pcre2_match(expression->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                                matcher->data, matcher->context);
    *found_out = n_matches >= 0;
    if (n_matches == PCRE2_ERROR_NOMATCH)
        return ZRT_OK;
    if (n_matches < 0) {
        PCRE2_UCHAR message[160] = "";
        pcre2_get_error_message(n_matches, message, sizeof message);
        return zrt__fail(ZRT_ERR_INPUT, "the tokenizer's expression cannot be matched with this text: %s; cut the text",
                         (const char *)message);
    }
    offsets = pcre2_get_ovector_pointer(matcher->data);
    *start_out = offsets[0];
    *end_out = offsets[1];
    return ZRT_OK;
}

zrt_status zrt__matches_next(zrt__matches *matches, bool *found_out, size_t *start_out, size_t *end_out)
{
    for (;;) {
        size_t bytes;
        *found_out = false;
        if (matches->at > matches->n)
            return ZRT_OK;
        ZRT_TRY(zrt__expression_find(matches->expression, matches->matcher, matches->text, matches->n, matches->at,
                                     found_out, start_out, end_out));
        if (!*found_out)
            return ZRT_OK;
        if (*start_out != *end_out || *end_out != matches->last_end) {
            matches->at = matches->last_end = *end_out;
            return ZRT_OK;
        }
        if (matches->at == matches->n) {
            matches->at++;
            continue;
        }
        zrt__utf8_decode(matches->text + matches->at, &bytes);
        matches->at += bytes;
    }
}
