/* Checkpoints between worlds: trains a little and saves, or loads, and prints a hash of all full tensors.
 *   reshard save FOLDER STAGE DTYPE [..]       FOLDER/STAGE-DTYPE gets the checkpoint of this world
 *   reshard load FOLDER STAGE DTYPE [..]       loads all in FOLDER, each into an engine of each stage and dtype
 * One line each: "NAME HASH". */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "base/random.h"

enum { VOCAB = 61, LENGTH = 8 };

static zrt_status make_model(zrt_model **model_out)
{
    zrt_llama_spec spec = {.vocab_size = VOCAB,
                           .hidden_size = 24,
                           .intermediate_size = 40,
                           .num_hidden_layers = 2,
                           .num_attention_heads = 4,
                           .num_key_value_heads = 2,
                           .head_dim = 6,
                           .max_position_embeddings = LENGTH,
                           .rms_norm_eps = 1e-5f,
                           .rope = {.theta = 10000},
                           .initializer_range = 0.02f,
                           .hidden_act = ZRT_SILU,
                           .tie_word_embeddings = true};
    return zrt_model_llama(&spec, model_out);
}

static zrt_status make_engine(zrt_context *context, zrt_model *model, const char *stage, const char *dtype,
                              zrt_engine **engine_out)
{
    zrt_config *config = NULL;
    ZRT_TRY(zrt_config_create(&config));
    zrt_status status = zrt_config_set(config, "zero_optimization.stage", stage);
    if (status == ZRT_OK)
        status = zrt_config_set(config, "zero_optimization.stage3_param_persistence_threshold", "30");
    if (status == ZRT_OK)
        status = zrt_config_set(config, "fp16.initial_scale_power", "8");
    if (status == ZRT_OK && strcmp(dtype, "fp32") != 0)
        status = zrt_config_set_argument(config, dtype, "true");
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "max_steps", "10");
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "per_device_train_batch_size", "1");
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "per_device_eval_batch_size", "1");
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static zrt_status step(zrt_engine *engine, int number)
{
    int32_t ids[LENGTH], labels[LENGTH];
    zrt_loss *loss = NULL;
    for (int i = 0; i < LENGTH; i++) {
        ids[i] = (i * 7 + number * 3) % VOCAB;
        labels[i] = (ids[i] * 5 + 1) % VOCAB;
    }
    zrt_batch batch = {.n_rows = 1, .length = LENGTH, .n_fields = 2, .names = {"input_ids", "labels"}};
    batch.fields[0] = (zrt_view){ids, ZRT_INT32, 2, {1, LENGTH}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 2, {1, LENGTH}};
    ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
    ZRT_TRY(zrt_engine_backward(engine, loss));
    return zrt_engine_step(engine);
}

static zrt_status print_hash(zrt_engine *engine, const zrt_model *model, const char *name, int rank)
{
    static const zrt_state states[] = {ZRT_STATE_PARAMETER, ZRT_STATE_EXP_AVG, ZRT_STATE_EXP_AVG_SQ};
    static float values[VOCAB * 64];
    uint64_t hash = 1;
    for (int p = 0; p < zrt_model_n_parameters(model); p++) {
        const char *parameter;
        int n_dims;
        int64_t dims[ZRT_MAX_DIMS], n = 1;
        ZRT_TRY(zrt_model_get_parameter(model, p, &parameter, &n_dims, dims));
        for (int i = 0; i < n_dims; i++)
            n *= dims[i];
        for (int s = 0; s < 3; s++) {
            ZRT_TRY(zrt_engine_get_full(engine, parameter, states[s], values));
            hash = zrt__hash_bytes(hash, values, (size_t)n * sizeof *values);
        }
    }
    if (rank == 0)
        printf("%s %016llx\n", name, (unsigned long long)hash);
    return ZRT_OK;
}

static zrt_status save(zrt_context *context, zrt_model *model, const char *folder, const char *stage, const char *dtype)
{
    zrt_engine *engine = NULL;
    char name[64], path[512];
    snprintf(name, sizeof name, "%d-%s-%s", zrt_size(context), stage, dtype);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    zrt_status status = make_engine(context, model, stage, dtype, &engine);
    for (int i = 0; i < 2 && status == ZRT_OK; i++)
        status = step(engine, i);
    if (status == ZRT_OK)
        status = zrt_engine_save(engine, path, NULL);
    if (status == ZRT_OK)
        status = print_hash(engine, model, name, zrt_rank(context));
    zrt_engine_destroy(&engine);
    return status;
}

static zrt_status load(zrt_context *context, zrt_model *model, const char *folder, const char *stage, const char *dtype)
{
    zrt_engine *engine = NULL;
    struct dirent **names = NULL;
    int n = scandir(folder, &names, NULL, alphasort);
    zrt_status status = make_engine(context, model, stage, dtype, &engine);
    for (int i = 0; i < n && status == ZRT_OK; i++) {
        char path[800];
        if (names[i]->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        status = zrt_engine_load(engine, path, NULL);
        if (status == ZRT_OK)
            status = print_hash(engine, model, names[i]->d_name, zrt_rank(context));
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    zrt_engine_destroy(&engine);
    return status;
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status == ZRT_OK)
        status = make_model(&model);
    if (status != ZRT_OK || argc < 5) {
        fprintf(stderr, "reshard: %s\n", status != ZRT_OK ? zrt_error_message() : "save|load FOLDER STAGE DTYPE ..");
        return 1;
    }
    mkdir(argv[2], 0777);
    for (int i = 3; i + 1 < argc && status == ZRT_OK; i += 2)
        status = (strcmp(argv[1], "save") == 0 ? save : load)(context, model, argv[2], argv[i], argv[i + 1]);
    if (status != ZRT_OK && zrt_rank(context) == 0)
        fprintf(stderr, "reshard: %s\n", zrt_error_message());
    zrt_model_destroy(&model);
    zrt_finalize(&context);
    return status != ZRT_OK;
}
