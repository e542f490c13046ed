#include "config.h"

#include "data/tokenizer/post_processor.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

static zrt_status append_part(zrt__template *to, zrt__template_part part)
{
    ZRT_TRY(zrt__grow(&to->parts, &to->capacity, to->n_parts, sizeof *to->parts));
    to->parts[to->n_parts++] = part;
    return ZRT_OK;
}

static zrt_status append_text(zrt__template *to, int sequence, int32_t type_id)
{
    return append_part(to, (zrt__template_part){.sequence = sequence, .type_id = type_id});
}

static zrt_status append_special(zrt__post_processor *p, zrt__template *to, int32_t id, int32_t type_id)
{
    ZRT_TRY(append_part(to, (zrt__template_part){.sequence = -1, .first_id = p->ids.n, .n = 1, .type_id = type_id}));
    return zrt__ids_append(&p->ids, id);
}

static zrt_status read_id(const zrt__json_object *object, const json_t *json, int32_t *id_out)
{
    if (!json_is_integer(json) || json_integer_value(json) < 0 || json_integer_value(json) >= INT32_MAX)
        return zrt__json_fail(object, "an id must be an integer of 0 or more");
    *id_out = (int32_t)json_integer_value(json);
    return ZRT_OK;
}

/* {"SpecialToken": {"id": NAME, "type_id": N}}, {"Sequence": {"id": "A", "type_id": N}} */
static zrt_status read_part(zrt__post_processor *p, const zrt__json_object *part, const zrt__json_object *specials,
                            zrt__template *to)
{
    bool is_text = json_object_get(part->json, "Sequence") != NULL;
    const char *key = is_text ? "Sequence" : "SpecialToken", *name;
    zrt__json_object inner, special;
    zrt__template_part read = {.sequence = -1};
    const json_t *ids;
    int64_t type_id;
    size_t n;

    ZRT_TRY(zrt__json_check_keys(part, is_text ? " Sequence " : " SpecialToken "));
    ZRT_TRY(zrt__json_child(part, zrt__json_get(part, key), key, -1, &inner));
    ZRT_TRY(zrt__json_check_keys(&inner, " id type_id "));
    ZRT_TRY(zrt__json_string(&inner, "id", NULL, &name, &n));
    ZRT_TRY(zrt__json_count(&inner, "type_id", -1, &type_id));
    if (type_id > 255)
        return zrt__json_fail(&inner, "'type_id' must be at most 255");
    read.type_id = (int32_t)type_id;
    if (is_text) {
        if (strcmp(name, "A") != 0 && strcmp(name, "B") != 0)
            return zrt__json_fail(&inner, "'id' must be A or B");
        read.sequence = name[0] - 'A';
        return append_part(to, read);
    }
    ZRT_TRY(zrt__json_child(specials, json_object_get(specials->json, name), name, -1, &special));
    ZRT_TRY(zrt__json_check_keys(&special, " id ids tokens "));
    ZRT_TRY(zrt__json_array(&special, "ids", &ids));
    read.first_id = p->ids.n;
    for (size_t i = 0; i < json_array_size(ids); i++, read.n++) {
        int32_t id = 0;
        ZRT_TRY(read_id(&special, json_array_get(ids, i), &id));
        ZRT_TRY(zrt__ids_append(&p->ids, id));
    }
    return append_part(to, read);
}

static zrt_status read_template(zrt__post_processor *p, const zrt__json_object *object, const char *key,
                                const zrt__json_object *specials, zrt__template *to)
{
    const json_t *array;
    int n_texts[2] = {0, 0}, wanted = strcmp(key, "pair") == 0;

    ZRT_TRY(zrt__json_array(object, key, &array));
    for (size_t i = 0; i < json_array_size(array); i++) {
        zrt__json_object part;
        ZRT_TRY(zrt__json_child(object, json_array_get(array, i), key, (long)i, &part));
        ZRT_TRY(read_part(p, &part, specials, to));
        if (to->parts[to->n_parts - 1].sequence >= 0)
            n_texts[to->parts[to->n_parts - 1].sequence]++;
    }
    if (n_texts[0] != 1 || n_texts[1] != wanted)
        return zrt__json_fail(object, wanted ? "'pair' must have A and B once" : "'single' must have A once and no B");
    return ZRT_OK;
}

static void clear_templates(zrt__post_processor *p)
{
    p->templates[0].n_parts = p->templates[1].n_parts = 0;
}

static zrt_status read_template_processing(const zrt__json_object *object, zrt__post_processor *p)
{
    zrt__json_object specials;

    ZRT_TRY(zrt__json_check_keys(object, " type single pair special_tokens "));
    ZRT_TRY(zrt__json_child(object, zrt__json_get(object, "special_tokens"), "special_tokens", -1, &specials));
    clear_templates(p);
    ZRT_TRY(read_template(p, object, "single", &specials, &p->templates[0]));
    return read_template(p, object, "pair", &specials, &p->templates[1]);
}

/* "sep": ["[SEP]", 102] */
static zrt_status read_named(const zrt__json_object *object, const char *key, int32_t *id_out)
{
    const json_t *array;

    ZRT_TRY(zrt__json_array(object, key, &array));
    if (json_array_size(array) != 2 || !json_is_string(json_array_get(array, 0)))
        return zrt__json_fail(object, "'%s' must be a token and its id", key);
    return read_id(object, json_array_get(array, 1), id_out);
}

static zrt_status read_bert(const zrt__json_object *object, bool is_roberta, zrt__post_processor *p)
{
    int32_t first = 0, last = 0;

    ZRT_TRY(
        zrt__json_check_keys(object, is_roberta ? " type sep cls trim_offsets add_prefix_space " : " type sep cls "));
    ZRT_TRY(read_named(object, "cls", &first));
    ZRT_TRY(read_named(object, "sep", &last));
    clear_templates(p);
    for (int i = 0; i < 2; i++) {
        zrt__template *to = &p->templates[i];
        int32_t second_type = is_roberta ? 0 : 1;
        ZRT_TRY(append_special(p, to, first, 0));
        ZRT_TRY(append_text(to, 0, 0));
        ZRT_TRY(append_special(p, to, last, 0));
        if (i == 0)
            continue;
        if (is_roberta)
            ZRT_TRY(append_special(p, to, last, 0));
        ZRT_TRY(append_text(to, 1, second_type));
        ZRT_TRY(append_special(p, to, last, second_type));
    }
    return ZRT_OK;
}

static zrt_status read_one(const zrt__json_object *object, zrt__post_processor *p, bool *has_added)
{
    const char *type;
    size_t n;

    ZRT_TRY(zrt__json_string(object, "type", NULL, &type, &n));
    if (strcmp(type, "ByteLevel") == 0) /* only offsets change */
        return zrt__json_check_keys(object, " type add_prefix_space trim_offsets use_regex ");
    if (strcmp(type, "Sequence") == 0) {
        const json_t *array;
        ZRT_TRY(zrt__json_check_keys(object, " type processors "));
        ZRT_TRY(zrt__json_array(object, "processors", &array));
        for (size_t i = 0; i < json_array_size(array); i++) {
            zrt__json_object child;
            ZRT_TRY(zrt__json_child(object, json_array_get(array, i), "processors", (long)i, &child));
            ZRT_TRY(read_one(&child, p, has_added));
        }
        return ZRT_OK;
    }
    if (*has_added)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: a second post-processor that adds tokens is not supported",
                         object->where);
    *has_added = true;
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template_processing(object, p);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
        return read_bert(object, type[0] == 'R', p);
    return zrt__json_refuse(object, "type", type,
                            "ByteLevel, Sequence, TemplateProcessing, BertProcessing, RobertaProcessing");
}

zrt_status zrt__post_processor_default(zrt__post_processor *p)
{
    for (int i = 0; i < 2; i++) {
        for (int text = 0; text <= i; text++)
            ZRT_TRY(append_text(&p->templates[i], text, text));
    }
    return ZRT_OK;
}

zrt_status zrt__post_processor_read(const zrt__json_object *object, zrt__post_processor *p)
{
    bool has_added = false;

    ZRT_TRY(zrt__post_processor_default(p));
    return read_one(object, p, &has_added);
}

void zrt__post_processor_release(zrt__post_processor *p)
{
    free(p->templates[0].parts);
    free(p->templates[1].parts);
    zrt__ids_release(&p->ids);
    *p = (zrt__post_processor){0};
}
