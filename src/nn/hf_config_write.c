#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "nn/hf_config.h"
#include "nn/nn.h"
#include "nn/text_file.h"

/* The shortest decimal that is this float: 0.02, not 0.0199999996. */
static json_t *number(float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_real(strtod(text, NULL));
}

static json_t *token(int32_t id)
{
    return id < 0 ? json_null() : json_integer(id);
}

static const char *torch_name(zrt_dtype dtype)
{
    switch (dtype) {
    case ZRT_FLOAT16:
        return "float16";
    case ZRT_BFLOAT16:
        return "bfloat16";
    case ZRT_FLOAT64:
        return "float64";
    default:
        return "float32";
    }
}

/* In the spelling of transformers 4, which transformers 5 reads too. */
static json_t *gpt2_object(const zrt_gpt2_spec *s, const zrt_model_info *info)
{
    return json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:o, s:o}",
        "architectures", "GPT2LMHeadModel", "model_type", "gpt2", "vocab_size", (json_int_t)s->vocab_size,
        "n_positions", (json_int_t)s->n_positions, "n_embd", (json_int_t)s->n_embd, "n_layer", (json_int_t)s->n_layer,
        "n_head", (json_int_t)s->n_head, "n_inner", s->n_inner == 0 ? json_null() : json_integer(s->n_inner),
        "activation_function", zrt__activation_name(s->activation_function), "resid_pdrop", number(s->resid_pdrop),
        "embd_pdrop", number(s->embd_pdrop), "attn_pdrop", number(s->attn_pdrop), "layer_norm_epsilon",
        number(s->layer_norm_epsilon), "initializer_range", number(s->initializer_range), "tie_word_embeddings",
        s->tie_word_embeddings, "scale_attn_weights", s->scale_attn_weights, "scale_attn_by_inverse_layer_idx",
        s->scale_attn_by_inverse_layer_idx, "bos_token_id", token(info->bos_token_id), "eos_token_id",
        token(info->eos_token_id));
}

static json_t *rope_object(const zrt_rope_spec *rope)
{
    if (rope->factor == 0.0f || rope->factor == 1.0f)
        return json_null();
    return json_pack("{s:s, s:o, s:o, s:o, s:I}", "rope_type", "llama3", "factor", number(rope->factor),
                     "low_freq_factor", number(rope->low_freq_factor), "high_freq_factor",
                     number(rope->high_freq_factor), "original_max_position_embeddings",
                     (json_int_t)rope->original_max_length);
}

static json_t *llama_object(const zrt_llama_spec *s, const zrt_model_info *info)
{
    return json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:o, s:o}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size", (json_int_t)s->vocab_size,
        "max_position_embeddings", (json_int_t)s->max_position_embeddings, "hidden_size", (json_int_t)s->hidden_size,
        "intermediate_size", (json_int_t)s->intermediate_size, "num_hidden_layers", (json_int_t)s->num_hidden_layers,
        "num_attention_heads", (json_int_t)s->num_attention_heads, "num_key_value_heads",
        (json_int_t)s->num_key_value_heads, "head_dim", (json_int_t)s->head_dim, "hidden_act",
        zrt__activation_name(s->hidden_act), "rms_norm_eps", number(s->rms_norm_eps), "initializer_range",
        number(s->initializer_range), "attention_dropout", number(s->attention_dropout), "rope_theta",
        number(s->rope.theta), "rope_scaling", rope_object(&s->rope), "tie_word_embeddings", s->tie_word_embeddings,
        "attention_bias", s->attention_bias, "mlp_bias", s->mlp_bias, "bos_token_id", token(info->bos_token_id),
        "eos_token_id", token(info->eos_token_id));
}

static json_t *bert_object(const zrt_bert_spec *s)
{
    json_t *names = json_object(), *numbers = json_object();
    for (int64_t i = 0; i < s->num_labels; i++) {
        char number_text[24], name[32];
        snprintf(number_text, sizeof number_text, "%lld", (long long)i);
        snprintf(name, sizeof name, "LABEL_%lld", (long long)i);
        json_object_set_new(names, number_text, json_string(name));
        json_object_set_new(numbers, name, json_integer(i));
    }
    return json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "architectures",
        "BertForSequenceClassification", "model_type", "bert", "vocab_size", (json_int_t)s->vocab_size,
        "max_position_embeddings", (json_int_t)s->max_position_embeddings, "type_vocab_size",
        (json_int_t)s->type_vocab_size, "hidden_size", (json_int_t)s->hidden_size, "intermediate_size",
        (json_int_t)s->intermediate_size, "num_hidden_layers", (json_int_t)s->num_hidden_layers, "num_attention_heads",
        (json_int_t)s->num_attention_heads, "hidden_act", zrt__activation_name(s->hidden_act), "layer_norm_eps",
        number(s->layer_norm_eps), "initializer_range", number(s->initializer_range), "hidden_dropout_prob",
        number(s->hidden_dropout_prob), "attention_probs_dropout_prob", number(s->attention_probs_dropout_prob),
        "classifier_dropout", number(s->classifier_dropout), "id2label", names, "label2id", numbers);
}

/* A pretrained BERT of another head has become a classifier. */
static zrt_status bert_text(const char *original, char **text_out)
{
    json_t *object = json_loads(original, 0, NULL);
    const char *have = json_string_value(json_array_get(json_object_get(object, "architectures"), 0));
    char *text = NULL;
    if (object == NULL || (have != NULL && strcmp(have, "BertForSequenceClassification") == 0))
        text = zrt__strdup(original);
    else if (json_object_set_new(object, "architectures", json_pack("[s]", "BertForSequenceClassification")) == 0) {
        char *dumped = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
        text = dumped != NULL ? zrt__format("%s\n", dumped) : NULL;
        free(dumped);
    }
    json_decref(object);
    *text_out = text;
    return text != NULL ? ZRT_OK : zrt__fail(ZRT_ERR_MEMORY, "config.json: no memory for its text");
}

zrt_status zrt__hf_config_text(const zrt_model *model, zrt_dtype stored, char **text_out)
{
    const zrt_gpt2_spec *gpt2;
    const zrt_llama_spec *llama;
    const zrt_bert_spec *bert;
    const char *original = NULL;
    const zrt_model_info *info = zrt_model_get_info(model);
    json_t *object;
    if (zrt__gpt2_get(model, &gpt2, &original))
        object = original != NULL ? NULL : gpt2_object(gpt2, info);
    else if (zrt__llama_get(model, &llama, &original))
        object = original != NULL ? NULL : llama_object(llama, info);
    else if (zrt__bert_get(model, &bert, &original) && original != NULL)
        return bert_text(original, text_out);
    else if (zrt__bert_get(model, &bert, &original))
        object = bert_object(bert);
    else
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "model %s has no config.json: transformers has no such model",
                         zrt_model_get_name(model));
    if (original != NULL) {
        *text_out = zrt__strdup(original);
        return *text_out == NULL ? ZRT_ERR_MEMORY : ZRT_OK;
    }
    char *text = NULL, *line = NULL;
    if (object != NULL && json_object_set_new(object, "torch_dtype", json_string(torch_name(stored))) == 0)
        text = json_dumps(object, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    json_decref(object);
    if (text == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "config.json: no memory for its text");
    line = zrt__format("%s\n", text);
    free(text);
    *text_out = line;
    return line == NULL ? ZRT_ERR_MEMORY : ZRT_OK;
}

/* Under the name of transformers 5 or that of 4. */
static const char *dtype_key(const json_t *object)
{
    return json_object_get(object, "torch_dtype") != NULL && json_object_get(object, "dtype") == NULL ? "torch_dtype"
                                                                                                      : "dtype";
}

zrt_status zrt__hf_config_dtype(const char *text, zrt_dtype *dtype_out)
{
    static const zrt_dtype dtypes[] = {ZRT_FLOAT32, ZRT_FLOAT16, ZRT_BFLOAT16};
    json_error_t error;
    json_t *object = json_loads(text, 0, &error);
    if (object == NULL)
        return zrt__fail(ZRT_ERR_INPUT, "config.json:%d: %s", error.line, error.text);
    const char *name = json_string_value(json_object_get(object, dtype_key(object)));
    zrt_status status = ZRT_OK;
    size_t i = 0, n = sizeof dtypes / sizeof *dtypes;
    *dtype_out = ZRT_FLOAT32;
    while (name != NULL && i < n && strcmp(torch_name(dtypes[i]), name) != 0)
        i++;
    if (i == n)
        status = zrt__fail(ZRT_ERR_NOT_SUPPORTED, "config.json: dtype %.64s; choose fp32, fp16 or bf16", name);
    else
        *dtype_out = dtypes[i];
    json_decref(object);
    return status;
}

zrt_status zrt__hf_config_with_dtype(const char *text, zrt_dtype stored, char **text_out)
{
    json_t *object = json_loads(text, 0, NULL);
    const char *key = dtype_key(object), *name = json_string_value(json_object_get(object, key));
    char *changed = NULL;
    if (object == NULL || (name != NULL && strcmp(name, torch_name(stored)) == 0)) {
        changed = zrt__strdup(text);
    } else if (json_object_set_new(object, key, json_string(torch_name(stored))) == 0) {
        char *dumped = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
        changed = dumped != NULL ? zrt__format("%s\n", dumped) : NULL;
        free(dumped);
    }
    json_decref(object);
    *text_out = changed;
    return changed != NULL ? ZRT_OK : zrt__fail(ZRT_ERR_MEMORY, "config.json: no memory for its text");
}

zrt_status zrt__hf_config_write(const zrt_model *model, zrt_dtype stored, const char *folder)
{
    char *text, *original;
    ZRT_TRY(zrt__hf_config_text(model, stored, &original));
    zrt_status changed = zrt__hf_config_with_dtype(original, stored, &text);
    free(original);
    ZRT_TRY(changed);
    zrt_status status = zrt__text_file_write(folder, "config.json", text);
    free(text);
    return status;
}
