/* peft's LoraConfig, read and written. */
#include "config.h"

#include "nn/lora_config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/error.h"
#include "nn/module_expression.h"
#include "nn/nn.h"
#include "nn/text_file.h"

/* What peft takes as targets where it is told nothing (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING), and the linear layers but
 * the output's. */
typedef struct targets {
    const char *usual[4], *all[8];
} targets;

static const targets *targets_of(const zrt_model *model)
{
    static const targets gpt2 = {{"c_attn"}, {"c_attn", "c_proj", "c_fc"}};
    static const targets llama = {{"q_proj", "v_proj"},
                                  {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};
    static const targets bert = {{"query", "value"}, {"query", "key", "value", "dense"}};
    const zrt_bert_spec *bert_spec;
    const zrt_gpt2_spec *gpt2_spec;
    const zrt_llama_spec *llama_spec;
    const char *config;
    if (zrt__gpt2_get(model, &gpt2_spec, &config))
        return &gpt2;
    if (zrt__bert_get(model, &bert_spec, &config))
        return &bert;
    return zrt__llama_get(model, &llama_spec, &config) ? &llama : NULL;
}

/* ---- reading ---- */

static zrt_status wrong(const char *path, const char *key, const char *want)
{
    return zrt__fail(ZRT_ERR_INPUT, "%s: \"%s\" is not %s", path, key, want);
}

/* A list of names, or one name, into `words`; lent by the JSON. */
static zrt_status read_list(const char *path, const char *key, const json_t *value, const char **words, int capacity,
                            int *n_out)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n > (size_t)capacity)
        return wrong(path, key, "a list of names");
    for (size_t i = 0; i < n; i++) {
        words[i] = json_string_value(json_array_get(value, i));
        if (words[i] == NULL)
            return wrong(path, key, "a list of names");
    }
    *n_out = (int)n;
    return ZRT_OK;
}

#define MAX_MODULES 256

static zrt_status read_targets(const char *path, const zrt_model *model, const json_t *value, const char **words,
                               int *n_out)
{
    const char *text = json_string_value(value);
    bool all = text != NULL && strcasecmp(text, "all-linear") == 0;
    if (value != NULL && !all)
        return read_list(path, "target_modules", value, words, MAX_MODULES, n_out);
    const targets *known = targets_of(model);
    if (known == NULL)
        return zrt__fail(ZRT_ERR_CONFIG, "%s: give \"target_modules\" as a list for model %s", path,
                         zrt_model_get_name(model));
    const char *const *from = all ? known->all : known->usual;
    for (*n_out = 0; from[*n_out] != NULL; ++*n_out)
        words[*n_out] = from[*n_out];
    return ZRT_OK;
}

/* Whether the value is what peft has where the feature is not used: most of its keys are then null, false or empty. */
static bool is_off(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) || (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static zrt_status check_other(const char *path, const char *key, const json_t *value)
{
    /* They say where the adapter came from and change nothing. */
    static const char *const said[] = {
        "auto_mapping", "base_model_name_or_path", "fan_in_fan_out",   "inference_mode", "peft_version",
        "revision",     "megatron_core",           "qalora_group_size"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (strcmp(key, said[i]) == 0)
            return ZRT_OK;
    const char *text = json_string_value(value);
    bool good = is_off(value);
    if (strcmp(key, "peft_type") == 0)
        good = text != NULL && strcmp(text, "LORA") == 0;
    else if (strcmp(key, "bias") == 0)
        good = text != NULL && strcmp(text, "none") == 0;
    else if (strcmp(key, "init_lora_weights") == 0)
        good = json_is_true(value);
    else if (strcmp(key, "runtime_config") == 0)
        good |= json_is_false(json_object_get(value, "ephemeral_gpu_offload")) && json_object_size(value) == 1;
    if (good)
        return ZRT_OK;
    char *shown = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    zrt_status status = zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: \"%s\": %.128s is not supported; leave it out", path, key,
                                  shown != NULL ? shown : "this value");
    free(shown);
    return status;
}

static void save_classifier(const char **modules, int *n)
{
    for (int i = 0; i < *n; i++)
        if (strcmp(modules[i], "classifier") == 0)
            return;
    modules[(*n)++] = "classifier";
}

static zrt_status check_task(const char *path, const zrt_model *model, const json_t *value)
{
    const char *want = zrt_model_get_info(model)->n_classes > 0 ? "SEQ_CLS" : "CAUSAL_LM";
    const char *text = json_string_value(value);
    if (json_is_null(value) || (text != NULL && strcmp(text, want) == 0))
        return ZRT_OK;
    return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: \"task_type\": %.64s is not supported for model %s; it is %s", path,
                     text != NULL ? text : "this value", zrt_model_get_name(model), want);
}

static zrt_status read_object(const char *path, zrt_model *model, json_t *root)
{
    const char *target_modules[MAX_MODULES + 1], *modules_to_save[MAX_MODULES + 3], *key;
    zrt_lora_spec spec = {
        .r = 8, .lora_alpha = 8, .target_modules = target_modules, .modules_to_save = modules_to_save};
    json_t *named = NULL, *value;
    if (!json_is_object(root))
        return zrt__fail(ZRT_ERR_INPUT, "%s: not a JSON object", path);
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "r") == 0) {
            if (!json_is_integer(value))
                return wrong(path, key, "a whole number");
            spec.r = json_integer_value(value);
        } else if (strcmp(key, "lora_alpha") == 0 || strcmp(key, "lora_dropout") == 0) {
            if (!json_is_number(value))
                return wrong(path, key, "a number");
            *(key[5] == 'a' ? &spec.lora_alpha : &spec.lora_dropout) = (float)json_number_value(value);
        } else if (strcmp(key, "use_rslora") == 0) {
            if (!json_is_boolean(value))
                return wrong(path, key, "true or false");
            spec.use_rslora = json_is_true(value);
        } else if (strcmp(key, "target_modules") == 0) {
            named = json_is_null(value) ? NULL : value;
        } else if (strcmp(key, "modules_to_save") == 0) {
            if (!json_is_null(value))
                ZRT_TRY(read_list(path, key, value, modules_to_save, MAX_MODULES, &spec.n_modules_to_save));
        } else if (strcmp(key, "task_type") == 0) {
            ZRT_TRY(check_task(path, model, value));
        } else {
            ZRT_TRY(check_other(path, key, value));
        }
    }
    if (zrt_model_get_info(model)->n_classes > 0) /* as peft for SEQ_CLS */
        save_classifier(modules_to_save, &spec.n_modules_to_save);
    char **matched = NULL;
    const char *text = json_string_value(named);
    if (text != NULL && strcasecmp(text, "all-linear") != 0) {
        ZRT_TRY(zrt__module_names_match(path, model, text, &matched, &spec.n_target_modules));
        spec.target_modules = (const char *const *)matched;
        spec.target_expression = text;
    } else {
        ZRT_TRY(read_targets(path, model, named, target_modules, &spec.n_target_modules));
    }
    zrt_status status = zrt_model_add_lora(model, &spec);
    zrt__module_names_free(&matched);
    return status == ZRT_OK ? ZRT_OK : zrt__fail_context(status, "%s: ", path);
}

static zrt_status load(const char *path, json_t **root_out)
{
    char *text = NULL;
    size_t bytes = 0;
    json_error_t error;
    ZRT_TRY(zrt__text_file_read(path, &text, &bytes));
    *root_out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (*root_out != NULL)
        return ZRT_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for the configuration", path);
    return zrt__fail(ZRT_ERR_INPUT, "%s:%d: %s", path, error.line, error.text);
}

zrt_status zrt_model_read_lora(zrt_model *model, const char *path)
{
    json_t *root = NULL;
    ZRT_TRY(load(path, &root));
    zrt_status status = read_object(path, model, root);
    json_decref(root);
    return status;
}

zrt_status zrt__lora_config_base(const char *path, char **base_out)
{
    json_t *root = NULL;
    ZRT_TRY(load(path, &root));
    const char *base = json_string_value(json_object_get(root, "base_model_name_or_path"));
    zrt_status status = ZRT_OK;
    if (base == NULL)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: \"base_model_name_or_path\" names no base model", path);
    else if ((*base_out = zrt__strdup(base)) == NULL)
        status = ZRT_ERR_MEMORY;
    json_decref(root);
    return status;
}

/* ---- writing ---- */

static json_t *list(int n, const char *const *words)
{
    json_t *array = n > 0 ? json_array() : json_null();
    for (int i = 0; i < n; i++)
        json_array_append_new(array, json_string(words[i]));
    return array;
}

static json_t *number(float value)
{
    if (value == floorf(value) && fabsf(value) < 1e15f)
        return json_integer((json_int_t)value);
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)value);
    return json_real(strtod(text, NULL));
}

zrt_status zrt__lora_config_text(const zrt_model *model, char **text_out)
{
    const zrt_lora_spec *spec = zrt_model_get_lora(model);
    const zrt_gpt2_spec *gpt2;
    const char *config;
    json_t *object = json_pack(
        "{s:{}, s:n, s:s, s:s, s:b, s:b, s:b, s:n, s:n, s:o, s:b, s:o, s:o, s:s, s:I, s:{}, s:n, s:o, s:s, s:b, s:b}",
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", zrt_model_get_name(model), "bias", "none",
        "fan_in_fan_out", zrt__gpt2_get(model, &gpt2, &config), "inference_mode", 1, "init_lora_weights", 1,
        "layers_pattern", "layers_to_transform", "lora_alpha", number(spec->lora_alpha), "lora_bias", 0, "lora_dropout",
        number(spec->lora_dropout), "modules_to_save", list(spec->n_modules_to_save, spec->modules_to_save),
        "peft_type", "LORA", "r", (json_int_t)spec->r, "rank_pattern", "revision", "target_modules",
        spec->target_expression != NULL ? json_string(spec->target_expression)
                                        : list(spec->n_target_modules, spec->target_modules),
        "task_type", zrt_model_get_info(model)->n_classes > 0 ? "SEQ_CLS" : "CAUSAL_LM", "use_dora", 0, "use_rslora",
        spec->use_rslora);
    char *text = object != NULL ? json_dumps(object, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    *text_out = text != NULL ? zrt__format("%s\n", text) : NULL;
    free(text);
    return *text_out != NULL ? ZRT_OK : zrt__fail(ZRT_ERR_MEMORY, "adapter_config.json: no memory for its text");
}
