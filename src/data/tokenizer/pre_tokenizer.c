#include "config.h"

#include "data/tokenizer/pre_tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static inline zrt_status push(zrt__pieces *pieces, size_t start, size_t end, bool at_start)
{
    if (start == end)
        return ZRT_OK;
    if (pieces->n_spans == pieces->capacity)
        ZRT_TRY(zrt__grow(&pieces->spans, &pieces->capacity, pieces->n_spans, sizeof *pieces->spans));
    pieces->spans[pieces->n_spans++] = (zrt__span){start, end, at_start};
    return ZRT_OK;
}

/* One span being cut: matches and what is between them come in order. */
typedef struct cutter {
    zrt__pieces *out;
    size_t first; /* where the spans of this piece start */
    size_t start; /* of the piece in the text */
    zrt__split_behavior behavior;
    bool inverted, at_start;
    bool previous_match;
    bool has_pending; /* a match that goes to what follows */
    size_t pending_start, pending_end;
} cutter;

static zrt_status push_cut(cutter *c, size_t start, size_t end)
{
    return push(c->out, start, end, c->at_start && start == c->start);
}

static zrt_status extend_last(cutter *c, size_t start, size_t end)
{
    if (c->out->n_spans == c->first)
        return push_cut(c, start, end);
    c->out->spans[c->out->n_spans - 1].end = end;
    return ZRT_OK;
}

static zrt_status cut(cutter *c, size_t start, size_t end, bool is_match)
{
    zrt_status status = ZRT_OK;

    is_match = is_match != c->inverted;
    switch (c->behavior) {
    case ZRT__SPLIT_REMOVED:
        status = is_match ? ZRT_OK : push_cut(c, start, end);
        break;
    case ZRT__SPLIT_ISOLATED:
        status = push_cut(c, start, end);
        break;
    case ZRT__SPLIT_CONTIGUOUS:
        status = is_match == c->previous_match ? extend_last(c, start, end) : push_cut(c, start, end);
        break;
    case ZRT__SPLIT_MERGED_WITH_PREVIOUS:
        status = is_match && !c->previous_match ? extend_last(c, start, end) : push_cut(c, start, end);
        break;
    case ZRT__SPLIT_MERGED_WITH_NEXT:
        if (c->has_pending && !is_match)
            start = c->pending_start;
        else if (c->has_pending)
            status = push_cut(c, c->pending_start, c->pending_end);
        c->has_pending = is_match;
        c->pending_start = start;
        c->pending_end = end;
        if (status == ZRT_OK && !is_match)
            status = push_cut(c, start, end);
        break;
    }
    c->previous_match = is_match;
    return status;
}

static zrt_status cut_at_characters(cutter *c, const zrt__pre_tokenizer_step *step, const char *text, size_t end)
{
    size_t done = c->start, bytes;

    for (size_t at = c->start; at < end; at += bytes) {
        if (!step->is_delimiter(zrt__utf8_decode(text + at, &bytes)))
            continue;
        if (done < at)
            ZRT_TRY(cut(c, done, at, false));
        ZRT_TRY(cut(c, at, at + bytes, true));
        done = at + bytes;
    }
    return done < end ? cut(c, done, end, false) : ZRT_OK;
}

static zrt_status cut_at_matches(cutter *c, const zrt__pre_tokenizer_step *step, zrt__matcher *matcher,
                                 const char *text, size_t end)
{
    zrt__matches matches = zrt__matches_of(step->expression, matcher, text + c->start, end - c->start);
    size_t done = c->start;

    for (;;) {
        bool found;
        size_t from, to;
        ZRT_TRY(zrt__matches_next(&matches, &found, &from, &to));
        if (!found)
            break;
        from += c->start;
        to += c->start;
        if (done < from)
            ZRT_TRY(cut(c, done, from, false));
        ZRT_TRY(cut(c, from, to, true));
        done = to;
    }
    return done < end ? cut(c, done, end, false) : ZRT_OK;
}

static zrt_status cut_span(const zrt__pre_tokenizer_step *step, zrt__matcher *matcher, const char *text, zrt__span span,
                           zrt__pieces *out)
{
    cutter c = {.out = out,
                .first = out->n_spans,
                .start = span.start,
                .behavior = step->behavior,
                .inverted = step->inverted,
                .at_start = span.at_start};

    if (step->is_delimiter != NULL)
        ZRT_TRY(cut_at_characters(&c, step, text, span.end));
    else if (step->expression != NULL)
        ZRT_TRY(cut_at_matches(&c, step, matcher, text, span.end));
    else
        return push(out, span.start, span.end, span.at_start);
    return c.has_pending ? push_cut(&c, c.pending_start, c.pending_end) : ZRT_OK;
}

/* Spaces replaced, something prepended; the spans become those of the new text. */
static zrt_status rewrite_span(const zrt__pre_tokenizer_step *step, const char *text, zrt__span *span, zrt__bytes *out)
{
    size_t n = step->n_replacement, at = span->start, start = out->n;
    bool prepends = step->prepends == ZRT__PREPEND_ALWAYS || (step->prepends == ZRT__PREPEND_FIRST && span->at_start);
    bool has = (span->end - at >= n && memcmp(text + at, step->replacement, n) == 0) ||
               (step->replaces_spaces && text[at] == ' ');

    if (prepends && !has)
        ZRT_TRY(zrt__bytes_append(out, step->replacement, n));
    while (at < span->end) {
        const char *space = step->replaces_spaces ? memchr(text + at, ' ', span->end - at) : NULL;
        size_t until = space ? (size_t)(space - text) : span->end;
        ZRT_TRY(zrt__bytes_append(out, text + at, until - at));
        if (space != NULL)
            ZRT_TRY(zrt__bytes_append(out, step->replacement, n));
        at = until + (space != NULL);
    }
    span->start = start;
    span->end = out->n;
    return ZRT_OK;
}

static zrt_status apply_step(const zrt__pre_tokenizer_step *step, zrt__matcher *matcher, zrt__pieces *in,
                             zrt__pieces *out)
{
    out->n_spans = 0;
    if (step->replacement != NULL) {
        if (in->text == out->buffer.data) { /* it is not written over while it is read */
            zrt__bytes other = in->buffer;
            in->buffer = out->buffer;
            out->buffer = other;
        }
        out->buffer.n = 0;
        ZRT_TRY(zrt__bytes_reserve(&out->buffer, 1));
        for (size_t i = 0; i < in->n_spans; i++)
            ZRT_TRY(rewrite_span(step, in->text, &in->spans[i], &out->buffer));
        out->text = out->buffer.data;
    } else {
        out->text = in->text;
    }
    for (size_t i = 0; i < in->n_spans; i++)
        ZRT_TRY(cut_span(step, matcher, out->text, in->spans[i], out));
    return ZRT_OK;
}

zrt_status zrt__pre_tokenizer_apply(const zrt__pre_tokenizer *pre_tokenizer, zrt__matcher *matcher, const char *text,
                                    size_t n, bool at_start, zrt__pieces pieces[2], const zrt__pieces **words_out)
{
    zrt__pieces *in = &pieces[0], *out = &pieces[1];

    in->n_spans = 0;
    in->text = text;
    in->buffer.most = out->buffer.most = zrt__most_bytes(n);
    ZRT_TRY(push(in, 0, n, at_start));
    for (size_t i = 0; i < pre_tokenizer->n_steps; i++) {
        zrt__pieces *swap = in;
        ZRT_TRY(apply_step(&pre_tokenizer->steps[i], matcher, in, out));
        in = out;
        out = swap;
    }
    *words_out = in;
    return ZRT_OK;
}

void zrt__pieces_release(zrt__pieces *pieces)
{
    free(pieces->spans);
    zrt__bytes_release(&pieces->buffer);
    *pieces = (zrt__pieces){0};
}

void zrt__pre_tokenizer_release(zrt__pre_tokenizer *pre_tokenizer)
{
    for (size_t i = 0; i < pre_tokenizer->n_steps; i++) {
        free(pre_tokenizer->steps[i].replacement);
        zrt__expression_destroy(&pre_tokenizer->steps[i].expression);
    }
    free(pre_tokenizer->steps);
    *pre_tokenizer = (zrt__pre_tokenizer){0};
}
