/* peft's configuration: what is read, what is refused by name, what is written. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/zerort.h>

#include "nn/lora_config.h"
#include "scratch_folder.h"
#include "tap.h"

static zrt_status make(bool tied, zrt_model **model_out)
{
    zrt_llama_spec spec = {.vocab_size = 32,
                           .max_position_embeddings = 8,
                           .hidden_size = 8,
                           .intermediate_size = 16,
                           .num_hidden_layers = 2,
                           .num_attention_heads = 2,
                           .num_key_value_heads = 1,
                           .head_dim = 4,
                           .rms_norm_eps = 1e-5f,
                           .initializer_range = 0.1f,
                           .rope = {.theta = 1e4f},
                           .hidden_act = ZRT_SILU,
                           .tie_word_embeddings = tied};
    return zrt_model_llama(&spec, model_out);
}

static zrt_status read_json(const char *json, bool tied, zrt_model **model_out)
{
    const char *path = scratch_write("lora.json", json, strlen(json));
    *model_out = NULL;
    ZRT_TRY(make(tied, model_out));
    return zrt_model_read_lora(*model_out, path);
}

static int count(const zrt_model *model, const char *part, bool trainable)
{
    int n = 0;
    for (int i = 0; i < zrt_model_n_parameters(model); i++) {
        const char *name;
        int n_dims;
        int64_t dims[ZRT_MAX_DIMS];
        if (zrt_model_get_parameter(model, i, &name, &n_dims, dims) == ZRT_OK && strstr(name, part) != NULL)
            n += zrt_model_parameter_is_trainable(model, i) == trainable;
    }
    return n;
}

static void accepted(const char *json, int n_adapters, const char *what)
{
    zrt_model *model;
    zrt_status status = read_json(json, false, &model);
    int n = status == ZRT_OK ? count(model, ".lora_", true) : -1;
    if (!tap_ok(n == 2 * n_adapters && count(model, "proj.weight", true) == 0, "%s: %d adapters", what, n_adapters))
        tap_diag("%d; %s", n, status != ZRT_OK ? zrt_error_message() : "");
    zrt_model_destroy(&model);
}

static void refused(const char *json, bool tied, zrt_status want, const char *word)
{
    zrt_model *model;
    zrt_status status = read_json(json, tied, &model);
    if (!tap_ok(status == want && strstr(zrt_error_message(), word) != NULL, "refused, naming %s: %s", word, json))
        tap_diag("%d: %s", status, zrt_error_message());
    zrt_model_destroy(&model);
}

static void values(void)
{
    zrt_model *model;
    zrt_status status = read_json("{\"r\": 3, \"lora_alpha\": 6, \"lora_dropout\": 0.25, \"use_rslora\": true, "
                                  "\"target_modules\": [\"self_attn.k_proj\"], \"modules_to_save\": [\"lm_head\"]}",
                                  false, &model);
    const zrt_lora_spec *spec = status == ZRT_OK ? zrt_model_get_lora(model) : NULL;
    tap_ok(spec != NULL && spec->r == 3 && spec->lora_alpha == 6 && spec->lora_dropout == 0.25f && spec->use_rslora &&
               spec->n_target_modules == 1 && spec->n_modules_to_save == 1,
           "the values are those of the file");
    const char *name;
    int n_dims;
    int64_t dims[ZRT_MAX_DIMS] = {0};
    int found = 0;
    for (int i = 0; status == ZRT_OK && i < zrt_model_n_parameters(model); i++) {
        status = zrt_model_get_parameter(model, i, &name, &n_dims, dims);
        bool is_a = strcmp(name, "model.layers.1.self_attn.k_proj.lora_A.weight") == 0;
        bool is_b = strcmp(name, "model.layers.1.self_attn.k_proj.lora_B.weight") == 0;
        found += (is_a && dims[0] == 3 && dims[1] == 8) || (is_b && dims[0] == 4 && dims[1] == 3);
    }
    tap_ok(found == 2, "A is [r, in] and B [out, r] of a part of a packed weight");
    tap_ok(count(model, "lm_head.weight", true) == 1 && count(model, "model.norm.weight", false) == 1 &&
               count(model, "embed_tokens", false) == 1,
           "what is to be saved is trained, the rest is frozen");
    char *text = NULL;
    tap_ok(zrt__lora_config_text(model, &text) == ZRT_OK && strstr(text, "\"lora_alpha\": 6,") != NULL &&
               strstr(text, "\"lora_dropout\": 0.25,") != NULL && strstr(text, "\"peft_type\": \"LORA\"") != NULL,
           "and written as peft writes them");
    zrt_model *again;
    status = text != NULL ? read_json(text, false, &again) : ZRT_ERR_MEMORY;
    tap_ok(status == ZRT_OK && count(again, ".lora_", true) == 4, "what was written is read");
    if (text != NULL)
        zrt_model_destroy(&again);
    free(text);
    zrt_model_destroy(&model);
}

/* What was written has the expression, not what it matched. */
static void expression(void)
{
    zrt_model *model, *again = NULL;
    char *text = NULL;
    zrt_status status = read_json("{\"target_modules\": \".*\\\\.(q|k)_proj\"}", false, &model);
    tap_ok(status == ZRT_OK && zrt_model_get_lora(model)->n_target_modules == 4 &&
               strcmp(zrt_model_get_lora(model)->target_expression, ".*\\.(q|k)_proj") == 0,
           "an expression is kept beside what it matched");
    status = zrt__lora_config_text(model, &text);
    tap_ok(status == ZRT_OK && strstr(text, "\"target_modules\": \".*\\\\.(q|k)_proj\"") != NULL,
           "and written as it was");
    if (status == ZRT_OK)
        status = read_json(text, false, &again);
    tap_ok(status == ZRT_OK && count(again, ".lora_", true) == 8, "and read again");
    zrt_model_destroy(&again);
    zrt_model_destroy(&model);
    free(text);
}

int main(void)
{
    if (!scratch_make())
        return 99;
    accepted("{}", 4, "peft's own choice");
    accepted("{\"target_modules\": \"all-linear\"}", 14, "all linear layers");
    accepted("{\"target_modules\": [\"layers.1.self_attn.q_proj\", \"down_proj\"]}", 3, "names of several components");
    accepted(
        "{\"peft_type\": \"LORA\", \"bias\": \"none\", \"use_dora\": false, \"rank_pattern\": {}, \"revision\": null, "
        "\"runtime_config\": {\"ephemeral_gpu_offload\": false}, \"a key of a later peft\": null}",
        4, "other keys at peft's defaults");
    accepted("{\"target_modules\": \"all-LINEAR\"}", 14, "however it is written");
    accepted("{\"target_modules\": \".*q_proj\"}", 2, "an expression");
    accepted("{\"target_modules\": \"model\\\\.layers\\\\.[1-9]\\\\.(?P<block>self_attn|mlp)\\\\.(q|v|up)_proj\"}", 3,
             "an expression with groups, which matches a module's whole name");
    expression();
    values();
    refused("{\"use_dora\": true}", false, ZRT_ERR_NOT_SUPPORTED, "use_dora");
    refused("{\"bias\": \"all\"}", false, ZRT_ERR_NOT_SUPPORTED, "bias");
    refused("{\"rank_pattern\": {\"q_proj\": 2}}", false, ZRT_ERR_NOT_SUPPORTED, "rank_pattern");
    refused("{\"init_lora_weights\": \"pissa\"}", false, ZRT_ERR_NOT_SUPPORTED, "init_lora_weights");
    refused("{\"peft_type\": \"IA3\"}", false, ZRT_ERR_NOT_SUPPORTED, "peft_type");
    refused("{\"lora_dropuot\": 0.1}", false, ZRT_ERR_NOT_SUPPORTED, "lora_dropuot");
    refused("{\"target_modules\": [\"c_attn\"]}", false, ZRT_ERR_CONFIG, "c_attn");
    refused("{\"target_modules\": [\"q_proj\", \"proj\"]}", false, ZRT_ERR_CONFIG, "'proj'");
    refused("{\"target_modules\": [\"embed_tokens\"]}", false, ZRT_ERR_NOT_SUPPORTED, "embed_tokens");
    refused("{\"target_modules\": []}", false, ZRT_ERR_CONFIG, "target_modules");
    refused("{\"target_modules\": \"q_proj\"}", false, ZRT_ERR_CONFIG, "as a whole");
    refused("{\"target_modules\": \"(q_proj\"}", false, ZRT_ERR_CONFIG, "no regular expression");
    refused("{\"target_modules\": \".*self_attn.*\"}", false, ZRT_ERR_CONFIG, "model.layers.0.self_attn,");
    refused("{\"target_modules\": \".*layernorm\"}", false, ZRT_ERR_NOT_SUPPORTED, "no linear layer");
    refused("{\"target_modules\": \"(?:.*_tokens|.*q_proj)\"}", false, ZRT_ERR_NOT_SUPPORTED, "embed_tokens");
    refused("{\"modules_to_save\": [\"classifier\"]}", false, ZRT_ERR_CONFIG, "classifier");
    refused("{\"modules_to_save\": [\"embed_tokens\"]}", true, ZRT_ERR_NOT_SUPPORTED, "embed_tokens");
    refused("{\"modules_to_save\": [\"up_proj\"]}", false, ZRT_ERR_NOT_SUPPORTED, "up_proj");
    refused("{\"r\": 0}", false, ZRT_ERR_CONFIG, "r is 0");
    refused("{\"r\": 2.5}", false, ZRT_ERR_INPUT, "\"r\"");
    refused("{\"lora_dropout\": 1}", false, ZRT_ERR_CONFIG, "lora_dropout");
    refused("{\"r\": 8, \"r\": 4}", false, ZRT_ERR_INPUT, "lora.json");
    refused("[]", false, ZRT_ERR_INPUT, "not a JSON object");
    scratch_remove();
    return tap_done();
}
