/* Creating an engine: resolve, plan, compare between ranks, check that it fits, allocate, initialise. */
#include "config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"

zrt__stream *zrt__engine_stream(const zrt_engine *engine)
{
    return engine->runtime.streams[ZRT__STREAM_COMPUTE];
}

void *zrt__engine_address(const zrt_engine *engine, const zrt__plan *plan, zrt__ref ref)
{
    return zrt__memory_address(&engine->compiled.memory, plan, ref);
}

const zrt__speculation *zrt__engine_speculation(const zrt_engine *engine)
{
    zrt__ref control = engine->compiled.zero->control;
    return zrt__ref_is_none(control) ? NULL : zrt__engine_address(engine, NULL, control);
}

zrt__ref zrt__engine_state_shard(const zrt_engine *engine, const zrt__flat *flat, int which)
{
    const zrt__speculation *control = zrt__engine_speculation(engine);
    return zrt__state_shard(flat, which, control != NULL && flat->on_host ? control->current : 0);
}

zrt_status zrt__engine_synchronize(zrt_engine *engine)
{
    zrt_status worst = ZRT_OK;
    for (int i = 0; i < ZRT__N_STREAMS; i++) {
        if (engine->runtime.streams[i] == NULL)
            continue;
        zrt_status status = engine->runtime.device->ops->stream_synchronize(engine->runtime.streams[i]);
        if (worst == ZRT_OK)
            worst = status;
    }
    return worst;
}

zrt_status zrt__engine_failure(const zrt_engine *engine)
{
    for (int i = 0; i < ZRT__N_STREAMS; i++)
        if (engine->runtime.streams[i] != NULL)
            ZRT_TRY(engine->runtime.device->ops->stream_failure(engine->runtime.streams[i]));
    return ZRT_OK;
}

/* ---- memory ---- */

static zrt__memory_class memory_class(zrt__region region)
{
    return region == ZRT__REGION_PAGEABLE ? ZRT__MEMORY_PAGEABLE
           : region == ZRT__REGION_PINNED ? ZRT__MEMORY_PINNED
                                          : ZRT__MEMORY_DEVICE;
}

static zrt_status take(zrt_engine *engine, zrt__region region, bool scratch)
{
    zrt__memory *memory = &engine->compiled.memory;
    const zrt__device_ops *device = engine->runtime.device->ops;
    zrt__comm *comm = engine->runtime.comms[ZRT__STREAM_GATHER];
    size_t bytes = scratch ? memory->scratch_bytes[region] : memory->persistent_bytes[region];
    char **base = scratch ? &memory->scratch_base[region] : &memory->persistent_base[region];
    void *data = NULL;
    if (bytes == 0)
        return ZRT_OK;
    if (region == ZRT__REGION_REGISTERED)
        ZRT_TRY(comm->ops->allocate(comm, bytes, &engine->registered[scratch], &data));
    else
        ZRT_TRY(device->allocate(engine->runtime.device, memory_class(region), bytes, &data));
    *base = data;
    return ZRT_OK;
}

static void give_back(zrt_engine *engine, zrt__region region, bool scratch, size_t bytes)
{
    zrt__memory *memory = &engine->compiled.memory;
    zrt__comm *comm = engine->runtime.comms[ZRT__STREAM_GATHER];
    char **base = scratch ? &memory->scratch_base[region] : &memory->persistent_base[region];
    if (*base == NULL)
        return;
    if (region == ZRT__REGION_REGISTERED)
        comm->ops->release(comm, &engine->registered[scratch]);
    else
        engine->runtime.device->ops->release(engine->runtime.device, memory_class(region), *base, bytes);
    *base = NULL;
}

zrt_status zrt__engine_bind(zrt_engine *engine)
{
    for (int v = 0; v < ZRT__N_VARIANTS; v++)
        if (engine->compiled.train[v] != NULL)
            ZRT_TRY(zrt__plan_bind(engine->compiled.train[v], &engine->runtime));
    ZRT_TRY(zrt__plan_bind(engine->compiled.evaluation, &engine->runtime));
    if (engine->generation.plan != NULL)
        ZRT_TRY(zrt__plan_bind(engine->generation.plan, &engine->runtime));
    return ZRT_OK;
}

static zrt_status allocate(zrt_engine *engine)
{
    const zrt__group *world = zrt__context_world(engine->context);
    for (int region = 0; region < ZRT__N_REGIONS; region++) {
        for (int scratch = 0; scratch < 2; scratch++)
            ZRT_TRY(zrt__group_agree(world, take(engine, (zrt__region)region, scratch == 1)));
    }
    return zrt__engine_bind(engine);
}

/* ---- values that start a run ---- */

zrt_status zrt__engine_upload_rates(zrt_engine *engine)
{
    zrt__settings *settings = &engine->settings;
    int64_t n = settings->rules.n_learning_rates, half = n / 2;
    /* Where the number of steps is not known the table is a ring, half of which is renewed at a time. */
    int64_t first = settings->max_steps > 0 ? 0 : engine->step / half * half;
    double *rates = zrt__engine_address(engine, NULL, engine->compiled.staging.rates);
    for (int64_t i = first; i < first + n; i++)
        rates[i % n] = zrt__schedule_rate(&settings->schedule, i);
    settings->rules.learning_rates = zrt__engine_address(engine, NULL, engine->compiled.zero->rates);
    return engine->runtime.device->ops->copy(zrt__engine_stream(engine), (void *)settings->rules.learning_rates, rates,
                                             (size_t)n * sizeof *rates);
}

static zrt_status upload(zrt_engine *engine)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    zrt__zero *zero = engine->compiled.zero;
    zrt__stream *stream = zrt__engine_stream(engine);
    zrt__settings *settings = &engine->settings;
    for (size_t i = 0; i < zero->n_constants; i++)
        ZRT_TRY(device->copy(stream, zrt__engine_address(engine, NULL, zero->constants[i].ref),
                             zero->constants[i].values, (size_t)zero->constants[i].n_elements * sizeof(float)));
    ZRT_TRY(zrt__engine_upload_rates(engine));
    zrt__step_state *state = zrt__engine_address(engine, NULL, engine->compiled.staging.state);
    *state = (zrt__step_state){.seed = settings->seed,
                               .loss_scale = settings->initial_loss_scale,
                               .last_overflow = -1,
                               .hysteresis_left = settings->rules.hysteresis};
    ZRT_TRY(device->copy(stream, zrt__engine_address(engine, NULL, zero->state), state, sizeof *state));
    return device->stream_synchronize(stream);
}

/* ---- agreement ---- */

static zrt_status compare(zrt_engine *engine, const zrt__resolved *resolved)
{
    const zrt__group *world = zrt__context_world(engine->context);
    int size = zrt__group_size(world), rank = zrt__group_rank(world);
    uint64_t mine[2] = {zrt__resolved_hash(resolved), engine->compiled.hash};
    uint64_t *all = zrt__malloc((size_t)size * sizeof mine);
    if (all == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__group_all_gather(world, mine, all, sizeof mine);
    int config = -1, schedule = -1;
    for (int r = size - 1; r > 0 && status == ZRT_OK; r--) {
        if (all[2 * r] != all[0])
            config = r;
        if (all[2 * r + 1] != all[1])
            schedule = r;
    }
    free(all);
    if (status == ZRT_OK && config > 0) {
        /* Rank 0's items, one after the other, against that rank's. */
        int n = zrt__resolved_n_items(resolved);
        for (int i = 0; i < n && status == ZRT_OK; i++) {
            char item[256] = "", first[256] = "";
            zrt__resolved_item(resolved, i, item, sizeof item);
            memcpy(first, item, sizeof first);
            status = zrt__group_broadcast(world, first, sizeof first, 0);
            char *items = zrt__calloc((size_t)size, sizeof item);
            if (status == ZRT_OK && items == NULL)
                status = ZRT_ERR_MEMORY;
            if (status == ZRT_OK)
                status = zrt__group_all_gather(world, item, items, sizeof item);
            for (int r = 1; r < size && status == ZRT_OK; r++)
                if (strcmp(items + (size_t)r * sizeof item, first) != 0)
                    status = zrt__fail(ZRT_ERR_CONFIG,
                                       "rank %d was started with another configuration: %s there, %s on rank 0; "
                                       "give all ranks the same files and options",
                                       r, items + (size_t)r * sizeof item, first);
            free(items);
        }
        if (status == ZRT_OK)
            status = zrt__fail(ZRT_ERR_CONFIG, "rank %d was started with another configuration than rank 0", config);
    }
    if (status == ZRT_OK && schedule > 0)
        status = zrt__fail(ZRT_ERR_CONFIG,
                           "rank %d planned another schedule than rank 0 (model %s on rank %d, %lld elements): "
                           "give all ranks the same model and the same binary",
                           schedule, engine->model->name, rank, (long long)zrt_model_n_elements(engine->model));
    return zrt__group_agree(world, status);
}

static zrt_status create(zrt_engine *engine, const zrt_config *config)
{
    const zrt__group *world = zrt__context_world(engine->context);
    zrt__resolved *resolved = NULL;
    zrt_status status =
        zrt__config_resolve(config, zrt_size(engine->context), engine->model->info.hidden_size, 0, &resolved);
    if (status == ZRT_OK)
        status = zrt__settings_from(resolved, engine->model, &engine->settings);
    engine->settings.zero.rank = zrt_rank(engine->context);
    engine->settings.zero.n_ranks = zrt_size(engine->context);
    engine->settings.zero.rules = &engine->settings.rules;
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK && engine->settings.ratio_auto && engine->settings.device_memory == 0)
        status = zrt__engine_ask_device(engine);
    if (status == ZRT_OK)
        status = zrt__compiled_create(engine->model, &engine->settings, &engine->compiled);
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK)
        status = compare(engine, resolved);
    if (status == ZRT_OK && engine->settings.watch.dump_state)
        status = zrt__resolved_print(resolved, &engine->watch.state);
    zrt__resolved_destroy(&resolved);
    status = zrt__group_agree(world, status);
    if (status != ZRT_OK)
        return status;
    ZRT_TRY(zrt__engine_open_device(engine));
    ZRT_TRY(zrt__engine_open_streams(engine));
    ZRT_TRY(zrt__group_agree(world, zrt__engine_check_memory(engine)));
    ZRT_TRY(zrt__engine_open_comms(engine));
    ZRT_TRY(zrt__engine_open_files(engine));
    ZRT_TRY(allocate(engine));
    ZRT_TRY(zrt__saving_open(engine, config));
    ZRT_TRY(zrt__group_agree(world, upload(engine)));
    return zrt__group_agree(world, zrt__parameters_initialize(engine));
}

zrt_status zrt_engine_create(zrt_context *context, zrt_model *model, const zrt_config *config, zrt_engine **engine_out)
{
    zrt_engine *engine = zrt__calloc(1, sizeof *engine);
    zrt_status status = zrt__group_agree(zrt__context_world(context), engine != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status != ZRT_OK) {
        free(engine);
        return status;
    }
    engine->context = context;
    engine->model = model;
    engine->loss.engine = engine;
    status = create(engine, config);
    if (status != ZRT_OK) {
        zrt_engine_destroy(&engine);
        return status;
    }
    *engine_out = engine;
    return ZRT_OK;
}

void zrt_engine_destroy(zrt_engine **engine)
{
    if (engine == NULL || *engine == NULL)
        return;
    zrt_engine *e = *engine;
    if (e->runtime.device != NULL) {
        const zrt__device_ops *device = e->runtime.device->ops;
        zrt__saving_close(e);
        for (int i = 0; i < ZRT__N_STREAMS; i++)
            if (e->runtime.streams[i] != NULL)
                device->stream_destroy(&e->runtime.streams[i]);
        zrt__engine_close_files(e);
        for (int region = 0; region < ZRT__N_REGIONS; region++) {
            give_back(e, (zrt__region)region, true, e->compiled.memory.scratch_bytes[region]);
            give_back(e, (zrt__region)region, false, e->compiled.memory.persistent_bytes[region]);
        }
        for (int i = 0; e->runtime.marks != NULL && i < e->compiled.memory.n_marks; i++)
            if (e->runtime.marks[i] != NULL)
                device->event_destroy(&e->runtime.marks[i]);
        free(e->runtime.marks);
        if (e->staged != NULL)
            device->event_destroy(&e->staged);
        if (e->metrics_ready != NULL)
            device->event_destroy(&e->metrics_ready);
        if (e->loss.event != NULL)
            device->event_destroy(&e->loss.event);
    }
    zrt__watch_free(&e->watch);
    zrt__trace_free(&e->trace);
    zrt__trace_free(&e->timed.trace);
    free(e->trace_path);
    zrt__plan_destroy(&e->generation.plan);
    zrt__build_destroy(&e->generation.prompt);
    zrt__build_destroy(&e->generation.token);
    zrt__compiled_free(&e->compiled);
    for (int i = 0; i < ZRT__N_STREAMS; i++)
        if (e->runtime.comms[i] != NULL)
            e->runtime.comms[i]->ops->close(&e->runtime.comms[i]);
    if (e->runtime.device != NULL)
        e->runtime.device->ops->close(&e->runtime.device);
    free(e);
    *engine = NULL;
}

size_t zrt_engine_memory_bytes(const zrt_engine *engine)
{
    const zrt__comm *comm = engine->runtime.comms[ZRT__STREAM_GATHER];
    return engine->runtime.device->ops->allocated_bytes(engine->runtime.device) + comm->ops->allocated_bytes(comm);
}

size_t zrt_engine_planned_bytes(const zrt_engine *engine)
{
    return zrt__memory_total(&engine->compiled.memory);
}
