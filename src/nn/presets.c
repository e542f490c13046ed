#include "config.h"

#include <string.h>

#include "nn/nn.h"

/* GPT-2 (Radford et al. 2019): the published sizes, dropout as their config.json. */
#define GPT2(layers, heads, width)                                                                           \
    {                                                                                                        \
        .vocab_size = 50257, .n_positions = 1024, .n_embd = (width), .n_layer = (layers), .n_head = (heads), \
        .layer_norm_epsilon = 1e-5f, .initializer_range = 0.02f, .resid_pdrop = 0.1f, .embd_pdrop = 0.1f,    \
        .attn_pdrop = 0.1f, .activation_function = ZRT_GELU_TANH, .tie_word_embeddings = true,               \
        .scale_attn_weights = true                                                                           \
    }

static const struct {
    const char *name;
    zrt_gpt2_spec spec;
} gpt2_presets[] = {
    /* The default of ./train: bytes in, a few minutes on two cores. */
    {"small",
     {.vocab_size = 256,
      .n_positions = 128,
      .n_embd = 128,
      .n_layer = 4,
      .n_head = 4,
      .layer_norm_epsilon = 1e-5f,
      .initializer_range = 0.02f,
      .activation_function = ZRT_GELU_TANH,
      .tie_word_embeddings = true,
      .scale_attn_weights = true}},
    {"gpt2", GPT2(12, 12, 768)},
    {"gpt2-medium", GPT2(24, 16, 1024)},
    {"gpt2-large", GPT2(36, 20, 1280)},
    {"gpt2-xl", GPT2(48, 25, 1600)},
};

#define LLAMA(layers, heads, kv_heads, width, inner)                                                  \
    .hidden_size = (width), .intermediate_size = (inner), .num_hidden_layers = (layers),              \
    .num_attention_heads = (heads), .num_key_value_heads = (kv_heads), .head_dim = (width) / (heads), \
    .rms_norm_eps = 1e-5f, .initializer_range = 0.02f, .hidden_act = ZRT_SILU
#define LLAMA_2 \
    .vocab_size = 32000, .max_position_embeddings = 4096, .rope = {.theta = 1e4f}, .bos_token_id = 1, .eos_token_id = 2
#define LLAMA_3                                                                                             \
    .vocab_size = 128256, .max_position_embeddings = 8192, .rope = {.theta = 5e5f}, .bos_token_id = 128000, \
    .eos_token_id = 128001
#define LLAMA_3_2                                                                                                 \
    .vocab_size = 128256, .max_position_embeddings = 131072, .tie_word_embeddings = true, .bos_token_id = 128000, \
    .eos_token_id = 128001,                                                                                       \
    .rope = {.theta = 5e5f,                                                                                       \
             .factor = 32.0f,                                                                                     \
             .low_freq_factor = 1.0f,                                                                             \
             .high_freq_factor = 4.0f,                                                                            \
             .original_max_length = 8192}

static const struct {
    const char *name;
    zrt_llama_spec spec;
} llama_presets[] = {
    /* Miao et al. 2024 (SpecInfer) */
    {"llama-160m",
     {LLAMA(12, 12, 12, 768, 3072), .vocab_size = 32000, .max_position_embeddings = 2048, .rope = {.theta = 1e4f},
      .bos_token_id = 1, .eos_token_id = 2}},
    /* Llama 3.2's 1B with a head of its own */
    {"llama-1.5b", {LLAMA(16, 32, 8, 2048, 8192), LLAMA_3}},
    /* Zhang et al. 2024 */
    {"tinyllama-1.1b",
     {LLAMA(22, 32, 4, 2048, 5632), .vocab_size = 32000, .max_position_embeddings = 2048, .rope = {.theta = 1e4f},
      .bos_token_id = 1, .eos_token_id = 2}},
    /* Touvron et al. 2023 */
    {"llama-2-7b", {LLAMA(32, 32, 32, 4096, 11008), LLAMA_2}},
    {"llama-2-13b", {LLAMA(40, 40, 40, 5120, 13824), LLAMA_2}},
    {"llama-2-70b", {LLAMA(80, 64, 8, 8192, 28672), LLAMA_2}},
    /* Llama Team 2024 */
    {"llama-3-8b", {LLAMA(32, 32, 8, 4096, 14336), LLAMA_3}},
    {"llama-3-70b", {LLAMA(80, 64, 8, 8192, 28672), LLAMA_3}},
    {"llama-3.2-1b", {LLAMA(16, 32, 8, 2048, 8192), LLAMA_3_2}},
    {"llama-3.2-3b", {LLAMA(28, 24, 8, 3072, 8192), LLAMA_3_2}},
};

#define N_GPT2 (sizeof gpt2_presets / sizeof *gpt2_presets)
#define N_LLAMA (sizeof llama_presets / sizeof *llama_presets)

const char *zrt_model_preset(int index)
{
    if (index < 0 || (size_t)index >= N_GPT2 + N_LLAMA)
        return NULL;
    return (size_t)index < N_GPT2 ? gpt2_presets[index].name : llama_presets[(size_t)index - N_GPT2].name;
}

bool zrt__preset_find(const char *name, const zrt_gpt2_spec **gpt2_out, const zrt_llama_spec **llama_out)
{
    *gpt2_out = NULL;
    *llama_out = NULL;
    for (size_t i = 0; i < N_GPT2; i++)
        if (strcmp(gpt2_presets[i].name, name) == 0)
            *gpt2_out = &gpt2_presets[i].spec;
    for (size_t i = 0; i < N_LLAMA; i++)
        if (strcmp(llama_presets[i].name, name) == 0)
            *llama_out = &llama_presets[i].spec;
    return *gpt2_out != NULL || *llama_out != NULL;
}
