/* Overflows that no loss scale helps against: which parameter, on which rank. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "engine/engine.h"

/* A run of so many skipped steps does not recover. */
enum { CHUNK = 1 << 16, NONE = -1, MOST_SKIPPED = 16 };

/* Elements [first, first + n) from `ref` on. */
static zrt_status has_non_finite(zrt_engine *engine, zrt__ref ref, zrt_dtype dtype, int64_t first, int64_t n,
                                 float *chunk, bool *found)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    const char *from = zrt__engine_address(engine, NULL, ref);
    float *values = chunk + CHUNK;
    for (int64_t at = first; at < first + n && !*found; at += CHUNK) {
        int64_t part = first + n - at < CHUNK ? first + n - at : CHUNK;
        ZRT_TRY(device->copy(zrt__engine_stream(engine), chunk, from + (size_t)at * zrt_dtype_bytes(dtype),
                             (size_t)part * zrt_dtype_bytes(dtype)));
        ZRT_TRY(device->stream_synchronize(zrt__engine_stream(engine)));
        zrt__convert(values, ZRT_FLOAT32, chunk, dtype, (size_t)part);
        for (int64_t i = 0; i < part; i++)
            *found |= !isfinite(values[i]);
    }
    return ZRT_OK;
}

/* The first parameter with a non-finite gradient in what this rank holds, or NONE: its shards, or all that it has added up itself. */
static zrt_status first_here(zrt_engine *engine, bool reduced, float *chunk, int64_t *parameter_out)
{
    const zrt__zero *zero = engine->compiled.zero;
    *parameter_out = NONE;
    for (size_t p = 0; p < engine->model->n_parameters; p++) {
        int index = 0;
        int64_t start = 0;
        bool found = false;
        zrt__zero_locate(zero, (int)p, &index, &start);
        const zrt__flat *flat = &zero->flats[index];
        bool whole = flat->local_gradient && !reduced;
        int64_t held = whole ? 0 : flat->shard_first, held_end = whole ? flat->n_elements : held + flat->shard_elements;
        int64_t end = start + engine->model->parameters[p].n_elements;
        int64_t from = start > held ? start : held, to = end < held_end ? end : held_end;
        if (flat->trainable && from < to) {
            zrt__ref shard;
            zrt_dtype dtype = zrt__gradient_shard(zero, flat, &shard);
            ZRT_TRY(
                has_non_finite(engine, whole ? flat->gradient : shard, dtype, from - held, to - from, chunk, &found));
        }
        if (found) {
            *parameter_out = (int64_t)p;
            return ZRT_OK;
        }
    }
    return ZRT_OK;
}

/* The first on any rank. Collective. */
static zrt_status first_anywhere(zrt_engine *engine, bool reduced, float *chunk, int64_t *parameter_out)
{
    const zrt__group *world = zrt__context_world(engine->context);
    int size = zrt__group_size(world);
    int64_t mine = NONE, *all = zrt__malloc((size_t)size * sizeof *all);
    zrt_status status = all == NULL ? ZRT_ERR_MEMORY : zrt__engine_synchronize(engine);
    if (status == ZRT_OK)
        status = first_here(engine, reduced, chunk, &mine);
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(world, &mine, all, sizeof mine);
    *parameter_out = NONE;
    for (int r = 0; r < size && status == ZRT_OK; r++)
        if (all[r] != NONE && (*parameter_out == NONE || all[r] < *parameter_out))
            *parameter_out = all[r];
    free(all);
    return status;
}

/* The rows of the last micro-step where `mine`, otherwise none: labels that are not counted. `saved` holds the staged fields. */
static zrt_status stage_rows(zrt_engine *engine, char *const *saved, bool mine)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    for (size_t f = 0; f < engine->model->n_fields; f++) {
        const zrt__field *field = &engine->model->fields[f];
        zrt__ref ref = engine->compiled.staging.fields[f];
        size_t bytes = engine->compiled.memory.persistent.items[~ref.buffer].bytes;
        char *staging = zrt__engine_address(engine, NULL, ref);
        memcpy(staging, saved[f], bytes);
        if (!mine && strcmp(field->name, "labels") == 0)
            for (size_t i = 0; i < bytes / sizeof(int32_t); i++)
                ((int32_t *)(void *)staging)[i] = ZRT_LABEL_IGNORED;
        else if (!mine && strcmp(field->name, "position_ids") != 0)
            memset(staging, 0, bytes);
        ZRT_TRY(device->copy(zrt__engine_stream(engine),
                             zrt__engine_address(engine, NULL, engine->compiled.zero->fields[f]), staging, bytes));
    }
    return device->stream_synchronize(zrt__engine_stream(engine));
}

/* Runs the last micro-step again with the rows of one rank after the other. A sum over ranks does not tell whose part was not
 * finite. Nothing of it is used for a step. */
static zrt_status find_rank(zrt_engine *engine, char *const *saved, float *chunk, int64_t *parameter, int *rank_out)
{
    const zrt__group *world = zrt__context_world(engine->context);
    zrt__plan *plan =
        engine->compiled.train[engine->settings.zero.micro_steps == 1 ? ZRT__VARIANT_ONLY : ZRT__VARIANT_FIRST];
    *rank_out = NONE;
    for (int r = 0; r < zrt__group_size(world); r++) {
        int64_t found = NONE;
        ZRT_TRY(zrt__group_agree(world, stage_rows(engine, saved, r == zrt__group_rank(world))));
        ZRT_TRY(zrt__plan_run(plan, &engine->runtime, ZRT__SEGMENT_FORWARD, NULL));
        ZRT_TRY(zrt__plan_run(plan, &engine->runtime, ZRT__SEGMENT_BACKWARD, NULL));
        ZRT_TRY(first_anywhere(engine, engine->settings.zero.micro_steps == 1, chunk, &found));
        if (found != NONE) {
            *parameter = found;
            *rank_out = r;
            return ZRT_OK;
        }
    }
    return ZRT_OK;
}

static zrt_status name_overflow(zrt_engine *engine, const char *what)
{
    const zrt__group *world = zrt__context_world(engine->context);
    size_t n_fields = engine->model->n_fields;
    float *chunk = zrt__malloc(2 * CHUNK * sizeof *chunk);
    char **saved = zrt__calloc(n_fields + 1, sizeof *saved);
    zrt_status status = chunk != NULL && saved != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    for (size_t f = 0; f < n_fields && status == ZRT_OK; f++) {
        zrt__ref ref = engine->compiled.staging.fields[f];
        size_t bytes = engine->compiled.memory.persistent.items[~ref.buffer].bytes;
        saved[f] = zrt__malloc(bytes);
        if (saved[f] == NULL)
            status = ZRT_ERR_MEMORY;
        else
            memcpy(saved[f], zrt__engine_address(engine, NULL, ref), bytes);
    }
    int64_t parameter = NONE;
    int rank = NONE;
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK)
        status = first_anywhere(engine, true, chunk, &parameter);
    if (status == ZRT_OK)
        status = find_rank(engine, saved, chunk, &parameter, &rank);
    for (size_t f = 0; saved != NULL && f < n_fields; f++)
        free(saved[f]);
    free(saved);
    free(chunk);
    ZRT_TRY(status);
    char where[64] = "in a micro-step before the last";
    if (rank != NONE)
        snprintf(where, sizeof where, "on rank %d", rank);
    return zrt__fail(ZRT_ERR_INPUT,
                     "step %lld: %s: the first parameter with a non-finite gradient is %s, %s; look at its data, lower "
                     "the learning rate, or train in %s",
                     (long long)engine->step, what,
                     parameter != NONE ? engine->model->parameters[parameter].name : "unknown", where,
                     engine->settings.rules.dynamic_loss_scale ? "bf16" : "fp32");
}

/* Without a loss scale that falls, what is not finite stays so. Every so many steps one waits for the device. */
static zrt_status check_skipped(zrt_engine *engine)
{
    char what[128];
    if (engine->step % MOST_SKIPPED != 0)
        return ZRT_OK;
    ZRT_TRY(engine->runtime.device->ops->event_synchronize(engine->metrics_ready));
    const zrt__step_state *state = zrt__engine_address(engine, NULL, engine->compiled.staging.state);
    bool all = engine->checked_step == engine->step - MOST_SKIPPED && state->counted > 0 &&
               state->skipped - engine->checked_skipped == MOST_SKIPPED;
    engine->checked_step = engine->step;
    engine->checked_skipped = state->skipped;
    snprintf(what, sizeof what, "%d steps in a row were skipped, because loss or gradients are not finite",
             MOST_SKIPPED);
    return all ? name_overflow(engine, what) : ZRT_OK;
}

zrt_status zrt__engine_check_scale(zrt_engine *engine)
{
    const zrt__step_rules *rules = &engine->settings.rules;
    char what[128];
    if (!rules->dynamic_loss_scale)
        return check_skipped(engine);
    /* A step halves the scale at most: until it can be at the minimum, nothing waits. */
    bool far = engine->least_loss_scale > 2 * rules->min_loss_scale;
    engine->least_loss_scale /= 2;
    if (far)
        return ZRT_OK;
    ZRT_TRY(engine->runtime.device->ops->event_synchronize(engine->metrics_ready));
    const zrt__step_state *state = zrt__engine_address(engine, NULL, engine->compiled.staging.state);
    engine->least_loss_scale = state->loss_scale;
    snprintf(what, sizeof what, "the gradients overflow and the loss scale is at its minimum, %g", state->loss_scale);
    return state->scale_at_minimum ? name_overflow(engine, what) : ZRT_OK;
}
