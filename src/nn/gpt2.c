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
typedef struct gpt2_origin {
    zrt_gpt2_spec spec;
    char config_json[]; /* "" where there is none */
} gpt2_origin;

typedef struct gpt2_block {
    zrt_gpt2_spec spec;
    int64_t layer; /* 0 where all layers are alike, so that they share one plan */
} gpt2_block;

static zrt_initializer normal(float deviation)
{
    return (zrt_initializer){ZRT_INIT_NORMAL, deviation};
}

static zrt_tensor *vector(zrt_unit *unit, const char *name, int64_t n, zrt_init_kind kind)
{
    return zrt_param(unit, name, 1, &n, (zrt_initializer){kind, 0.0f});
}

static zrt_tensor *matrix(zrt_unit *unit, const char *name, int64_t rows, int64_t columns, float deviation)
{
    int64_t dims[2] = {rows, columns};
    return zrt_param(unit, name, 2, dims, normal(deviation));
}

static zrt_tensor *dropout(zrt_unit *unit, zrt_tensor *x, float probability)
{
    return probability > 0.0f ? zrt_dropout(unit, x, probability) : x;
}

static zrt_status describe_embedding(zrt_unit *unit, const void *spec)
{
    const zrt_gpt2_spec *s = spec;
    zrt_tensor *wte = matrix(unit, "wte.weight", s->vocab_size, s->n_embd, s->initializer_range);
    zrt_tensor *wpe = matrix(unit, "wpe.weight", s->n_positions, s->n_embd, s->initializer_range);
    zrt_tensor *positions = zrt_embedding(unit, zrt_input(unit, "position_ids"), wpe, NULL);
    zrt_tensor *x = zrt_embedding(unit, zrt_input(unit, "input_ids"), wte, positions);
    zrt_output(unit, "hidden", dropout(unit, x, s->embd_pdrop));
    return zrt_unit_status(unit);
}

static float attention_scale(const zrt_gpt2_spec *s, int64_t layer)
{
    float scale = s->scale_attn_weights ? 1.0f / sqrtf((float)(s->n_embd / s->n_head)) : 1.0f;
    return s->scale_attn_by_inverse_layer_idx ? scale / (float)(layer + 1) : scale;
}

static zrt_status describe_block(zrt_unit *unit, const void *spec)
{
    const gpt2_block *block = spec;
    const zrt_gpt2_spec *s = &block->spec;
    int64_t c = s->n_embd, inner = s->n_inner != 0 ? s->n_inner : 4 * c;
    float wide = s->initializer_range;
    /* Projections into the residual stream start smaller, so that its variance does not grow with depth (Radford et al. 2019, 2.3). */
    float residual = wide / sqrtf(2.0f * (float)s->n_layer);

    zrt_tensor *x = zrt_input(unit, "hidden");
    zrt_tensor *ln_1 = vector(unit, "ln_1.weight", c, ZRT_INIT_ONE);
    zrt_tensor *h = zrt_layernorm(unit, x, ln_1, vector(unit, "ln_1.bias", c, ZRT_INIT_ZERO), s->layer_norm_epsilon);
    zrt_tensor *c_attn = matrix(unit, "attn.c_attn.weight", c, 3 * c, wide);
    h = zrt_linear(unit, h, c_attn, vector(unit, "attn.c_attn.bias", 3 * c, ZRT_INIT_ZERO), ZRT_WEIGHT_IN_OUT);
    zrt_attention_spec attention = {
        .n_heads = (int)s->n_head,
        .n_kv_heads = (int)s->n_head,
        .head_dim = (int)(c / s->n_head),
        .causal = true,
        .scale = attention_scale(s, block->layer),
        .dropout = s->attn_pdrop,
    };
    h = zrt_attention(unit, h, &attention);
    zrt_tensor *c_proj = matrix(unit, "attn.c_proj.weight", c, c, residual);
    h = zrt_linear(unit, h, c_proj, vector(unit, "attn.c_proj.bias", c, ZRT_INIT_ZERO), ZRT_WEIGHT_IN_OUT);
    x = zrt_add(unit, x, dropout(unit, h, s->resid_pdrop));

    zrt_tensor *ln_2 = vector(unit, "ln_2.weight", c, ZRT_INIT_ONE);
    h = zrt_layernorm(unit, x, ln_2, vector(unit, "ln_2.bias", c, ZRT_INIT_ZERO), s->layer_norm_epsilon);
    zrt_tensor *c_fc = matrix(unit, "mlp.c_fc.weight", c, inner, wide);
    h = zrt_linear(unit, h, c_fc, vector(unit, "mlp.c_fc.bias", inner, ZRT_INIT_ZERO), ZRT_WEIGHT_IN_OUT);
    h = zrt_activation(unit, h, s->activation_function);
    c_proj = matrix(unit, "mlp.c_proj.weight", inner, c, residual);
    h = zrt_linear(unit, h, c_proj, vector(unit, "mlp.c_proj.bias", c, ZRT_INIT_ZERO), ZRT_WEIGHT_IN_OUT);
    zrt_output(unit, "hidden", zrt_add(unit, x, dropout(unit, h, s->resid_pdrop)));
    return zrt_unit_status(unit);
}

static zrt_status describe_head(zrt_unit *unit, const void *spec)
{
    const zrt_gpt2_spec *s = spec;
    zrt_tensor *x = zrt_input(unit, "hidden");
    if (zrt_unit_mode(unit) == ZRT_MODE_GENERATE)
        x = zrt_last_position(unit, x);
    zrt_tensor *ln_f = vector(unit, "transformer.ln_f.weight", s->n_embd, ZRT_INIT_ONE);
    x = zrt_layernorm(unit, x, ln_f, vector(unit, "transformer.ln_f.bias", s->n_embd, ZRT_INIT_ZERO),
                      s->layer_norm_epsilon);
    zrt_tensor *weight = s->tie_word_embeddings
                             ? zrt_param_shared(unit, "transformer.wte.weight")
                             : matrix(unit, "lm_head.weight", s->vocab_size, s->n_embd, s->initializer_range);
    zrt_tensor *logits = zrt_linear(unit, x, weight, NULL, ZRT_WEIGHT_OUT_IN);
    zrt_cross_entropy(unit, logits, zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status check(const zrt_gpt2_spec *s)
{
    const struct {
        const char *field;
        int64_t value, maximum;
    } sizes[] = {
        {"vocab_size", s->vocab_size, 1 << 24}, {"n_positions", s->n_positions, 1 << 24},
        {"n_embd", s->n_embd, 1 << 20},         {"n_layer", s->n_layer, 10000},
        {"n_head", s->n_head, 1 << 16},         {"n_inner", s->n_inner == 0 ? 1 : s->n_inner, 1 << 24},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].maximum)
            return zrt__fail(ZRT_ERR_CONFIG, "%s is %" PRId64 "; it is from 1 to %" PRId64, sizes[i].field,
                             sizes[i].value, sizes[i].maximum);
    }
    if (s->n_embd % s->n_head != 0)
        return zrt__fail(ZRT_ERR_CONFIG, "n_embd (%" PRId64 ") is not a multiple of n_head (%" PRId64 ")", s->n_embd,
                         s->n_head);
    const struct {
        const char *field;
        float value;
    } probabilities[] = {{"resid_pdrop", s->resid_pdrop}, {"embd_pdrop", s->embd_pdrop}, {"attn_pdrop", s->attn_pdrop}};
    for (size_t i = 0; i < sizeof probabilities / sizeof *probabilities; i++) {
        if (!(probabilities[i].value >= 0.0f && probabilities[i].value < 1.0f))
            return zrt__fail(ZRT_ERR_CONFIG, "%s is %g; it is at least 0 and below 1", probabilities[i].field,
                             (double)probabilities[i].value);
    }
    if (!(s->layer_norm_epsilon >= 0.0f && s->layer_norm_epsilon < 1.0f))
        return zrt__fail(ZRT_ERR_CONFIG, "layer_norm_epsilon is %g; it is at least 0 and below 1",
                         (double)s->layer_norm_epsilon);
    if (!(s->initializer_range >= 0.0f && s->initializer_range < INFINITY))
        return zrt__fail(ZRT_ERR_CONFIG, "initializer_range is %g; it is at least 0", (double)s->initializer_range);
    return ZRT_OK;
}

static zrt_status add_units(zrt_model *model, const zrt_gpt2_spec *spec, const char *config_json)
{
    size_t text_bytes = strlen(config_json) + 1;
    gpt2_origin *origin = zrt__malloc(sizeof *origin + text_bytes);
    if (origin == NULL)
        return ZRT_ERR_MEMORY;
    origin->spec = *spec;
    memcpy(origin->config_json, config_json, text_bytes);
    zrt_status status =
        zrt_model_add_unit(model, "transformer", describe_embedding, origin, sizeof *origin + text_bytes);
    free(origin);
    for (int64_t i = 0; i < spec->n_layer && status == ZRT_OK; i++) {
        char *prefix = zrt__format("transformer.h.%" PRId64, i);
        if (prefix == NULL)
            return ZRT_ERR_MEMORY;
        gpt2_block block;
        memset(&block, 0, sizeof block);
        block.spec = *spec;
        block.layer = spec->scale_attn_by_inverse_layer_idx ? i : 0;
        status = zrt_model_add_unit(model, prefix, describe_block, &block, sizeof block);
        free(prefix);
    }
    return status != ZRT_OK ? status : zrt_model_add_unit(model, "", describe_head, spec, sizeof *spec);
}

zrt_status zrt__gpt2_create(const char *name, const zrt_gpt2_spec *spec, const char *config_json, zrt_model **model_out)
{
    ZRT_TRY(check(spec));
    zrt_model *model;
    ZRT_TRY(zrt_model_create(name == NULL ? "gpt2" : name, &model));
    zrt_status status = add_units(model, spec, config_json == NULL ? "" : config_json);
    if (status != ZRT_OK) {
        zrt_model_destroy(&model);
        return status;
    }
    /* GPT-2 has one special token, <|endoftext|>, the last of its vocabulary. */
    int32_t end = spec->vocab_size == 50257 ? 50256 : -1;
    zrt_model_set_info(model, &(zrt_model_info){.hidden_size = spec->n_embd,
                                                .vocab_size = spec->vocab_size,
                                                .max_length = spec->n_positions,
                                                .bos_token_id = end,
                                                .eos_token_id = end});
    *model_out = model;
    return ZRT_OK;
}

zrt_status zrt_model_gpt2(const zrt_gpt2_spec *spec, zrt_model **model_out)
{
    return zrt__gpt2_create(NULL, spec, NULL, model_out);
}

bool zrt__gpt2_get(const zrt_model *model, const zrt_gpt2_spec **spec_out, const char **config_json_out)
{
    if (model->n_units == 0 || model->units[0].describe != describe_embedding)
        return false;
    const gpt2_origin *origin = model->units[0].spec;
    *spec_out = &origin->spec;
    *config_json_out = origin->config_json[0] != '\0' ? origin->config_json : NULL;
    return true;
}
