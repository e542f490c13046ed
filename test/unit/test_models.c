/* Models: names, shapes and sizes against Hugging Face's files and published counts. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/models.h>

#include "checkpoint/safetensors.h"
#include "graph/graph.h"
#include "tap.h"

static const char *golden_path(const char *name)
{
    static char path[4096];
    const char *golden = getenv("ZRT_GOLDEN");
    snprintf(path, sizeof path, "%s/%s", golden != NULL ? golden : ZRT_GOLDEN_DIR, name);
    return path;
}

/* Every parameter is in the file by the same name and shape, and nothing else is. */
static void test_folder(const char *name)
{
    zrt_model *model = NULL;
    zrt__safetensors *file = NULL;
    zrt_status status = zrt_model_open(golden_path(name), &model);
    if (status == ZRT_OK)
        status = zrt__safetensors_open(golden_path(name), &file);
    int n = status == ZRT_OK ? zrt_model_n_parameters(model) : 0, n_exact = 0;
    for (int i = 0; i < n && status == ZRT_OK; i++) {
        const char *parameter;
        int n_dims;
        int64_t dims[ZRT_MAX_DIMS];
        const zrt__safetensors_entry *entry;
        status = zrt_model_get_parameter(model, i, &parameter, &n_dims, dims);
        if (status == ZRT_OK)
            status = zrt__safetensors_find_parameter(file, parameter, n_dims, dims, &entry);
        n_exact += status == ZRT_OK && strcmp(entry->name, parameter) == 0;
    }
    size_t index = 0;
    bool all_used = status == ZRT_OK && zrt__safetensors_next_unused(file, &index) == NULL;
    if (!tap_ok(status == ZRT_OK && n > 0 && n_exact == n && all_used && (size_t)n == zrt__safetensors_count(file),
                "%s: %d parameters as in its safetensors", name, n))
        tap_diag("%d of %d, %s", n_exact, n, status == ZRT_OK ? "the file has others" : zrt_error_message());
    zrt__safetensors_close(&file);
    zrt_model_destroy(&model);
}

static void test_preset(const char *name, int64_t n_elements)
{
    zrt_model *model = NULL;
    bool good = zrt_model_open(name, &model) == ZRT_OK;
    int64_t n = good ? zrt_model_n_elements(model) : 0;
    if (!tap_ok(good && n == n_elements && strcmp(zrt_model_get_name(model), name) == 0,
                "%s has %" PRId64 " parameters", name, n_elements))
        tap_diag("%" PRId64 ": %s", n, good ? "" : zrt_error_message());
    zrt_model_destroy(&model);
}

static bool has_parameter(const zrt_model *model, const char *name, int n_dims, int64_t rows, int64_t columns)
{
    for (int i = 0; i < zrt_model_n_parameters(model); i++) {
        const char *found;
        int n;
        int64_t dims[ZRT_MAX_DIMS];
        if (zrt_model_get_parameter(model, i, &found, &n, dims) == ZRT_OK && strcmp(found, name) == 0)
            return n == n_dims && dims[0] == rows && (n_dims < 2 || dims[1] == columns);
    }
    return false;
}

static void test_specs(void)
{
    zrt_model *model = NULL;
    zrt_llama_spec llama = {
        .vocab_size = 11,
        .max_position_embeddings = 16,
        .hidden_size = 8,
        .intermediate_size = 12,
        .num_hidden_layers = 2,
        .num_attention_heads = 2,
        .num_key_value_heads = 1,
        .head_dim = 6,
        .rms_norm_eps = 1e-5f,
        .initializer_range = 0.02f,
        .rope = {.theta = 1e4f},
        .hidden_act = ZRT_SILU,
        .attention_bias = true,
        .mlp_bias = true,
        .bos_token_id = 3,
        .eos_token_id = 4,
    };
    if (!tap_ok(zrt_model_llama(&llama, &model) == ZRT_OK, "a Llama with biases"))
        tap_diag("%s", zrt_error_message());
    tap_ok(model != NULL && has_parameter(model, "model.layers.1.self_attn.q_proj.weight", 2, 12, 8) &&
               has_parameter(model, "model.layers.1.self_attn.k_proj.bias", 1, 6, 0) &&
               has_parameter(model, "model.layers.0.self_attn.o_proj.weight", 2, 8, 12) &&
               has_parameter(model, "model.layers.0.self_attn.o_proj.bias", 1, 8, 0) &&
               has_parameter(model, "model.layers.0.mlp.up_proj.bias", 1, 12, 0) &&
               has_parameter(model, "model.layers.0.mlp.down_proj.bias", 1, 8, 0) &&
               has_parameter(model, "model.norm.weight", 1, 8, 0) && has_parameter(model, "lm_head.weight", 2, 11, 8),
           "its names and shapes");
    tap_ok(model != NULL && zrt_model_get_info(model)->max_length == 16 &&
               zrt_model_get_info(model)->vocab_size == 11 && zrt_model_get_info(model)->hidden_size == 8 &&
               zrt_model_get_info(model)->bos_token_id == 3 && zrt_model_get_info(model)->eos_token_id == 4,
           "its info");
    zrt_model_destroy(&model);

    static const struct {
        const char *field;
        size_t offset;
        int64_t value;
    } wrong[] = {
        {"vocab_size", offsetof(zrt_llama_spec, vocab_size), 0},
        {"hidden_size", offsetof(zrt_llama_spec, hidden_size), -8},
        {"num_hidden_layers", offsetof(zrt_llama_spec, num_hidden_layers), INT64_MAX},
        {"num_key_value_heads", offsetof(zrt_llama_spec, num_key_value_heads), 4},
        {"head_dim", offsetof(zrt_llama_spec, head_dim), 5},
        {"intermediate_size", offsetof(zrt_llama_spec, intermediate_size), 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        zrt_llama_spec spec = llama;
        memcpy((char *)&spec + wrong[i].offset, &wrong[i].value, sizeof wrong[i].value);
        tap_ok(zrt_model_llama(&spec, &model) == ZRT_ERR_CONFIG && strstr(zrt_error_message(), wrong[i].field) != NULL,
               "a Llama with %s %" PRId64 " is refused", wrong[i].field, wrong[i].value);
    }
    zrt_gpt2_spec gpt2 = {
        .vocab_size = 11,
        .n_positions = 16,
        .n_embd = 8,
        .n_layer = 1,
        .n_head = 2,
        .n_inner = 24,
        .layer_norm_epsilon = 1e-5f,
        .initializer_range = 0.02f,
        .resid_pdrop = 0.1f,
        .embd_pdrop = 0.1f,
        .attn_pdrop = 0.1f,
        .activation_function = ZRT_RELU,
        .scale_attn_by_inverse_layer_idx = true,
    };
    tap_ok(zrt_model_gpt2(&gpt2, &model) == ZRT_OK && has_parameter(model, "lm_head.weight", 2, 11, 8) &&
               has_parameter(model, "transformer.h.0.mlp.c_fc.weight", 2, 8, 24) &&
               has_parameter(model, "transformer.h.0.attn.c_attn.weight", 2, 8, 24) &&
               has_parameter(model, "transformer.ln_f.bias", 1, 8, 0),
           "an untied GPT-2 with dropout and its names");
    zrt_model_destroy(&model);
    gpt2.n_head = 3;
    tap_ok(zrt_model_gpt2(&gpt2, &model) == ZRT_ERR_CONFIG, "8 channels in 3 heads are refused");
    gpt2.n_head = 2;
    gpt2.attn_pdrop = 1.0f;
    tap_ok(zrt_model_gpt2(&gpt2, &model) == ZRT_ERR_CONFIG && strstr(zrt_error_message(), "attn_pdrop") != NULL,
           "dropout of everything is refused");

    zrt_mlp_spec mlp = {.n_features = 5, .hidden_size = 7, .n_hidden = 2, .n_classes = 3, .dropout = 0.5f};
    if (!tap_ok(zrt_model_mlp(&mlp, &model) == ZRT_OK, "a perceptron"))
        tap_diag("%s", zrt_error_message());
    tap_ok(model != NULL && zrt_model_n_elements(model) == 5 * 7 + 7 + 7 * 7 + 7 + 7 * 3 + 3 &&
               has_parameter(model, "layers.1.weight", 2, 7, 7) && has_parameter(model, "head.bias", 1, 3, 0),
           "its names and shapes");
    zrt_model_destroy(&model);
    mlp = (zrt_mlp_spec){.n_features = 5, .n_classes = 3};
    tap_ok(zrt_model_mlp(&mlp, &model) == ZRT_OK && zrt_model_n_elements(model) == 18,
           "a perceptron without hidden layers");
    zrt_model_destroy(&model);
    mlp.n_classes = 0;
    tap_ok(zrt_model_mlp(&mlp, &model) == ZRT_ERR_CONFIG, "one without classes is refused");
}

static void test_names(void)
{
    zrt_model *model = NULL;
    tap_ok(zrt_model_open("gpt2-meduim", &model) == ZRT_ERR_CONFIG &&
               strstr(zrt_error_message(), "mean 'gpt2-medium'") != NULL,
           "the nearest preset is suggested");
    tap_ok(zrt_model_open("something-else-entirely", &model) == ZRT_ERR_CONFIG &&
               strstr(zrt_error_message(), "llama-3.2-3b") != NULL && strstr(zrt_error_message(), "mean") == NULL,
           "or all are listed");
    tap_ok(zrt_model_open("/nowhere/at/all", &model) == ZRT_ERR_CONFIG &&
               strstr(zrt_error_message(), "no such folder") != NULL,
           "a folder that is not there");
    tap_ok(zrt_model_open("/", &model) == ZRT_ERR_INPUT && strstr(zrt_error_message(), "config.json") != NULL,
           "a folder without config.json");
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    tap_ok(zrt_model_open(longest, &model) == ZRT_ERR_CONFIG, "a very long name");
    int n = 0;
    while (zrt_model_preset(n) != NULL) {
        zrt_status status = zrt_model_open(zrt_model_preset(n++), &model);
        if (status != ZRT_OK)
            break;
        zrt_model_destroy(&model);
    }
    tap_ok(n == 15 && zrt_model_preset(n) == NULL && zrt_model_preset(-1) == NULL, "all %d presets open", n);
}

/* The same parameters whatever is described for: every mode, a short and a long sequence, 16 bits. */
static void test_modes(const char *name)
{
    static const zrt_mode modes[] = {ZRT_MODE_TRAIN, ZRT_MODE_EVALUATE, ZRT_MODE_GENERATE};
    zrt_model *model = NULL;
    zrt_status status = zrt_model_open(golden_path(name), &model);
    for (int i = 0; i < 6 && status == ZRT_OK; i++) {
        zrt__build *build = NULL;
        zrt__build_options options = {.mode = modes[i / 2],
                                      .rows = 3,
                                      .length = i % 2 == 0 ? 1 : 20,
                                      .cache_length = 32,
                                      .table_length = 32,
                                      .compute_dtype = i % 2 == 0 ? ZRT_FLOAT32 : ZRT_BFLOAT16};
        status = zrt__build_create(model, &options, &build);
        zrt__build_destroy(&build);
    }
    if (!tap_ok(status == ZRT_OK, "%s is described for training, evaluation and generation", name))
        tap_diag("%s", zrt_error_message());
    zrt_model_destroy(&model);
}

int main(void)
{
    static const char *const folders[] = {
        "gpt2", "gpt2-fp16", "llama", "llama-tied", "llama-rope-scaled", "llama-head-dim", "llama-bf16-sharded"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        test_folder(folders[i]);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        test_modes(folders[i]);
    test_preset("small", 842496);
    test_preset("gpt2", 124439808);
    test_preset("gpt2-medium", 354823168);
    test_preset("gpt2-large", 774030080);
    test_preset("gpt2-xl", 1557611200);
    test_preset("llama-160m", 162417408);
    test_preset("llama-1.5b", 1498482688);
    test_preset("tinyllama-1.1b", 1100048384);
    test_preset("llama-2-7b", 6738415616);
    test_preset("llama-2-13b", 13015864320);
    test_preset("llama-2-70b", 68976648192);
    test_preset("llama-3-8b", 8030261248);
    test_preset("llama-3-70b", 70553706496);
    test_preset("llama-3.2-1b", 1235814400);
    test_preset("llama-3.2-3b", 3212749824);
    test_specs();
    test_names();
    return tap_done();
}
