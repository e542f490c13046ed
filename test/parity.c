/* Compares zerort with what PyTorch and transformers computed for a folder of test/golden's form.
 *
 *   mpirun -np N test/parity CASE_FOLDER [--zero-stage N] [--gradient-accumulation-steps N] [--dtype fp32|bf16|fp16]
 *                            [--recompute none|selective|full] [--max-live-parameters N] [--loss-chunk-bytes N]
 *                            [--offload none|pipelined] [--sub-group-size N] [--device cpu]
 *
 * Prints one JSON line of relative deviations, each the worst: logits and gradients (relative norm), losses, gradient
 * norms (relative), final parameters (relative norm), and the number of generated tokens that differ. What a case does not have is left out.
 *
 * A folder that holds an adapter is opened with the base model that it names. `merged` is then the deviation of what
 * zrt_adapter_merge makes of the base model and the adapter that was saved after training. */
#include "config.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "checkpoint/safetensors.h"
#include "parity_batches.h"

typedef struct run_options {
    const char *folder, *stage, *accumulation, *dtype, *recompute, *max_live, *loss_chunk, *offload, *tile, *device;
} run_options;

static double sum_over_ranks(double value)
{
    double sum = 0;
    MPI_Allreduce(&value, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return sum;
}

static int64_t rows_of(const zrt_context *context, const run_options *options, int64_t batch)
{
    int64_t shares = zrt_size(context) * strtol(options->accumulation, NULL, 10);
    return (batch + shares - 1) / shares;
}

/* This rank's rows of micro-step m of batch i. */
static zrt_batch share(const zrt_context *context, const tokens *t, int64_t i, int64_t m, int64_t rows)
{
    int64_t first = (m * zrt_size(context) + zrt_rank(context)) * rows;
    int64_t n = t->batch - first < rows ? t->batch - first : rows;
    if (n < 0)
        n = 0;
    int64_t at = n > 0 ? (i * t->batch + first) * t->length : 0;
    zrt_batch batch = {.n_rows = n,
                       .length = t->length,
                       .n_fields = 2,
                       .names = {"input_ids", "labels"},
                       .label_positions = t->length - 1};
    batch.fields[0] = (zrt_view){t->ids + at, ZRT_INT32, 2, {n, t->length}};
    batch.fields[1] = (zrt_view){t->labels + at, ZRT_INT32, 2, {n, t->length}};
    if (t->mask != NULL) {
        batch.label_positions = 1;
        batch.n_fields = 4;
        batch.names[2] = "attention_mask";
        batch.names[3] = "token_type_ids";
        batch.fields[1] = (zrt_view){t->labels + at / t->length, ZRT_INT32, 1, {n}};
        batch.fields[2] = (zrt_view){t->mask + at, ZRT_INT32, 2, {n, t->length}};
        batch.fields[3] = (zrt_view){t->types + at, ZRT_INT32, 2, {n, t->length}};
    }
    return batch;
}

static zrt_engine *make_engine(zrt_context *context, zrt_model *model, const run_options *options, const tokens *t)
{
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    char rows[32], length[32];
    snprintf(rows, sizeof rows, "%lld", (long long)rows_of(context, options, t->batch));
    snprintf(length, sizeof length, "%lld", (long long)t->length);
    const char *const keys[][2] = {
        {"zero_optimization.stage", options->stage},
        {"train_micro_batch_size_per_gpu", rows},
        {"gradient_accumulation_steps", options->accumulation},
        {"zerort.recompute", options->recompute},
        /* From 2^16 some cases' first steps overflow and are skipped, as upstream's would be. */
        {"fp16.initial_scale_power", "12"},
        {"zero_optimization.stage3_param_persistence_threshold", "0"},
        {"zero_optimization.stage3_max_live_parameters", options->max_live},
        {"zerort.loss_chunk_bytes", options->loss_chunk},
        {"zero_optimization.offload_optimizer.device", options->offload != NULL ? "cpu" : NULL},
        {"zerort.overlapped_step", options->offload},
        {"zero_optimization.sub_group_size", options->tile}};
    const char *const arguments[][2] = {{"learning_rate", "3e-3"},
                                        {"adam_beta1", "0.9"},
                                        {"adam_beta2", "0.95"},
                                        {"adam_epsilon", "1e-8"},
                                        {"weight_decay", "0.1"},
                                        {"max_grad_norm", "1.0"},
                                        {"lr_scheduler_type", "cosine"},
                                        {"warmup_steps", "4"},
                                        {"max_steps", "20"},
                                        {"seq_length", length},
                                        {"per_device_train_batch_size", rows},
                                        {"gradient_accumulation_steps", options->accumulation},
                                        {"per_device_eval_batch_size", NULL},
                                        {"device", options->device}};
    char evaluation_rows[32];
    snprintf(evaluation_rows, sizeof evaluation_rows, "%lld",
             (long long)((t->batch + zrt_size(context) - 1) / zrt_size(context)));
    check(zrt_config_create(&config), "configuration");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i][1] != NULL)
            check(zrt_config_set(config, keys[i][0], keys[i][1]), keys[i][0]);
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        const char *value =
            strcmp(arguments[i][0], "per_device_eval_batch_size") == 0 ? evaluation_rows : arguments[i][1];
        if (value != NULL)
            check(zrt_config_set_argument(config, arguments[i][0], value), arguments[i][0]);
    }
    if (strcmp(options->dtype, "fp32") != 0)
        check(zrt_config_set_argument(config, options->dtype, "true"), options->dtype);
    check(zrt_engine_create(context, model, config, &engine), "engine");
    zrt_config_destroy(&config);
    check(zrt_engine_load_pretrained(engine, options->folder), "weights");
    return engine;
}

static double compare_logits(zrt_context *context, zrt_engine *engine, zrt__safetensors *file, const tokens *t)
{
    const zrt__safetensors_entry *entry = zrt__safetensors_find(file, "logits");
    int64_t vocab = entry->dims[entry->n_dims - 1], rows = (t->batch + zrt_size(context) - 1) / zrt_size(context);
    zrt_batch batch = share(context, t, 0, 0, rows);
    int64_t row = t->mask != NULL ? vocab : t->length * vocab;
    size_t n = (size_t)(rows * row), used = (size_t)(batch.n_rows * row);
    float *logits = need(malloc(n * sizeof *logits)), *expected = need(malloc(n * sizeof *expected));
    check(zrt_engine_logits(engine, &batch, logits, n), "logits");
    int64_t first = zrt_rank(context) * rows * row;
    if (used > 0)
        check(zrt__safetensors_read(file, "logits", first, (int64_t)used, expected), "logits");
    double difference = 0, norm = 0;
    for (size_t i = 0; i < used; i++) {
        difference += ((double)logits[i] - expected[i]) * ((double)logits[i] - expected[i]);
        norm += (double)expected[i] * expected[i];
    }
    free(logits);
    free(expected);
    difference = sum_over_ranks(difference);
    return sqrt(difference / sum_over_ranks(norm));
}

static int compare_generated(zrt_engine *engine, zrt__safetensors *file)
{
    enum { PROMPT = 6 };
    int64_t dims[3];
    int32_t *expected = read_tokens(file, "generated", dims);
    int rows = (int)dims[1], length = (int)dims[2], differ = 0;
    const int32_t **prompts = need(malloc((size_t)rows * sizeof *prompts));
    int64_t *lengths = need(malloc((size_t)rows * sizeof *lengths));
    int32_t *got = need(malloc((size_t)(rows * length) * sizeof *got));
    for (int r = 0; r < rows; r++) {
        prompts[r] = expected + r * length;
        lengths[r] = PROMPT;
    }
    zrt_generate_options options = {.max_new_tokens = length - PROMPT, .eos_token_id = -1};
    check(zrt_engine_generate(engine, rows, prompts, lengths, &options, got), "generation");
    for (int r = 0; r < rows; r++)
        for (int i = PROMPT; i < length; i++)
            differ += got[r * (length - PROMPT) + i - PROMPT] != expected[r * length + i];
    free(prompts);
    free(lengths);
    free(got);
    free(expected);
    return differ;
}

/* Worst relative norm of the deviation over all parameters that the file has as PREFIX.NAME. */
static double compare_tensors(zrt_engine *engine, const zrt_model *model, zrt__safetensors *file, const char *prefix,
                              zrt_state state)
{
    double worst = 0;
    for (int p = 0; p < zrt_model_n_parameters(model); p++) {
        const char *name;
        int n_dims;
        int64_t dims[ZRT_MAX_DIMS], n = 1;
        check(zrt_model_get_parameter(model, p, &name, &n_dims, dims), "parameter");
        for (int i = 0; i < n_dims; i++)
            n *= dims[i];
        char key[512];
        snprintf(key, sizeof key, "%s.%s", prefix, name);
        if (zrt_model_get_lora(model) != NULL) /* peft's name */
            snprintf(key, sizeof key, "%s.base_model.model.%s", prefix, name);
        if (zrt__safetensors_find(file, key) == NULL)
            continue;
        float *values = need(malloc((size_t)n * sizeof *values)),
              *expected = need(malloc((size_t)n * sizeof *expected));
        check(zrt_engine_get_full(engine, name, state, values), key);
        check(zrt__safetensors_read(file, key, 0, n, expected), key);
        if (strstr(name, "attention.self.key.bias") != NULL)
            continue; /* as the keys' of GPT-2, below */
        /* The gradient of GPT-2's key bias is mathematically zero: Adam turns its rounding into full steps. */
        bool has_keys = state == ZRT_STATE_PARAMETER && strstr(name, "c_attn.bias") != NULL;
        double difference = 0, norm = 0;
        for (int64_t i = 0; i < n; i++) {
            if (has_keys && i >= n / 3 && i < 2 * n / 3)
                continue;
            difference += ((double)values[i] - expected[i]) * ((double)values[i] - expected[i]);
            norm += (double)expected[i] * expected[i];
        }
        double relative = norm > 0 ? sqrt(difference / norm) : sqrt(difference);
        if (!(relative <= worst))
            worst = relative;
        if (getenv("ZRT_PARITY_VERBOSE") != NULL)
            fprintf(stderr, "%s %.2e\n", key, relative);
        free(values);
        free(expected);
    }
    return worst;
}

static void run_step(zrt_context *context, zrt_engine *engine, const run_options *options, const tokens *t, int64_t i,
                     bool update)
{
    int64_t micro_steps = strtol(options->accumulation, NULL, 10), rows = rows_of(context, options, t->batch);
    for (int64_t m = 0; m < micro_steps; m++) {
        zrt_batch batch = share(context, t, i, m, rows);
        zrt_loss *loss = NULL;
        check(zrt_engine_forward(engine, &batch, &loss), "forward");
        check(zrt_engine_backward(engine, loss), "backward");
        if (update || m + 1 < micro_steps)
            check(zrt_engine_step(engine), "step");
    }
}

static void compare_training(zrt_context *context, zrt_engine *engine, const run_options *options,
                             zrt__safetensors *file, const tokens *t, double *losses_out, double *norms_out)
{
    *losses_out = *norms_out = 0;
    for (int64_t i = 0; i < t->n; i++) {
        double expected[2];
        zrt_metrics metrics;
        run_step(context, engine, options, t, i, true);
        check(zrt_engine_metrics(engine, &metrics), "metrics");
        check(zrt__safetensors_read_raw(zrt__safetensors_find(file, "losses"), i, 1, &expected[0]), "losses");
        check(zrt__safetensors_read_raw(zrt__safetensors_find(file, "grad_norms"), i, 1, &expected[1]), "grad_norms");
        double loss = fabs(metrics.loss - expected[0]) / expected[0];
        double norm = fabs(metrics.grad_norm - expected[1]) / expected[1];
        if (getenv("ZRT_PARITY_VERBOSE") != NULL)
            fprintf(stderr, "step %lld loss %.9g (%.9g) norm %.9g (%.9g) lr %.6g\n", (long long)i, metrics.loss,
                    expected[0], metrics.grad_norm, expected[1], metrics.learning_rate);
        *losses_out = loss <= *losses_out ? *losses_out : loss;
        *norms_out = norm <= *norms_out ? *norms_out : norm;
    }
}

static zrt__safetensors *open_file(const char *folder, const char *name)
{
    char path[4096];
    zrt__safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    check(zrt__safetensors_open(path, &file), path);
    return file;
}

/* Worst relative norm of the deviation of a folder's tensors from those of a file. */
static double compare_files(const char *folder, zrt__safetensors *expected_file)
{
    zrt__safetensors *file = NULL;
    double worst = 0;
    check(zrt__safetensors_open(folder, &file), folder);
    for (size_t i = 0; i < zrt__safetensors_count(expected_file); i++) {
        const zrt__safetensors_entry *entry = zrt__safetensors_get(expected_file, i);
        int64_t n = entry->n_elements;
        float *values = need(malloc((size_t)n * sizeof *values)),
              *expected = need(malloc((size_t)n * sizeof *expected));
        check(zrt__safetensors_read(file, entry->name, 0, n, values), entry->name);
        check(zrt__safetensors_read_entry(entry, 0, n, expected), entry->name);
        double difference = 0, norm = 0;
        for (int64_t k = 0; k < n; k++) {
            difference += ((double)values[k] - expected[k]) * ((double)values[k] - expected[k]);
            norm += (double)expected[k] * expected[k];
        }
        double relative = norm > 0 ? sqrt(difference / norm) : sqrt(difference);
        worst = relative <= worst ? worst : relative;
        free(values);
        free(expected);
    }
    zrt__safetensors_close(&file);
    return worst;
}

/* Saves the adapter, merges it into its base model and compares that. */
static double compare_merged(zrt_context *context, zrt_engine *engine, const char *folder)
{
    char adapter[] = "/tmp/parity-adapter-XXXXXX", merged[] = "/tmp/parity-merged-XXXXXX", *base = NULL, command[256];
    double worst = 0;
    if (zrt_rank(context) == 0 && (mkdtemp(adapter) == NULL || mkdtemp(merged) == NULL)) {
        fprintf(stderr, "parity: cannot make folders in /tmp\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    check(zrt_engine_save_pretrained(engine, adapter, ZRT_FLOAT32), "saving the adapter");
    if (zrt_rank(context) != 0)
        return 0;
    zrt__safetensors *expected = open_file(folder, "merged.safetensors");
    check(zrt_adapter_find_base(folder, &base), "base model");
    check(zrt_adapter_merge(base, adapter, merged), "merging");
    worst = compare_files(merged, expected);
    zrt__safetensors_close(&expected);
    free(base);
    snprintf(command, sizeof command, "rm -rf %s %s", adapter, merged);
    if (system(command) != 0)
        fprintf(stderr, "parity: %s failed\n", command);
    return worst;
}

static void compare(zrt_context *context, const run_options *options)
{
    zrt_model *model = NULL;
    check(zrt_model_open(options->folder, &model), "model");
    zrt__safetensors *file = open_file(options->folder, "reference.safetensors");
    tokens t = read_batches(file);
    zrt_engine *engine = make_engine(context, model, options, &t);
    bool generates = zrt__safetensors_find(file, "generated") != NULL;
    double logits = compare_logits(context, engine, file, &t);
    int generated = generates ? compare_generated(engine, file) : 0;
    run_step(context, engine, options, &t, 0, false);
    double grads = compare_tensors(engine, model, file, "grad", ZRT_STATE_GRADIENT);
    zrt_engine_destroy(&engine);
    zrt__safetensors_close(&file);
    free(t.ids);
    free(t.labels);
    free(t.mask);
    free(t.types);

    file = open_file(options->folder, "training.safetensors");
    t = read_batches(file);
    engine = make_engine(context, model, options, &t);
    double losses, norms;
    compare_training(context, engine, options, file, &t, &losses, &norms);
    double finals = compare_tensors(engine, model, file, "final", ZRT_STATE_PARAMETER);
    bool is_adapter = zrt_model_get_lora(model) != NULL;
    double merged = is_adapter ? compare_merged(context, engine, options->folder) : 0;
    zrt_engine_destroy(&engine);
    zrt__safetensors_close(&file);
    free(t.ids);
    free(t.labels);
    free(t.mask);
    free(t.types);
    zrt_model_destroy(&model);
    if (zrt_rank(context) != 0)
        return;
    printf("{\"logits\": %.3e, \"grads\": %.3e, \"losses\": %.3e, \"grad_norms\": %.3e, \"finals\": %.3e", logits,
           grads, losses, norms, finals);
    if (generates)
        printf(", \"generated\": %d", generated);
    if (is_adapter)
        printf(", \"merged\": %.3e", merged);
    printf("}\n");
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"zero-stage", required_argument, NULL, 's'},
                                                 {"gradient-accumulation-steps", required_argument, NULL, 'a'},
                                                 {"dtype", required_argument, NULL, 't'},
                                                 {"device", required_argument, NULL, 'd'},
                                                 {"recompute", required_argument, NULL, 'r'},
                                                 {"max-live-parameters", required_argument, NULL, 'l'},
                                                 {"loss-chunk-bytes", required_argument, NULL, 'c'},
                                                 {"offload", required_argument, NULL, 'o'},
                                                 {"sub-group-size", required_argument, NULL, 'g'},
                                                 {0}};
    run_options options = {.stage = "3", .accumulation = "1", .dtype = "fp32", .recompute = "none"};
    zrt_context *context = NULL;
    for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (c == 's')
            options.stage = optarg;
        else if (c == 'a')
            options.accumulation = optarg;
        else if (c == 't')
            options.dtype = optarg;
        else if (c == 'd')
            options.device = optarg;
        else if (c == 'r')
            options.recompute = optarg;
        else if (c == 'l')
            options.max_live = optarg;
        else if (c == 'c')
            options.loss_chunk = optarg;
        else if (c == 'o')
            options.offload = optarg;
        else if (c == 'g')
            options.tile = optarg;
        else
            return 2;
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: parity CASE_FOLDER [--zero-stage N] [--gradient-accumulation-steps N] [--dtype T] "
                        "[--recompute none|selective|full] [--max-live-parameters N] [--loss-chunk-bytes N] "
                        "[--offload none|pipelined] [--sub-group-size N] [--device D]\n");
        return 2;
    }
    options.folder = argv[optind];
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status != ZRT_OK) {
        fprintf(stderr, "parity: %s\n", zrt_error_message());
        return zrt_status_exit_code(status);
    }
    compare(context, &options);
    zrt_finalize(&context);
    return 0;
}
