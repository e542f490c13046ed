/* Training steps through the public API: forward, backward, reduction, clipping to 1.0, AdamW. One JSON line a case:
 * median, fastest and slowest seconds of a step, tokens a second over all ranks, model TFLOP/s of a rank by
 * 6 x parameters x tokens.
 *
 *   mpirun -np N benchmarks/step [OPTION]...
 *     --model NAME      gemm, gpt2-small, gpt2-124m, gpt2-1558m, or a preset (llama-2-7b); default: the first three
 *     --rows N --length N --micro-steps N --steps N --stage N --dtype fp32|bf16|fp16 --device auto|cpu|cuda
 *     --recompute none|selective|full --deterministic --trace FILE (of one more step, for chrome://tracing)
 *     --set KEY=VALUE   of the configuration file, as often as wanted */
/* ranks: 2 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zerort/zerort.h>

typedef struct bench_case {
    const char *name;
    int64_t rows, length;
    int steps;
    const char *micro_steps, *stage, *dtype, *device, *recompute, *trace;
    bool deterministic;
    const char *set[16]; /* KEY=VALUE */
    int n_set;
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
    } else if (strcmp(name, "gpt2-1558m") == 0) {
        spec.n_layer = 48;
        spec.n_head = 25;
        spec.n_embd = 1600;
    } else if (strcmp(name, "gpt2-124m") != 0) {
        return zrt_model_open(name, model_out);
    }
    return zrt_model_gpt2(&spec, model_out);
}

/* splitmix64's last step: unrelated numbers for neighbouring places */
static int32_t draw(uint64_t place, int64_t n)
{
    uint64_t z = (place + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (int32_t)((z >> 33) % (uint64_t)n);
}

static void fill(const bench_case *c, int64_t vocab, int rank, zrt_batch *batch)
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
        ids[i] = draw((uint64_t)(i + (int64_t)rank * n), vocab);
        labels[i] = draw((uint64_t)(i + 1 + (int64_t)rank * n), vocab);
    }
    batch->fields[0] = (zrt_view){ids, ZRT_INT32, 2, {rows, c->length}};
    batch->fields[1] = (zrt_view){labels, ZRT_INT32, 2, {rows, c->length}};
}

static void configure(const bench_case *c, zrt_config *config)
{
    char rows[32], length[32];
    snprintf(rows, sizeof rows, "%lld", (long long)c->rows);
    snprintf(length, sizeof length, "%lld", (long long)c->length);
    TRY(zrt_config_set(config, "zero_optimization.stage", c->stage));
    TRY(zrt_config_set(config, "zerort.recompute", c->recompute));
    TRY(zrt_config_set_argument(config, "per_device_train_batch_size", rows));
    TRY(zrt_config_set_argument(config, "per_device_eval_batch_size", "1"));
    TRY(zrt_config_set_argument(config, "gradient_accumulation_steps", c->micro_steps));
    if (strcmp(c->name, "gemm") != 0)
        TRY(zrt_config_set_argument(config, "seq_length", length));
    if (strcmp(c->dtype, "fp32") != 0)
        TRY(zrt_config_set_argument(config, c->dtype, "true"));
    if (c->deterministic)
        TRY(zrt_config_set_argument(config, "full_determinism", "true"));
    TRY(zrt_config_set_argument(config, "device", c->device));
    TRY(zrt_config_set_argument(config, "learning_rate", "1e-4"));
    TRY(zrt_config_set_argument(config, "adam_beta2", "0.95"));
    TRY(zrt_config_set_argument(config, "weight_decay", "0.1"));
    for (int i = 0; i < c->n_set; i++) {
        char key[256];
        const char *value = strchr(c->set[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(value - c->set[i]), c->set[i]);
        TRY(zrt_config_set(config, key, value + 1));
    }
}

/* One optimizer step; the metrics wait for the device. */
static void step(zrt_engine *engine, const zrt_batch *batch, zrt_metrics *metrics)
{
    for (;;) {
        zrt_loss *loss = NULL;
        TRY(zrt_engine_forward(engine, batch, &loss));
        TRY(zrt_engine_backward(engine, loss));
        bool last = zrt_engine_is_accumulation_boundary(engine);
        TRY(zrt_engine_step(engine));
        if (last)
            break;
    }
    TRY(zrt_engine_metrics(engine, metrics));
}

static void run(zrt_context *context, const bench_case *c)
{
    enum { WARM = 4, MOST = 1000 };
    static double times[MOST];
    zrt_model *model = NULL;
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    zrt_metrics metrics;
    zrt_batch batch = {0};
    double opening = now(), ready = 0;
    TRY(open_model(c->name, &model));
    TRY(zrt_config_create(&config));
    configure(c, config);
    TRY(zrt_engine_create(context, model, config, &engine));
    const zrt_model_info *info = zrt_model_get_info(model);
    fill(c, info->vocab_size, zrt_rank(context), &batch);
    const int steps = c->steps < MOST ? c->steps : MOST;
    for (int i = 0; i < steps + WARM; i++) {
        double start = now();
        step(engine, &batch, &metrics);
        if (i == 0)
            ready = now() - opening;
        if (i >= WARM)
            times[i - WARM] = now() - start;
    }
    size_t memory = zrt_engine_memory_bytes(engine);
    if (c->trace != NULL) {
        TRY(zrt_engine_trace(engine, c->trace));
        step(engine, &batch, &metrics);
    }
    qsort(times, (size_t)steps, sizeof *times, ascending);
    double median = times[steps / 2],
           tokens = (double)(c->rows * c->length * zrt_size(context)) * (double)strtol(c->micro_steps, NULL, 10);
    double flop = 6.0 * (double)zrt_model_n_elements(model) * tokens;
    if (zrt_rank(context) == 0) {
        printf("{\"bench\": \"step\", \"case\": \"%s\", \"dtype\": \"%s\", \"zero_stage\": %s, \"ranks\": %d, "
               "\"rows\": %lld, \"length\": %lld, \"micro_steps\": %s, \"parameters\": %lld, \"step_s\": %.4f, "
               "\"fastest_s\": %.4f, \"slowest_s\": %.4f, \"tokens_s\": %.1f, \"tflop_s_rank\": %.3f, "
               "\"memory_gib\": %.2f, \"first_step_s\": %.2f, \"loss\": %.3f}\n",
               c->name, c->dtype, c->stage, zrt_size(context), (long long)c->rows, (long long)c->length, c->micro_steps,
               (long long)zrt_model_n_elements(model), median, times[0], times[steps - 1], tokens / median,
               flop / median / zrt_size(context) * 1e-12, (double)memory / 1073741824.0, ready, metrics.loss);
        fflush(stdout);
    }
    free(batch.fields[0].data);
    free(batch.fields[1].data);
    zrt_engine_destroy(&engine);
    zrt_config_destroy(&config);
    zrt_model_destroy(&model);
}

static void read_options(int argc, char **argv, bench_case *c, bool *chosen_out)
{
    static const struct option known[] = {{"model", required_argument, NULL, 'm'},
                                          {"rows", required_argument, NULL, 'r'},
                                          {"length", required_argument, NULL, 'l'},
                                          {"micro-steps", required_argument, NULL, 'a'},
                                          {"steps", required_argument, NULL, 's'},
                                          {"stage", required_argument, NULL, 'z'},
                                          {"dtype", required_argument, NULL, 'd'},
                                          {"device", required_argument, NULL, 'D'},
                                          {"recompute", required_argument, NULL, 'c'},
                                          {"trace", required_argument, NULL, 't'},
                                          {"deterministic", no_argument, NULL, 'e'},
                                          {"set", required_argument, NULL, 'S'},
                                          {0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (o) {
        case 'm':
            c->name = optarg;
            *chosen_out = true;
            break;
        case 'r':
            c->rows = strtol(optarg, NULL, 10);
            break;
        case 'l':
            c->length = strtol(optarg, NULL, 10);
            break;
        case 'a':
            c->micro_steps = optarg;
            break;
        case 's':
            c->steps = (int)strtol(optarg, NULL, 10);
            break;
        case 'z':
            c->stage = optarg;
            break;
        case 'd':
            c->dtype = optarg;
            break;
        case 'D':
            c->device = optarg;
            break;
        case 'c':
            c->recompute = optarg;
            break;
        case 't':
            c->trace = optarg;
            break;
        case 'e':
            c->deterministic = true;
            break;
        case 'S':
            if (strchr(optarg, '=') == NULL || c->n_set == sizeof c->set / sizeof *c->set)
                exit(2);
            c->set[c->n_set++] = optarg;
            break;
        default:
            exit(2);
        }
    }
}

static void say(zrt_log_level level, const char *text, void *user)
{
    (void)level;
    (void)user;
    fprintf(stderr, "step: %s\n", text);
}

int main(int argc, char **argv)
{
    static const bench_case cases[] = {
        {.name = "gemm", .rows = 1024, .length = 1, .steps = 20},
        {.name = "gpt2-small", .rows = 16, .length = 128, .steps = 30},
        {.name = "gpt2-124m", .rows = 4, .length = 64, .steps = 10},
    };
    zrt_context *context = NULL;
    bench_case given = {.rows = 4,
                        .length = 64,
                        .steps = 10,
                        .micro_steps = "1",
                        .stage = "3",
                        .dtype = "fp32",
                        .device = "auto",
                        .recompute = "none"};
    bool chosen = false;
    TRY(zrt_init(&argc, &argv, &context));
    zrt_log_set_sink(say, NULL);
    read_options(argc, argv, &given, &chosen);
    for (size_t i = 0; i < sizeof cases / sizeof *cases && !chosen; i++) {
        bench_case c = given;
        c.name = cases[i].name;
        c.rows = cases[i].rows;
        c.length = cases[i].length;
        c.steps = cases[i].steps;
        run(context, &c);
    }
    if (chosen)
        run(context, &given);
    zrt_finalize(&context);
    return 0;
}
