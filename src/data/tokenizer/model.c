#include "config.h"

#include "data/tokenizer/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { FIRST_SLOTS = 1 << 6, MOST_SLOTS = 1 << 15, CACHED_BYTES = 31, CACHED_IDS = 7 };

typedef struct zrt__cached_word {
    uint64_t hash;
    int32_t ids[CACHED_IDS];
    uint8_t n_ids, n;
    char text[CACHED_BYTES];
} cached_word;

zrt_status zrt__word_scratch_create(zrt__word_scratch *scratch)
{
    scratch->n_cache_slots = FIRST_SLOTS;
    scratch->cache = zrt__calloc(FIRST_SLOTS, sizeof *scratch->cache);
    return scratch->cache ? ZRT_OK : ZRT_ERR_MEMORY;
}

void zrt__word_scratch_release(zrt__word_scratch *scratch)
{
    free(scratch->cache);
    zrt__ids_release(&scratch->ids);
    free(scratch->ranks);
    free(scratch->symbols);
    free(scratch->heap);
    zrt__bytes_release(&scratch->text);
    *scratch = (zrt__word_scratch){0};
}

/* The slot of a word, after growing if many words were kept: they are then made again. */
static zrt_status keep(zrt__word_scratch *scratch, uint64_t hash, cached_word **slot_out)
{
    if (++scratch->n_cached > scratch->n_cache_slots && scratch->n_cache_slots < MOST_SLOTS) {
        cached_word *larger = zrt__calloc(8 * scratch->n_cache_slots, sizeof *larger);
        if (larger == NULL)
            return ZRT_ERR_MEMORY;
        free(scratch->cache);
        scratch->cache = larger;
        scratch->n_cache_slots *= 8;
        scratch->n_cached = 0;
    }
    *slot_out = &scratch->cache[hash >> 7 & (scratch->n_cache_slots - 1)];
    return ZRT_OK;
}

/* A part of a word: what stands in the cache, or by the model. `is_whole` says that the part is the word. */
static zrt_status apply_part(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n,
                             bool is_whole, zrt__ids *out)
{
    cached_word *cached = NULL;
    uint64_t hash = 0;

    if (n <= CACHED_BYTES) {
        hash = zrt__hash(text, n) ^ (is_whole ? 0 : UINT64_C(0x5851f42d4c957f2d));
        cached = &scratch->cache[hash >> 7 & (scratch->n_cache_slots - 1)];
        if (cached->hash == hash && cached->n == n && memcmp(cached->text, text, n) == 0) {
            if (out->capacity - out->n < CACHED_IDS)
                ZRT_TRY(zrt__ids_reserve(out, CACHED_IDS));
            memcpy(out->data + out->n, cached->ids, sizeof cached->ids);
            out->n += cached->n_ids;
            return ZRT_OK;
        }
    }
    scratch->ids.n = 0;
    if (model->is_wordpiece)
        ZRT_TRY(zrt__model_wordpiece(model, scratch, text, n));
    else
        ZRT_TRY(zrt__model_bpe(model, scratch, text, n, is_whole));
    if (cached != NULL && scratch->ids.n <= CACHED_IDS) {
        ZRT_TRY(keep(scratch, hash, &cached));
        *cached = (cached_word){.hash = hash, .n = (uint8_t)n, .n_ids = (uint8_t)scratch->ids.n};
        memcpy(cached->text, text, n);
        if (scratch->ids.n > 0)
            memcpy(cached->ids, scratch->ids.data, scratch->ids.n * sizeof *cached->ids);
    }
    ZRT_TRY(zrt__ids_reserve(out, scratch->ids.n));
    if (scratch->ids.n > 0)
        memcpy(out->data + out->n, scratch->ids.data, scratch->ids.n * sizeof *out->data);
    out->n += scratch->ids.n;
    return ZRT_OK;
}

static bool is_crossed(const zrt__model *model, uint32_t left, uint32_t right)
{
    uint32_t bit = zrt__crossing(left, right);

    return model->crossed[bit >> 6] >> (bit & 63) & 1;
}

/* Each part that no merge leaves is a word of its own. */
static zrt_status apply_parts(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n,
                              zrt__ids *out)
{
    uint32_t previous = 0;
    size_t start = 0, bytes = 1;

    for (size_t at = 0; at < n; at += bytes) {
        uint32_t code = (unsigned char)text[at];
        if (!model->is_byte_level)
            code = zrt__utf8_decode(text + at, &bytes);
        if (at > 0 && !is_crossed(model, previous, code)) {
            ZRT_TRY(apply_part(model, scratch, text + start, at - start, false, out));
            start = at;
        }
        previous = code;
    }
    return apply_part(model, scratch, text + start, n - start, start == 0, out);
}

zrt_status zrt__model_apply(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n,
                            zrt__ids *out)
{
    if (!model->falls_apart || (model->is_byte_level && n <= CACHED_BYTES))
        return apply_part(model, scratch, text, n, true, out);
    if (model->ignores_merges && n <= model->longest_token)
        return apply_part(model, scratch, text, n, true, out); /* the word itself may be a token */
    return apply_parts(model, scratch, text, n, out);
}

uint32_t zrt__byte_character(unsigned char byte)
{
    if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte <= 0xa0)
        return 0x100u + 33 + (byte - 0x7fu);
    return 0x143;
}

int zrt__character_byte(uint32_t code)
{
    if (code >= 0x100 && code <= 0x120)
        return (int)(code - 0x100);
    if (code >= 0x121 && code <= 0x142)
        return (int)(code - 0x121 + 0x7f);
    if (code == 0x143)
        return 0xad;
    return code < 0x100 && zrt__byte_character((unsigned char)code) == code ? (int)code : -1;
}

void zrt__model_release(zrt__model *model)
{
    zrt__vocabulary_release(&model->vocabulary);
    free(model->merges);
    free(model->prefix);
    *model = (zrt__model){0};
}
