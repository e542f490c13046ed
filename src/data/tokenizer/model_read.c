#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/model.h"

static zrt_status add_tokens(const zrt__json_object *object, zrt__bytes *scratch, zrt__model *model)
{
    zrt__json_object vocabulary;
    const char *content;
    json_t *value;

    ZRT_TRY(zrt__json_child(object, zrt__json_get(object, "vocab"), "vocab", -1, &vocabulary));
    json_object_foreach((json_t *)(uintptr_t)vocabulary.json, content, value)
    {
        int32_t id;
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= ZRT__MAX_TOKEN_ID)
            return zrt__json_fail(&vocabulary, "the id of '%.64s' must be an integer of 0 to %d", content,
                                  ZRT__MAX_TOKEN_ID - 1);
        id = (int32_t)json_integer_value(value);
        if ((size_t)id < model->vocabulary.n_ids && model->vocabulary.tokens[id].exists)
            return zrt__json_fail(&vocabulary, "'%.64s' has the id %d of another token", content, id);
        scratch->n = 0;
        ZRT_TRY(zrt__json_restore(content, strlen(content), scratch));
        ZRT_TRY(zrt__vocabulary_add(&model->vocabulary, scratch->data, scratch->n, id));
        if (scratch->n > model->longest_token)
            model->longest_token = scratch->n;
    }
    if (model->vocabulary.n_contents == 0)
        return zrt__json_fail(&vocabulary, "has no token");
    return ZRT_OK;
}

static zrt_status read_vocabulary(const zrt__json_object *object, zrt__model *model)
{
    zrt__bytes scratch = {0};
    zrt_status status = zrt__bytes_reserve(&scratch, 1);

    if (status == ZRT_OK)
        status = add_tokens(object, &scratch, model);
    zrt__bytes_release(&scratch);
    return status;
}

static zrt_status read_unknown(const zrt__json_object *object, zrt__model *model)
{
    const char *content;
    size_t n;

    model->unknown = -1;
    ZRT_TRY(zrt__json_string(object, "unk_token", "", &content, &n));
    if (zrt__json_get(object, "unk_token") == NULL)
        return ZRT_OK;
    model->unknown = zrt__vocabulary_find(&model->vocabulary, content, n);
    if (model->unknown < 0)
        return zrt__json_fail(object, "the unk_token '%.64s' is not in the vocabulary", content);
    return ZRT_OK;
}

/* The two sides of a merge: ["a", "b"], or "a b" in older files. */
static zrt_status read_pair(const zrt__json_object *object, const json_t *merge, size_t i, const char *sides[2],
                            size_t n[2])
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *space = memchr(text, ' ', json_string_length(merge));
        if (space != NULL && strchr(space + 1, ' ') == NULL) {
            sides[0] = text;
            n[0] = (size_t)(space - text);
            sides[1] = space + 1;
            n[1] = json_string_length(merge) - n[0] - 1;
            return ZRT_OK;
        }
    } else if (json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
               json_is_string(json_array_get(merge, 1))) {
        for (size_t side = 0; side < 2; side++) {
            sides[side] = json_string_value(json_array_get(merge, side));
            n[side] = json_string_length(json_array_get(merge, side));
        }
        return ZRT_OK;
    }
    return zrt__json_fail(object, "merges[%zu] must be two tokens", i);
}

static zrt_status add_merge(zrt__model *model, int32_t left, int32_t right, int32_t rank, int32_t id)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t mask = model->n_merge_slots - 1;
    size_t at = (size_t)(pair * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;

    while (model->merges[at].rank >= 0 && model->merges[at].pair != pair)
        at = (at + 1) & mask;
    model->merges[at] = (zrt__merge){pair, rank, id};
    return ZRT_OK;
}

static bool begins_with(const char *text, size_t n, const char *start, size_t n_start)
{
    return n >= n_start && n_start > 0 && memcmp(text, start, n_start) == 0;
}

static bool ends_with(const char *text, size_t n, const char *end, size_t n_end)
{
    return n >= n_end && n_end > 0 && memcmp(text + n - n_end, end, n_end) == 0;
}

/* Notes which two characters a merge joins. One whose side may stand for another text keeps words whole. */
static void note_crossing(zrt__model *model, const char *const sides[2], const size_t n[2])
{
    const char *unknown = NULL;
    size_t n_unknown = 0, bytes;
    uint32_t left, right, bit;

    if (n[0] == 0 || n[1] == 0) {
        model->falls_apart = false;
        return;
    }
    if (model->unknown >= 0)
        unknown = zrt__vocabulary_content(&model->vocabulary, model->unknown, &n_unknown);
    if (!model->is_byte_level &&
        (begins_with(sides[1], n[1], "<0x", 3) || (n[0] >= 6 && begins_with(sides[0] + n[0] - 6, 6, "<0x", 3)) ||
         begins_with(sides[1], n[1], unknown, n_unknown) || ends_with(sides[0], n[0], unknown, n_unknown)))
        model->falls_apart = false;
    left = zrt__utf8_decode(sides[0] + zrt__utf8_previous(sides[0], n[0]), &bytes);
    right = zrt__utf8_decode(sides[1], &bytes);
    if (model->is_byte_level) {
        int left_byte = zrt__character_byte(left), right_byte = zrt__character_byte(right);
        if (left_byte < 0 || right_byte < 0)
            return; /* no word has it */
        left = (uint32_t)left_byte;
        right = (uint32_t)right_byte;
    }
    bit = zrt__crossing(left, right);
    model->crossed[bit >> 6] |= UINT64_C(1) << (bit & 63);
}

static zrt_status read_merge(const zrt__json_object *object, const json_t *merge, size_t i, zrt__bytes *joined,
                             zrt__model *model)
{
    const char *sides[2];
    size_t n[2];
    int32_t left, right, id;

    ZRT_TRY(read_pair(object, merge, i, sides, n));
    joined->n = 0;
    ZRT_TRY(zrt__bytes_reserve(joined, 1));
    ZRT_TRY(zrt__json_restore(sides[0], n[0], joined));
    n[0] = joined->n;
    ZRT_TRY(zrt__json_restore(sides[1], n[1], joined));
    n[1] = joined->n - n[0];
    sides[0] = joined->data;
    sides[1] = joined->data + n[0];
    left = zrt__vocabulary_find(&model->vocabulary, sides[0], n[0]);
    right = zrt__vocabulary_find(&model->vocabulary, sides[1], n[1]);
    id = zrt__vocabulary_find(&model->vocabulary, joined->data, joined->n);
    if (left < 0 || right < 0 || id < 0)
        return zrt__json_fail(object, "merges[%zu]: '%.*s' is not in the vocabulary", i,
                              (int)(left < 0 ? n[0] : (right < 0 ? n[1] : joined->n)),
                              left < 0 ? sides[0] : (right < 0 ? sides[1] : joined->data));
    note_crossing(model, sides, n);
    return add_merge(model, left, right, (int32_t)i, id);
}

static zrt_status read_merges(const zrt__json_object *object, zrt__model *model)
{
    zrt__bytes joined = {0};
    const json_t *array;
    zrt_status status = ZRT_OK;

    ZRT_TRY(zrt__json_array(object, "merges", &array));
    if (json_array_size(array) > INT32_MAX / 4)
        return zrt__json_fail(object, "has too many merges");
    for (model->n_merge_slots = 16; model->n_merge_slots < 2 * json_array_size(array);)
        model->n_merge_slots *= 2;
    model->merges = zrt__malloc(model->n_merge_slots * sizeof *model->merges);
    if (model->merges == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < model->n_merge_slots; i++)
        model->merges[i].rank = -1;
    for (size_t i = 0; status == ZRT_OK && i < json_array_size(array); i++)
        status = read_merge(object, json_array_get(array, i), i, &joined, model);
    zrt__bytes_release(&joined);
    return status;
}

static void find_bytes(zrt__model *model)
{
    bool all_bytes = true, all_fallback = model->has_fallback;

    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        size_t n = zrt__utf8_encode(zrt__byte_character((unsigned char)byte), text);
        model->bytes[byte] = zrt__vocabulary_find(&model->vocabulary, text, n);
        all_bytes = all_bytes && model->bytes[byte] >= 0;
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        model->fallback[byte] = zrt__vocabulary_find(&model->vocabulary, text, 6);
        all_fallback = all_fallback && model->fallback[byte] >= 0;
    }
    /* Nothing is unknown then, so that parts do not depend on what is beside them. */
    model->falls_apart = model->is_byte_level ? all_bytes : all_fallback;
}

static zrt_status read_bpe(const zrt__json_object *object, zrt__model *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *dropout = zrt__json_get(object, "dropout");

    ZRT_TRY(zrt__json_check_keys(object,
                                 " type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk "
                                 "byte_fallback ignore_merges vocab merges "));
    if (dropout != NULL && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: dropout is not supported; set it to null", object->where);
    for (size_t i = 0; i < 2; i++) {
        const char *text;
        size_t n;
        ZRT_TRY(zrt__json_string(object, affixes[i], "", &text, &n));
        if (n > 0)
            return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: %s '%.32s' is not supported; there is only an empty one",
                             object->where, affixes[i], text);
    }
    ZRT_TRY(zrt__json_bool(object, "fuse_unk", 0, &model->fuses_unknown));
    ZRT_TRY(zrt__json_bool(object, "byte_fallback", 0, &model->has_fallback));
    ZRT_TRY(zrt__json_bool(object, "ignore_merges", 0, &model->ignores_merges));
    ZRT_TRY(read_vocabulary(object, model));
    ZRT_TRY(read_unknown(object, model));
    find_bytes(model);
    return read_merges(object, model);
}

static zrt_status read_wordpiece(const zrt__json_object *object, zrt__model *model)
{
    const char *prefix;

    ZRT_TRY(zrt__json_check_keys(object, " type unk_token continuing_subword_prefix max_input_chars_per_word vocab "));
    if (model->is_byte_level)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: WordPiece with a byte-level pre-tokenizer is not supported",
                         object->where);
    model->is_wordpiece = true;
    ZRT_TRY(zrt__json_string(object, "continuing_subword_prefix", NULL, &prefix, &model->n_prefix));
    model->prefix = zrt__strdup(prefix);
    if (model->prefix == NULL)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(zrt__json_count(object, "max_input_chars_per_word", -1, &model->most_characters));
    ZRT_TRY(read_vocabulary(object, model));
    ZRT_TRY(read_unknown(object, model));
    return model->unknown >= 0 ? ZRT_OK : zrt__json_fail(object, "'unk_token' is missing");
}

zrt_status zrt__model_read(const zrt__json_object *object, bool is_byte_level, zrt__model *model)
{
    const char *type = "";
    size_t n;

    model->is_byte_level = is_byte_level;
    ZRT_TRY(zrt__json_string(object, "type", zrt__json_get(object, "merges") ? "BPE" : "WordPiece", &type, &n));
    if (strcmp(type, "BPE") == 0)
        return read_bpe(object, model);
    if (strcmp(type, "WordPiece") == 0)
        return read_wordpiece(object, model);
    return zrt__json_refuse(object, "type", type, "BPE, WordPiece");
}
