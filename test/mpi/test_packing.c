/* Packed rows: loss and gradient are those of the same sequences alone, weighted by their labels. */
/* ranks: 1 2 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/zerort.h>

#include <mpi.h>

#include "tap_mpi.h"

enum { LENGTH = 32, N_SEQUENCES = 12, MOST_ROWS = 12 };

/* Three sequences fill a packed row, but for some padding. */
static const int lengths[N_SEQUENCES] = {9, 3, 18, 20, 2, 10, 26, 1, 5, 11, 12, 4};

typedef struct fields {
    int32_t input[MOST_ROWS][LENGTH], labels[MOST_ROWS][LENGTH], positions[MOST_ROWS][LENGTH],
        segments[MOST_ROWS][LENGTH];
    int64_t n_rows;
} fields;

static void put(fields *to, int64_t row, int64_t at, int sequence, int segment)
{
    for (int i = 0; i < lengths[sequence]; i++) {
        to->input[row][at + i] = (sequence * 37 + i * i * 11 + 5) % 250;
        if (i > 0 && (i + sequence) % 5 != 0)
            to->labels[row][at + i - 1] = to->input[row][at + i];
        to->positions[row][at + i] = i;
        to->segments[row][at + i] = segment;
    }
}

static void make(fields *to, int64_t rows_of, bool packed)
{
    memset(to, 0, sizeof *to);
    for (int row = 0; row < MOST_ROWS; row++) {
        for (int i = 0; i < LENGTH; i++) {
            to->labels[row][i] = ZRT_LABEL_IGNORED;
            to->segments[row][i] = 99; /* padding */
        }
    }
    for (int i = 0; i < N_SEQUENCES; i++) {
        int64_t row = packed ? i / 3 : i;
        int at = 0;
        for (int j = i / 3 * 3; packed && j < i; j++)
            at += lengths[j];
        put(to, row, at, i, i % 3);
    }
    to->n_rows = rows_of;
}

/* This rank's share of rows. */
static zrt_batch share(zrt_context *context, fields *from, bool packed)
{
    int64_t each = from->n_rows / zrt_size(context), first = each * zrt_rank(context);
    static const char *const names[] = {"input_ids", "labels", "position_ids", "segment_ids"};
    int32_t *arrays[] = {from->input[first], from->labels[first], from->positions[first], from->segments[first]};
    zrt_batch batch = {.n_rows = each, .length = LENGTH, .n_fields = packed ? 4 : 2};

    for (int i = 0; i < batch.n_fields; i++) {
        batch.names[i] = names[i];
        batch.fields[i] = (zrt_view){.data = arrays[i], .dtype = ZRT_INT32, .n_dims = 2, .dims = {each, LENGTH}};
    }
    return batch;
}

typedef struct result {
    double loss, norm;
    int64_t counted;
} result;

static zrt_status run(zrt_context *context, const char *folder, const char *stage, bool packed, result *out)
{
    static fields all;
    zrt_model *model = NULL;
    zrt_config *config = NULL;
    zrt_engine *engine = NULL;
    zrt_loss *loss;
    zrt_metrics metrics;
    zrt_batch batch;
    char rows[16];

    make(&all, packed ? N_SEQUENCES / 3 : N_SEQUENCES, packed);
    batch = share(context, &all, packed);
    snprintf(rows, sizeof rows, "%d", (int)batch.n_rows);
    zrt_status status = zrt_model_open(folder, &model);
    if (status == ZRT_OK && packed)
        status = zrt_model_set_packing(model);
    if (status == ZRT_OK)
        status = zrt_config_create(&config);
    if (status == ZRT_OK)
        status = zrt_config_set(config, "zero_optimization.stage", stage);
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "per_device_train_batch_size", rows);
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "seq_length", "32");
    if (status == ZRT_OK)
        status = zrt_config_set_argument(config, "max_steps", "2");
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, &engine);
    if (status == ZRT_OK)
        status = zrt_engine_load_pretrained(engine, folder);
    if (status == ZRT_OK)
        status = zrt_engine_forward(engine, &batch, &loss);
    if (status == ZRT_OK)
        status = zrt_engine_backward(engine, loss);
    if (status == ZRT_OK)
        status = zrt_engine_step(engine);
    if (status == ZRT_OK)
        status = zrt_engine_metrics(engine, &metrics);
    if (status == ZRT_OK)
        *out = (result){metrics.loss, metrics.grad_norm, metrics.counted};
    zrt_engine_destroy(&engine);
    zrt_config_destroy(&config);
    zrt_model_destroy(&model);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const models[] = {"gpt2", "llama", "llama-rope-scaled"}, *const stages[] = {"0", "3"};
    const char *golden = getenv("ZRT_GOLDEN");
    zrt_context *context;
    int status;

    if (zrt_init(&argc, &argv, &context) != ZRT_OK)
        return 1;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        for (size_t s = 0; s < 2; s++) {
            char folder[4096];
            result alone = {0}, packed = {0};
            bool good;
            snprintf(folder, sizeof folder, "%s/%s", golden ? golden : ZRT_GOLDEN_DIR, models[i]);
            good = run(context, folder, stages[s], false, &alone) == ZRT_OK &&
                   run(context, folder, stages[s], true, &packed) == ZRT_OK;
            if (!good)
                tap_diag("%s", zrt_error_message());
            good = good && alone.counted == packed.counted && alone.counted > 0 &&
                   fabs(alone.loss - packed.loss) <= 1e-5 * alone.loss &&
                   fabs(alone.norm - packed.norm) <= 1e-5 * alone.norm;
            if (!tap_ok_all(MPI_COMM_WORLD, good,
                            "%s, stage %s: loss and gradient of packed sequences are those of the same alone",
                            models[i], stages[s]))
                tap_diag("alone %.9g (%.9g), packed %.9g (%.9g), %d and %d labels", alone.loss, alone.norm, packed.loss,
                         packed.norm, (int)alone.counted, (int)packed.counted);
        }
    }
    status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
