/* Logits of a folder (a model's or an adapter's) for one row of fixed tokens, a number a line, in fp32.
 *
 *   test/logits FOLDER
 *
 * Token i is (7 i + 3) modulo the vocabulary; a classifier sees 9 of 12 as tokens, the last 5 of them of type 1. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include <zerort/zerort.h>

enum { LENGTH = 12, TOKENS = 9, FIRST_TYPE_1 = 4 };

static zrt_status make_engine(zrt_context *context, zrt_model *model, zrt_engine **engine_out)
{
    zrt_config *config = NULL;
    static const char *const arguments[][2] = {{"seq_length", "12"},
                                               {"max_steps", "1"},
                                               {"per_device_train_batch_size", "1"},
                                               {"per_device_eval_batch_size", "1"}};
    zrt_status status = zrt_config_create(&config);
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments && status == ZRT_OK; i++)
        status = zrt_config_set_argument(config, arguments[i][0], arguments[i][1]);
    if (status == ZRT_OK)
        status = zrt_engine_create(context, model, config, engine_out);
    zrt_config_destroy(&config);
    return status;
}

static zrt_status print_logits(zrt_engine *engine, const zrt_model_info *info)
{
    static int32_t ids[LENGTH], labels[LENGTH], mask[LENGTH], types[LENGTH];
    for (int i = 0; i < LENGTH; i++) {
        bool is_token = info->n_classes == 0 || i < TOKENS;
        mask[i] = is_token;
        types[i] = is_token && i >= FIRST_TYPE_1;
        ids[i] = is_token ? (int32_t)((7 * i + 3) % info->vocab_size) : 0;
    }
    zrt_batch batch = {.n_rows = 1, .length = LENGTH, .n_fields = 2, .names = {"input_ids", "labels"}};
    batch.fields[0] = (zrt_view){ids, ZRT_INT32, 2, {1, LENGTH}};
    batch.fields[1] = (zrt_view){labels, ZRT_INT32, 2, {1, LENGTH}};
    int64_t n = LENGTH * info->vocab_size;
    if (info->n_classes > 0) {
        batch.n_fields = 4;
        batch.names[2] = "attention_mask";
        batch.names[3] = "token_type_ids";
        batch.fields[1] = (zrt_view){labels, ZRT_INT32, 1, {1}};
        batch.fields[2] = (zrt_view){mask, ZRT_INT32, 2, {1, LENGTH}};
        batch.fields[3] = (zrt_view){types, ZRT_INT32, 2, {1, LENGTH}};
        n = info->n_classes;
    }
    float *logits = malloc((size_t)n * sizeof *logits);
    zrt_status status = logits != NULL ? zrt_engine_logits(engine, &batch, logits, (size_t)n) : ZRT_ERR_MEMORY;
    for (int64_t i = 0; i < n && status == ZRT_OK; i++)
        printf("%.9g\n", (double)logits[i]);
    free(logits);
    return status;
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt_model *model = NULL;
    zrt_engine *engine = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: logits FOLDER\n");
        return 2;
    }
    zrt_status status = zrt_init(NULL, NULL, &context);
    if (status == ZRT_OK)
        status = zrt_model_open(argv[1], &model);
    if (status == ZRT_OK)
        status = make_engine(context, model, &engine);
    if (status == ZRT_OK)
        status = zrt_engine_load_pretrained(engine, argv[1]);
    if (status == ZRT_OK)
        status = print_logits(engine, zrt_model_get_info(model));
    if (status != ZRT_OK)
        fprintf(stderr, "logits: %s\n", zrt_error_message());
    zrt_engine_destroy(&engine);
    zrt_model_destroy(&model);
    zrt_finalize(&context);
    return zrt_status_exit_code(status);
}
