/* The engine on several ranks: memory, gathers, errors that ranks share. */
/* ranks: 1 2 3 4 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "engine/engine.h"
#include "tap_mpi.h"

enum { VOCAB = 61, LENGTH = 16, LAYERS = 5 };

typedef struct run_settings {
    const char *stage, *accumulation, *max_live, *rows, *optimizer, *memory;
    int differing_rank; /* that is given another learning rate; -1: none */
} run_settings;

static const run_settings usual = {"3", "1", "1000000000", "2", "adamw_torch", NULL, -1};

static zrt_status describe(zrt_model **model_out)
{
    zrt_gpt2_spec spec = {.vocab_size = VOCAB,
                          .n_positions = LENGTH,
                          .n_embd = 48,
                          .n_layer = LAYERS,
                          .n_head = 4,
                          .layer_norm_epsilon = 1e-5f,
                          .initializer_range = 0.02f,
                          .activation_function = ZRT_GELU_TANH,
                          .tie_word_embeddings = true,
                          .scale_attn_weights = true};
    return zrt_model_gpt2(&spec, model_out);
}

static zrt_status make(zrt_context *context, zrt_model *model, const run_settings *settings, zrt_engine **engine_out)
{
    zrt_config *config = NULL;
    ZRT_TRY(zrt_config_create(&config));
    const char *const keys[][2] = {{"zero_optimization.stage", settings->stage},
                                   {"zero_optimization.stage3_param_persistence_threshold", "100"},
                                   {"zero_optimization.stage3_max_live_parameters", settings->max_live},
                                   {"zero_optimization.stage3_max_reuse_distance", "0"},
                                   {"train_micro_batch_size_per_gpu", settings->rows},
                                   {"gradient_accumulation_steps", settings->accumulation}};
    const char *rate = settings->differing_rank == zrt_rank(context) ? "2e-3" : "1e-3";
    const char *const arguments[][2] = {{"learning_rate", rate},
                                        {"max_steps", "10"},
                                        {"optim", settings->optimizer},
                                        {"per_device_eval_batch_size", "2"},
                                        {"device", settings->memory != NULL ? "cpu" : NULL}, /* whose memory it is */
                                        {"host_memory", settings->memory}};
    zrt_status status = ZRT_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == ZRT_OK; i++)
        status = zrt_config_set(config, keys[i][0], keys[i][1]);
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments && status == ZRT_OK; i++)
        if (arguments[i][1] != NULL)
            status = zrt_config_set_argument(config, arguments[i][0], arguments[i][1]);
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static zrt_batch batch_of(int64_t rows)
{
    static int32_t ids[8 * LENGTH], labels[8 * LENGTH];
    for (int i = 0; i < 8 * LENGTH; i++) {
        ids[i] = i * 7 % VOCAB;
        labels[i] = (i + 1) * 7 % VOCAB;
    }
    zrt_batch batch = {.n_rows = rows, .length = LENGTH, .n_fields = 2, .names = {"input_ids", "labels"}};
    batch.fields[0] = (zrt_view){ids, ZRT_INT32, 2, {rows, LENGTH}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 2, {rows, LENGTH}};
    return batch;
}

static zrt_status one_step(zrt_engine *engine, const zrt_batch *batch, zrt_metrics *metrics)
{
    zrt_loss *loss = NULL;
    do {
        ZRT_TRY(zrt_engine_forward(engine, batch, &loss));
        ZRT_TRY(zrt_engine_backward(engine, loss));
        if (zrt_engine_is_accumulation_boundary(engine)) {
            ZRT_TRY(zrt_engine_step(engine));
            break;
        }
        ZRT_TRY(zrt_engine_step(engine));
    } while (true);
    return zrt_engine_metrics(engine, metrics);
}

/* What the allocators hold is what was planned, to the byte; model states are total / N plus padding. */
static void memory(zrt_context *context, zrt_model *model)
{
    static const char *const stages[] = {"0", "1", "2", "3"};
    int64_t total = zrt_model_n_elements(model), n = zrt_size(context);
    for (int s = 0; s < 4; s++) {
        run_settings settings = usual;
        settings.stage = stages[s];
        zrt_engine *engine = NULL;
        zrt_status status = make(context, model, &settings, &engine);
        size_t held = engine != NULL ? zrt_engine_memory_bytes(engine) : 0, states = 0, masters = 0;
        tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && held == zrt_engine_planned_bytes(engine),
                   "stage %d: %zu bytes are held, as planned", s, held);
        const zrt__buffers *persistent = &engine->compiled.memory.persistent;
        for (size_t i = 0; i < persistent->n; i++) {
            states += persistent->items[i].category == ZRT__CATEGORY_OPTIMIZER ? persistent->items[i].bytes : 0;
            masters += persistent->items[i].category == ZRT__CATEGORY_PARAMETERS ? persistent->items[i].bytes : 0;
        }
        /* Padding: 64 elements a tensor and shard, and the alignment of a buffer. */
        size_t padding = (size_t)(zrt_model_n_parameters(model) + 3 * (LAYERS + 4)) * 64 * sizeof(float) * 2;
        size_t share = (size_t)(s >= 1 ? total / n : total) * 2 * sizeof(float);
        tap_ok_all(MPI_COMM_WORLD, states >= share && states <= share + padding,
                   "stage %d: optimizer states are %zu bytes, a rank's share %zu", s, states, share);
        if (s == 3)
            tap_ok_all(MPI_COMM_WORLD, masters <= (size_t)(total / n) * sizeof(float) + padding + (n > 1 ? 30000 : 0),
                       "stage 3: parameters are %zu bytes of %lld", masters, (long long)total * 4);
        zrt_engine_destroy(&engine);
    }
}

/* Elements gathered at once, counted over the plan's own buffers. */
static int64_t most_gathered(const zrt__plan *plan)
{
    int64_t most = 0;
    for (int position = 0; position < plan->n_positions; position++) {
        int64_t live = 0;
        for (size_t i = 0; i < plan->buffers.n; i++) {
            const zrt__buffer *buffer = &plan->buffers.items[i];
            if (buffer->category == ZRT__CATEGORY_GATHERED && buffer->begin <= position && position <= buffer->end)
                live += (int64_t)(buffer->bytes / sizeof(float));
        }
        most = live > most ? live : most;
    }
    return most;
}

static void budget(zrt_context *context, zrt_model *model)
{
    if (zrt_size(context) == 1)
        return;
    run_settings settings = usual;
    zrt_engine *engine = NULL;
    settings.max_live = "1000";
    zrt_status status = make(context, model, &settings, &engine);
    const char *least = strstr(zrt_error_message(), "give at least ");
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_ERR_CONFIG && least != NULL,
               "a budget that is too small names the smallest");
    static char smallest[32];
    snprintf(smallest, sizeof smallest, "%lld", least != NULL ? strtoll(least + 14, NULL, 10) : 0);
    settings.max_live = smallest;
    zrt_metrics metrics = {0};
    zrt_batch batch = batch_of(2);
    status = make(context, model, &settings, &engine);
    if (status == ZRT_OK)
        status = one_step(engine, &batch, &metrics);
    int64_t most = engine != NULL ? most_gathered(engine->compiled.train[ZRT__VARIANT_ONLY]) : -1;
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && most > 0 && most <= strtoll(smallest, NULL, 10),
               "with that one, %s, %lld elements are gathered at once", smallest, (long long)most);
    zrt_engine_destroy(&engine);
}

/* From the recorded step: the gather of a block was enqueued before the block ahead of it ran, and ended before its own use. */
static void overlap(zrt_context *context, zrt_model *model)
{
    if (zrt_size(context) == 1)
        return;
    zrt_engine *engine = NULL;
    zrt_metrics metrics;
    zrt_batch batch = batch_of(2);
    zrt_status status = make(context, model, &usual, &engine);
    for (int i = 0; i < 2 && status == ZRT_OK; i++)
        status = one_step(engine, &batch, &metrics);
    const zrt__plan *plan = engine->compiled.train[ZRT__VARIANT_ONLY];
    zrt__trace trace = {0};
    zrt_loss *loss = NULL;
    status = status == ZRT_OK ? zrt__trace_create(plan, &trace) : status;
    engine->trace = trace;
    engine->trace_path = strdup("/dev/null");
    engine->trace_variant = ZRT__VARIANT_ONLY;
    if (status == ZRT_OK)
        status = zrt_engine_forward(engine, &batch, &loss);
    if (status == ZRT_OK)
        status = zrt_engine_backward(engine, loss);
    zrt__engine_synchronize(engine);
    int early = 0, in_time = 0, gathers = 0;
    bool seen[LAYERS + 2] = {false};
    for (size_t g = 0; g < plan->n_entries && status == ZRT_OK; g++) {
        const zrt__entry *gather = &plan->entries[g];
        if (gather->stream != ZRT__STREAM_GATHER || strncmp(gather->label, "transformer.h.", 14) != 0 ||
            strcmp(gather->phase, "forward") != 0)
            continue;
        int unit = (int)strtol(gather->label + 14, NULL, 10) + 1; /* unit 0 is the embedding */
        if (seen[unit])                                           /* fetched ahead for backward */
            continue;
        seen[unit] = true;
        uint64_t ahead_ended = 0, used = UINT64_MAX;
        for (size_t i = 0; i < plan->n_entries; i++) {
            const zrt__entry *entry = &plan->entries[i];
            if (entry->call == NULL || entry->stream != ZRT__STREAM_COMPUTE || strcmp(entry->phase, "forward") != 0)
                continue;
            if (entry->unit == unit - 1 && engine->trace.end[i] > ahead_ended)
                ahead_ended = engine->trace.end[i];
            if (entry->unit == unit && engine->trace.begin[i] < used)
                used = engine->trace.begin[i];
        }
        gathers++;
        early += engine->trace.enqueued[g] < ahead_ended;
        in_time += engine->trace.end[g] <= used;
    }
    tap_ok_all(MPI_COMM_WORLD, gathers == LAYERS && early == gathers,
               "%d of %d gathers were enqueued before the unit ahead had run", early, gathers);
    tap_ok_all(MPI_COMM_WORLD, in_time == gathers, "%d of %d ended before they were used", in_time, gathers);
    if (status == ZRT_OK)
        zrt_engine_step(engine);
    zrt_engine_destroy(&engine);
}

static void refusals(zrt_context *context, zrt_model *model)
{
    run_settings settings = usual;
    zrt_engine *engine = NULL;
    settings.memory = "1M";
    zrt_status status = make(context, model, &settings, &engine);
    const char *message = zrt_error_message();
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_ERR_MEMORY && engine == NULL && strstr(message, "total") != NULL &&
                   strstr(message, "optimizer state") != NULL,
               "what does not fit is refused with the table");
    settings.memory = "40M";
    settings.rows = "512";
    status = make(context, model, &settings, &engine);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_ERR_MEMORY && strstr(zrt_error_message(), "it would fit with") != NULL,
               "and with the settings that would make it fit");
    if (zrt_size(context) == 1)
        return;
    settings = usual;
    settings.differing_rank = zrt_size(context) - 1;
    status = make(context, model, &settings, &engine);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_ERR_CONFIG && strstr(zrt_error_message(), "learning_rate") != NULL,
               "ranks that differ are named, with the key: %.60s", zrt_error_message());
}

/* Ranks without rows take part, and the loss is that of the rows there are. */
static void uneven(zrt_context *context, zrt_model *model)
{
    zrt_engine *engine = NULL;
    zrt_metrics metrics = {0};
    zrt_batch batch = batch_of(zrt_rank(context) == 0 ? 1 : 0);
    zrt_status status = make(context, model, &usual, &engine);
    if (status == ZRT_OK)
        status = one_step(engine, zrt_rank(context) == 0 ? &batch : NULL, &metrics);
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_OK && metrics.counted == LENGTH && isfinite(metrics.loss) &&
                   fabs(metrics.loss - log(VOCAB)) < 0.2,
               "one row on rank 0: loss %.4f over %lld labels", metrics.loss, (long long)metrics.counted);
    double before = metrics.loss;
    for (int i = 0; i < 5 && status == ZRT_OK; i++)
        status = one_step(engine, zrt_rank(context) == 0 ? &batch : NULL, &metrics);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && metrics.loss < before, "and it falls: %.4f", metrics.loss);
    zrt_engine_destroy(&engine);
}

/* A frozen parameter stays as it is and has no state; the others move. */
static void frozen(zrt_context *context)
{
    enum { ELEMENTS = 48 * 48 };
    static float before[ELEMENTS], after[ELEMENTS];
    const char *name = "transformer.h.1.attn.c_proj.weight", *other = "transformer.h.2.attn.c_proj.weight";
    zrt_model *model = NULL;
    zrt_engine *engine = NULL;
    zrt_metrics metrics;
    zrt_batch batch = batch_of(2);
    zrt_status status = describe(&model);
    if (status == ZRT_OK)
        status = zrt_model_freeze(model, "transformer.h.1.*");
    if (status == ZRT_OK)
        status = make(context, model, &usual, &engine);
    if (status == ZRT_OK)
        status = zrt_engine_get_full(engine, name, ZRT_STATE_PARAMETER, before);
    for (int i = 0; i < 3 && status == ZRT_OK; i++)
        status = one_step(engine, &batch, &metrics);
    if (status == ZRT_OK)
        status = zrt_engine_get_full(engine, name, ZRT_STATE_PARAMETER, after);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && memcmp(before, after, sizeof before) == 0,
               "a frozen unit stays as it is");
    tap_ok_all(MPI_COMM_WORLD, zrt_engine_get_full(engine, name, ZRT_STATE_EXP_AVG, after) == ZRT_ERR_USAGE,
               "and has no optimizer state");
    status = zrt_engine_get_full(engine, other, ZRT_STATE_EXP_AVG, after);
    double norm = 0;
    for (int i = 0; i < ELEMENTS; i++)
        norm += fabs((double)after[i]);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && norm > 0, "the others have");
    tap_ok_all(MPI_COMM_WORLD, zrt_model_freeze(model, "nothing.*") == ZRT_ERR_CONFIG,
               "a pattern that matches nothing is refused");
    zrt_engine_destroy(&engine);
    zrt_model_destroy(&model);
}

static void optimizers(zrt_context *context, zrt_model *model)
{
    static const char *const names[] = {"adamw_torch", "sgd", "lion_32bit"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run_settings settings = usual;
        settings.optimizer = names[i];
        settings.accumulation = "2";
        zrt_engine *engine = NULL;
        zrt_metrics first = {0}, metrics = {0};
        zrt_batch batch = batch_of(2);
        zrt_status status = make(context, model, &settings, &engine);
        if (status == ZRT_OK)
            status = one_step(engine, &batch, &first);
        for (int k = 0; k < 6 && status == ZRT_OK; k++)
            status = one_step(engine, &batch, &metrics);
        tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && metrics.loss < first.loss, "%s: loss %.5f -> %.5f", names[i],
                   first.loss, metrics.loss);
        zrt_engine_destroy(&engine);
    }
}

static void order(zrt_context *context, zrt_model *model)
{
    zrt_engine *engine = NULL;
    zrt_loss *loss = NULL;
    zrt_batch batch = batch_of(2), large = batch_of(3);
    zrt_status status = make(context, model, &usual, &engine);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && zrt_engine_step(engine) == ZRT_ERR_USAGE,
               "a step without backward is refused");
    tap_ok_all(MPI_COMM_WORLD, zrt_engine_forward(engine, &large, &loss) == ZRT_ERR_USAGE,
               "so is a batch larger than planned");
    tap_ok_all(MPI_COMM_WORLD,
               zrt_engine_forward(engine, &batch, &loss) == ZRT_OK &&
                   zrt_engine_forward(engine, &batch, &loss) == ZRT_ERR_USAGE,
               "and a second forward pass");
    tap_ok_all(MPI_COMM_WORLD, zrt_engine_backward(engine, loss) == ZRT_OK && zrt_engine_step(engine) == ZRT_OK,
               "and the step goes on");
    zrt_engine_destroy(&engine);
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK || describe(&model) != ZRT_OK) {
        fprintf(stderr, "%s\n", zrt_error_message());
        return 1;
    }
    memory(context, model);
    budget(context, model);
    overlap(context, model);
    refusals(context, model);
    uneven(context, model);
    frozen(context);
    optimizers(context, model);
    order(context, model);
    zrt_model_destroy(&model);
    int status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
