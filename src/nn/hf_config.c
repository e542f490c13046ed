#include "config.h"

#include "nn/hf_config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "nn/nn.h"

/* Takes fields out of an object one by one; what is left at the end was not used. The first error sticks. */
typedef struct reader {
    const char *path;
    json_t *left;
    zrt_status status;
} reader;

/* The value of a field; NULL where it is absent or null (transformers' None). Valid as long as `left` was read from the root. */
static json_t *take(reader *r, json_t *root, const char *key)
{
    json_t *value = json_object_get(root, key);
    json_object_del(r->left, key);
    return value == NULL || json_is_null(value) ? NULL : value;
}

static void wrong(reader *r, const char *key, const char *want)
{
    if (r->status == ZRT_OK)
        r->status = zrt__fail(ZRT_ERR_INPUT, "%s: \"%s\" is not %s", r->path, key, want);
}

static void refuse(reader *r, const char *key, const char *why)
{
    if (r->status == ZRT_OK)
        r->status = zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: \"%s\": %s is not supported", r->path, key, why);
}

/* A whole number; Python writes some as 4096.0. */
static int64_t take_integer(reader *r, json_t *root, const char *key, int64_t otherwise)
{
    json_t *value = take(r, root, key);
    if (value == NULL)
        return otherwise;
    if (json_is_integer(value))
        return json_integer_value(value);
    double real = json_real_value(value);
    if (json_is_real(value) && real == floor(real) && fabs(real) < 9e15)
        return (int64_t)real;
    wrong(r, key, "a whole number");
    return otherwise;
}

static float take_float(reader *r, json_t *root, const char *key, double otherwise)
{
    json_t *value = take(r, root, key);
    if (value == NULL)
        return (float)otherwise;
    if (!json_is_number(value))
        wrong(r, key, "a number");
    return (float)json_number_value(value);
}

static bool take_bool(reader *r, json_t *root, const char *key, bool otherwise)
{
    json_t *value = take(r, root, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_boolean(value))
        wrong(r, key, "true or false");
    return json_is_true(value);
}

static const char *take_text(reader *r, json_t *root, const char *key, const char *otherwise)
{
    json_t *value = take(r, root, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_string(value)) {
        wrong(r, key, "a string");
        return otherwise;
    }
    return json_string_value(value);
}

/* A token's number, or the first of several. */
static int32_t take_token(reader *r, json_t *root, const char *key, int32_t otherwise)
{
    json_t *value = json_object_get(root, key);
    json_object_del(r->left, key);
    if (value == NULL)
        return otherwise;
    if (json_is_null(value))
        return -1;
    if (json_is_array(value))
        value = json_array_get(value, 0);
    if (value == NULL || !json_is_integer(value) || json_integer_value(value) < -1 ||
        json_integer_value(value) > INT32_MAX) {
        wrong(r, key, "a token's number");
        return otherwise;
    }
    return (int32_t)json_integer_value(value);
}

static zrt_activation_kind take_activation(reader *r, json_t *root, const char *key, zrt_activation_kind otherwise)
{
    const char *name = take_text(r, root, key, NULL);
    zrt_activation_kind kind = otherwise;
    if (name != NULL && r->status == ZRT_OK) {
        r->status = zrt__activation_find(key, name, &kind);
        if (r->status != ZRT_OK)
            zrt__fail_context(r->status, "%s: ", r->path);
    }
    return kind;
}

/* Fields of every configuration that change what is computed. */
static void refuse_general(reader *r, json_t *root, const char *causal_class, const char *base_class)
{
    json_t *architectures = take(r, root, "architectures"), *architecture;
    size_t i;
    json_array_foreach(architectures, i, architecture)
    {
        const char *name = json_string_value(architecture);
        if (name == NULL)
            wrong(r, "architectures", "a list of names");
        else if (strcmp(name, causal_class) != 0 && strcmp(name, base_class) != 0)
            refuse(r, "architectures", name);
    }
    if (take(r, root, "quantization_config") != NULL)
        refuse(r, "quantization_config", "a quantized model");
    if (take_bool(r, root, "add_cross_attention", false))
        refuse(r, "add_cross_attention", "cross-attention");
    if (take_bool(r, root, "is_encoder_decoder", false))
        refuse(r, "is_encoder_decoder", "an encoder-decoder model");
    json_t *pruned = take(r, root, "pruned_heads");
    if (json_object_size(pruned) > 0)
        refuse(r, "pruned_heads", "a model with pruned heads");
    const char *loss = take_text(r, root, "loss_type", "ForCausalLM");
    if (strcmp(loss, "ForCausalLM") != 0 && strcmp(loss, "ForCausalLMLoss") != 0)
        refuse(r, "loss_type", loss);
}

/* What is left changes nothing that is computed here: said once, so that nobody has to guess. */
static void log_unused(const reader *r)
{
    char list[1024] = "";
    const char *key;
    json_t *value;
    json_object_foreach(r->left, key, value)
    {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used == 0 ? "" : ", ", key);
    }
    if (list[0] != '\0')
        zrt__log(ZRT_LOG_INFO, "%s: without effect here: %s", r->path, list);
}

/* transformers takes these names too (its attribute_map). */
static int64_t take_gpt2_size(reader *r, json_t *root, const char *key, const char *general, int64_t otherwise)
{
    return take_integer(r, root, key, take_integer(r, root, general, otherwise));
}

static zrt_status read_gpt2(reader *r, json_t *root, const char *name, const char *text, zrt_model **model_out)
{
    refuse_general(r, root, "GPT2LMHeadModel", "GPT2Model");
    zrt_gpt2_spec spec = {
        .vocab_size = take_integer(r, root, "vocab_size", 50257),
        .n_positions = take_gpt2_size(r, root, "n_positions", "max_position_embeddings", 1024),
        .n_embd = take_gpt2_size(r, root, "n_embd", "hidden_size", 768),
        .n_layer = take_gpt2_size(r, root, "n_layer", "num_hidden_layers", 12),
        .n_head = take_gpt2_size(r, root, "n_head", "num_attention_heads", 12),
        .n_inner = take_integer(r, root, "n_inner", 0),
        .layer_norm_epsilon = take_float(r, root, "layer_norm_epsilon", 1e-5),
        .initializer_range = take_float(r, root, "initializer_range", 0.02),
        .resid_pdrop = take_float(r, root, "resid_pdrop", 0.1),
        .embd_pdrop = take_float(r, root, "embd_pdrop", 0.1),
        .attn_pdrop = take_float(r, root, "attn_pdrop", 0.1),
        .activation_function = take_activation(r, root, "activation_function", ZRT_GELU_TANH),
        .tie_word_embeddings = take_bool(r, root, "tie_word_embeddings", true),
        .scale_attn_weights = take_bool(r, root, "scale_attn_weights", true),
        .scale_attn_by_inverse_layer_idx = take_bool(r, root, "scale_attn_by_inverse_layer_idx", false),
    };
    int32_t bos = take_token(r, root, "bos_token_id", 50256), eos = take_token(r, root, "eos_token_id", 50256);
    take_bool(r, root, "reorder_and_upcast_attn", false); /* scores are fp32 here anyway */
    ZRT_TRY(r->status);
    log_unused(r);
    zrt_status status = zrt__gpt2_create(name, &spec, text, model_out);
    if (status != ZRT_OK)
        return zrt__fail_context(status, "%s: ", r->path);
    zrt_model_info info = *zrt_model_get_info(*model_out);
    info.bos_token_id = bos;
    info.eos_token_id = eos;
    zrt_model_set_info(*model_out, &info);
    return ZRT_OK;
}

/* transformers 5: "rope_parameters" holds everything. transformers 4: "rope_theta" and "rope_scaling". */
static zrt_rope_spec take_rope(reader *r, json_t *root)
{
    zrt_rope_spec rope = {.theta = take_float(r, root, "rope_theta", 10000.0)};
    json_t *scaling = take(r, root, "rope_scaling"), *parameters = take(r, root, "rope_parameters");
    const char *key = parameters != NULL ? "rope_parameters" : "rope_scaling";
    json_t *object = parameters != NULL ? parameters : scaling;
    if (take_float(r, root, "partial_rotary_factor", 1.0) != 1.0f)
        refuse(r, "partial_rotary_factor", "a value other than 1");
    if (object == NULL)
        return rope;
    if (!json_is_object(object)) {
        wrong(r, key, "an object");
        return rope;
    }
    reader inner = {.path = r->path, .left = json_object(), .status = r->status};
    rope.theta = take_float(&inner, object, "rope_theta", (double)rope.theta);
    const char *type = take_text(&inner, object, "rope_type", take_text(&inner, object, "type", "default"));
    if (take_float(&inner, object, "partial_rotary_factor", 1.0) != 1.0f)
        refuse(&inner, "partial_rotary_factor", "a value other than 1");
    if (strcmp(type, "llama3") == 0) {
        static const char *const needed[] = {"factor", "low_freq_factor", "high_freq_factor",
                                             "original_max_position_embeddings"};
        for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
            if (!json_is_number(json_object_get(object, needed[i])))
                wrong(&inner, needed[i], "a number, which rope type llama3 needs");
        rope.factor = take_float(&inner, object, "factor", 1.0);
        rope.low_freq_factor = take_float(&inner, object, "low_freq_factor", 1.0);
        rope.high_freq_factor = take_float(&inner, object, "high_freq_factor", 4.0);
        rope.original_max_length = take_integer(&inner, object, "original_max_position_embeddings", 0);
    } else if (strcmp(type, "default") != 0 && inner.status == ZRT_OK) {
        inner.status =
            zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: \"%s\": rope type '%.64s' is not supported; default and llama3 are",
                      r->path, key, type);
    }
    json_decref(inner.left);
    r->status = inner.status;
    return rope;
}

static zrt_status read_llama(reader *r, json_t *root, const char *name, const char *text, zrt_model **model_out)
{
    refuse_general(r, root, "LlamaForCausalLM", "LlamaModel");
    int64_t hidden_size = take_integer(r, root, "hidden_size", 4096),
            heads = take_integer(r, root, "num_attention_heads", 32);
    if (r->status == ZRT_OK && heads < 1)
        wrong(r, "num_attention_heads", "at least 1");
    ZRT_TRY(r->status);
    zrt_llama_spec spec = {
        .vocab_size = take_integer(r, root, "vocab_size", 32000),
        .max_position_embeddings = take_integer(r, root, "max_position_embeddings", 2048),
        .hidden_size = hidden_size,
        .intermediate_size = take_integer(r, root, "intermediate_size", 11008),
        .num_hidden_layers = take_integer(r, root, "num_hidden_layers", 32),
        .num_attention_heads = heads,
        .num_key_value_heads = take_integer(r, root, "num_key_value_heads", heads),
        .head_dim = take_integer(r, root, "head_dim", hidden_size / heads),
        .rms_norm_eps = take_float(r, root, "rms_norm_eps", 1e-6),
        .initializer_range = take_float(r, root, "initializer_range", 0.02),
        .attention_dropout = take_float(r, root, "attention_dropout", 0.0),
        .rope = take_rope(r, root),
        .hidden_act = take_activation(r, root, "hidden_act", ZRT_SILU),
        .tie_word_embeddings = take_bool(r, root, "tie_word_embeddings", false),
        .attention_bias = take_bool(r, root, "attention_bias", false),
        .mlp_bias = take_bool(r, root, "mlp_bias", false),
        .bos_token_id = take_token(r, root, "bos_token_id", 1),
        .eos_token_id = take_token(r, root, "eos_token_id", 2),
    };
    ZRT_TRY(r->status);
    log_unused(r);
    zrt_status status = zrt__llama_create(name, &spec, text, model_out);
    return status == ZRT_OK ? ZRT_OK : zrt__fail_context(status, "%s: ", r->path);
}

/* Classes: "num_labels", or as many as "id2label" names. */
static int64_t take_labels(reader *r, json_t *root)
{
    json_t *names = take(r, root, "id2label");
    take(r, root, "label2id");
    return take_integer(r, root, "num_labels", names != NULL ? (int64_t)json_object_size(names) : 2);
}

static void refuse_bert(reader *r, json_t *root)
{
    static const char *const known[] = {"BertForSequenceClassification", "BertForMaskedLM", "BertForPreTraining",
                                        "BertModel"};
    json_t *architectures = take(r, root, "architectures"), *architecture;
    size_t i;
    json_array_foreach(architectures, i, architecture)
    {
        const char *name = json_string_value(architecture);
        bool found = false;
        for (size_t k = 0; name != NULL && k < sizeof known / sizeof *known; k++)
            found |= strcmp(name, known[k]) == 0;
        if (!found)
            refuse(r, "architectures", name != NULL ? name : "what is no name");
    }
    if (take(r, root, "quantization_config") != NULL)
        refuse(r, "quantization_config", "a quantized model");
    if (take_bool(r, root, "add_cross_attention", false))
        refuse(r, "add_cross_attention", "cross-attention");
    if (take_bool(r, root, "is_decoder", false))
        refuse(r, "is_decoder", "a BERT decoder");
    if (json_object_size(take(r, root, "pruned_heads")) > 0)
        refuse(r, "pruned_heads", "a model with pruned heads");
    const char *problem = take_text(r, root, "problem_type", "single_label_classification");
    if (strcmp(problem, "single_label_classification") != 0)
        refuse(r, "problem_type", problem);
    const char *positions = take_text(r, root, "position_embedding_type", "absolute");
    if (strcmp(positions, "absolute") != 0)
        refuse(r, "position_embedding_type", positions);
}

static zrt_status read_bert(reader *r, json_t *root, const char *name, const char *text, zrt_model **model_out)
{
    refuse_bert(r, root);
    zrt_bert_spec spec = {
        .vocab_size = take_integer(r, root, "vocab_size", 30522),
        .max_position_embeddings = take_integer(r, root, "max_position_embeddings", 512),
        .type_vocab_size = take_integer(r, root, "type_vocab_size", 2),
        .hidden_size = take_integer(r, root, "hidden_size", 768),
        .intermediate_size = take_integer(r, root, "intermediate_size", 3072),
        .num_hidden_layers = take_integer(r, root, "num_hidden_layers", 12),
        .num_attention_heads = take_integer(r, root, "num_attention_heads", 12),
        .num_labels = take_labels(r, root),
        .layer_norm_eps = take_float(r, root, "layer_norm_eps", 1e-12),
        .initializer_range = take_float(r, root, "initializer_range", 0.02),
        .hidden_dropout_prob = take_float(r, root, "hidden_dropout_prob", 0.1),
        .attention_probs_dropout_prob = take_float(r, root, "attention_probs_dropout_prob", 0.1),
        .hidden_act = take_activation(r, root, "hidden_act", ZRT_GELU),
    };
    spec.classifier_dropout = take_float(r, root, "classifier_dropout", (double)spec.hidden_dropout_prob);
    ZRT_TRY(r->status);
    log_unused(r);
    zrt_status status = zrt__bert_create(name, &spec, text, model_out);
    return status == ZRT_OK ? ZRT_OK : zrt__fail_context(status, "%s: ", r->path);
}

static zrt_status read_root(const char *path, const char *name, const char *text, json_t *root, zrt_model **model_out)
{
    if (!json_is_object(root))
        return zrt__fail(ZRT_ERR_INPUT, "%s: not a JSON object", path);
    reader r = {.path = path, .left = json_copy(root), .status = ZRT_OK};
    if (r.left == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for the configuration", path);
    const char *type = take_text(&r, root, "model_type", NULL);
    zrt_status status = r.status;
    if (status == ZRT_OK && type == NULL)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: no \"model_type\"; gpt2, llama and bert are supported", path);
    else if (status == ZRT_OK && strcmp(type, "gpt2") == 0)
        status = read_gpt2(&r, root, name, text, model_out);
    else if (status == ZRT_OK && strcmp(type, "llama") == 0)
        status = read_llama(&r, root, name, text, model_out);
    else if (status == ZRT_OK && strcmp(type, "bert") == 0)
        status = read_bert(&r, root, name, text, model_out);
    else if (status == ZRT_OK)
        status = zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: model type '%.64s' is not supported; gpt2, llama and bert are",
                           path, type);
    json_decref(r.left);
    return status;
}

zrt_status zrt__hf_config_read(const char *path, const char *name, const char *text, size_t bytes,
                               zrt_model **model_out)
{
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for the configuration", path);
        return zrt__fail(ZRT_ERR_INPUT, "%s:%d: %s", path, error.line, error.text);
    }
    zrt_status status = read_root(path, name, text, root, model_out);
    json_decref(root);
    return status;
}
