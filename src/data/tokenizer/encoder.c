#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/tokenizer.h"

struct zrt_encoder {
    const zrt_tokenizer *tokenizer;
    zrt__matcher *matcher;
    zrt__word_scratch words;
    zrt__bytes normalized[2];
    zrt__pieces pieces[2];
    zrt__ids texts[2]; /* of each text without special tokens */
    bool is_pair;
    zrt__ids ids, type_ids;
    zrt__token_texts decoded[2];
    zrt__bytes text;
};

zrt_status zrt_encoder_create(const zrt_tokenizer *tokenizer, zrt_encoder **encoder_out)
{
    zrt_encoder *encoder = zrt__calloc(1, sizeof *encoder);
    zrt_status status;

    *encoder_out = NULL;
    if (encoder == NULL)
        return ZRT_ERR_MEMORY;
    encoder->tokenizer = tokenizer;
    status = zrt__matcher_create(&encoder->matcher);
    if (status == ZRT_OK)
        status = zrt__word_scratch_create(&encoder->words);
    if (status != ZRT_OK)
        zrt_encoder_destroy(&encoder);
    *encoder_out = encoder;
    return status;
}

void zrt_encoder_destroy(zrt_encoder **encoder)
{
    zrt_encoder *e = *encoder;

    if (e == NULL)
        return;
    zrt__matcher_destroy(&e->matcher);
    zrt__word_scratch_release(&e->words);
    for (int i = 0; i < 2; i++) {
        zrt__bytes_release(&e->normalized[i]);
        zrt__pieces_release(&e->pieces[i]);
        zrt__ids_release(&e->texts[i]);
        zrt__token_texts_release(&e->decoded[i]);
    }
    zrt__ids_release(&e->ids);
    zrt__ids_release(&e->type_ids);
    zrt__bytes_release(&e->text);
    free(e);
    *encoder = NULL;
}

/* A piece between added tokens: words, and their tokens. */
static zrt_status encode_piece(zrt_encoder *e, const char *text, size_t n, bool at_start, zrt__ids *out)
{
    const zrt__pieces *words;

    if (n == 0)
        return ZRT_OK;
    ZRT_TRY(zrt__pre_tokenizer_apply(&e->tokenizer->pre_tokenizer, e->matcher, text, n, at_start, e->pieces, &words));
    for (size_t i = 0; i < words->n_spans; i++) {
        const zrt__span *word = &words->spans[i];
        ZRT_TRY(
            zrt__model_apply(&e->tokenizer->model, &e->words, words->text + word->start, word->end - word->start, out));
    }
    return ZRT_OK;
}

static zrt_status encode_normalized(zrt_encoder *e, const char *text, size_t n, bool at_start, zrt__ids *out)
{
    const zrt_tokenizer *t = e->tokenizer;
    size_t at = 0, done = 0;

    ZRT_TRY(zrt__normalizer_apply(&t->normalizer, e->matcher, text, n, e->normalized, &text, &n));
    for (;;) {
        zrt__token_match match = zrt__token_tree_next(&t->normalized_tree, t->added, text, n, &at, done);
        if (match.end == 0)
            break;
        if (match.start > done)
            ZRT_TRY(encode_piece(e, text + done, match.start - done, at_start && done == 0, out));
        ZRT_TRY(zrt__ids_append(out, t->added[match.token].id));
        done = match.end;
    }
    return done < n ? encode_piece(e, text + done, n - done, at_start && done == 0, out) : ZRT_OK;
}

static zrt_status encode_text(zrt_encoder *e, const char *text, size_t n, zrt__ids *out)
{
    const zrt_tokenizer *t = e->tokenizer;
    size_t at = 0, done = 0, valid = zrt__utf8_valid_prefix(text, n);

    out->n = 0;
    if (valid < n)
        return zrt__fail(ZRT_ERR_INPUT, "the text is not UTF-8: byte %zu is 0x%02x", valid, (unsigned char)text[valid]);
    for (;;) {
        zrt__token_match match = zrt__token_tree_next(&t->raw_tree, t->added, text, n, &at, done);
        if (match.end == 0)
            break;
        if (match.start > done)
            ZRT_TRY(encode_normalized(e, text + done, match.start - done, done == 0, out));
        ZRT_TRY(zrt__ids_append(out, t->added[match.token].id));
        done = match.end;
    }
    return done < n ? encode_normalized(e, text + done, n - done, done == 0, out) : ZRT_OK;
}

static zrt_status put_together(zrt_encoder *e, const zrt__template *from, bool special)
{
    const zrt__ids *special_ids = &e->tokenizer->post_processor.ids;

    e->ids.n = e->type_ids.n = 0;
    for (size_t i = 0; i < from->n_parts; i++) {
        const zrt__template_part *part = &from->parts[i];
        const int32_t *ids = part->sequence >= 0 ? e->texts[part->sequence].data : special_ids->data + part->first_id;
        size_t n = part->sequence >= 0 ? e->texts[part->sequence].n : part->n;
        if (n == 0 || (part->sequence < 0 && !special))
            continue;
        ZRT_TRY(zrt__ids_reserve(&e->ids, n));
        ZRT_TRY(zrt__ids_reserve(&e->type_ids, n));
        memcpy(e->ids.data + e->ids.n, ids, n * sizeof *ids);
        for (size_t j = 0; j < n; j++)
            e->type_ids.data[e->type_ids.n + j] = part->type_id;
        e->ids.n += n;
        e->type_ids.n += n;
    }
    return ZRT_OK;
}

zrt_status zrt_encoder_encode_pair(zrt_encoder *encoder, const char *first, size_t first_bytes, const char *second,
                                   size_t second_bytes, bool special, const int32_t **ids_out,
                                   const int32_t **type_ids_out, int64_t *n_out)
{
    ZRT_TRY(zrt__ids_reserve(&encoder->ids, 1));
    ZRT_TRY(zrt__ids_reserve(&encoder->type_ids, 1));
    ZRT_TRY(encode_text(encoder, first, first_bytes, &encoder->texts[0]));
    encoder->is_pair = second != NULL;
    if (second != NULL)
        ZRT_TRY(encode_text(encoder, second, second_bytes, &encoder->texts[1]));
    ZRT_TRY(put_together(encoder, &encoder->tokenizer->post_processor.templates[second != NULL], special));
    *ids_out = encoder->ids.data;
    if (type_ids_out != NULL)
        *type_ids_out = encoder->type_ids.data;
    *n_out = (int64_t)encoder->ids.n;
    return ZRT_OK;
}

/* The tokenizers library's "longest_first". */
zrt_status zrt__encoder_cut(zrt_encoder *encoder, int64_t most, const int32_t **ids_out, const int32_t **type_ids_out,
                            int64_t *n_out)
{
    size_t *first = &encoder->texts[0].n, *second = &encoder->texts[1].n;
    size_t n_texts = *first + (encoder->is_pair ? *second : 0), n_special = encoder->ids.n - n_texts, room;

    room = (size_t)most > n_special ? (size_t)most - n_special : 0;
    if (!encoder->is_pair) {
        *first = *first < room ? *first : room;
    } else if (n_texts > room) {
        size_t *shorter = *first <= *second ? first : second, *longer = shorter == first ? second : first;
        size_t rest = *shorter < room ? room - *shorter : 0;
        if (rest < *shorter) {
            *shorter = room / 2;
            rest = room - room / 2;
        }
        *longer = rest;
    }
    ZRT_TRY(put_together(encoder, &encoder->tokenizer->post_processor.templates[encoder->is_pair], true));
    *ids_out = encoder->ids.data;
    *type_ids_out = encoder->type_ids.data;
    *n_out = (int64_t)encoder->ids.n;
    return ZRT_OK;
}

zrt_status zrt_encoder_encode(zrt_encoder *encoder, const char *text, size_t bytes, bool special,
                              const int32_t **ids_out, int64_t *n_out)
{
    return zrt_encoder_encode_pair(encoder, text, bytes, NULL, 0, special, ids_out, NULL, n_out);
}

static zrt_status join_with_spaces(zrt_encoder *e)
{
    const zrt__token_texts *texts = &e->decoded[0];

    for (size_t i = 0, start = 0; i < texts->n; start = texts->ends[i++]) {
        if (i > 0)
            ZRT_TRY(zrt__bytes_append(&e->text, " ", 1));
        ZRT_TRY(zrt__bytes_append(&e->text, texts->text.data + start, texts->ends[i] - start));
    }
    return ZRT_OK;
}

zrt_status zrt_encoder_decode(zrt_encoder *encoder, const int32_t *ids, int64_t n, bool skip_special,
                              const char **text_out, size_t *bytes_out)
{
    zrt__token_texts *texts = &encoder->decoded[0];

    texts->n = texts->text.n = texts->text.most = encoder->text.n = 0;
    ZRT_TRY(zrt__bytes_reserve(&texts->text, 1));
    for (int64_t i = 0; i < n; i++) {
        bool is_special;
        size_t bytes;
        const char *token = zrt__tokenizer_token(encoder->tokenizer, ids[i], &bytes, &is_special);
        if (token != NULL && !(is_special && skip_special))
            ZRT_TRY(zrt__token_texts_append(texts, token, bytes));
    }
    if (encoder->tokenizer->decoder.exists) {
        const zrt__bytes *text;
        ZRT_TRY(zrt__decoder_apply(&encoder->tokenizer->decoder, encoder->matcher, encoder->decoded, &text));
        ZRT_TRY(zrt__bytes_append(&encoder->text, text->data, text->n));
    } else {
        ZRT_TRY(join_with_spaces(encoder));
    }
    ZRT_TRY(zrt__bytes_append(&encoder->text, "", 1));
    *text_out = encoder->text.data;
    *bytes_out = encoder->text.n - 1;
    return ZRT_OK;
}
