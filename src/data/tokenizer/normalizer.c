#include "config.h"

#include "data/tokenizer/normalizer.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/characters.h"

typedef zrt__normalizer_step step_of;

static zrt_status prepend(const step_of *step, const char *text, size_t n, zrt__bytes *out)
{
    if (n > 0)
        ZRT_TRY(zrt__bytes_append(out, step->content, step->n));
    return zrt__bytes_append(out, text, n);
}

static zrt_status replace(const step_of *step, zrt__matcher *matcher, const char *text, size_t n, zrt__bytes *out)
{
    zrt__matches matches;
    size_t done = 0;

    if (step->expression == NULL)
        return zrt__bytes_append(out, text, n);
    matches = zrt__matches_of(step->expression, matcher, text, n);
    for (;;) {
        bool found;
        size_t start, end;
        ZRT_TRY(zrt__matches_next(&matches, &found, &start, &end));
        if (!found)
            break;
        ZRT_TRY(zrt__bytes_append(out, text + done, start - done));
        ZRT_TRY(zrt__bytes_append(out, step->content, step->n));
        done = end;
    }
    return zrt__bytes_append(out, text + done, n - done);
}

static zrt_status put_in_form(const step_of *step, const char *text, size_t n, zrt__bytes *out)
{
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t length;
    zrt_status status;
    int options = UTF8PROC_STABLE | (step->composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                  (step->is_compatibility ? UTF8PROC_COMPAT : 0);

    if (n == 0)
        return ZRT_OK;
    length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &result, (utf8proc_option_t)options);
    if (length == UTF8PROC_ERROR_NOMEM)
        return zrt__fail(ZRT_ERR_MEMORY, "out of memory for Unicode's normal form of %zu bytes", n);
    if (length < 0)
        return zrt__fail(ZRT_ERR_INPUT, "no normal form of this text: %s", utf8proc_errmsg(length));
    status = zrt__bytes_append(out, result, (size_t)length);
    free(result);
    return status;
}

/* Characters whose forms are newer than the tokenizers library's tables stay; they compose with nothing there. */
static zrt_status form(const step_of *step, const char *text, size_t n, zrt__bytes *out)
{
    size_t done = 0, bytes;

    if (zrt__ascii_prefix(text, n) == n)
        return zrt__bytes_append(out, text, n);
    for (size_t at = 0; at < n; at += bytes) {
        uint32_t code = zrt__utf8_decode(text + at, &bytes);
        if (!zrt__is_normalized_as_is(code))
            continue;
        ZRT_TRY(put_in_form(step, text + done, at - done, out));
        ZRT_TRY(zrt__bytes_append(out, text + at, bytes));
        done = at + bytes;
    }
    return put_in_form(step, text + done, n - done, out);
}

static zrt_status lowercase(const char *text, size_t n, zrt__bytes *out)
{
    size_t bytes;

    ZRT_TRY(zrt__bytes_reserve(out, n));
    for (size_t at = 0; at < n; at += bytes) {
        uint32_t lower[2], code = zrt__utf8_decode(text + at, &bytes);
        size_t n_lower = 1;
        if (code < 0x80)
            lower[0] = code >= 'A' && code <= 'Z' ? code + 32 : code;
        else
            n_lower = zrt__to_lower(code, lower);
        for (size_t i = 0; i < n_lower; i++)
            ZRT_TRY(zrt__bytes_append_code(out, lower[i]));
    }
    return ZRT_OK;
}

static zrt_status strip(const step_of *step, const char *text, size_t n, zrt__bytes *out)
{
    size_t start = 0, end = n, bytes;

    while (step->left && start < end && zrt__is_space(zrt__utf8_decode(text + start, &bytes)))
        start += bytes;
    while (step->right && end > start && zrt__is_space(zrt__utf8_decode(text + zrt__utf8_previous(text, end), &bytes)))
        end -= bytes;
    return zrt__bytes_append(out, text + start, end - start);
}

static zrt_status keep_unless(bool (*drops)(uint32_t), const char *text, size_t n, zrt__bytes *out)
{
    size_t bytes;

    ZRT_TRY(zrt__bytes_reserve(out, n));
    for (size_t at = 0; at < n; at += bytes) {
        if (!drops(zrt__utf8_decode(text + at, &bytes)))
            ZRT_TRY(zrt__bytes_append(out, text + at, bytes));
    }
    return ZRT_OK;
}

static zrt_status bert_clean(const char *text, size_t n, zrt__bytes *out)
{
    size_t bytes;

    ZRT_TRY(zrt__bytes_reserve(out, n));
    for (size_t at = 0; at < n; at += bytes) {
        uint32_t code = zrt__utf8_decode(text + at, &bytes);
        if (zrt__is_dropped_by_bert(code))
            continue;
        if (zrt__is_space(code))
            ZRT_TRY(zrt__bytes_append(out, " ", 1));
        else
            ZRT_TRY(zrt__bytes_append(out, text + at, bytes));
    }
    return ZRT_OK;
}

static zrt_status bert_cjk(const char *text, size_t n, zrt__bytes *out)
{
    size_t bytes;

    ZRT_TRY(zrt__bytes_reserve(out, n));
    for (size_t at = 0; at < n; at += bytes) {
        bool is_cjk = zrt__is_cjk(zrt__utf8_decode(text + at, &bytes));
        if (is_cjk)
            ZRT_TRY(zrt__bytes_append(out, " ", 1));
        ZRT_TRY(zrt__bytes_append(out, text + at, bytes));
        if (is_cjk)
            ZRT_TRY(zrt__bytes_append(out, " ", 1));
    }
    return ZRT_OK;
}

static zrt_status apply_step(const step_of *step, zrt__matcher *matcher, const char *text, size_t n, zrt__bytes *out)
{
    switch (step->kind) {
    case ZRT__NORMALIZE_PREPEND:
        return prepend(step, text, n, out);
    case ZRT__NORMALIZE_REPLACE:
        return replace(step, matcher, text, n, out);
    case ZRT__NORMALIZE_FORM:
        return form(step, text, n, out);
    case ZRT__NORMALIZE_LOWERCASE:
        return lowercase(text, n, out);
    case ZRT__NORMALIZE_STRIP:
        return strip(step, text, n, out);
    case ZRT__NORMALIZE_STRIP_ACCENTS:
        return keep_unless(zrt__is_mark, text, n, out);
    case ZRT__NORMALIZE_STRIP_NONSPACING:
        return keep_unless(zrt__is_nonspacing_mark, text, n, out);
    case ZRT__NORMALIZE_BERT_CLEAN:
        return bert_clean(text, n, out);
    case ZRT__NORMALIZE_BERT_CJK:
        return bert_cjk(text, n, out);
    }
    return zrt__fail(ZRT_ERR_INTERNAL, "normalizer %d", (int)step->kind);
}

zrt_status zrt__normalizer_apply(const zrt__normalizer *normalizer, zrt__matcher *matcher, const char *text, size_t n,
                                 zrt__bytes buffers[2], const char **text_out, size_t *n_out)
{
    buffers[0].most = buffers[1].most = zrt__most_bytes(n);
    for (size_t i = 0; i < normalizer->n_steps; i++) {
        zrt__bytes *out = &buffers[i % 2];
        out->n = 0;
        ZRT_TRY(zrt__bytes_reserve(out, 1));
        ZRT_TRY(apply_step(&normalizer->steps[i], matcher, text, n, out));
        text = out->data;
        n = out->n;
    }
    *text_out = text;
    *n_out = n;
    return ZRT_OK;
}

void zrt__normalizer_release(zrt__normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->n_steps; i++) {
        free(normalizer->steps[i].content);
        zrt__expression_destroy(&normalizer->steps[i].expression);
    }
    free(normalizer->steps);
    *normalizer = (zrt__normalizer){0};
}
