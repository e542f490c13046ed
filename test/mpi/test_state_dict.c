/* State dicts: full ones piece by piece, on one rank or on each, and sharded ones that are exported. */
/* ranks: 1 2 4 */
#include "config.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "base/error.h"
#include "engine/engine.h"
#include "tap_mpi.h"
#include "unit/scratch_folder.h"

enum { VOCAB = 4000, LENGTH = 8, WIDTH = 96, LARGEST = VOCAB * WIDTH };

typedef struct run_settings {
    const char *stage, *dtype, *offload_to_cpu, *rank0_only;
} run_settings;

static zrt_status describe(zrt_model **model_out)
{
    zrt_gpt2_spec spec = {.vocab_size = VOCAB,
                          .n_positions = LENGTH,
                          .n_embd = WIDTH,
                          .n_layer = 2,
                          .n_head = 4,
                          .layer_norm_epsilon = 1e-5f,
                          .initializer_range = 0.02f,
                          .activation_function = ZRT_GELU_TANH,
                          .tie_word_embeddings = true,
                          .scale_attn_weights = true};
    return zrt_model_gpt2(&spec, model_out);
}

static zrt_status make(zrt_context *context, zrt_model *model, const run_settings *settings, const char *seed,
                       zrt_engine **engine_out)
{
    zrt_config *config = NULL;
    ZRT_TRY(zrt_config_create(&config));
    const char *const keys[][2] = {{"zero_optimization.stage", settings->stage},
                                   {"zero_optimization.stage3_param_persistence_threshold", "100"},
                                   {settings->dtype, "true"},
                                   {"train_micro_batch_size_per_gpu", "1"},
                                   {"zerort.state_dict.offload_to_cpu", settings->offload_to_cpu},
                                   {"zerort.state_dict.rank0_only", settings->rank0_only}};
    zrt_status status = ZRT_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == ZRT_OK; i++)
        if (keys[i][0] != NULL && keys[i][1] != NULL)
            status = zrt_config_set(config, keys[i][0], keys[i][1]);
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "seed", seed);
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "max_steps", "10");
    if (status == ZRT_OK) /* pieces in the device's memory are read here */
        status = zrt_config_set_argument(config, "device", "cpu");
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "per_device_eval_batch_size", "1");
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

/* One step, so that masters are not what they were drawn as. */
static zrt_status one_step(zrt_engine *engine)
{
    static int32_t ids[LENGTH] = {1, 50, 3, 999, 20, 7, 8, 3999};
    zrt_loss *loss = NULL;
    zrt_batch batch = {.n_rows = 1, .length = LENGTH, .n_fields = 2, .names = {"input_ids", "labels"}};
    batch.fields[0] = batch.fields[1] = (zrt_view){ids, ZRT_INT32, 2, {1, LENGTH}};
    ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
    ZRT_TRY(zrt_engine_backward(engine, loss));
    return zrt_engine_step(engine);
}

typedef struct collected {
    const zrt_engine *engine;
    float *values; /* of all parameters, end to end */
    int64_t n, n_pieces, largest;
    size_t held, most_held; /* bytes of the heap */
    const char *name;
    bool ordered, on_host, in_device;
    int64_t fails_at; /* this piece; -1: none */
} collected;

static bool is_inside(const char *base, size_t bytes, const void *address)
{
    return base != NULL && (const char *)address >= base && (const char *)address < base + bytes;
}

static zrt_status collect(void *user, const zrt_state_dict_piece *piece)
{
    collected *c = user;
    const zrt__memory *memory = &c->engine->compiled.memory;
    int64_t n_elements = 1;
    for (int d = 0; d < piece->n_dims; d++)
        n_elements *= piece->dims[d];
    size_t held = mallinfo2().uordblks;
    if (piece->first == 0)
        c->name = piece->name;
    c->ordered = c->ordered && n_elements == piece->n_elements && c->name == piece->name &&
                 piece->first + piece->n <= n_elements;
    c->on_host = c->on_host && is_inside(memory->persistent_base[ZRT__REGION_PINNED],
                                         memory->persistent_bytes[ZRT__REGION_PINNED], piece->values);
    c->in_device = c->in_device && is_inside(memory->persistent_base[ZRT__REGION_DEVICE],
                                             memory->persistent_bytes[ZRT__REGION_DEVICE], piece->values);
    c->largest = piece->n > c->largest ? piece->n : c->largest;
    c->most_held = held > c->most_held ? held : c->most_held;
    memcpy(c->values + c->n, piece->values, (size_t)piece->n * sizeof *c->values);
    c->n += piece->n;
    if (c->n_pieces++ == c->fails_at)
        return zrt__fail(ZRT_ERR_IO, "piece %d cannot be taken", (int)c->fails_at);
    return ZRT_OK;
}

static collected collection(const zrt_engine *engine, float *values)
{
    return (collected){.engine = engine,
                       .values = values,
                       .held = mallinfo2().uordblks,
                       .ordered = true,
                       .on_host = true,
                       .in_device = true,
                       .fails_at = -1};
}

/* The same values as of each parameter by itself. */
static bool equals_full(zrt_engine *engine, const zrt_model *model, const collected *c)
{
    static float values[LARGEST];
    const float *at = c->values;
    bool equal = true;
    for (int p = 0; p < zrt_model_n_parameters(model); p++) {
        const char *name = model->parameters[p].name;
        int64_t n = engine->model->parameters[p].n_elements;
        equal = zrt_engine_get_full(engine, name, ZRT_STATE_PARAMETER, values) == ZRT_OK &&
                (c->n == 0 || memcmp(values, at, (size_t)n * sizeof *values) == 0) && equal;
        at += n;
    }
    return equal;
}

static void full(zrt_context *context, zrt_model *model, const run_settings *settings)
{
    int64_t n_elements = zrt_model_n_elements(model);
    float *values = malloc((size_t)n_elements * sizeof *values);
    zrt_engine *engine = NULL;
    bool each = settings->rank0_only != NULL, device = settings->offload_to_cpu != NULL;
    bool gets = each || zrt_rank(context) == 0;
    const char *precision = settings->dtype != NULL ? settings->dtype : "fp32";
    zrt_status status = make(context, model, settings, "5", &engine);
    if (status == ZRT_OK)
        status = one_step(engine);
    size_t planned = engine != NULL ? zrt_engine_planned_bytes(engine) : 0;
    collected c = collection(engine, values);
    if (status == ZRT_OK)
        status = zrt_engine_full_state_dict(engine, collect, &c);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && c.n == (gets ? n_elements : 0) && c.ordered,
               "stage %s, %s: every element of every parameter on %s", settings->stage, precision,
               each ? "each rank" : "rank 0 alone");
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && equals_full(engine, model, &c), "equal to each by itself");
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && (!gets || (device ? c.in_device && !c.on_host : c.on_host)),
               "in the plan's memory %s", device ? "of the device" : "of the host");
    tap_ok_all(MPI_COMM_WORLD,
               zrt_engine_memory_bytes(engine) == planned &&
                   (!gets || c.most_held < c.held + sizeof(float) * LARGEST / 4),
               "and with no more than the plan's: %lld elements at a time", (long long)c.largest);
    c = collection(engine, values);
    c.fails_at = gets && zrt_rank(context) == zrt_size(context) / 2 * (each ? 1 : 0) ? 1 : -1;
    status = zrt_engine_full_state_dict(engine, collect, &c);
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_ERR_IO && strstr(zrt_error_message(), "piece 1") != NULL &&
                   c.n_pieces == (c.fails_at < 0 ? c.n_pieces : 2),
               "where one cannot be taken all ranks know, and it ends there");
    zrt_engine_destroy(&engine);
    free(values);
}

static bool same_file(const char *a, const char *b)
{
    static char left[1 << 22], right[1 << 22];
    FILE *one = fopen(a, "rb"), *other = fopen(b, "rb");
    size_t n = one != NULL ? fread(left, 1, sizeof left, one) : 0;
    bool same = n > 0 && other != NULL && fread(right, 1, sizeof right, other) == n && memcmp(left, right, n) == 0;
    if (one != NULL)
        fclose(one);
    if (other != NULL)
        fclose(other);
    return same;
}

/* Rank files, exported, are the folder that a full one makes; and a run starts from them. */
static void sharded(zrt_context *context, zrt_model *model, const run_settings *settings)
{
    static float mine[LARGEST], loaded[LARGEST];
    const char *name = model->parameters[0].name;
    const zrt_save_options options = {.parameters_only = true};
    bool is_first = zrt_rank(context) == 0;
    zrt_engine *engine = NULL, *other = NULL;
    zrt_status status = zrt_agree(context, is_first && !scratch_make() ? ZRT_ERR_IO : ZRT_OK);
    MPI_Bcast(scratch_folder, sizeof scratch_folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (status == ZRT_OK)
        status = make(context, model, settings, "5", &engine);
    if (status == ZRT_OK)
        status = one_step(engine);
    if (status == ZRT_OK)
        status = zrt_engine_save(engine, scratch_path("shards"), &options);
    if (status == ZRT_OK)
        status = zrt_engine_save_pretrained(engine, scratch_path("full"),
                                            settings->dtype != NULL ? ZRT_BFLOAT16 : ZRT_FLOAT32);
    if (status == ZRT_OK && is_first)
        status = zrt_checkpoint_export(scratch_path("shards"), scratch_path("exported"), NULL);
    tap_ok_all(MPI_COMM_WORLD,
               zrt_agree(context, status) == ZRT_OK &&
                   (!is_first ||
                    same_file(scratch_path("full/model.safetensors"), scratch_path("exported/model.safetensors"))),
               "stage %s, %s: a sharded one, exported, is the full one byte for byte", settings->stage,
               settings->dtype != NULL ? settings->dtype : "fp32");
    tap_ok_all(MPI_COMM_WORLD,
               !is_first || same_file(scratch_path("full/config.json"), scratch_path("exported/config.json")),
               "with its config.json");
    status = make(context, model, settings, "6", &other);
    if (status == ZRT_OK)
        status = zrt_engine_load(other, scratch_path("shards"), NULL);
    if (status == ZRT_OK)
        status = zrt_engine_get_full(engine, name, ZRT_STATE_PARAMETER, mine);
    if (status == ZRT_OK)
        status = zrt_engine_get_full(other, name, ZRT_STATE_PARAMETER, loaded);
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_OK && memcmp(mine, loaded, sizeof mine) == 0 && zrt_engine_step_count(other) == 0,
               "and a run starts from it");
    zrt_engine_destroy(&other);
    zrt_engine_destroy(&engine);
    MPI_Barrier(MPI_COMM_WORLD);
    if (is_first)
        scratch_remove();
}

int main(int argc, char **argv)
{
    static const run_settings settings[] = {{"0", NULL, NULL, NULL},
                                            {"3", NULL, NULL, "false"},
                                            {"3", "bf16.enabled", NULL, NULL},
                                            {"3", NULL, "false", NULL},
                                            {"2", "bf16.enabled", "false", "false"}};
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK || describe(&model) != ZRT_OK) {
        fprintf(stderr, "%s\n", zrt_error_message());
        return 1;
    }
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        full(context, model, &settings[i]);
    for (size_t i = 0; i < 3; i++)
        sharded(context, model, &settings[i]);
    zrt_model_destroy(&model);
    int status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
