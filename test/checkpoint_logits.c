/* Trains a golden model a little on two ranks or one, saves RUN/checkpoint-<step>, and writes its logits for the golden input:
 *   checkpoint_logits MODEL RUN LOGITS     LOGITS is a folder that gets model.safetensors with input_ids and logits */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zerort/zerort.h>

#include "checkpoint/safetensors.h"

enum { STEPS = 3, ROWS = 2 };

static zrt_status configure(zrt_context *context, zrt_model *model, int64_t length, zrt_engine **engine_out)
{
    char text[32];
    zrt_config *config = NULL;
    snprintf(text, sizeof text, "%lld", (long long)length);
    ZRT_TRY(zrt_config_create(&config));
    const char *const arguments[][2] = {{"learning_rate", "1e-2"},
                                        {"max_steps", "10"},
                                        {"seq_length", text},
                                        {"per_device_train_batch_size", "2"},
                                        {"per_device_eval_batch_size", "2"}};
    zrt_status status = zrt_config_set(config, "zero_optimization.stage", "3");
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments && status == ZRT_OK; i++)
        status = zrt_config_set_argument(config, arguments[i][0], arguments[i][1]);
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static zrt_status write_logits(zrt_engine *engine, const zrt_batch *batch, int64_t vocab, const char *folder, int rank)
{
    size_t n = (size_t)(batch->n_rows * batch->length * vocab);
    float *logits = malloc(n * sizeof *logits);
    zrt__safetensors_writer *writer = NULL;
    zrt__safetensors_tensor tensors[] = {{"input_ids", ZRT_INT32, 2, {batch->n_rows, batch->length}},
                                         {"logits", ZRT_FLOAT32, 3, {batch->n_rows, batch->length, vocab}}};
    if (logits == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt_engine_logits(engine, batch, logits, n);
    mkdir(folder, 0777);
    if (status == ZRT_OK && rank == 0) {
        status = zrt__safetensors_writer_create(folder, 2, tensors, 0, &writer);
        if (status == ZRT_OK)
            status =
                zrt__safetensors_writer_append(writer, batch->fields[0].data, ZRT_INT32, batch->n_rows * batch->length);
        if (status == ZRT_OK)
            status = zrt__safetensors_writer_append(writer, logits, ZRT_FLOAT32, (int64_t)n);
        if (status == ZRT_OK)
            status = zrt__safetensors_writer_commit(&writer);
        zrt__safetensors_writer_destroy(&writer);
    }
    free(logits);
    return status;
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    zrt_engine *engine = NULL;
    int32_t *ids = NULL, *labels = NULL;
    int64_t length = 0, vocab = 0;
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status != ZRT_OK || argc != 4) {
        fprintf(stderr, "checkpoint_logits: MODEL RUN LOGITS %s\n", zrt_error_message());
        return 1;
    }
    status = zrt_model_open(argv[1], &model);
    if (status == ZRT_OK) {
        length = zrt_model_get_info(model)->max_length < 16 ? zrt_model_get_info(model)->max_length : 16;
        vocab = zrt_model_get_info(model)->vocab_size;
        ids = malloc((size_t)(ROWS * length) * sizeof *ids);
        labels = malloc((size_t)(ROWS * length) * sizeof *labels);
        status = ids != NULL && labels != NULL ? configure(context, model, length, &engine) : ZRT_ERR_MEMORY;
    }
    if (status == ZRT_OK)
        status = zrt_engine_load_pretrained(engine, argv[1]);
    for (int64_t i = 0; status == ZRT_OK && i < ROWS * length; i++) {
        ids[i] = (int32_t)(i * 31 % vocab);
        labels[i] = (int32_t)((i + 1) * 31 % vocab);
    }
    zrt_batch batch = {.n_rows = ROWS, .length = length, .n_fields = 2, .names = {"input_ids", "labels"}};
    batch.fields[0] = (zrt_view){ids, ZRT_INT32, 2, {ROWS, length}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 2, {ROWS, length}};
    for (int i = 0; i < STEPS && status == ZRT_OK; i++) {
        zrt_loss *loss = NULL;
        status = zrt_engine_forward(engine, &batch, &loss);
        if (status == ZRT_OK)
            status = zrt_engine_backward(engine, loss);
        if (status == ZRT_OK)
            status = zrt_engine_step(engine);
    }
    if (status == ZRT_OK)
        status = zrt_engine_save(engine, argv[2], NULL);
    if (status == ZRT_OK)
        status = write_logits(engine, &batch, vocab, argv[3], zrt_rank(context));
    if (status != ZRT_OK)
        fprintf(stderr, "checkpoint_logits: %s\n", zrt_error_message());
    zrt_engine_destroy(&engine);
    zrt_model_destroy(&model);
    free(ids);
    free(labels);
    zrt_finalize(&context);
    return status != ZRT_OK;
}
