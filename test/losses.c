/* Trains a tiny model on data drawn from a counter and prints the loss of each step, exactly, on one line a step:
 * what is compared between stages, numbers of ranks, accumulation, recomputation and two runs of the same.
 *
 *   mpirun -np N test/losses [--zero-stage N] [--micro-batch N] [--gradient-accumulation-steps N] [--recompute MODE]
 *                            [--dropout P] [--model gpt2|llama] [--steps N] [--dtype T]
 *                            [--offload none|pipelined|speculative] [--sub-group-size N]
 *                            [--nvme FOLDER [--buffer-size N]] [--set KEY=JSON].. [--optim NAME] [--trace FILE]
 *                            [--communication-data-type T] [--grad-accum-dtype T]
 *
 * Rank 0 says on stderr how many updates were speculated and how many of them discarded. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/zerort.h>

#include "base/random.h"

enum { VOCAB = 61, LENGTH = 24, ROWS = 12 };

typedef struct losses_options {
    const char *stage, *micro, *accumulation, *recompute, *model, *dtype, *communication, *accumulated, *offload, *tile;
    const char *nvme, *buffer, *sets[8];
    int n_sets;
    const char *optimizer;
    const char *trace; /* of the last step but one */
    float dropout;
    int steps;
} losses_options;

#define TRY(call)                                                 \
    do {                                                          \
        zrt_status try_ = (call);                                 \
        if (try_ != ZRT_OK) {                                     \
            fprintf(stderr, "losses: %s\n", zrt_error_message()); \
            return try_;                                          \
        }                                                         \
    } while (0)

static zrt_status make_model(const losses_options *options, zrt_model **model_out)
{
    zrt_gpt2_spec gpt2 = {.vocab_size = VOCAB,
                          .n_positions = LENGTH,
                          .n_embd = 40,
                          .n_layer = 3,
                          .n_head = 4,
                          .layer_norm_epsilon = 1e-5f,
                          .initializer_range = 0.02f,
                          .resid_pdrop = options->dropout,
                          .embd_pdrop = options->dropout,
                          .attn_pdrop = options->dropout,
                          .activation_function = ZRT_GELU_TANH,
                          .tie_word_embeddings = true,
                          .scale_attn_weights = true};
    zrt_llama_spec llama = {.vocab_size = VOCAB,
                            .max_position_embeddings = LENGTH,
                            .hidden_size = 40,
                            .intermediate_size = 72,
                            .num_hidden_layers = 3,
                            .num_attention_heads = 4,
                            .num_key_value_heads = 2,
                            .head_dim = 10,
                            .rms_norm_eps = 1e-5f,
                            .initializer_range = 0.02f,
                            .attention_dropout = options->dropout,
                            .rope = {.theta = 10000},
                            .hidden_act = ZRT_SILU,
                            .bos_token_id = -1,
                            .eos_token_id = -1};
    return strcmp(options->model, "llama") == 0 ? zrt_model_llama(&llama, model_out) : zrt_model_gpt2(&gpt2, model_out);
}

static zrt_status make_config(const losses_options *options, zrt_config **config_out)
{
    zrt_config *config = NULL;
    char steps[16];
    snprintf(steps, sizeof steps, "%d", options->steps);
    TRY(zrt_config_create(&config));
    TRY(zrt_config_set(config, "zero_optimization.stage", options->stage));
    TRY(zrt_config_set(config, "zero_optimization.stage3_param_persistence_threshold", "50"));
    TRY(zrt_config_set(config, "train_micro_batch_size_per_gpu", options->micro));
    TRY(zrt_config_set(config, "gradient_accumulation_steps", options->accumulation));
    TRY(zrt_config_set(config, "zerort.recompute", options->recompute));
    if (options->communication != NULL)
        TRY(zrt_config_set(config, "communication_data_type", options->communication));
    if (options->accumulated != NULL)
        TRY(zrt_config_set(config, "data_types.grad_accum_dtype", options->accumulated));
    if (options->offload != NULL) {
        TRY(zrt_config_set(config, "zero_optimization.offload_optimizer.device", "cpu"));
        TRY(zrt_config_set(config, "zerort.overlapped_step", options->offload));
        TRY(zrt_config_set(config, "zero_optimization.sub_group_size", options->tile));
    }
    if (options->nvme != NULL) {
        TRY(zrt_config_set(config, "zero_optimization.offload_optimizer.device", "nvme"));
        TRY(zrt_config_set(config, "zero_optimization.offload_optimizer.nvme_path", options->nvme));
        TRY(zrt_config_set(config, "zero_optimization.offload_optimizer.buffer_size", options->buffer));
    }
    for (int i = 0; i < options->n_sets; i++) {
        char key[128];
        const char *value = strchr(options->sets[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(value - options->sets[i]), options->sets[i]);
        TRY(zrt_config_set(config, key, value + 1));
    }
    const char *const arguments[][2] = {{"learning_rate", "3e-3"},       {"max_steps", steps},    {"warmup_steps", "2"},
                                        {"lr_scheduler_type", "cosine"}, {"weight_decay", "0.1"}, {"seed", "7"},
                                        {"optim", options->optimizer}};
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
        TRY(zrt_config_set_argument(config, arguments[i][0], arguments[i][1]));
    if (strcmp(options->dtype, "fp32") != 0)
        TRY(zrt_config_set_argument(config, options->dtype, "true"));
    *config_out = config;
    return ZRT_OK;
}

static zrt_status train(zrt_context *context, const losses_options *options)
{
    static int32_t ids[1024 * LENGTH], labels[1024 * LENGTH];
    zrt_model *model = NULL;
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    zrt_dataset *dataset = NULL;
    zrt_loader *loader = NULL;
    int64_t micro = strtol(options->micro, NULL, 10), micro_steps = strtol(options->accumulation, NULL, 10);
    int64_t rows = ROWS * options->steps;
    for (int64_t r = 0; r < rows; r++)
        for (int t = 0; t < LENGTH; t++) {
            uint64_t start = zrt__hash_mix(3, (uint64_t)r) % 40, step = zrt__hash_mix(4, (uint64_t)r) % 3 + 1;
            ids[r * LENGTH + t] = (int32_t)((start + step * (uint64_t)t) % 40);
            labels[r * LENGTH + t] = (int32_t)((start + step * (uint64_t)(t + 1)) % 40);
            if (r % 5 == 0 && t < 9)
                labels[r * LENGTH + t] = ZRT_LABEL_IGNORED;
        }
    const char *names[] = {"input_ids", "labels"};
    zrt_view views[] = {{ids, ZRT_INT32, 2, {rows, LENGTH}}, {labels, ZRT_INT32, 2, {rows, LENGTH}}};
    zrt_loader_options loading = {.micro_batch_rows = micro, .seed = 5, .shuffle = true, .n_epochs = 1};
    TRY(make_model(options, &model));
    TRY(make_config(options, &config));
    TRY(zrt_engine_create(context, model, config, &engine));
    TRY(zrt_dataset_from_arrays(rows, 2, names, views, &dataset));
    TRY(zrt_loader_create(context, dataset, &loading, &loader));
    zrt_metrics metrics;
    for (int step = 0; step < options->steps; step++) {
        if (options->trace != NULL && step == options->steps - 2)
            TRY(zrt_engine_trace(engine, options->trace));
        for (int64_t m = 0; m < micro_steps; m++) {
            const zrt_batch *batch = NULL;
            zrt_loss *loss = NULL;
            TRY(zrt_loader_next(loader, &batch));
            TRY(zrt_engine_forward(engine, batch, &loss));
            TRY(zrt_engine_backward(engine, loss));
            TRY(zrt_engine_step(engine));
        }
        TRY(zrt_engine_metrics(engine, &metrics));
        if (zrt_rank(context) == 0)
            printf("%.17g %.17g\n", metrics.loss, metrics.grad_norm);
    }
    if (zrt_rank(context) == 0)
        fprintf(stderr, "speculated %lld discarded %lld skipped %lld\n", (long long)metrics.speculated,
                (long long)metrics.discarded, (long long)metrics.skipped);
    zrt_loader_destroy(&loader);
    zrt_dataset_destroy(&dataset);
    zrt_engine_destroy(&engine);
    zrt_config_destroy(&config);
    zrt_model_destroy(&model);
    return ZRT_OK;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"zero-stage", required_argument, NULL, 's'},
                                                 {"gradient-accumulation-steps", required_argument, NULL, 'a'},
                                                 {"micro-batch", required_argument, NULL, 'b'},
                                                 {"recompute", required_argument, NULL, 'r'},
                                                 {"dropout", required_argument, NULL, 'p'},
                                                 {"model", required_argument, NULL, 'm'},
                                                 {"steps", required_argument, NULL, 'n'},
                                                 {"dtype", required_argument, NULL, 't'},
                                                 {"communication-data-type", required_argument, NULL, 'c'},
                                                 {"grad-accum-dtype", required_argument, NULL, 'd'},
                                                 {"offload", required_argument, NULL, 'o'},
                                                 {"sub-group-size", required_argument, NULL, 'g'},
                                                 {"nvme", required_argument, NULL, 'v'},
                                                 {"buffer-size", required_argument, NULL, 'u'},
                                                 {"set", required_argument, NULL, 'e'},
                                                 {"optim", required_argument, NULL, 'O'},
                                                 {"trace", required_argument, NULL, 'T'},
                                                 {0}};
    losses_options options = {.stage = "3",
                              .micro = "3",
                              .accumulation = "1",
                              .recompute = "none",
                              .model = "gpt2",
                              .dtype = "fp32",
                              .tile = "1000000000",
                              .buffer = "100000000",
                              .optimizer = "adamw_torch",
                              .steps = 20};
    zrt_context *context = NULL;
    for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (c == 's')
            options.stage = optarg;
        else if (c == 'a')
            options.accumulation = optarg;
        else if (c == 'b')
            options.micro = optarg;
        else if (c == 'r')
            options.recompute = optarg;
        else if (c == 'p')
            options.dropout = strtof(optarg, NULL);
        else if (c == 'm')
            options.model = optarg;
        else if (c == 'n')
            options.steps = (int)strtol(optarg, NULL, 10);
        else if (c == 't')
            options.dtype = optarg;
        else if (c == 'c')
            options.communication = optarg;
        else if (c == 'd')
            options.accumulated = optarg;
        else if (c == 'o')
            options.offload = optarg;
        else if (c == 'g')
            options.tile = optarg;
        else if (c == 'v')
            options.nvme = optarg;
        else if (c == 'u')
            options.buffer = optarg;
        else if (c == 'e' && options.n_sets < 8 && strchr(optarg, '=') != NULL)
            options.sets[options.n_sets++] = optarg;
        else if (c == 'O')
            options.optimizer = optarg;
        else if (c == 'T')
            options.trace = optarg;
        else
            return 2;
    }
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status != ZRT_OK)
        fprintf(stderr, "losses: %s\n", zrt_error_message());
    else
        status = train(context, &options);
    if (status != ZRT_OK)
        return zrt_status_exit_code(status); /* the launcher ends the other ranks */
    zrt_finalize(&context);
    return 0;
}
