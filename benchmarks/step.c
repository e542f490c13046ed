/* Training steps through the public API: forward, backward, reduction, clipping to 1.0, AdamW. One JSON line a case:
 * median, fastest and slowest seconds of a step, tokens a second over all ranks, model GFLOP/s (6 x parameters x tokens).
 *
 *   mpirun -np 2 benchmarks/step [CASE [STAGE [STEPS]]]      cases: gemm, gpt2-small, gpt2-124m */
/* ranks: 2 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zerort/zerort.h>

typedef struct bench_case {
    const char *name;
    int64_t rows, length;
    int steps;
} bench_case;

#define TRY(call)                                               \
    do {                                                        \
        zrt_status try_ = (call);                               \
        if (try_ != ZRT_OK) {                                   \
            fprintf(stderr, "step: %s\n", zrt_error_message()); \
            exit(zrt_status_exit_code(try_));                   \
        }                                                       \
    } while (0)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static zrt_status open_model(const char *name, zrt_model **model_out)
{
    zrt_gpt2_spec spec = {.vocab_size = 50304,
                          .n_positions = 1024,
                          .n_embd = 768,
                          .n_layer = 12,
                          .n_head = 12,
                          .layer_norm_epsilon = 1e-5f,
                          .initializer_range = 0.02f,
                          .activation_function = ZRT_GELU_TANH,
                          .tie_word_embeddings = true,
                          .scale_attn_weights = true};
    zrt_mlp_spec mlp = {.n_features = 1024, .hidden_size = 1024, .n_hidden = 6, .n_classes = 1024};
    if (strcmp(name, "gemm") == 0)
        return zrt_model_mlp(&mlp, model_out);
    if (strcmp(name, "gpt2-small") == 0) {
        spec.vocab_size = 256;
        spec.n_positions = 128;
        spec.n_layer = spec.n_head = 4;
        spec.n_embd = 128;
    }
    return zrt_model_gpt2(&spec, model_out);
}

static void fill(const bench_case *c, int rank, zrt_batch *batch)
{
    int64_t rows = c->rows, n = rows * c->length;
    bool mlp = strcmp(c->name, "gemm") == 0;
    batch->n_rows = rows;
    batch->length = c->length;
    batch->n_fields = 2;
    batch->names[0] = mlp ? "features" : "input_ids";
    batch->names[1] = "labels";
    if (mlp) {
        float *features = calloc((size_t)rows * 1024, sizeof *features);
        int32_t *labels = calloc((size_t)rows, sizeof *labels);
        for (int64_t i = 0; i < rows * 1024; i++)
            features[i] = (float)((i * 2654435761u + (unsigned)rank) % 1000) * 1e-3f - 0.5f;
        for (int64_t i = 0; i < rows; i++)
            labels[i] = (int32_t)(i % 1000);
        batch->fields[0] = (zrt_view){features, ZRT_FLOAT32, 2, {rows, 1024}};
        batch->fields[1] = (zrt_view){labels, ZRT_INT32, 1, {rows}};
        return;
    }
    int32_t *ids = calloc((size_t)n, sizeof *ids), *labels = calloc((size_t)n, sizeof *labels);
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)((i * 2654435761u + 97u * (unsigned)rank) % 256);
        labels[i] = (int32_t)((i * 40503u + 31u) % 256);
    }
    batch->fields[0] = (zrt_view){ids, ZRT_INT32, 2, {rows, c->length}};
    batch->fields[1] = (zrt_view){labels, ZRT_INT32, 2, {rows, c->length}};
}

static void run(zrt_context *context, const bench_case *c, const char *stage)
{
    zrt_model *model = NULL;
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    char rows[32], length[32];
    double times[1000];
    zrt_metrics metrics;
    zrt_batch batch = {0};
    snprintf(rows, sizeof rows, "%lld", (long long)c->rows);
    snprintf(length, sizeof length, "%lld", (long long)c->length);
    TRY(open_model(c->name, &model));
    TRY(zrt_config_create(&config));
    TRY(zrt_config_set(config, "zero_optimization.stage", stage));
    TRY(zrt_config_set_argument(config, "per_device_train_batch_size", rows));
    TRY(zrt_config_set_argument(config, "per_device_eval_batch_size", "1"));
    if (strcmp(c->name, "gemm") != 0)
        TRY(zrt_config_set_argument(config, "seq_length", length));
    TRY(zrt_config_set_argument(config, "learning_rate", "1e-4"));
    TRY(zrt_config_set_argument(config, "weight_decay", "0.1"));
    TRY(zrt_engine_create(context, model, config, &engine));
    fill(c, zrt_rank(context), &batch);
    const int warm = 3, steps = c->steps < 990 ? c->steps : 990;
    for (int i = 0; i < steps + warm; i++) {
        zrt_loss *loss = NULL;
        double start = now();
        TRY(zrt_engine_forward(engine, &batch, &loss));
        TRY(zrt_engine_backward(engine, loss));
        TRY(zrt_engine_step(engine));
        TRY(zrt_engine_metrics(engine, &metrics));
        if (i >= warm)
            times[i - warm] = now() - start;
    }
    qsort(times, (size_t)steps, sizeof *times, ascending);
    double median = times[steps / 2], tokens = (double)(c->rows * c->length * zrt_size(context));
    double flop = 6.0 * (double)zrt_model_n_elements(model) * tokens;
    if (zrt_rank(context) == 0) {
        printf("{\"bench\": \"step\", \"case\": \"%s\", \"zero_stage\": %s, \"ranks\": %d, \"rows\": %lld, \"length\": "
               "%lld, "
               "\"parameters\": %lld, \"step_s\": %.4f, \"fastest_s\": %.4f, \"slowest_s\": %.4f, \"tokens_s\": %.1f, "
               "\"gflop_s\": %.1f, \"memory_bytes\": %zu, \"loss\": %.3f}\n",
               c->name, stage, zrt_size(context), (long long)c->rows, (long long)c->length,
               (long long)zrt_model_n_elements(model), median, times[0], times[steps - 1], tokens / median,
               flop / median * 1e-9, zrt_engine_memory_bytes(engine), metrics.loss);
        fflush(stdout);
    }
    free(batch.fields[0].data);
    free(batch.fields[1].data);
    zrt_engine_destroy(&engine);
    zrt_config_destroy(&config);
    zrt_model_destroy(&model);
}

int main(int argc, char **argv)
{
    static const bench_case cases[] = {{"gemm", 1024, 1, 20}, {"gpt2-small", 16, 128, 30}, {"gpt2-124m", 4, 64, 10}};
    zrt_context *context = NULL;
    TRY(zrt_init(&argc, &argv, &context));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench_case c = cases[i];
        if (argc > 3)
            c.steps = (int)strtol(argv[3], NULL, 10);
        if (argc < 2 || strcmp(argv[1], c.name) == 0)
            run(context, &c, argc > 2 ? argv[2] : "3");
    }
    zrt_finalize(&context);
    return 0;
}
