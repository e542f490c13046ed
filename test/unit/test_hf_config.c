/* config.json: transformers' two spellings, defaults, what is refused, and what is written. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nn/hf_config.h"
#include "nn/nn.h"
#include "tap.h"

static zrt_status read_text(const char *text, zrt_model **model_out)
{
    *model_out = NULL;
    return zrt__hf_config_read("x/config.json", "x", text, strlen(text), model_out);
}

static char *read_golden(const char *name)
{
    char path[4096];
    const char *golden = getenv("ZRT_GOLDEN");
    snprintf(path, sizeof path, "%s/%s", golden != NULL ? golden : ZRT_GOLDEN_DIR, name);
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 65536);
    if (file == NULL || text == NULL || fread(text, 1, 65535, file) == 0)
        tap_diag("%s: %s", path, strerror(errno));
    if (file != NULL)
        fclose(file);
    return text;
}

/* The generated config.json: two models are the same where it is. */
static char *generated(const zrt_model *model)
{
    const zrt_gpt2_spec *gpt2;
    const zrt_llama_spec *llama;
    const char *original;
    zrt_model *bare = NULL;
    char *text = NULL;
    if (model == NULL)
        return NULL;
    zrt_status status = zrt__gpt2_get(model, &gpt2, &original)     ? zrt__gpt2_create(NULL, gpt2, NULL, &bare)
                        : zrt__llama_get(model, &llama, &original) ? zrt__llama_create(NULL, llama, NULL, &bare)
                                                                   : ZRT_ERR_INTERNAL;
    if (status == ZRT_OK) {
        zrt_model_set_info(bare, zrt_model_get_info(model));
        zrt__hf_config_text(bare, ZRT_FLOAT32, &text);
    }
    zrt_model_destroy(&bare);
    return text;
}

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void test_spellings(const char *folder)
{
    char name[128];
    zrt_model *five = NULL, *four = NULL, *again = NULL;
    snprintf(name, sizeof name, "%s/config.json", folder);
    char *text_five = read_golden(name);
    snprintf(name, sizeof name, "%s/config-v4.json", folder);
    char *text_four = read_golden(name);
    bool good = read_text(text_five, &five) == ZRT_OK && read_text(text_four, &four) == ZRT_OK;
    char *a = generated(five), *b = generated(four);
    if (!tap_ok(good && same(a, b), "%s: both spellings give one model", folder))
        tap_diag("%s\n%s\n%s", zrt_error_message(), a, b);
    good = a != NULL && read_text(a, &again) == ZRT_OK;
    char *c = generated(again), *kept = NULL;
    tap_ok(good && same(a, c), "%s: what is written reads as the same model", folder);
    tap_ok(four != NULL && zrt__hf_config_text(four, ZRT_BFLOAT16, &kept) == ZRT_OK && same(kept, text_four),
           "%s: the original's bytes are kept", folder);
    free(a);
    free(b);
    free(c);
    free(kept);
    free(text_five);
    free(text_four);
    zrt_model_destroy(&five);
    zrt_model_destroy(&four);
    zrt_model_destroy(&again);
}

static void test_defaults(void)
{
    zrt_model *model, *preset = NULL;
    bool good = read_text("{\"model_type\":\"gpt2\"}", &model) == ZRT_OK && zrt_model_open("gpt2", &preset) == ZRT_OK;
    char *a = generated(model), *b = generated(preset);
    if (!tap_ok(good && same(a, b), "an empty GPT-2 configuration is gpt2"))
        tap_diag("%s\n%s\n%s", zrt_error_message(), a, b);
    free(a);
    free(b);
    zrt_model_destroy(&model);
    zrt_model_destroy(&preset);

    tap_ok(read_text("{\"model_type\":\"gpt2\",\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
                     "\"max_position_embeddings\":32,\"vocab_size\":100.0,\"eos_token_id\":null}",
                     &model) == ZRT_OK &&
               zrt_model_get_info(model)->hidden_size == 64 && zrt_model_get_info(model)->max_length == 32 &&
               zrt_model_get_info(model)->vocab_size == 100 && zrt_model_get_info(model)->eos_token_id == -1 &&
               zrt_model_get_info(model)->bos_token_id == 50256,
           "GPT-2 by transformers' general names");
    zrt_model_destroy(&model);

    const zrt_llama_spec *spec = NULL;
    const char *text;
    good = read_text("{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":96,\"num_attention_heads\":3,"
                     "\"intermediate_size\":32,\"vocab_size\":16,\"num_key_value_heads\":null,\"head_dim\":null,"
                     "\"eos_token_id\":[5,6],\"rope_scaling\":null}",
                     &model) == ZRT_OK &&
           zrt__llama_get(model, &spec, &text);
    tap_ok(good && spec->num_key_value_heads == 3 && spec->head_dim == 32 && spec->rms_norm_eps == 1e-6f &&
               spec->rope.theta == 1e4f && spec->rope.factor == 0.0f && spec->max_position_embeddings == 2048 &&
               spec->rope.max_length == 2048 && !spec->tie_word_embeddings && spec->eos_token_id == 5 &&
               spec->bos_token_id == 1,
           "Llama's defaults");
    zrt_model_destroy(&model);
}

static void test_refused(void)
{
#define LLAMA \
    "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"vocab_size\":16,\"hidden_size\":64,\"intermediate_size\":32,"
#define GPT2 "{\"model_type\":\"gpt2\",\"n_layer\":1,\"vocab_size\":16,"
    static const struct {
        const char *text, *named;
        zrt_status status;
    } cases[] = {
        {"{\"model_type\":\"mamba\"}", "mamba", ZRT_ERR_NOT_SUPPORTED},
        {"{}", "model_type", ZRT_ERR_INPUT},
        {"[]", "object", ZRT_ERR_INPUT},
        {"{", "config.json", ZRT_ERR_INPUT},
        {"{\"model_type\":\"gpt2\",\"model_type\":\"llama\"}", "duplicate", ZRT_ERR_INPUT},
        {LLAMA "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}", "linear", ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2.0}}", "yarn", ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0}}", "low_freq_factor", ZRT_ERR_INPUT},
        {LLAMA "\"rope_parameters\":{\"rope_theta\":10000.0,\"partial_rotary_factor\":0.5}}", "partial_rotary_factor",
         ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"partial_rotary_factor\":0.5}", "partial_rotary_factor", ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"rope_parameters\":3}", "rope_parameters", ZRT_ERR_INPUT},
        {LLAMA "\"rope_theta\":0}", "rope_theta", ZRT_ERR_CONFIG},
        {LLAMA "\"hidden_act\":\"quick_gelu\"}", "quick_gelu", ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"quantization_config\":{\"bits\":4}}", "quantization_config", ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"architectures\":[\"LlamaForSequenceClassification\"]}", "LlamaForSequenceClassification",
         ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"loss_type\":\"ForMaskedLM\"}", "ForMaskedLM", ZRT_ERR_NOT_SUPPORTED},
        {LLAMA "\"num_attention_heads\":0}", "num_attention_heads", ZRT_ERR_INPUT},
        {LLAMA "\"num_attention_heads\":\"4\"}", "num_attention_heads", ZRT_ERR_INPUT},
        {LLAMA "\"attention_bias\":1}", "attention_bias", ZRT_ERR_INPUT},
        {LLAMA "\"rms_norm_eps\":\"small\"}", "rms_norm_eps", ZRT_ERR_INPUT},
        {LLAMA "\"num_key_value_heads\":3}", "num_key_value_heads", ZRT_ERR_CONFIG},
        {GPT2 "\"add_cross_attention\":true}", "add_cross_attention", ZRT_ERR_NOT_SUPPORTED},
        {GPT2 "\"pruned_heads\":{\"0\":[1]}}", "pruned_heads", ZRT_ERR_NOT_SUPPORTED},
        {GPT2 "\"n_embd\":64.5}", "n_embd", ZRT_ERR_INPUT},
        {GPT2 "\"n_embd\":770}", "n_embd", ZRT_ERR_CONFIG},
        {GPT2 "\"n_positions\":99999999999}", "n_positions", ZRT_ERR_CONFIG},
        {GPT2 "\"resid_pdrop\":1.5}", "resid_pdrop", ZRT_ERR_CONFIG},
        {GPT2 "\"activation_function\":\"gelu_10\"}", "gelu_10", ZRT_ERR_NOT_SUPPORTED},
        {GPT2 "\"eos_token_id\":\"end\"}", "eos_token_id", ZRT_ERR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zrt_model *model = NULL;
        zrt_status status = read_text(cases[i].text, &model);
        if (!tap_ok(status == cases[i].status && model == NULL && strstr(zrt_error_message(), cases[i].named) != NULL &&
                        strstr(zrt_error_message(), "x/config.json") != NULL,
                    "refused: %s", cases[i].text))
            tap_diag("status %d: %s", status, zrt_error_message());
        zrt_model_destroy(&model);
    }
    zrt_model *model = NULL;
    tap_ok(
        read_text(LLAMA
                  "\"rope_scaling\":{\"type\":\"default\"},\"pretraining_tp\":1,\"unheard_of\":{},\"pruned_heads\":{}}",
                  &model) == ZRT_OK,
        "harmless fields are accepted");
    zrt_model_destroy(&model);
}

static void test_written(void)
{
    static const char *const presets[] = {"small", "gpt2", "llama-2-7b", "llama-3-8b", "llama-3.2-1b"};
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        zrt_model *model = NULL, *again = NULL;
        char *text = NULL;
        bool good = zrt_model_open(presets[i], &model) == ZRT_OK &&
                    zrt__hf_config_text(model, ZRT_BFLOAT16, &text) == ZRT_OK &&
                    strstr(text, "\"torch_dtype\": \"bfloat16\"") != NULL && strstr(text, "0.02,") != NULL &&
                    read_text(text, &again) == ZRT_OK;
        char *a = generated(model), *b = generated(again);
        if (!tap_ok(good && same(a, b), "%s: config.json reads as the same model", presets[i]))
            tap_diag("%s\n%s", zrt_error_message(), text);
        free(a);
        free(b);
        free(text);
        zrt_model_destroy(&model);
        zrt_model_destroy(&again);
    }
    char folder[] = "/tmp/zrt-hf-config-XXXXXX", path[128];
    zrt_model *model = NULL, *again = NULL;
    bool good = mkdtemp(folder) != NULL && zrt_model_open("small", &model) == ZRT_OK &&
                zrt__hf_config_write(model, ZRT_FLOAT32, folder) == ZRT_OK && zrt_model_open(folder, &again) == ZRT_OK;
    tap_ok(good && zrt_model_n_elements(model) == zrt_model_n_elements(again), "a written folder opens");
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    tap_ok(rmdir(folder) == 0, "nothing else is left there");
    tap_ok(zrt__hf_config_write(model, ZRT_FLOAT32, folder) == ZRT_ERR_IO, "a folder that is not there");
    zrt_model_destroy(&model);
    zrt_model_destroy(&again);
    zrt_mlp_spec mlp = {.n_features = 2, .n_classes = 2};
    char *text = NULL;
    tap_ok(zrt_model_mlp(&mlp, &model) == ZRT_OK &&
               zrt__hf_config_text(model, ZRT_FLOAT32, &text) == ZRT_ERR_NOT_SUPPORTED,
           "a perceptron has none");
    zrt_model_destroy(&model);
}

int main(void)
{
    static const char *const folders[] = {"llama", "llama-tied", "llama-rope-scaled", "llama-head-dim",
                                          "llama-bf16-sharded"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        test_spellings(folders[i]);
    test_defaults();
    test_refused();
    test_written();
    return tap_done();
}
