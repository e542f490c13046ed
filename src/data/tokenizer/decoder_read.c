#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/decoder.h"
#include "data/tokenizer/normalizer.h"

static zrt_status append(zrt__decoder *decoder, zrt__decoder_kind kind, zrt__decoder_step **step_out)
{
    ZRT_TRY(zrt__grow(&decoder->steps, &decoder->capacity, decoder->n_steps, sizeof *decoder->steps));
    *step_out = &decoder->steps[decoder->n_steps++];
    **step_out = (zrt__decoder_step){.kind = kind};
    return ZRT_OK;
}

static zrt_status read_content(const zrt__json_object *object, const char *key, bool is_character,
                               zrt__decoder_step *step)
{
    const char *text;
    size_t bytes;

    ZRT_TRY(zrt__json_string(object, key, NULL, &text, &step->n));
    if (is_character && (step->n == 0 || (zrt__utf8_decode(text, &bytes), bytes != step->n)))
        return zrt__json_fail(object, "'%s' must be one character", key);
    step->content = zrt__malloc(step->n + 1);
    if (step->content == NULL)
        return ZRT_ERR_MEMORY;
    memcpy(step->content, text, step->n);
    return ZRT_OK;
}

static zrt_status read_metaspace(const zrt__json_object *object, zrt__decoder *decoder)
{
    zrt__decoder_step *step;
    const char *scheme;
    bool add_prefix_space;
    size_t n;

    ZRT_TRY(zrt__json_check_keys(object, " type replacement str_rep add_prefix_space prepend_scheme split "));
    ZRT_TRY(append(decoder, ZRT__DECODE_METASPACE, &step));
    ZRT_TRY(read_content(object, "replacement", true, step));
    ZRT_TRY(zrt__json_bool(object, "add_prefix_space", true, &add_prefix_space));
    ZRT_TRY(zrt__json_string(object, "prepend_scheme", add_prefix_space ? "always" : "never", &scheme, &n));
    step->flag = strcmp(scheme, "never") != 0;
    return ZRT_OK;
}

static zrt_status read_sequence(const zrt__json_object *object, zrt__decoder *decoder)
{
    const json_t *array;

    ZRT_TRY(zrt__json_check_keys(object, " type decoders "));
    ZRT_TRY(zrt__json_array(object, "decoders", &array));
    for (size_t i = 0; i < json_array_size(array); i++) {
        zrt__json_object child;
        ZRT_TRY(zrt__json_child(object, json_array_get(array, i), "decoders", (long)i, &child));
        ZRT_TRY(zrt__decoder_read(&child, decoder));
    }
    return ZRT_OK;
}

zrt_status zrt__decoder_read(const zrt__json_object *object, zrt__decoder *decoder)
{
    zrt__decoder_step *step;
    const char *type;
    size_t n;

    decoder->exists = true;
    ZRT_TRY(zrt__json_string(object, "type", NULL, &type, &n));
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(object, decoder);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(object, decoder);
    if (strcmp(type, "ByteLevel") == 0) {
        ZRT_TRY(zrt__json_check_keys(object, " type add_prefix_space trim_offsets use_regex "));
        return append(decoder, ZRT__DECODE_BYTE_LEVEL, &step);
    }
    if (strcmp(type, "WordPiece") == 0) {
        ZRT_TRY(zrt__json_check_keys(object, " type prefix cleanup "));
        ZRT_TRY(append(decoder, ZRT__DECODE_WORDPIECE, &step));
        ZRT_TRY(zrt__json_bool(object, "cleanup", -1, &step->flag));
        return read_content(object, "prefix", false, step);
    }
    if (strcmp(type, "Replace") == 0) {
        ZRT_TRY(zrt__json_check_keys(object, " type pattern content "));
        ZRT_TRY(append(decoder, ZRT__DECODE_REPLACE, &step));
        ZRT_TRY(read_content(object, "content", false, step));
        return zrt__pattern_read(object, &step->expression);
    }
    if (strcmp(type, "Strip") == 0) {
        ZRT_TRY(zrt__json_check_keys(object, " type content start stop "));
        ZRT_TRY(append(decoder, ZRT__DECODE_STRIP, &step));
        ZRT_TRY(read_content(object, "content", true, step));
        ZRT_TRY(zrt__json_count(object, "start", -1, &step->start));
        return zrt__json_count(object, "stop", -1, &step->stop);
    }
    ZRT_TRY(zrt__json_check_keys(object, " type "));
    if (strcmp(type, "ByteFallback") == 0)
        return append(decoder, ZRT__DECODE_BYTE_FALLBACK, &step);
    if (strcmp(type, "Fuse") == 0)
        return append(decoder, ZRT__DECODE_FUSE, &step);
    return zrt__json_refuse(object, "type", type,
                            "Sequence, Metaspace, ByteLevel, WordPiece, Replace, Strip, ByteFallback, Fuse");
}
