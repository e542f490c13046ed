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

/* Copies the logits of the pass before, n elements of fp32. */
static zrt_status read_logits(zrt_engine *engine, int64_t n, float *out)
{
    const zrt__operand *operand = &engine->compiled.logits;
    const zrt__device_ops *device = engine->runtime.device->ops;
    size_t element = zrt_dtype_bytes(operand->view.dtype);
    char *copy = zrt__malloc((size_t)n * element + 1);
    if (copy == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status =
        device->copy(zrt__engine_stream(engine), copy,
                     zrt__engine_address(engine, engine->compiled.evaluation, operand->ref), (size_t)n * element);
    if (status == ZRT_OK)
        status = zrt__engine_synchronize(engine);
    if (status == ZRT_OK)
        zrt__convert(out, ZRT_FLOAT32, copy, operand->view.dtype, (size_t)n);
    free(copy);
    return status;
}

/* Adds the rows of a batch to pairs [label, class found]. */
static zrt_status count_classes(zrt_engine *engine, const zrt_batch *batch, int64_t n_classes, int64_t *pairs)
{
    const int32_t *labels = NULL;
    for (int i = 0; batch != NULL && i < batch->n_fields; i++)
        if (strcmp(batch->names[i], "labels") == 0)
            labels = batch->fields[i].data;
    if (labels == NULL || batch->n_rows == 0)
        return ZRT_OK;
    float *logits = zrt__malloc((size_t)(batch->n_rows * n_classes) * sizeof *logits);
    zrt_status status = logits != NULL ? read_logits(engine, batch->n_rows * n_classes, logits) : ZRT_ERR_MEMORY;
    for (int64_t r = 0; r < batch->n_rows && status == ZRT_OK; r++) {
        int64_t best = 0;
        for (int64_t c = 1; c < n_classes; c++)
            best = logits[r * n_classes + c] > logits[r * n_classes + best] ? c : best;
        if (labels[r] >= 0 && labels[r] < n_classes)
            pairs[labels[r] * n_classes + best]++;
    }
    free(logits);
    return status;
}

/* pairs NULL: the loss alone. */
static zrt_status evaluate(zrt_engine *engine, zrt_loader *loader, int64_t n_classes, int64_t *pairs, double *loss_out,
                           int64_t *count_out)
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
        if (status == ZRT_OK && pairs != NULL)
            status = count_classes(engine, batch, n_classes, pairs);
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

zrt_status zrt_engine_evaluate(zrt_engine *engine, zrt_loader *loader, double *loss_out, int64_t *count_out)
{
    return evaluate(engine, loader, 0, NULL, loss_out, count_out);
}

/* 2 tp / (2 tp + fp + fn) */
static double f1_of(const int64_t *pairs, int64_t n, int64_t class)
{
    int64_t right = pairs[class * n + class], others = 0;
    for (int64_t i = 0; i < n; i++)
        others += i != class ? pairs[class * n + i] + pairs[i * n + class] : 0;
    return right + others > 0 ? 2.0 * (double)right / (2.0 * (double)right + (double)others) : 0;
}

zrt_status zrt_engine_evaluate_classes(zrt_engine *engine, zrt_loader *loader, zrt_classification *result_out)
{
    const zrt__group *world = zrt__context_world(engine->context);
    int64_t n = engine->model->info.n_classes, right = 0, all = 0;
    *result_out = (zrt_classification){0};
    if (n < 2 || zrt__ref_is_none(engine->compiled.logits.ref))
        return zrt__fail(ZRT_ERR_USAGE, "model %s is no classifier of sequences", engine->model->name);
    int64_t *pairs = zrt__calloc((size_t)(n * n), sizeof *pairs);
    zrt_status status = zrt__group_agree(world, pairs != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK)
        status = evaluate(engine, loader, n, pairs, &result_out->loss, &result_out->counted);
    if (status == ZRT_OK)
        status = zrt__group_sum_int64(world, pairs, (size_t)(n * n));
    for (int64_t c = 0; c < n && status == ZRT_OK; c++) {
        right += pairs[c * n + c];
        result_out->f1 += n == 2 && c == 0 ? 0 : f1_of(pairs, n, c) / (double)(n == 2 ? 1 : n);
        for (int64_t i = 0; i < n; i++)
            all += pairs[c * n + i];
    }
    result_out->accuracy = all > 0 ? (double)right / (double)all : 0;
    free(pairs);
    return status;
}

zrt_status zrt_engine_logits(zrt_engine *engine, const zrt_batch *batch, float *logits, size_t capacity)
{
    const zrt__operand *operand = &engine->compiled.logits;
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
    float *copy = n_rows > 0 ? zrt__malloc((size_t)(n_rows * row) * sizeof *copy) : NULL;
    if (n_rows > 0 && copy == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = n_rows > 0 ? read_logits(engine, n_rows * row, copy) : zrt__engine_synchronize(engine);
    for (int64_t r = 0; r < n_rows && status == ZRT_OK; r++)
        memcpy(logits + r * used, copy + r * row, (size_t)used * sizeof *logits);
    free(copy);
    return status;
}
