#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/normalizer.h"

zrt_status zrt__pattern_read(const zrt__json_object *object, zrt__expression **expression_out)
{
    zrt__json_object pattern;
    const char *text;
    size_t n;

    *expression_out = NULL;
    ZRT_TRY(zrt__json_child(object, zrt__json_get(object, "pattern"), "pattern", -1, &pattern));
    ZRT_TRY(zrt__json_check_keys(&pattern, " String Regex "));
    if (json_object_size(pattern.json) != 1)
        return zrt__json_fail(&pattern, "must have one key, 'String' or 'Regex'");
    if (zrt__json_get(&pattern, "String") != NULL) {
        ZRT_TRY(zrt__json_string(&pattern, "String", NULL, &text, &n));
        return n > 0 ? zrt__expression_literal(text, n, expression_out) : ZRT_OK;
    }
    ZRT_TRY(zrt__json_string(&pattern, "Regex", NULL, &text, &n));
    return zrt__expression_compile(pattern.where, text, n, expression_out);
}

static zrt_status append(zrt__normalizer *normalizer, zrt__normalizer_kind kind, zrt__normalizer_step **step_out)
{
    ZRT_TRY(zrt__grow(&normalizer->steps, &normalizer->capacity, normalizer->n_steps, sizeof *normalizer->steps));
    *step_out = &normalizer->steps[normalizer->n_steps++];
    **step_out = (zrt__normalizer_step){.kind = kind};
    return ZRT_OK;
}

static zrt_status read_content(const zrt__json_object *object, const char *key, zrt__normalizer_step *step)
{
    const char *text;

    ZRT_TRY(zrt__json_string(object, key, NULL, &text, &step->n));
    step->content = zrt__malloc(step->n + 1);
    if (step->content == NULL)
        return ZRT_ERR_MEMORY;
    memcpy(step->content, text, step->n);
    return ZRT_OK;
}

static zrt_status read_bert(const zrt__json_object *object, zrt__normalizer *normalizer)
{
    zrt__normalizer_step *step;
    bool clean, cjk, lower, accents;

    ZRT_TRY(zrt__json_check_keys(object, " type clean_text handle_chinese_chars strip_accents lowercase "));
    ZRT_TRY(zrt__json_bool(object, "clean_text", -1, &clean));
    ZRT_TRY(zrt__json_bool(object, "handle_chinese_chars", -1, &cjk));
    ZRT_TRY(zrt__json_bool(object, "lowercase", -1, &lower));
    ZRT_TRY(zrt__json_bool(object, "strip_accents", lower, &accents));
    if (clean)
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_BERT_CLEAN, &step));
    if (cjk)
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_BERT_CJK, &step));
    if (accents) {
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_FORM, &step));
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_STRIP_NONSPACING, &step));
    }
    if (lower)
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_LOWERCASE, &step));
    return ZRT_OK;
}

static zrt_status read_sequence(const zrt__json_object *object, zrt__normalizer *normalizer)
{
    const json_t *array;

    ZRT_TRY(zrt__json_check_keys(object, " type normalizers "));
    ZRT_TRY(zrt__json_array(object, "normalizers", &array));
    for (size_t i = 0; i < json_array_size(array); i++) {
        zrt__json_object child;
        ZRT_TRY(zrt__json_child(object, json_array_get(array, i), "normalizers", (long)i, &child));
        ZRT_TRY(zrt__normalizer_read(&child, normalizer));
    }
    return ZRT_OK;
}

zrt_status zrt__normalizer_read(const zrt__json_object *object, zrt__normalizer *normalizer)
{
    static const char *const forms[] = {"NFD", "NFC", "NFKD", "NFKC"};
    zrt__normalizer_step *step;
    const char *type;
    size_t n;

    ZRT_TRY(zrt__json_string(object, "type", NULL, &type, &n));
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(object, normalizer);
    if (strcmp(type, "BertNormalizer") == 0)
        return read_bert(object, normalizer);
    if (strcmp(type, "Prepend") == 0) {
        ZRT_TRY(zrt__json_check_keys(object, " type prepend "));
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_PREPEND, &step));
        return read_content(object, "prepend", step);
    }
    if (strcmp(type, "Replace") == 0) {
        ZRT_TRY(zrt__json_check_keys(object, " type pattern content "));
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_REPLACE, &step));
        ZRT_TRY(read_content(object, "content", step));
        return zrt__pattern_read(object, &step->expression);
    }
    if (strcmp(type, "Strip") == 0) {
        ZRT_TRY(zrt__json_check_keys(object, " type strip_left strip_right "));
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_STRIP, &step));
        ZRT_TRY(zrt__json_bool(object, "strip_left", -1, &step->left));
        return zrt__json_bool(object, "strip_right", -1, &step->right);
    }
    ZRT_TRY(zrt__json_check_keys(object, " type "));
    if (strcmp(type, "Lowercase") == 0)
        return append(normalizer, ZRT__NORMALIZE_LOWERCASE, &step);
    if (strcmp(type, "StripAccents") == 0)
        return append(normalizer, ZRT__NORMALIZE_STRIP_ACCENTS, &step);
    for (int i = 0; i < 4; i++) {
        if (strcmp(type, forms[i]) != 0)
            continue;
        ZRT_TRY(append(normalizer, ZRT__NORMALIZE_FORM, &step));
        step->composes = i % 2 == 1;
        step->is_compatibility = i >= 2;
        return ZRT_OK;
    }
    return zrt__json_refuse(
        object, "type", type,
        "Sequence, BertNormalizer, Prepend, Replace, Strip, Lowercase, StripAccents, NFD, NFC, NFKD, NFKC");
}
