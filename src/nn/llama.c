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
typedef struct llama_origin {
    zrt_llama_spec spec;
    char config_json[]; /* "" where there is none */
} llama_origin;

static zrt_tensor *norm(zrt_unit *unit, zrt_tensor *x, const char *name, const zrt_llama_spec *s)
{
    zrt_tensor *weight = zrt_param(unit, name, 1, &s->hidden_size, (zrt_initializer){ZRT_INIT_ONE, 0.0f});
    return zrt_rmsnorm(unit, x, weight, s->rms_norm_eps);
}

/* NAME.weight and, where the configuration has it, NAME.bias. */
static zrt_tensor *linear(zrt_unit *unit, zrt_tensor *x, const char *weight_name, const char *bias_name, int64_t out,
                          int64_t in, float deviation)
{
    int64_t dims[2] = {out, in};
    zrt_tensor *weight = zrt_param(unit, weight_name, 2, dims, (zrt_initializer){ZRT_INIT_NORMAL, deviation});
    zrt_tensor *bias =
        bias_name == NULL ? NULL : zrt_param(unit, bias_name, 1, &out, (zrt_initializer){ZRT_INIT_ZERO, 0.0f});
    return zrt_linear(unit, x, weight, bias, ZRT_WEIGHT_OUT_IN);
}

static zrt_status describe_embedding(zrt_unit *unit, const void *spec)
{
    const zrt_llama_spec *s = spec;
    int64_t dims[2] = {s->vocab_size, s->hidden_size};
    zrt_tensor *table =
        zrt_param(unit, "embed_tokens.weight", 2, dims, (zrt_initializer){ZRT_INIT_NORMAL, s->initializer_range});
    zrt_output(unit, "hidden", zrt_embedding(unit, zrt_input(unit, "input_ids"), table, NULL));
    return zrt_unit_status(unit);
}

static zrt_tensor *attend(zrt_unit *unit, zrt_tensor *x, const zrt_llama_spec *s)
{
    int64_t q = s->num_attention_heads * s->head_dim, kv = s->num_key_value_heads * s->head_dim;
    zrt_initializer init = {ZRT_INIT_NORMAL, s->initializer_range}, zero = {ZRT_INIT_ZERO, 0.0f};
    zrt_param_part weights[3] = {{"self_attn.q_proj.weight", q, init},
                                 {"self_attn.k_proj.weight", kv, init},
                                 {"self_attn.v_proj.weight", kv, init}};
    zrt_param_part biases[3] = {
        {"self_attn.q_proj.bias", q, zero}, {"self_attn.k_proj.bias", kv, zero}, {"self_attn.v_proj.bias", kv, zero}};
    zrt_tensor *weight = zrt_param_pack(unit, 3, weights, 2, s->hidden_size);
    zrt_tensor *bias = s->attention_bias ? zrt_param_pack(unit, 3, biases, 1, 1) : NULL;
    zrt_tensor *qkv = zrt_linear(unit, x, weight, bias, ZRT_WEIGHT_OUT_IN);
    zrt_attention_spec attention = {
        .n_heads = (int)s->num_attention_heads,
        .n_kv_heads = (int)s->num_key_value_heads,
        .head_dim = (int)s->head_dim,
        .causal = true,
        .dropout = s->attention_dropout,
        .rope = &s->rope,
    };
    return linear(unit, zrt_attention(unit, qkv, &attention), "self_attn.o_proj.weight",
                  s->attention_bias ? "self_attn.o_proj.bias" : NULL, s->hidden_size, q, s->initializer_range);
}

static zrt_tensor *feed_forward(zrt_unit *unit, zrt_tensor *x, const zrt_llama_spec *s)
{
    int64_t inner = s->intermediate_size;
    zrt_initializer init = {ZRT_INIT_NORMAL, s->initializer_range}, zero = {ZRT_INIT_ZERO, 0.0f};
    zrt_param_part weights[2] = {{"mlp.gate_proj.weight", inner, init}, {"mlp.up_proj.weight", inner, init}};
    zrt_param_part biases[2] = {{"mlp.gate_proj.bias", inner, zero}, {"mlp.up_proj.bias", inner, zero}};
    zrt_tensor *weight = zrt_param_pack(unit, 2, weights, 2, s->hidden_size);
    zrt_tensor *bias = s->mlp_bias ? zrt_param_pack(unit, 2, biases, 1, 1) : NULL;
    zrt_tensor *gate_up = zrt_linear(unit, x, weight, bias, ZRT_WEIGHT_OUT_IN);
    return linear(unit, zrt_glu(unit, gate_up, s->hidden_act), "mlp.down_proj.weight",
                  s->mlp_bias ? "mlp.down_proj.bias" : NULL, s->hidden_size, inner, s->initializer_range);
}

static zrt_status describe_block(zrt_unit *unit, const void *spec)
{
    const zrt_llama_spec *s = spec;
    zrt_tensor *x = zrt_input(unit, "hidden");
    x = zrt_add(unit, x, attend(unit, norm(unit, x, "input_layernorm.weight", s), s));
    x = zrt_add(unit, x, feed_forward(unit, norm(unit, x, "post_attention_layernorm.weight", s), s));
    zrt_output(unit, "hidden", x);
    return zrt_unit_status(unit);
}

static zrt_status describe_head(zrt_unit *unit, const void *spec)
{
    const zrt_llama_spec *s = spec;
    zrt_tensor *x = zrt_input(unit, "hidden");
    if (zrt_unit_mode(unit) == ZRT_MODE_GENERATE)
        x = zrt_last_position(unit, x);
    x = norm(unit, x, "model.norm.weight", s);
    zrt_tensor *logits;
    if (s->tie_word_embeddings)
        logits = zrt_linear(unit, x, zrt_param_shared(unit, "model.embed_tokens.weight"), NULL, ZRT_WEIGHT_OUT_IN);
    else
        logits = linear(unit, x, "lm_head.weight", NULL, s->vocab_size, s->hidden_size, s->initializer_range);
    zrt_cross_entropy(unit, logits, zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status check_rope(const zrt_rope_spec *rope)
{
    if (!(rope->theta > 0.0f && rope->theta < INFINITY))
        return zrt__fail(ZRT_ERR_CONFIG, "rope_theta is %g; it is above 0", (double)rope->theta);
    if (rope->factor == 0.0f || rope->factor == 1.0f)
        return ZRT_OK;
    if (!(rope->factor > 1.0f && rope->factor < INFINITY))
        return zrt__fail(ZRT_ERR_CONFIG, "the rope scaling's factor is %g; it is at least 1", (double)rope->factor);
    if (!(rope->low_freq_factor > 0.0f && rope->low_freq_factor < rope->high_freq_factor &&
          rope->high_freq_factor < INFINITY))
        return zrt__fail(ZRT_ERR_CONFIG,
                         "the rope scaling's low_freq_factor (%g) must be above 0 and below high_freq_factor (%g)",
                         (double)rope->low_freq_factor, (double)rope->high_freq_factor);
    if (rope->original_max_length < 1)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "the rope scaling's original_max_position_embeddings is %" PRId64 "; it is at least 1",
                         rope->original_max_length);
    return ZRT_OK;
}

static zrt_status check(const zrt_llama_spec *s)
{
    const struct {
        const char *field;
        int64_t value, maximum;
    } sizes[] = {
        {"vocab_size", s->vocab_size, 1 << 24},
        {"max_position_embeddings", s->max_position_embeddings, 1 << 24},
        {"hidden_size", s->hidden_size, 1 << 20},
        {"intermediate_size", s->intermediate_size, 1 << 24},
        {"num_hidden_layers", s->num_hidden_layers, 10000},
        {"num_attention_heads", s->num_attention_heads, 1 << 16},
        {"num_key_value_heads", s->num_key_value_heads, 1 << 16},
        {"head_dim", s->head_dim, 1 << 16},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].maximum)
            return zrt__fail(ZRT_ERR_CONFIG, "%s is %" PRId64 "; it is from 1 to %" PRId64, sizes[i].field,
                             sizes[i].value, sizes[i].maximum);
    }
    if (s->num_attention_heads % s->num_key_value_heads != 0)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "num_attention_heads (%" PRId64 ") is not a multiple of num_key_value_heads (%" PRId64 ")",
                         s->num_attention_heads, s->num_key_value_heads);
    if (s->head_dim % 2 != 0)
        return zrt__fail(ZRT_ERR_CONFIG, "head_dim is %" PRId64 "; rotary positions need an even one", s->head_dim);
    if (!(s->attention_dropout >= 0.0f && s->attention_dropout < 1.0f))
        return zrt__fail(ZRT_ERR_CONFIG, "attention_dropout is %g; it is at least 0 and below 1",
                         (double)s->attention_dropout);
    if (!(s->rms_norm_eps >= 0.0f && s->rms_norm_eps < 1.0f))
        return zrt__fail(ZRT_ERR_CONFIG, "rms_norm_eps is %g; it is at least 0 and below 1", (double)s->rms_norm_eps);
    if (!(s->initializer_range >= 0.0f && s->initializer_range < INFINITY))
        return zrt__fail(ZRT_ERR_CONFIG, "initializer_range is %g; it is at least 0", (double)s->initializer_range);
    return check_rope(&s->rope);
}

static zrt_status add_units(zrt_model *model, const zrt_llama_spec *spec, const char *config_json)
{
    size_t text_bytes = strlen(config_json) + 1;
    llama_origin *origin = zrt__malloc(sizeof *origin + text_bytes);
    if (origin == NULL)
        return ZRT_ERR_MEMORY;
    origin->spec = *spec;
    memcpy(origin->config_json, config_json, text_bytes);
    zrt_status status = zrt_model_add_unit(model, "model", describe_embedding, origin, sizeof *origin + text_bytes);
    free(origin);
    for (int64_t i = 0; i < spec->num_hidden_layers && status == ZRT_OK; i++) {
        char *prefix = zrt__format("model.layers.%" PRId64, i);
        if (prefix == NULL)
            return ZRT_ERR_MEMORY;
        status = zrt_model_add_unit(model, prefix, describe_block, spec, sizeof *spec);
        free(prefix);
    }
    return status != ZRT_OK ? status : zrt_model_add_unit(model, "", describe_head, spec, sizeof *spec);
}

zrt_status zrt__llama_create(const char *name, const zrt_llama_spec *spec, const char *config_json,
                             zrt_model **model_out)
{
    ZRT_TRY(check(spec));
    zrt_llama_spec complete = *spec;
    complete.rope.max_length = spec->max_position_embeddings;
    zrt_model *model;
    ZRT_TRY(zrt_model_create(name == NULL ? "llama" : name, &model));
    zrt_status status = add_units(model, &complete, config_json == NULL ? "" : config_json);
    if (status != ZRT_OK) {
        zrt_model_destroy(&model);
        return status;
    }
    zrt_model_set_info(model, &(zrt_model_info){.hidden_size = spec->hidden_size,
                                                .vocab_size = spec->vocab_size,
                                                .max_length = spec->max_position_embeddings,
                                                .bos_token_id = spec->bos_token_id,
                                                .eos_token_id = spec->eos_token_id});
    *model_out = model;
    return ZRT_OK;
}

zrt_status zrt_model_llama(const zrt_llama_spec *spec, zrt_model **model_out)
{
    return zrt__llama_create(NULL, spec, NULL, model_out);
}

bool zrt__llama_get(const zrt_model *model, const zrt_llama_spec **spec_out, const char **config_json_out)
{
    if (model->n_units == 0 || model->units[0].describe != describe_embedding)
        return false;
    const llama_origin *origin = model->units[0].spec;
    *spec_out = &origin->spec;
    *config_json_out = origin->config_json[0] != '\0' ? origin->config_json : NULL;
    return true;
}
