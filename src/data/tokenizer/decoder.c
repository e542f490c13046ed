#include "config.h"

#include "data/tokenizer/decoder.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/model.h"

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

/* Ends the text that was appended piece by piece. */
static zrt_status end_text(zrt__token_texts *texts)
{
    ZRT_TRY(zrt__grow(&texts->ends, &texts->capacity, texts->n, sizeof *texts->ends));
    texts->ends[texts->n++] = texts->text.n;
    return ZRT_OK;
}

zrt_status zrt__token_texts_append(zrt__token_texts *texts, const char *text, size_t n)
{
    ZRT_TRY(zrt__bytes_append(&texts->text, text, n));
    return end_text(texts);
}

void zrt__token_texts_release(zrt__token_texts *texts)
{
    zrt__bytes_release(&texts->text);
    free(texts->ends);
    *texts = (zrt__token_texts){0};
}

static const char *text_at(const zrt__token_texts *texts, size_t i, size_t *n_out)
{
    size_t start = i > 0 ? texts->ends[i - 1] : 0;

    *n_out = texts->ends[i] - start;
    return texts->text.data + start;
}

/* What is not UTF-8 becomes U+FFFD, one for each part that could begin a character. */
static zrt_status append_lossy(zrt__bytes *out, const char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t valid = zrt__utf8_valid_prefix(text + at, n - at);
        ZRT_TRY(zrt__bytes_append(out, text + at, valid));
        at += valid;
        if (at < n) {
            ZRT_TRY(zrt__bytes_append(out, REPLACEMENT, 3));
            at += zrt__utf8_invalid_part(text + at, n - at);
        }
    }
    return ZRT_OK;
}

/* All texts become one. A text with a character that stands for no byte is taken as it is. */
static zrt_status byte_level(const zrt__token_texts *in, zrt__token_texts *out)
{
    zrt__bytes bytes = {0};
    zrt_status status = ZRT_OK;

    for (size_t i = 0; status == ZRT_OK && i < in->n; i++) {
        size_t n, used, before = bytes.n;
        const char *text = text_at(in, i, &n);
        for (size_t at = 0; status == ZRT_OK && at < n; at += used) {
            int byte = zrt__character_byte(zrt__utf8_decode(text + at, &used));
            if (byte < 0) {
                bytes.n = before;
                status = zrt__bytes_append(&bytes, text, n);
                break;
            }
            status = zrt__bytes_append(&bytes, (char[]){(char)byte}, 1);
        }
    }
    if (status == ZRT_OK)
        status = append_lossy(&out->text, bytes.data, bytes.n);
    zrt__bytes_release(&bytes);
    return status == ZRT_OK ? end_text(out) : status;
}

static zrt_status replace_all(zrt__bytes *text, zrt__bytes *scratch, const char *from, const char *to)
{
    size_t n_from = strlen(from), at = 0;
    zrt__bytes swap;

    scratch->n = 0;
    for (;;) {
        const char *found = text->n > at ? memmem(text->data + at, text->n - at, from, n_from) : NULL;
        size_t until = found ? (size_t)(found - text->data) : text->n;
        ZRT_TRY(zrt__bytes_append(scratch, text->data + at, until - at));
        if (found == NULL)
            break;
        ZRT_TRY(zrt__bytes_append(scratch, to, strlen(to)));
        at = until + n_from;
    }
    swap = *text;
    *text = *scratch;
    *scratch = swap;
    return ZRT_OK;
}

static zrt_status tidy(zrt__bytes *text, zrt__bytes *scratch)
{
    static const char *const pairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ZRT_TRY(replace_all(text, scratch, pairs[i][0], pairs[i][1]));
    return ZRT_OK;
}

static zrt_status wordpiece(const zrt__decoder_step *step, const zrt__token_texts *in, zrt__token_texts *out)
{
    zrt__bytes token = {0}, scratch = {0};
    zrt_status status = ZRT_OK;

    for (size_t i = 0; status == ZRT_OK && i < in->n; i++) {
        size_t n;
        const char *text = text_at(in, i, &n);
        token.n = 0;
        if (i > 0 && n >= step->n && memcmp(text, step->content, step->n) == 0) {
            text += step->n;
            n -= step->n;
        } else if (i > 0) {
            status = zrt__bytes_append(&token, " ", 1);
        }
        if (status == ZRT_OK)
            status = zrt__bytes_append(&token, text, n);
        if (status == ZRT_OK && step->flag)
            status = tidy(&token, &scratch);
        if (status == ZRT_OK)
            status = zrt__token_texts_append(out, token.data, token.n);
    }
    zrt__bytes_release(&token);
    zrt__bytes_release(&scratch);
    return status;
}

static zrt_status replace(const zrt__decoder_step *step, zrt__matcher *matcher, const zrt__token_texts *in,
                          zrt__token_texts *out)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t n, done = 0;
        const char *text = text_at(in, i, &n);
        zrt__matches matches = zrt__matches_of(step->expression, matcher, text, n);
        for (bool found = step->expression != NULL; found;) {
            size_t start, end;
            ZRT_TRY(zrt__matches_next(&matches, &found, &start, &end));
            if (!found)
                break;
            ZRT_TRY(zrt__bytes_append(&out->text, text + done, start - done));
            ZRT_TRY(zrt__bytes_append(&out->text, step->content, step->n));
            done = end;
        }
        ZRT_TRY(zrt__token_texts_append(out, text + done, n - done));
    }
    return ZRT_OK;
}

static int byte_of(const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || !isxdigit((unsigned char)text[3]) ||
        !isxdigit((unsigned char)text[4]))
        return -1;
    return (int)strtol((char[]){text[3], text[4], 0}, NULL, 16);
}

/* Bytes in a row become their text, or where that is not UTF-8 one U+FFFD each. */
static zrt_status byte_fallback(const zrt__token_texts *in, zrt__token_texts *out)
{
    size_t start = 0; /* of the bytes in a row, which are put to the end of the text as they come */

    for (size_t i = 0; i <= in->n; i++) {
        size_t n = 0, n_bytes;
        const char *text = i < in->n ? text_at(in, i, &n) : NULL;
        int byte = i < in->n ? byte_of(text, n) : -1;
        if (byte >= 0) {
            ZRT_TRY(zrt__bytes_append(&out->text, (char[]){(char)byte}, 1));
            continue;
        }
        n_bytes = out->text.n - start;
        if (n_bytes > 0 && zrt__utf8_valid_prefix(out->text.data + start, n_bytes) < n_bytes) {
            out->text.n = start;
            for (size_t j = 0; j < n_bytes; j++)
                ZRT_TRY(zrt__token_texts_append(out, REPLACEMENT, 3));
        } else if (n_bytes > 0) {
            ZRT_TRY(end_text(out));
        }
        if (i < in->n)
            ZRT_TRY(zrt__token_texts_append(out, text, n));
        start = out->text.n;
    }
    return ZRT_OK;
}

static zrt_status strip(const zrt__decoder_step *step, const zrt__token_texts *in, zrt__token_texts *out)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *text = text_at(in, i, &n);
        for (int64_t cut = 0; cut < step->start && n >= step->n && memcmp(text, step->content, step->n) == 0; cut++) {
            text += step->n;
            n -= step->n;
        }
        for (int64_t cut = 0;
             cut < step->stop && n >= step->n && memcmp(text + n - step->n, step->content, step->n) == 0; cut++)
            n -= step->n;
        ZRT_TRY(zrt__token_texts_append(out, text, n));
    }
    return ZRT_OK;
}

static zrt_status metaspace(const zrt__decoder_step *step, const zrt__token_texts *in, zrt__token_texts *out)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t n, at = 0;
        const char *text = text_at(in, i, &n);
        for (;;) {
            const char *found = memmem(text + at, n - at, step->content, step->n);
            size_t until = found ? (size_t)(found - text) : n;
            ZRT_TRY(zrt__bytes_append(&out->text, text + at, until - at));
            if (found == NULL)
                break;
            if (i > 0 || !step->flag)
                ZRT_TRY(zrt__bytes_append(&out->text, " ", 1));
            at = until + step->n;
        }
        ZRT_TRY(end_text(out));
    }
    return ZRT_OK;
}

static zrt_status apply_step(const zrt__decoder_step *step, zrt__matcher *matcher, const zrt__token_texts *in,
                             zrt__token_texts *out)
{
    switch (step->kind) {
    case ZRT__DECODE_BYTE_LEVEL:
        return byte_level(in, out);
    case ZRT__DECODE_WORDPIECE:
        return wordpiece(step, in, out);
    case ZRT__DECODE_REPLACE:
        return replace(step, matcher, in, out);
    case ZRT__DECODE_BYTE_FALLBACK:
        return byte_fallback(in, out);
    case ZRT__DECODE_FUSE:
        return zrt__token_texts_append(out, in->text.data, in->text.n);
    case ZRT__DECODE_STRIP:
        return strip(step, in, out);
    case ZRT__DECODE_METASPACE:
        return metaspace(step, in, out);
    }
    return zrt__fail(ZRT_ERR_INTERNAL, "decoder %d", (int)step->kind);
}

zrt_status zrt__decoder_apply(const zrt__decoder *decoder, zrt__matcher *matcher, zrt__token_texts texts[2],
                              const zrt__bytes **text_out)
{
    zrt__token_texts *in = &texts[0], *out = &texts[1];

    out->text.most = in->text.most = zrt__most_bytes(in->text.n);
    for (size_t i = 0; i < decoder->n_steps; i++) {
        zrt__token_texts *swap = in;
        out->n = out->text.n = 0;
        ZRT_TRY(zrt__bytes_reserve(&out->text, 1));
        ZRT_TRY(apply_step(&decoder->steps[i], matcher, in, out));
        in = out;
        out = swap;
    }
    *text_out = &in->text;
    return ZRT_OK;
}

void zrt__decoder_release(zrt__decoder *decoder)
{
    for (size_t i = 0; i < decoder->n_steps; i++) {
        free(decoder->steps[i].content);
        zrt__expression_destroy(&decoder->steps[i].expression);
    }
    free(decoder->steps);
    *decoder = (zrt__decoder){0};
}
