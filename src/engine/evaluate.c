/* Evaluation: loss over a dataset, logits of a batch. */
#include "config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "engine/engine.h"

static zrt_status pass(zrt_engine *engine, const zrt_batch *batch)
{
    const zrt__zero_options *options = &engine->settings.zero;
    if (engine->backward_due)
        return zrt__fail(ZRT_ERR_USAGE, "evaluation between zrt_engine_forward and zrt_engine_backward");
    ZRT_TRY(zrt__batch_stage(engine, batch, options->evaluation_rows, options->length));
    return zrt__plan_run(engine->compiled.evaluation, &engine->runtime, 0, NULL);
}

static zrt_status read_sums(zrt_engine *engine, double sums_out[2])
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    double *staging = zrt__engine_address(engine, NULL, engine->compiled.staging.loss);
    zrt__ref sums = zrt__ref_at(engine->compiled.zero->state, offsetof(zrt__step_state, micro_sums));
    ZRT_TRY(
        device->copy(zrt__engine_stream(engine), staging, zrt__engine_address(engine, NULL, sums), 2 * sizeof(double)));
    ZRT_TRY(zrt__engine_synchronize(engine));
    sums_out[0] = staging[0];
    sums_out[1] = staging[1];
    return ZRT_OK;
}

zrt_status zrt_engine_evaluate(zrt_engine *engine, zrt_loader *loader, double *loss_out, int64_t *count_out)
{
    const zrt__group *world = zrt__context_world(engine->context);
    int size = zrt__group_size(world);
    double mine[2] = {0, 0};
    const zrt_batch *batch = NULL;
    zrt_status status;
    /* A rank that cannot read must not leave the others in a collective: they meet before each batch. */
    while ((status = zrt__group_agree(world, zrt_loader_next(loader, &batch))) == ZRT_OK) {
        double sums[2];
        status = pass(engine, batch);
        if (status == ZRT_OK)
            status = read_sums(engine, sums);
        if (status != ZRT_OK)
            break;
        mine[0] += sums[0];
        mine[1] += sums[1];
    }
    engine->loss.valid = false;
    ZRT_TRY(zrt__group_agree(world, status == ZRT_END ? ZRT_OK : status));
    double *all = zrt__malloc((size_t)size * sizeof mine);
    status = all != NULL ? zrt__group_all_gather(world, mine, all, sizeof mine) : ZRT_ERR_MEMORY;
    double loss = 0, counted = 0;
    for (int r = 0; r < size && status == ZRT_OK; r++) {
        loss += all[2 * r];
        counted += all[2 * r + 1];
    }
    free(all);
    if (status != ZRT_OK)
        return status;
    if (loss_out != NULL)
        *loss_out = counted > 0 ? loss / counted : 0;
    if (count_out != NULL)
        *count_out = (int64_t)counted;
    return ZRT_OK;
}

zrt_status zrt_engine_logits(zrt_engine *engine, const zrt_batch *batch, float *logits, size_t capacity)
{
    const zrt__operand *operand = &engine->compiled.logits;
    const zrt__device_ops *device = engine->runtime.device->ops;
    if (zrt__ref_is_none(operand->ref))
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "model %s names no output \"logits\"", engine->model->name);
    ZRT_TRY(pass(engine, batch));
    engine->loss.valid = false;
    int64_t rows = engine->settings.zero.evaluation_rows, n_rows = batch != NULL ? batch->n_rows : 0;
    int64_t row = zrt_view_elements(&operand->view) / rows;
    /* Logits of padded positions are left out where the second dimension is the length. */
    int64_t length = engine->settings.zero.length, used = row;
    if (operand->view.n_dims == 3 && operand->view.dims[1] == length && n_rows > 0)
        used = row / length * batch->length;
    if ((size_t)(n_rows * used) > capacity)
        return zrt__fail(ZRT_ERR_USAGE, "logits of %lld elements for a buffer of %zu", (long long)(n_rows * used),
                         capacity);
    size_t element = zrt_dtype_bytes(operand->view.dtype);
    char *copy = n_rows > 0 ? zrt__malloc((size_t)(n_rows * row) * element) : NULL;
    if (n_rows > 0 && copy == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = ZRT_OK;
    if (n_rows > 0)
        status = device->copy(zrt__engine_stream(engine), copy,
                              zrt__engine_address(engine, engine->compiled.evaluation, operand->ref),
                              (size_t)(n_rows * row) * element);
    if (status == ZRT_OK)
        status = zrt__engine_synchronize(engine);
    for (int64_t r = 0; r < n_rows && status == ZRT_OK; r++)
        zrt__convert(logits + r * used, ZRT_FLOAT32, copy + (size_t)(r * row) * element, operand->view.dtype,
                     (size_t)used);
    free(copy);
    return status;
}
