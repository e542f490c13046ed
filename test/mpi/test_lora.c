/* LoRA on several ranks: states only for adapters, a frozen unit's backward gathers and reduces nothing. */
/* ranks: 1 2 4 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "engine/engine.h"
#include "tap_mpi.h"

enum { VOCAB = 61, LENGTH = 16, LAYERS = 3, HIDDEN = 48, RANK = 4 };

static zrt_status describe(float dropout, zrt_model **model_out)
{
    static const char *const targets[] = {"q_proj", "v_proj", "up_proj", "down_proj"};
    static const char *const saved[] = {"lm_head"};
    zrt_llama_spec spec = {.vocab_size = VOCAB,
                           .max_position_embeddings = LENGTH,
                           .hidden_size = HIDDEN,
                           .intermediate_size = 96,
                           .num_hidden_layers = LAYERS,
                           .num_attention_heads = 4,
                           .num_key_value_heads = 2,
                           .head_dim = 12,
                           .rms_norm_eps = 1e-5f,
                           .initializer_range = 0.1f,
                           .rope = {.theta = 1e4f},
                           .hidden_act = ZRT_SILU,
                           .bos_token_id = -1,
                           .eos_token_id = -1};
    zrt_lora_spec lora = {.r = RANK,
                          .lora_alpha = 16,
                          .lora_dropout = dropout,
                          .n_target_modules = 4,
                          .target_modules = targets,
                          .n_modules_to_save = 1,
                          .modules_to_save = saved};
    ZRT_TRY(zrt_model_llama(&spec, model_out));
    return zrt_model_add_lora(*model_out, &lora);
}

static zrt_status make(zrt_context *context, zrt_model *model, const char *stage, const char *dtype,
                       zrt_engine **engine_out)
{
    zrt_config *config = NULL;
    ZRT_TRY(zrt_config_create(&config));
    const char *const keys[][2] = {{"zero_optimization.stage", stage},
                                   {"zero_optimization.stage3_param_persistence_threshold", "0"},
                                   {"zero_optimization.stage3_max_reuse_distance", "0"},
                                   {"zero_optimization.stage3_prefetch_bucket_size", "0"},
                                   {"train_micro_batch_size_per_gpu", "2"}};
    const char *const arguments[][2] = {
        {"learning_rate", "1e-2"}, {"max_steps", "10"}, {"per_device_eval_batch_size", "2"}};
    zrt_status status = ZRT_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == ZRT_OK; i++)
        status = zrt_config_set(config, keys[i][0], keys[i][1]);
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments && status == ZRT_OK; i++)
        status = zrt_config_set_argument(config, arguments[i][0], arguments[i][1]);
    if (status == ZRT_OK && dtype != NULL)
        status = zrt_config_set_argument(config, dtype, "true");
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static zrt_status one_step(zrt_engine *engine, double *loss_out)
{
    static int32_t ids[2 * LENGTH], labels[2 * LENGTH];
    for (int i = 0; i < 2 * LENGTH; i++) {
        ids[i] = i * 7 % VOCAB;
        labels[i] = (i + 1) * 7 % VOCAB;
    }
    zrt_batch batch = {.n_rows = 2, .length = LENGTH, .n_fields = 2, .names = {"input_ids", "labels"}};
    batch.fields[0] = (zrt_view){ids, ZRT_INT32, 2, {2, LENGTH}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 2, {2, LENGTH}};
    zrt_loss *loss = NULL;
    zrt_metrics metrics;
    ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
    ZRT_TRY(zrt_engine_backward(engine, loss));
    ZRT_TRY(zrt_engine_step(engine));
    ZRT_TRY(zrt_engine_metrics(engine, &metrics));
    *loss_out = metrics.loss;
    return ZRT_OK;
}

static size_t held(const zrt_engine *engine, zrt__category category)
{
    const zrt__buffers *persistent = &engine->compiled.memory.persistent;
    size_t bytes = 0;
    for (size_t i = 0; i < persistent->n; i++)
        bytes += persistent->items[i].category == category ? persistent->items[i].bytes : 0;
    return bytes;
}

static void memory(zrt_context *context, zrt_model *model, const char *stage, const char *dtype)
{
    int64_t trained = 0, n = zrt_size(context), n_trained = 0;
    for (int i = 0; i < zrt_model_n_parameters(model); i++) {
        const char *name;
        int n_dims;
        int64_t dims[ZRT_MAX_DIMS], elements = 1;
        if (zrt_model_get_parameter(model, i, &name, &n_dims, dims) != ZRT_OK ||
            !zrt_model_parameter_is_trainable(model, i))
            continue;
        for (int d = 0; d < n_dims; d++)
            elements *= dims[d];
        trained += elements;
        n_trained++;
    }
    zrt_engine *engine = NULL;
    zrt_status status = make(context, model, stage, dtype, &engine);
    size_t bytes = engine != NULL ? zrt_engine_memory_bytes(engine) : 0;
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && bytes == zrt_engine_planned_bytes(engine),
               "stage %s, %s: %zu bytes are held, as planned", stage, dtype != NULL ? dtype : "fp32", bytes);
    if (status != ZRT_OK)
        return;
    size_t share = (size_t)(*stage == '0' ? trained : trained / n) * sizeof(float);
    size_t padding = (size_t)(n_trained + 2 * LAYERS + 4) * 64 * sizeof(float) * (size_t)n;
    size_t states = held(engine, ZRT__CATEGORY_OPTIMIZER), masters = held(engine, ZRT__CATEGORY_MASTER),
           gradients = held(engine, ZRT__CATEGORY_GRADIENT_SHARD);
    tap_ok_all(MPI_COMM_WORLD,
               states >= 2 * share && states <= 2 * (share + padding) &&
                   (dtype != NULL ? masters >= share && masters <= share + padding : masters == 0) &&
                   gradients >= share && gradients <= share + padding,
               "stage %s: optimizer states of %zu bytes, masters of %zu, gradients of %zu, for adapters alone (%lld "
               "elements)",
               stage, states, masters, gradients, (long long)trained);
    zrt_engine_destroy(&engine);
}

/* Backward gathers the frozen parameters of each block (once and only where they are sharded), and reduces adapters alone. */
static void schedule(zrt_context *context, zrt_model *model)
{
    zrt_engine *engine = NULL;
    zrt_status status = make(context, model, "3", NULL, &engine);
    int gathered = 0, reduced = 0, reduced_frozen = 0;
    const zrt__plan *plan = status == ZRT_OK ? engine->compiled.train[ZRT__VARIANT_ONLY] : NULL;
    for (size_t i = 0; plan != NULL && i < plan->n_entries; i++) {
        const zrt__entry *entry = &plan->entries[i];
        if (entry->collective == NULL || strcmp(entry->phase, "backward") != 0)
            continue;
        bool frozen = entry->label != NULL && strstr(entry->label, "(frozen)") != NULL;
        if (entry->collective_kind == ZRT__COLLECTIVE_ALL_GATHER)
            gathered += frozen;
        else
            frozen ? reduced_frozen++ : reduced++;
    }
    bool alone = zrt_size(context) == 1;
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_OK && reduced_frozen == 0 && (alone ? gathered == 0 : gathered >= LAYERS - 1) &&
                   (alone ? reduced == 0 : reduced >= LAYERS + 1),
               "backward gathers %d frozen units and reduces %d buffers of adapters, none of what is frozen", gathered,
               reduced);
    zrt_engine_destroy(&engine);
}

static void training(zrt_context *context, float dropout)
{
    enum { ELEMENTS = HIDDEN * HIDDEN };
    static float before[ELEMENTS], after[ELEMENTS], b[HIDDEN * RANK];
    zrt_model *model = NULL;
    zrt_engine *engine = NULL;
    double first = 0, last = 0, moved = 0;
    zrt_status status = describe(dropout, &model);
    if (status == ZRT_OK)
        status = make(context, model, "3", NULL, &engine);
    if (status == ZRT_OK)
        status = zrt_engine_get_full(engine, "model.layers.1.self_attn.q_proj.weight", ZRT_STATE_PARAMETER, before);
    if (status == ZRT_OK)
        status = one_step(engine, &first);
    for (int i = 0; i < 9 && status == ZRT_OK; i++)
        status = one_step(engine, &last);
    if (status == ZRT_OK)
        status = zrt_engine_get_full(engine, "model.layers.1.self_attn.q_proj.weight", ZRT_STATE_PARAMETER, after);
    if (status == ZRT_OK)
        status = zrt_engine_get_full(engine, "model.layers.1.self_attn.q_proj.lora_B.weight", ZRT_STATE_PARAMETER, b);
    for (int i = 0; i < HIDDEN * RANK; i++)
        moved += (double)b[i] * b[i];
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && last < first && moved > 0, "dropout %g: loss %.4f -> %.4f",
               (double)dropout, first, last);
    tap_ok_all(MPI_COMM_WORLD, memcmp(before, after, sizeof before) == 0, "what is frozen stays as it is");
    zrt_engine_destroy(&engine);
    zrt_model_destroy(&model);
}

int main(int argc, char **argv)
{
    static const char *const stages[] = {"0", "2", "3"};
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK || describe(0, &model) != ZRT_OK) {
        fprintf(stderr, "%s\n", zrt_error_message());
        return 1;
    }
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        memory(context, model, stages[i], NULL);
        memory(context, model, stages[i], "bf16");
    }
    schedule(context, model);
    training(context, 0);
    training(context, 0.2f);
    zrt_model_destroy(&model);
    int status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
