/* Saving and loading at one world size: everything comes back, bit for bit, and what is wrong is refused by name. */
/* ranks: 1 2 3 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "tap_mpi.h"

enum { VOCAB = 61, LENGTH = 16, STEPS = 3 };

typedef struct kind {
    const char *name, *stage, *dtype, *optimizer, *accumulation;
    int freeze;
    const char *offload; /* zerort.overlapped_step */
    int width;           /* of the model; 0: 32, in which all goes through the ring */
} kind;

static const kind kinds[] = {
    {"stage 0", "0", NULL, "adamw_torch", "1", 0, NULL, 0},
    {"stage 1, accumulation", "1", NULL, "adamw_torch", "2", 0, NULL, 0},
    {"stage 2, fp16", "2", "fp16", "adamw_torch", "1", 0, NULL, 0},
    {"stage 3, bf16", "3", "bf16", "adamw_torch", "1", 0, NULL, 0},
    {"stage 3, frozen parts", "3", "fp16", "adamw_torch", "1", 1, NULL, 0},
    {"lion", "3", NULL, "lion_32bit", "1", 0, NULL, 0},
    {"sgd", "1", NULL, "sgd", "1", 0, NULL, 0},
    {"stage 2, offloaded", "2", "fp16", "adamw_torch", "1", 0, "pipelined", 0},
    {"stage 0, straight from the host", "0", NULL, "adamw_torch", "1", 0, NULL, 160},
    {"stage 3, bf16, frozen parts, straight from the host", "3", "bf16", "adamw_torch", "1", 1, NULL, 160},
    {"stage 1, offloaded, straight from the host", "1", "fp16", "adamw_torch", "1", 0, "pipelined", 160},
    {"stage 3, speculative", "3", "fp16", "adamw_torch", "2", 0, "speculative", 0},
    {"stage 1, speculative, straight from the host", "1", NULL, "lion_32bit", "1", 0, "speculative", 160},
    {"stage 3, in files", "3", "fp16", "adamw_torch", "1", 0, "nvme", 0},
    {"stage 1, in files, longer than the ring", "1", NULL, "adamw_torch", "2", 0, "nvme", 160},
};

static char scratch[128];

static zrt_status make_model(int n_layer, int width, zrt_model **model_out)
{
    zrt_gpt2_spec spec = {.vocab_size = VOCAB,
                          .n_positions = LENGTH,
                          .n_embd = width > 0 ? width : 32,
                          .n_layer = n_layer,
                          .n_head = 4,
                          .resid_pdrop = 0.1f,
                          .layer_norm_epsilon = 1e-5f,
                          .initializer_range = 0.02f,
                          .activation_function = ZRT_GELU_TANH,
                          .tie_word_embeddings = true,
                          .scale_attn_weights = true};
    return zrt_model_gpt2(&spec, model_out);
}

static zrt_status make_engine(zrt_context *context, zrt_model *model, const kind *k, zrt_engine **engine_out)
{
    zrt_config *config = NULL;
    bool in_files = k->offload != NULL && strcmp(k->offload, "nvme") == 0;
    ZRT_TRY(zrt_config_create(&config));
    zrt_status status = zrt_config_set(config, "zero_optimization.stage", k->stage);
    if (status == ZRT_OK)
        status = zrt_config_set(config, "zero_optimization.stage3_param_persistence_threshold", "100");
    if (status == ZRT_OK)
        status = zrt_config_set(config, "gradient_accumulation_steps", k->accumulation);
    if (status == ZRT_OK)
        status = zrt_config_set(config, "fp16.initial_scale_power", "24");
    if (status == ZRT_OK && k->offload != NULL)
        status = zrt_config_set(config, "zero_optimization.offload_optimizer.device", in_files ? "nvme" : "cpu");
    if (status == ZRT_OK && k->offload != NULL)
        status = zrt_config_set(config, "zerort.overlapped_step", in_files ? "pipelined" : k->offload);
    if (status == ZRT_OK && k->offload != NULL) /* some steps are clipped, some are not */
        status = zrt_config_set(config, "gradient_clipping", "0.5");
    if (status == ZRT_OK && in_files)
        status = zrt_config_set(config, "zero_optimization.offload_optimizer.nvme_path", scratch);
    if (status == ZRT_OK && in_files) /* more than one tile */
        status = zrt_config_set(config, "zero_optimization.offload_optimizer.buffer_size", "8000");
    if (status == ZRT_OK && k->width > 0) /* one tile */
        status = zrt_config_set(config, "zerort.checkpoint_staging_bytes", "1");
    if (status == ZRT_OK && k->dtype != NULL)
        status = zrt_config_set_argument(config, k->dtype, "true");
    const char *const arguments[][2] = {{"learning_rate", "1e-3"},
                                        {"max_steps", "20"},
                                        {"warmup_steps", "4"},
                                        {"optim", k->optimizer},
                                        {"device", k->offload != NULL ? "cpu" : "auto"}, /* offload is for CPU ranks */
                                        {"per_device_train_batch_size", "2"},
                                        {"per_device_eval_batch_size", "2"}};
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments && status == ZRT_OK; i++)
        status = zrt_config_set_argument(config, arguments[i][0], arguments[i][1]);
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static zrt_status step(zrt_engine *engine, int number, double *loss_out)
{
    static int32_t ids[2 * LENGTH], labels[2 * LENGTH];
    for (int i = 0; i < 2 * LENGTH; i++) {
        ids[i] = (i * 7 + number * 3) % VOCAB;
        labels[i] = (ids[i] * 5 + 1) % VOCAB;
    }
    zrt_batch batch = {.n_rows = 2, .length = LENGTH, .n_fields = 2, .names = {"input_ids", "labels"}};
    batch.fields[0] = (zrt_view){ids, ZRT_INT32, 2, {2, LENGTH}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 2, {2, LENGTH}};
    bool last;
    do {
        zrt_loss *loss = NULL;
        ZRT_TRY(zrt_engine_forward(engine, &batch, &loss));
        ZRT_TRY(zrt_engine_backward(engine, loss));
        last = zrt_engine_is_accumulation_boundary(engine);
        ZRT_TRY(zrt_engine_step(engine));
    } while (!last);
    zrt_metrics metrics;
    ZRT_TRY(zrt_engine_metrics(engine, &metrics));
    *loss_out = metrics.loss;
    return ZRT_OK;
}

static zrt_status steps(zrt_engine *engine, int first, double losses[STEPS])
{
    for (int i = 0; i < STEPS; i++)
        ZRT_TRY(step(engine, first + i, &losses[i]));
    return ZRT_OK;
}

/* Trains, saves while training goes on, and compares with a run that goes on from there. */
static void comes_back(zrt_context *context, const char *folder, const kind *k, const kind *then)
{
    zrt_model *model = NULL;
    zrt_engine *engine = NULL, *again = NULL;
    double before[STEPS], after[STEPS] = {0}, resumed[STEPS] = {1};
    zrt_metrics saved = {0}, loaded = {0};
    zrt_status status = make_model(2, k->width, &model);
    if (status == ZRT_OK && k->freeze)
        status = zrt_model_freeze(model, "transformer.h.0.*");
    if (status == ZRT_OK)
        status = make_engine(context, model, k, &engine);
    if (status == ZRT_OK)
        status = steps(engine, 0, before);
    if (status == ZRT_OK)
        status = zrt_engine_set_user_state(engine, "position", "12\0x", 4);
    if (status == ZRT_OK)
        status = zrt_engine_metrics(engine, &saved);
    if (status == ZRT_OK)
        status = zrt_engine_save_async(engine, folder, NULL);
    if (status == ZRT_OK) /* the steps that follow must not reach into what is being saved */
        status = steps(engine, STEPS, after);
    if (status == ZRT_OK)
        status = zrt_engine_save_wait(engine);
    zrt_engine_destroy(&engine);
    if (status == ZRT_OK)
        status = make_engine(context, model, then, &again);
    if (status == ZRT_OK)
        status = zrt_engine_load(again, folder, NULL);
    const void *data = NULL;
    size_t bytes = 0;
    if (status == ZRT_OK)
        status = zrt_engine_get_user_state(again, "position", &data, &bytes);
    bool same_state = status == ZRT_OK && bytes == 4 && memcmp(data, "12\0x", 4) == 0;
    if (status == ZRT_OK)
        status = zrt_engine_metrics(again, &loaded);
    bool same_counters = zrt_engine_step_count(again) == STEPS && saved.loss == loaded.loss &&
                         saved.skipped == loaded.skipped && saved.grad_norm == loaded.grad_norm;
    if (status == ZRT_OK)
        status = steps(again, STEPS, resumed);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && memcmp(after, resumed, sizeof after) == 0,
               "%s%s: losses after loading are bit-equal (%s)", k->name, then != k ? ", then the other" : "",
               status == ZRT_OK ? "" : zrt_error_message());
    tap_ok_all(MPI_COMM_WORLD, same_state && same_counters, "%s: user state and counters come back", k->name);
    zrt_engine_destroy(&again);
    zrt_model_destroy(&model);
}

static void refuses(zrt_context *context, zrt_engine *engine, const char *folder, zrt_status want, const char *word,
                    const char *what)
{
    zrt_status status = zrt_engine_load(engine, folder, NULL);
    (void)context;
    tap_ok_all(MPI_COMM_WORLD, status == want && (want == ZRT_END || strstr(zrt_error_message(), word) != NULL),
               "%s is refused: %s", what, status == ZRT_OK ? "no error" : zrt_error_message());
}

/* Writes a byte on rank 0. */
static void spoil(const char *path, long offset)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    unsigned char byte = 0;
    if (rank == 0) {
        int fd = open(path, O_RDWR);
        if (pread(fd, &byte, 1, offset) == 1) {
            byte ^= 4;
            if (pwrite(fd, &byte, 1, offset) != 1)
                perror(path);
        }
        close(fd);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void bad_input(zrt_context *context, const char *folder)
{
    char run[256], path[300];
    zrt_model *model = NULL, *other = NULL;
    zrt_engine *engine = NULL, *second = NULL, *third = NULL;
    double loss;
    snprintf(run, sizeof run, "%s/bad", folder);
    zrt_status status = make_model(2, 0, &model);
    if (status == ZRT_OK)
        status = make_model(3, 0, &other);
    if (status == ZRT_OK)
        status = make_engine(context, model, &kinds[0], &engine);
    if (status == ZRT_OK)
        status = make_engine(context, other, &kinds[0], &second);
    if (status == ZRT_OK)
        status = make_engine(context, model, &kinds[6], &third);
    if (status == ZRT_OK)
        status = zrt_engine_save(engine, run, NULL);
    if (status == ZRT_OK)
        status = step(engine, 0, &loss);
    if (status == ZRT_OK)
        status = zrt_engine_save(engine, run, NULL);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK, "two checkpoints are saved (%s)",
               status == ZRT_OK ? "" : zrt_error_message());
    refuses(context, second, run, ZRT_ERR_INPUT, "transformer.h.2", "another model's checkpoint");
    refuses(context, engine, "/nonexistent/folder", ZRT_ERR_INPUT, "no such folder", "a folder that is not there");
    refuses(context, engine, "/usr", ZRT_END, "", "a folder without checkpoints");
    status = zrt_engine_claim_folder(second, run);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_ERR_USAGE && strstr(zrt_error_message(), "another run") != NULL,
               "a second engine is kept out of the folder");
    snprintf(path, sizeof path, "%s/checkpoint-1/rank00000.h5", run);
    spoil(path, 70000);
    refuses(context, engine, run, ZRT_ERR_INPUT, "rank00000.h5", "a damaged shard");
    const zrt_load_options fall_back = {.fall_back = true};
    status = zrt_engine_load(engine, run, &fall_back);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && zrt_engine_step_count(engine) == 0,
               "and the older checkpoint is taken when asked");
    spoil(path, 70000);
    snprintf(path, sizeof path, "%s/checkpoint-1/index.h5", run);
    spoil(path, 3000);
    refuses(context, engine, run, ZRT_ERR_INPUT, "index.h5", "a damaged index");
    spoil(path, 3000);
    snprintf(path, sizeof path, "%s/checkpoint-1/manifest.json", run);
    spoil(path, 300);
    refuses(context, engine, run, ZRT_ERR_INPUT, "manifest.json", "a damaged manifest");
    spoil(path, 300);
    tap_ok_all(MPI_COMM_WORLD, zrt_engine_load(engine, run, NULL) == ZRT_OK, "repaired, it loads (%s)",
               zrt_error_message());
    zrt_engine_destroy(&third);
    zrt_engine_destroy(&second);
    zrt_engine_destroy(&engine);
    zrt_model_destroy(&other);
    zrt_model_destroy(&model);
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    char command[256], run[200];
    if (zrt_init(&argc, &argv, &context) != ZRT_OK)
        return 1;
    if (zrt_rank(context) == 0) {
        const char *parent = getenv("TMPDIR");
        snprintf(scratch, sizeof scratch, "%.80s/zerort-test.XXXXXX", parent != NULL ? parent : "/tmp");
        if (mkdtemp(scratch) == NULL)
            return 1;
    }
    MPI_Bcast(scratch, sizeof scratch, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(run, sizeof run, "%s/run%zu", scratch, i);
        comes_back(context, run, &kinds[i], &kinds[i]);
    }
    const kind offloaded = {"stage 1, offloaded", "1", "fp16", "adamw_torch", "1", 0, "pipelined", 0};
    const kind kept = {"stage 1, not offloaded", "1", "fp16", "adamw_torch", "1", 0, NULL, 0};
    snprintf(run, sizeof run, "%s/offloaded", scratch);
    comes_back(context, run, &offloaded, &kept);
    snprintf(run, sizeof run, "%s/kept", scratch);
    comes_back(context, run, &kept, &offloaded);
    const kind in_files = {"stage 1, in files", "1", "fp16", "adamw_torch", "1", 0, "nvme", 0};
    snprintf(run, sizeof run, "%s/files-kept", scratch);
    comes_back(context, run, &in_files, &kept);
    snprintf(run, sizeof run, "%s/offloaded-files", scratch);
    comes_back(context, run, &offloaded, &in_files);
    bad_input(context, scratch);
    if (zrt_rank(context) == 0) {
        snprintf(command, sizeof command, "rm -rf %s", scratch);
        if (system(command) != 0)
            printf("# %s stays\n", scratch);
    }
    int failed = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return failed;
}
