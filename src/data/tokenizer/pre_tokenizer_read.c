#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/characters.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/pre_tokenizer.h"

#define GPT2_EXPRESSION "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static zrt_status append(zrt__pre_tokenizer *pre_tokenizer, zrt__split_behavior behavior,
                         zrt__pre_tokenizer_step **step_out)
{
    ZRT_TRY(zrt__grow(&pre_tokenizer->steps, &pre_tokenizer->capacity, pre_tokenizer->n_steps,
                      sizeof *pre_tokenizer->steps));
    *step_out = &pre_tokenizer->steps[pre_tokenizer->n_steps++];
    **step_out = (zrt__pre_tokenizer_step){.behavior = behavior};
    return ZRT_OK;
}

static zrt_status append_delimiter(zrt__pre_tokenizer *pre_tokenizer, bool (*is_delimiter)(uint32_t),
                                   zrt__split_behavior behavior)
{
    zrt__pre_tokenizer_step *step;

    ZRT_TRY(append(pre_tokenizer, behavior, &step));
    step->is_delimiter = is_delimiter;
    return ZRT_OK;
}

static zrt_status append_expression(zrt__pre_tokenizer *pre_tokenizer, const char *where, const char *pattern,
                                    zrt__split_behavior behavior, bool inverted)
{
    zrt__pre_tokenizer_step *step;

    ZRT_TRY(append(pre_tokenizer, behavior, &step));
    step->inverted = inverted;
    return zrt__expression_compile(where, pattern, strlen(pattern), &step->expression);
}

static zrt_status set_replacement(zrt__pre_tokenizer_step *step, const char *text, size_t n)
{
    step->replacement = zrt__malloc(n + 1);
    if (step->replacement == NULL)
        return ZRT_ERR_MEMORY;
    memcpy(step->replacement, text, n);
    step->n_replacement = n;
    return ZRT_OK;
}

static zrt_status read_behavior(const zrt__json_object *object, zrt__split_behavior *behavior_out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name;
    size_t n;

    ZRT_TRY(zrt__json_string(object, "behavior", NULL, &name, &n));
    for (int i = 0; i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *behavior_out = (zrt__split_behavior)i;
            return ZRT_OK;
        }
    }
    return zrt__json_refuse(object, "behavior", name,
                            "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

static zrt_status read_byte_level(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer)
{
    zrt__pre_tokenizer_step *step;
    bool add_prefix_space, use_regex, trim_offsets;

    ZRT_TRY(zrt__json_check_keys(object, " type add_prefix_space trim_offsets use_regex "));
    ZRT_TRY(zrt__json_bool(object, "add_prefix_space", -1, &add_prefix_space));
    ZRT_TRY(zrt__json_bool(object, "trim_offsets", true, &trim_offsets));
    ZRT_TRY(zrt__json_bool(object, "use_regex", true, &use_regex));
    if (add_prefix_space) {
        ZRT_TRY(append(pre_tokenizer, ZRT__SPLIT_ISOLATED, &step));
        step->prepends = ZRT__PREPEND_ALWAYS;
        ZRT_TRY(set_replacement(step, " ", 1));
    }
    if (use_regex)
        ZRT_TRY(append_expression(pre_tokenizer, object->where, GPT2_EXPRESSION, ZRT__SPLIT_ISOLATED, false));
    pre_tokenizer->is_byte_level = true;
    return ZRT_OK;
}

/* One character that stands for a space; older files say with add_prefix_space whether it is put before the text. */
static zrt_status read_metaspace(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer)
{
    static const char *const schemes[] = {"never", "first", "always"};
    zrt__pre_tokenizer_step *step;
    const char *replacement, *scheme = NULL;
    size_t n, n_scheme, bytes;
    bool split, add_prefix_space;
    int prepends = -1;

    ZRT_TRY(zrt__json_check_keys(object, " type replacement str_rep add_prefix_space prepend_scheme split "));
    ZRT_TRY(zrt__json_string(object, "replacement", NULL, &replacement, &n));
    if (n == 0 || (zrt__utf8_decode(replacement, &bytes), bytes != n))
        return zrt__json_fail(object, "'replacement' must be one character");
    ZRT_TRY(zrt__json_bool(object, "add_prefix_space", true, &add_prefix_space));
    ZRT_TRY(zrt__json_string(object, "prepend_scheme", add_prefix_space ? "always" : "never", &scheme, &n_scheme));
    ZRT_TRY(zrt__json_bool(object, "split", true, &split));
    for (int i = 0; i < 3; i++) {
        if (strcmp(scheme, schemes[i]) == 0)
            prepends = i;
    }
    if (prepends < 0)
        return zrt__json_refuse(object, "prepend_scheme", scheme, "never, first, always");
    ZRT_TRY(append(pre_tokenizer, ZRT__SPLIT_MERGED_WITH_NEXT, &step));
    step->prepends = (zrt__prepend_scheme)prepends;
    step->replaces_spaces = true;
    ZRT_TRY(set_replacement(step, replacement, n));
    return split ? zrt__expression_literal(replacement, n, &step->expression) : ZRT_OK;
}

static zrt_status read_split(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer)
{
    zrt__pre_tokenizer_step *step;

    ZRT_TRY(zrt__json_check_keys(object, " type pattern behavior invert "));
    ZRT_TRY(append(pre_tokenizer, ZRT__SPLIT_ISOLATED, &step));
    ZRT_TRY(read_behavior(object, &step->behavior));
    ZRT_TRY(zrt__json_bool(object, "invert", 0, &step->inverted));
    return zrt__pattern_read(object, &step->expression);
}

static zrt_status read_punctuation(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer)
{
    zrt__split_behavior behavior = ZRT__SPLIT_ISOLATED;

    ZRT_TRY(zrt__json_check_keys(object, " type behavior "));
    if (zrt__json_get(object, "behavior") != NULL)
        ZRT_TRY(read_behavior(object, &behavior));
    return append_delimiter(pre_tokenizer, zrt__is_punctuation, behavior);
}

static zrt_status read_digits(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer)
{
    bool individual;

    ZRT_TRY(zrt__json_check_keys(object, " type individual_digits "));
    ZRT_TRY(zrt__json_bool(object, "individual_digits", 0, &individual));
    return append_delimiter(pre_tokenizer, zrt__is_numeric, individual ? ZRT__SPLIT_ISOLATED : ZRT__SPLIT_CONTIGUOUS);
}

static zrt_status read_sequence(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer)
{
    const json_t *array;

    ZRT_TRY(zrt__json_check_keys(object, " type pretokenizers "));
    ZRT_TRY(zrt__json_array(object, "pretokenizers", &array));
    for (size_t i = 0; i < json_array_size(array); i++) {
        zrt__json_object child;
        ZRT_TRY(zrt__json_child(object, json_array_get(array, i), "pretokenizers", (long)i, &child));
        if (pre_tokenizer->is_byte_level)
            return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: a pre-tokenizer after ByteLevel is not supported",
                             child.where);
        ZRT_TRY(zrt__pre_tokenizer_read(&child, pre_tokenizer));
    }
    return ZRT_OK;
}

zrt_status zrt__pre_tokenizer_read(const zrt__json_object *object, zrt__pre_tokenizer *pre_tokenizer)
{
    const char *type;
    size_t n;

    ZRT_TRY(zrt__json_string(object, "type", NULL, &type, &n));
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(object, pre_tokenizer);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(object, pre_tokenizer);
    if (strcmp(type, "Split") == 0)
        return read_split(object, pre_tokenizer);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(object, pre_tokenizer);
    if (strcmp(type, "Punctuation") == 0)
        return read_punctuation(object, pre_tokenizer);
    if (strcmp(type, "Digits") == 0)
        return read_digits(object, pre_tokenizer);
    ZRT_TRY(zrt__json_check_keys(object, " type "));
    if (strcmp(type, "BertPreTokenizer") == 0) {
        ZRT_TRY(append_delimiter(pre_tokenizer, zrt__is_space, ZRT__SPLIT_REMOVED));
        return append_delimiter(pre_tokenizer, zrt__is_punctuation, ZRT__SPLIT_ISOLATED);
    }
    if (strcmp(type, "WhitespaceSplit") == 0)
        return append_delimiter(pre_tokenizer, zrt__is_space, ZRT__SPLIT_REMOVED);
    if (strcmp(type, "Whitespace") == 0)
        return append_expression(pre_tokenizer, object->where, "\\w+|[^\\w\\s]+", ZRT__SPLIT_REMOVED, true);
    return zrt__json_refuse(
        object, "type", type,
        "Sequence, ByteLevel, Split, Metaspace, Punctuation, Digits, BertPreTokenizer, WhitespaceSplit, "
        "Whitespace");
}
