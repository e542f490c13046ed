/* From a model and settings to plans, with nothing allocated on the device. */
#include "config.h"

#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "engine/engine.h"

static zrt__ref staging(zrt__memory *memory, size_t bytes)
{
    return zrt__memory_persistent(memory, ZRT__REGION_PINNED, ZRT__CATEGORY_STAGING, bytes);
}

static zrt_status plan_staging(zrt__compiled *compiled, const zrt__settings *settings)
{
    zrt__memory *memory = &compiled->memory;
    const zrt__zero *zero = compiled->zero;
    zrt__staging *s = &compiled->staging;
    for (size_t i = 0; i < zero->model->n_fields; i++)
        s->fields[i] = staging(memory, memory->persistent.items[~zero->fields[i].buffer].bytes);
    s->sample_ids = staging(memory, (size_t)zero->fields_rows * sizeof(int64_t));
    s->head = staging(memory, sizeof(zrt__step_state));
    s->capacity = staging(memory, sizeof(double));
    s->loss = staging(memory, 2 * sizeof(double));
    s->state = staging(memory, sizeof(zrt__step_state));
    s->rates = staging(memory, (size_t)zero->options.rules->n_learning_rates * sizeof(double));
    if (memory->persistent.failed)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(zrt__plan_ring(zero, settings, memory, &s->ring, &s->ring_bytes));
    s->state_dict = ZRT__NO_REF;
    if (!settings->state_dict_on_host && s->ring_bytes > 0)
        s->state_dict = zrt__memory_persistent(memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_STAGING,
                                               (size_t)zrt__state_dict_capacity(s->ring_bytes) * sizeof(float));
    return memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
}

static zrt_status compile_training(zrt__compiled *compiled, int64_t micro_steps)
{
    static const zrt__train_variant variants[ZRT__N_VARIANTS] = {[ZRT__VARIANT_FIRST] = {true, false},
                                                                 [ZRT__VARIANT_MIDDLE] = {false, false},
                                                                 [ZRT__VARIANT_LAST] = {false, true},
                                                                 [ZRT__VARIANT_ONLY] = {true, true}};
    for (int v = 0; v < ZRT__N_VARIANTS; v++) {
        bool needed = micro_steps == 1 ? v == ZRT__VARIANT_ONLY
                                       : v != ZRT__VARIANT_ONLY && (v != ZRT__VARIANT_MIDDLE || micro_steps > 2);
        if (!needed)
            continue;
        ZRT_TRY(zrt__zero_compile_train(compiled->zero, compiled->train_build, variants[v], &compiled->train[v]));
        compiled->hash = zrt__hash_mix(compiled->hash, zrt__plan_hash(compiled->train[v]));
    }
    return ZRT_OK;
}

static zrt_status compile(zrt_model *model, const zrt__settings *settings, zrt__compiled *compiled)
{
    const zrt__zero_options *options = &settings->zero;
    int64_t table = model->info.max_length > options->length ? model->info.max_length : options->length;
    zrt__build_options build = {.mode = ZRT_MODE_TRAIN,
                                .rows = options->rows,
                                .length = options->length,
                                .table_length = table,
                                .compute_dtype = options->compute_dtype,
                                .recompute = options->recompute,
                                .loss_chunk_bytes = options->loss_chunk_bytes};
    ZRT_TRY(zrt__zero_create(options, model, &compiled->memory, &compiled->zero));
    ZRT_TRY(zrt__build_create(model, &build, &compiled->train_build));
    build.mode = ZRT_MODE_EVALUATE;
    build.rows = options->evaluation_rows;
    ZRT_TRY(zrt__build_create(model, &build, &compiled->evaluation_build));
    ZRT_TRY(compile_training(compiled, options->micro_steps));
    ZRT_TRY(zrt__zero_compile_evaluate(compiled->zero, compiled->evaluation_build, &compiled->evaluation,
                                       &compiled->logits));
    compiled->hash = zrt__hash_mix(compiled->hash, zrt__plan_hash(compiled->evaluation));
    ZRT_TRY(plan_staging(compiled, settings));
    zrt__memory_layout(&compiled->memory);
    return ZRT_OK;
}

static zrt_status create(zrt_model *model, const zrt__settings *settings, zrt__compiled *compiled_out)
{
    memset(compiled_out, 0, sizeof *compiled_out);
    zrt_status status = compile(model, settings, compiled_out);
    if (status != ZRT_OK)
        zrt__compiled_free(compiled_out);
    return status;
}

/* "ratio": "auto": the largest share on the device with which the plan fits there, by plans for this share and that. */
static zrt_status create_fitting(zrt_model *model, const zrt__settings *settings, zrt__compiled *compiled_out)
{
    enum { TRIALS = 12 }; /* a share to a four-thousandth: there are not that many units */
    zrt__settings trial = *settings;
    double low = 0, high = 1;
    trial.zero.device_share = 1;
    ZRT_TRY(create(model, &trial, compiled_out));
    if (settings->device_memory == 0 || zrt__memory_on_device(&compiled_out->memory) <= settings->device_memory)
        return ZRT_OK;
    for (int i = 0; i < TRIALS; i++) {
        zrt__compiled_free(compiled_out);
        trial.zero.device_share = 0.5 * (low + high);
        ZRT_TRY(create(model, &trial, compiled_out));
        if (zrt__memory_on_device(&compiled_out->memory) <= settings->device_memory)
            low = trial.zero.device_share;
        else
            high = trial.zero.device_share;
    }
    zrt__compiled_free(compiled_out);
    trial.zero.device_share = low;
    return create(model, &trial, compiled_out);
}

zrt_status zrt__compiled_create(zrt_model *model, const zrt__settings *settings, zrt__compiled *compiled_out)
{
    return settings->ratio_auto ? create_fitting(model, settings, compiled_out) : create(model, settings, compiled_out);
}

void zrt__compiled_free(zrt__compiled *compiled)
{
    for (int v = 0; v < ZRT__N_VARIANTS; v++)
        zrt__plan_destroy(&compiled->train[v]);
    zrt__plan_destroy(&compiled->evaluation);
    zrt__build_destroy(&compiled->train_build);
    zrt__build_destroy(&compiled->evaluation_build);
    zrt__zero_destroy(&compiled->zero);
    zrt__buffers_free(&compiled->memory.persistent);
    memset(compiled, 0, sizeof *compiled);
}

int zrt__variant_of(const zrt__compiled *compiled, int64_t micro_step, int64_t micro_steps)
{
    if (compiled->train[ZRT__VARIANT_ONLY] != NULL)
        return ZRT__VARIANT_ONLY;
    return micro_step == 0                 ? ZRT__VARIANT_FIRST
           : micro_step + 1 == micro_steps ? ZRT__VARIANT_LAST
                                           : ZRT__VARIANT_MIDDLE;
}
