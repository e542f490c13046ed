#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"
#include "nn/nn.h"

/* The embedding's spec also carries the config.json that the model came from. */
typedef struct bert_origin {
    zrt_bert_spec spec;
    char config_json[]; /* "" where there is none */
} bert_origin;

static zrt_tensor *table(zrt_unit *unit, const char *name, int64_t rows, const zrt_bert_spec *s)
{
    int64_t dims[2] = {rows, s->hidden_size};
    return zrt_param(unit, name, 2, dims, (zrt_initializer){ZRT_INIT_NORMAL, s->initializer_range});
}

static zrt_tensor *linear(zrt_unit *unit, zrt_tensor *x, const char *weight_name, const char *bias_name, int64_t out,
                          int64_t in, const zrt_bert_spec *s)
{
    int64_t dims[2] = {out, in};
    zrt_tensor *weight =
        zrt_param(unit, weight_name, 2, dims, (zrt_initializer){ZRT_INIT_NORMAL, s->initializer_range});
    zrt_tensor *bias = zrt_param(unit, bias_name, 1, &out, (zrt_initializer){ZRT_INIT_ZERO, 0.0f});
    return zrt_linear(unit, x, weight, bias, ZRT_WEIGHT_OUT_IN);
}

static zrt_tensor *norm(zrt_unit *unit, zrt_tensor *x, const char *weight_name, const char *bias_name,
                        const zrt_bert_spec *s)
{
    zrt_tensor *weight = zrt_param(unit, weight_name, 1, &s->hidden_size, (zrt_initializer){ZRT_INIT_ONE, 0.0f});
    zrt_tensor *bias = zrt_param(unit, bias_name, 1, &s->hidden_size, (zrt_initializer){ZRT_INIT_ZERO, 0.0f});
    return zrt_layernorm(unit, x, weight, bias, s->layer_norm_eps);
}

static zrt_status describe_embedding(zrt_unit *unit, const void *spec)
{
    const zrt_bert_spec *s = spec;
    zrt_tensor *words = table(unit, "word_embeddings.weight", s->vocab_size, s);
    zrt_tensor *positions = table(unit, "position_embeddings.weight", s->max_position_embeddings, s);
    zrt_tensor *types = table(unit, "token_type_embeddings.weight", s->type_vocab_size, s);
    zrt_tensor *x = zrt_embedding(unit, zrt_input(unit, "token_type_ids"), types, NULL);
    x = zrt_embedding(unit, zrt_input(unit, "position_ids"), positions, x);
    x = zrt_embedding(unit, zrt_input(unit, "input_ids"), words, x);
    x = norm(unit, x, "LayerNorm.weight", "LayerNorm.bias", s);
    zrt_output(unit, "hidden", zrt_dropout(unit, x, s->hidden_dropout_prob));
    return zrt_unit_status(unit);
}

static zrt_tensor *attend(zrt_unit *unit, zrt_tensor *x, const zrt_bert_spec *s)
{
    int64_t n = s->hidden_size;
    zrt_initializer init = {ZRT_INIT_NORMAL, s->initializer_range}, zero = {ZRT_INIT_ZERO, 0.0f};
    const zrt_param_part weights[3] = {{"attention.self.query.weight", n, init},
                                       {"attention.self.key.weight", n, init},
                                       {"attention.self.value.weight", n, init}};
    const zrt_param_part biases[3] = {{"attention.self.query.bias", n, zero},
                                      {"attention.self.key.bias", n, zero},
                                      {"attention.self.value.bias", n, zero}};
    zrt_tensor *weight = zrt_param_pack(unit, 3, weights, 2, n), *bias = zrt_param_pack(unit, 3, biases, 1, 1);
    zrt_attention_spec attention = {
        .n_heads = (int)s->num_attention_heads,
        .n_kv_heads = (int)s->num_attention_heads,
        .head_dim = (int)(n / s->num_attention_heads),
        .dropout = s->attention_probs_dropout_prob,
        /* Tokens see tokens and padding sees padding, which nothing reads. */
        .segment_ids = zrt_input(unit, "attention_mask"),
    };
    zrt_tensor *qkv = zrt_linear(unit, x, weight, bias, ZRT_WEIGHT_OUT_IN);
    return linear(unit, zrt_attention(unit, qkv, &attention), "attention.output.dense.weight",
                  "attention.output.dense.bias", n, n, s);
}

static zrt_status describe_layer(zrt_unit *unit, const void *spec)
{
    const zrt_bert_spec *s = spec;
    zrt_tensor *x = zrt_input(unit, "hidden");
    zrt_tensor *h = zrt_dropout(unit, attend(unit, x, s), s->hidden_dropout_prob);
    x = norm(unit, zrt_add(unit, x, h), "attention.output.LayerNorm.weight", "attention.output.LayerNorm.bias", s);
    h = linear(unit, x, "intermediate.dense.weight", "intermediate.dense.bias", s->intermediate_size, s->hidden_size,
               s);
    h = linear(unit, zrt_activation(unit, h, s->hidden_act), "output.dense.weight", "output.dense.bias", s->hidden_size,
               s->intermediate_size, s);
    h = zrt_add(unit, x, zrt_dropout(unit, h, s->hidden_dropout_prob));
    zrt_output(unit, "hidden", norm(unit, h, "output.LayerNorm.weight", "output.LayerNorm.bias", s));
    return zrt_unit_status(unit);
}

/* Pooler and classifier over the first token. */
static zrt_status describe_head(zrt_unit *unit, const void *spec)
{
    const zrt_bert_spec *s = spec;
    int64_t dims[2] = {zrt_unit_rows(unit), s->hidden_size};
    zrt_tensor *x = zrt_reshape(unit, zrt_first_position(unit, zrt_input(unit, "hidden")), 2, dims);
    x = linear(unit, x, "bert.pooler.dense.weight", "bert.pooler.dense.bias", s->hidden_size, s->hidden_size, s);
    x = zrt_dropout(unit, zrt_activation(unit, x, ZRT_TANH), s->classifier_dropout);
    x = linear(unit, x, "classifier.weight", "classifier.bias", s->num_labels, s->hidden_size, s);
    zrt_cross_entropy(unit, x, zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status check(const zrt_bert_spec *s)
{
    const struct {
        const char *field;
        int64_t value, maximum;
    } sizes[] = {
        {"vocab_size", s->vocab_size, 1 << 24},
        {"max_position_embeddings", s->max_position_embeddings, 1 << 24},
        {"type_vocab_size", s->type_vocab_size, 1 << 16},
        {"hidden_size", s->hidden_size, 1 << 20},
        {"intermediate_size", s->intermediate_size, 1 << 24},
        {"num_hidden_layers", s->num_hidden_layers, 10000},
        {"num_attention_heads", s->num_attention_heads, 1 << 16},
        {"num_labels", s->num_labels, 1 << 16},
    };
    const struct {
        const char *field;
        float value;
    } probabilities[] = {
        {"hidden_dropout_prob", s->hidden_dropout_prob},
        {"attention_probs_dropout_prob", s->attention_probs_dropout_prob},
        {"classifier_dropout", s->classifier_dropout},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].maximum)
            return zrt__fail(ZRT_ERR_CONFIG, "%s is %" PRId64 "; it is from 1 to %" PRId64, sizes[i].field,
                             sizes[i].value, sizes[i].maximum);
    for (size_t i = 0; i < sizeof probabilities / sizeof *probabilities; i++)
        if (!(probabilities[i].value >= 0.0f && probabilities[i].value < 1.0f))
            return zrt__fail(ZRT_ERR_CONFIG, "%s is %g; it is at least 0 and below 1", probabilities[i].field,
                             (double)probabilities[i].value);
    if (s->hidden_size % s->num_attention_heads != 0)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "hidden_size (%" PRId64 ") is not a multiple of num_attention_heads (%" PRId64 ")",
                         s->hidden_size, s->num_attention_heads);
    if (s->num_labels < 2)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "num_labels is 1: regression is not supported, classification is");
    if (!(s->layer_norm_eps >= 0.0f && s->layer_norm_eps < 1.0f))
        return zrt__fail(ZRT_ERR_CONFIG, "layer_norm_eps is %g; it is at least 0 and below 1",
                         (double)s->layer_norm_eps);
    if (!(s->initializer_range >= 0.0f && s->initializer_range < INFINITY))
        return zrt__fail(ZRT_ERR_CONFIG, "initializer_range is %g; it is at least 0", (double)s->initializer_range);
    return ZRT_OK;
}

static zrt_status add_units(zrt_model *model, const zrt_bert_spec *spec, const char *config_json)
{
    static const int64_t length[1] = {-1};
    size_t text_bytes = strlen(config_json) + 1;
    ZRT_TRY(zrt_model_add_field(model, "attention_mask", ZRT_INT32, 1, length));
    ZRT_TRY(zrt_model_add_field(model, "token_type_ids", ZRT_INT32, 1, length));
    ZRT_TRY(zrt_model_add_field(model, "labels", ZRT_INT32, 0, NULL));
    bert_origin *origin = zrt__malloc(sizeof *origin + text_bytes);
    if (origin == NULL)
        return ZRT_ERR_MEMORY;
    origin->spec = *spec;
    memcpy(origin->config_json, config_json, text_bytes);
    zrt_status status =
        zrt_model_add_unit(model, "bert.embeddings", describe_embedding, origin, sizeof *origin + text_bytes);
    free(origin);
    for (int64_t i = 0; i < spec->num_hidden_layers && status == ZRT_OK; i++) {
        char *prefix = zrt__format("bert.encoder.layer.%" PRId64, i);
        if (prefix == NULL)
            return ZRT_ERR_MEMORY;
        status = zrt_model_add_unit(model, prefix, describe_layer, spec, sizeof *spec);
        free(prefix);
    }
    return status != ZRT_OK ? status : zrt_model_add_unit(model, "", describe_head, spec, sizeof *spec);
}

zrt_status zrt__bert_create(const char *name, const zrt_bert_spec *spec, const char *config_json, zrt_model **model_out)
{
    ZRT_TRY(check(spec));
    zrt_model *model;
    ZRT_TRY(zrt_model_create(name == NULL ? "bert" : name, &model));
    zrt_status status = add_units(model, spec, config_json == NULL ? "" : config_json);
    if (status != ZRT_OK) {
        zrt_model_destroy(&model);
        return status;
    }
    zrt_model_set_info(model, &(zrt_model_info){.hidden_size = spec->hidden_size,
                                                .vocab_size = spec->vocab_size,
                                                .max_length = spec->max_position_embeddings,
                                                .bos_token_id = -1,
                                                .eos_token_id = -1,
                                                .n_classes = spec->num_labels});
    *model_out = model;
    return ZRT_OK;
}

zrt_status zrt_model_bert(const zrt_bert_spec *spec, zrt_model **model_out)
{
    return zrt__bert_create(NULL, spec, NULL, model_out);
}

bool zrt__bert_get(const zrt_model *model, const zrt_bert_spec **spec_out, const char **config_json_out)
{
    if (model->n_units == 0 || model->units[0].describe != describe_embedding)
        return false;
    const bert_origin *origin = model->units[0].spec;
    *spec_out = &origin->spec;
    *config_json_out = origin->config_json[0] != '\0' ? origin->config_json : NULL;
    return true;
}

bool zrt__bert_begins_anew(const zrt_model *model, const char *parameter)
{
    const zrt_bert_spec *spec;
    const char *config;
    return (strncmp(parameter, "classifier.", 11) == 0 || strncmp(parameter, "bert.pooler.", 12) == 0) &&
           zrt__bert_get(model, &spec, &config);
}
