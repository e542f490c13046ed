/* Batches to the device: padded to the plan's rows and length with labels that are not counted. */
#include "config.h"

#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "engine/engine.h"

static const zrt_view *batch_field(const zrt_batch *batch, const char *name)
{
    for (int i = 0; i < batch->n_fields; i++)
        if (strcmp(batch->names[i], name) == 0)
            return &batch->fields[i];
    return NULL;
}

static int64_t elements_of_row(const zrt__field *field, int64_t length)
{
    int64_t n = 1;
    for (int i = 0; i < field->n_dims; i++)
        n *= field->dims[i] < 0 ? length : field->dims[i];
    return n;
}

static void fill(void *data, const zrt__field *field, int64_t n)
{
    if (field->dtype == ZRT_INT32 && strcmp(field->name, "labels") == 0)
        for (int64_t i = 0; i < n; i++)
            ((int32_t *)data)[i] = ZRT_LABEL_IGNORED;
    else
        memset(data, 0, (size_t)n * zrt_dtype_bytes(field->dtype));
}

static zrt_status check_tokens(const zrt_engine *engine, const zrt__field *field, const int32_t *values, int64_t n)
{
    int64_t vocab = engine->model->info.vocab_size;
    if (vocab == 0 || strcmp(field->name, "input_ids") != 0)
        return ZRT_OK;
    for (int64_t i = 0; i < n; i++)
        if (values[i] < 0 || values[i] >= vocab)
            return zrt__fail(ZRT_ERR_INPUT, "token %d in the batch is outside the vocabulary of %lld of model %s",
                             values[i], (long long)vocab, engine->model->name);
    return ZRT_OK;
}

static zrt_status stage_field(zrt_engine *engine, const zrt_batch *batch, int index, int64_t rows, int64_t length)
{
    const zrt__field *field = &engine->model->fields[index];
    char *staging = zrt__engine_address(engine, NULL, engine->compiled.staging.fields[index]);
    const zrt_view *view = batch != NULL ? batch_field(batch, field->name) : NULL;
    int64_t n_rows = batch != NULL && view != NULL ? batch->n_rows : 0;
    int64_t row = elements_of_row(field, length), given = n_rows > 0 ? elements_of_row(field, batch->length) : 0;
    size_t element = zrt_dtype_bytes(field->dtype);
    if (n_rows > 0) {
        if (view->dtype != field->dtype || zrt_view_elements(view) != n_rows * given)
            return zrt__fail(ZRT_ERR_USAGE, "batch field %s: %lld elements of %s, expected %lld rows of %lld of %s",
                             field->name, (long long)zrt_view_elements(view), zrt_dtype_name(view->dtype),
                             (long long)n_rows, (long long)given, zrt_dtype_name(field->dtype));
        if (field->dtype == ZRT_INT32)
            ZRT_TRY(check_tokens(engine, field, view->data, n_rows * given));
    }
    if (strcmp(field->name, "position_ids") == 0 && view == NULL) {
        for (int64_t r = 0; r < rows; r++)
            for (int64_t t = 0; t < row; t++)
                ((int32_t *)(void *)staging)[r * row + t] = (int32_t)t;
    } else {
        for (int64_t r = 0; r < rows; r++) {
            char *to = staging + (size_t)(r * row) * element;
            if (r < n_rows)
                memcpy(to, (const char *)view->data + (size_t)(r * given) * element, (size_t)given * element);
            int64_t have = r < n_rows ? given : 0;
            fill(to + (size_t)have * element, field, row - have);
        }
    }
    size_t bytes = (size_t)(rows * row) * element;
    zrt_dtype compute = engine->settings.zero.compute_dtype;
    if (field->dtype == ZRT_FLOAT32 && compute != ZRT_FLOAT32) {
        zrt__convert(staging, compute, staging, ZRT_FLOAT32, (size_t)(rows * row));
        bytes = (size_t)(rows * row) * zrt_dtype_bytes(compute);
    }
    return engine->runtime.device->ops->copy(zrt__engine_stream(engine),
                                             zrt__engine_address(engine, NULL, engine->compiled.zero->fields[index]),
                                             staging, bytes);
}

static bool field_used(const zrt__build *build, int index)
{
    for (int u = 0; u < build->n_units; u++)
        for (size_t i = 0; i < build->units[u]->n_tensors; i++)
            if (build->units[u]->tensors[i]->kind == ZRT__TENSOR_FIELD && build->units[u]->tensors[i]->index == index)
                return true;
    return false;
}

static zrt_status check_batch(const zrt_engine *engine, const zrt_batch *batch, int64_t rows, int64_t length)
{
    if (batch == NULL)
        return ZRT_OK;
    if (batch->n_rows < 0 || batch->n_rows > rows)
        return zrt__fail(ZRT_ERR_USAGE,
                         "a batch of %lld rows; the plan has room for %lld a rank (train_micro_batch_size_per_gpu)",
                         (long long)batch->n_rows, (long long)rows);
    if (batch->n_rows > 0 && (batch->length < 1 || batch->length > length))
        return zrt__fail(ZRT_ERR_INPUT, "rows of %lld tokens; the run was planned for at most %lld (--seq-length)",
                         (long long)batch->length, (long long)length);
    for (int i = 0; i < batch->n_fields; i++)
        if (zrt__model_find_field(engine->model, batch->names[i]) < 0)
            return zrt__fail(ZRT_ERR_USAGE,
                             "batch field %s is not one of model %s (zrt_model_add_field declares fields)",
                             batch->names[i], engine->model->name);
    return ZRT_OK;
}

zrt_status zrt__batch_stage(zrt_engine *engine, const zrt_batch *batch, int64_t rows, int64_t length)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    ZRT_TRY(check_batch(engine, batch, rows, length));
    ZRT_TRY(device->event_synchronize(engine->staged)); /* the copies of the pass before have been made */
    for (int i = 0; i < (int)engine->model->n_fields; i++) {
        if (!field_used(engine->compiled.train_build, i) && !field_used(engine->compiled.evaluation_build, i))
            continue;
        const zrt__field *field = &engine->model->fields[i];
        if (batch != NULL && batch->n_rows > 0 && batch_field(batch, field->name) == NULL &&
            strcmp(field->name, "position_ids") != 0)
            return zrt__fail(ZRT_ERR_INPUT, "the batch has no field %s, which model %s reads", field->name,
                             engine->model->name);
        ZRT_TRY(stage_field(engine, batch, i, rows, length));
    }
    int64_t *ids = zrt__engine_address(engine, NULL, engine->compiled.staging.sample_ids);
    for (int64_t r = 0; r < rows; r++)
        ids[r] = batch != NULL && batch->sample_ids != NULL && r < batch->n_rows
                     ? batch->sample_ids[r]
                     : engine->samples + engine->settings.zero.rank * rows + r;
    ZRT_TRY(device->copy(zrt__engine_stream(engine),
                         zrt__engine_address(engine, NULL, engine->compiled.zero->sample_ids), ids,
                         (size_t)rows * sizeof *ids));
    return device->event_record(engine->staged, zrt__engine_stream(engine));
}
