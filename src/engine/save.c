/* Saving: this rank's shards, tile by tile, to the saver. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "base/log.h"
#include "checkpoint/patient.h"
#include "checkpoint/run_checkpoints.h"
#include "engine/engine.h"
#include "nn/hf_config.h"

/* Manifests hold the user's state as text. */
#define MAX_USER_BYTES ((size_t)16 << 20)
enum { RING_ALIGNMENT = 4096 };

/* ---- layout ---- */

zrt_status zrt__layout_from(const zrt__zero *zero, const zrt__settings *settings, zrt__layout *layout_out,
                            int **buffer_flat_out)
{
    const zrt_model *model = zero->model;
    zrt__layout layout = {.world = settings->zero.n_ranks, .n_states = settings->zero.update.n_states};
    int *flats = zrt__malloc(((size_t)zero->n_flats + 1) * sizeof *flats);
    int *buffers = zrt__malloc(((size_t)zero->n_flats + 1) * sizeof *buffers);
    zrt_status status = flats != NULL && buffers != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    for (int i = 0; i < layout.n_states; i++)
        snprintf(layout.states[i], sizeof layout.states[i], "%s", zrt__optimizer_state_name(&settings->optimizer, i));
    for (int pass = 0; pass < 2 && status == ZRT_OK; pass++)
        for (int f = 0; f < zero->n_flats && status == ZRT_OK; f++) {
            const zrt__flat *flat = &zero->flats[f];
            if (flat->trainable != (pass == 0))
                continue;
            flats[layout.n_buffers] = f;
            buffers[f] = (int)layout.n_buffers;
            status = zrt__layout_add_buffer(&layout, flat->trainable, flat->n_elements,
                                            flat->n_shards > 1 ? flat->shard_elements : 0);
        }
    for (size_t p = 0; p < model->n_parameters && status == ZRT_OK; p++) {
        const zrt__parameter *parameter = &model->parameters[p];
        int flat = 0;
        int64_t first = 0;
        zrt__zero_locate(zero, (int)p, &flat, &first);
        status = zrt__layout_add_parameter(&layout, parameter->name, parameter->n_dims, parameter->dims, buffers[flat],
                                           first);
    }
    if (status == ZRT_OK)
        status = zrt__layout_finish(&layout);
    free(buffers);
    if (status == ZRT_OK && buffer_flat_out != NULL)
        *buffer_flat_out = flats;
    else
        free(flats);
    if (status != ZRT_OK)
        zrt__layout_free(&layout);
    *layout_out = layout;
    return status;
}

zrt_status zrt__plan_ring(const zrt__zero *zero, const zrt__settings *settings, zrt__memory *memory, zrt__ref *ring_out,
                          int64_t *bytes_out)
{
    zrt__layout layout;
    *bytes_out = 0;
    *ring_out = ZRT__NO_REF;
    if (zero->model->n_parameters == 0)
        return ZRT_OK;
    ZRT_TRY(zrt__layout_from(zero, settings, &layout, NULL));
    *bytes_out = zrt__saver_ring_bytes(&layout, settings->checkpoint_staging_bytes);
    zrt__layout_free(&layout);
    *ring_out = zrt__memory_persistent(memory, ZRT__REGION_PINNED, ZRT__CATEGORY_CHECKPOINT,
                                       (size_t)*bytes_out + RING_ALIGNMENT);
    return memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
}

/* ---- values ---- */

/* What the saver's threads read; it lives as long as the engine. */
typedef struct shard_piece {
    const char *address;
    const zrt__flat *in_file; /* it has no address; its element is at `file_first` of the shard */
    int64_t file_first;
    zrt_dtype dtype;
    int64_t n;      /* elements from here on that lie together */
    int64_t filled; /* of them there are; the rest is padding */
    bool on_host;
} shard_piece;

/* Whether the host has what the optimizer updates of a flat. */
static bool is_on_host(const zrt_engine *engine, const zrt__flat *flat)
{
    return engine->runtime.device->ops == &zrt__device_cpu_ops || flat->on_host;
}

/* Elements of this rank's dataset from `first` on. */
static shard_piece piece_at(const zrt_engine *engine, int dataset, int64_t first)
{
    const zrt__layout *layout = &engine->saving.layout;
    size_t b = 0;
    while (b + 1 < layout->n_buffers && layout->buffers[b + 1].start <= first)
        b++;
    const zrt__layout_buffer *buffer = &layout->buffers[b];
    const zrt__flat *flat = &engine->compiled.zero->flats[engine->saving.buffer_flat[b]];
    int64_t within = first - buffer->start, in_flat = engine->settings.zero.rank * buffer->slice + within;
    if (within >= buffer->slice) /* between two buffers */
        return (shard_piece){.dtype = ZRT_FLOAT32,
                             .n = b + 1 < layout->n_buffers ? layout->buffers[b + 1].start - first : INT64_MAX};
    shard_piece piece = {.dtype = flat->trainable ? ZRT_FLOAT32 : engine->settings.zero.compute_dtype,
                         .n = buffer->slice - within,
                         .on_host = flat->trainable && is_on_host(engine, flat)};
    int64_t left = flat->n_elements - in_flat;
    piece.filled = left < 0 ? 0 : left < piece.n ? left : piece.n;
    bool whole = !flat->trainable && flat->kind == ZRT__FLAT_RESIDENT;
    zrt__ref ref = flat->trainable ? zrt__engine_state_shard(engine, flat, dataset) : flat->parameter;
    if (flat->in_file) {
        piece.in_file = flat;
        piece.file_first = in_flat - flat->shard_first;
        piece.on_host = false;
    } else if (piece.filled > 0)
        piece.address = (const char *)zrt__engine_address(engine, NULL, ref) +
                        (size_t)(in_flat - (whole ? 0 : flat->shard_first)) * zrt_dtype_bytes(piece.dtype);
    return piece;
}

/* Read at once, when what the stream waits for is there. */
static zrt_status read_values(const zrt_engine *engine, const shard_piece *piece, zrt__stream *stream, int dataset,
                              int64_t n, float *out)
{
    if (stream != NULL)
        ZRT_TRY(engine->runtime.device->ops->stream_synchronize(stream));
    return zrt__file_state_read((zrt_engine *)(uintptr_t)engine, piece->in_file, dataset, piece->file_first, n, out);
}

static zrt_status copy_values(void *user, zrt__stream *stream, int dataset, int64_t first, int64_t n, float *out)
{
    const zrt_engine *engine = user;
    const zrt__device_ops *device = engine->runtime.device->ops;
    while (n > 0) {
        shard_piece piece = piece_at(engine, dataset, first);
        int64_t take = piece.n < n ? piece.n : n, filled = piece.filled < take ? piece.filled : take;
        /* 16-bit values go to the upper half of their place, from where they are widened. */
        char *to = (char *)out + (size_t)filled * (sizeof *out - zrt_dtype_bytes(piece.dtype));
        memset(out + filled, 0, (size_t)(take - filled) * sizeof *out);
        if (filled > 0 && piece.in_file != NULL)
            ZRT_TRY(read_values(engine, &piece, stream, dataset, filled, out));
        else if (filled > 0)
            ZRT_TRY(device->copy(stream, to, piece.address, (size_t)filled * zrt_dtype_bytes(piece.dtype)));
        out += take;
        first += take;
        n -= take;
    }
    return ZRT_OK;
}

static void convert_values(void *user, int dataset, int64_t first, int64_t n, float *out)
{
    const zrt_engine *engine = user;
    while (n > 0) {
        shard_piece piece = piece_at(engine, dataset, first);
        int64_t take = piece.n < n ? piece.n : n, filled = piece.filled < take ? piece.filled : take;
        const char *from = (const char *)out + (size_t)filled * sizeof(uint16_t);
        for (int64_t i = 0; i < filled && piece.dtype != ZRT_FLOAT32; i++) {
            uint16_t half;
            memcpy(&half, from + (size_t)i * sizeof half, sizeof half);
            out[i] = piece.dtype == ZRT_FLOAT16 ? zrt__fp16_to_float(half) : zrt__bf16_to_float(half);
        }
        out += take;
        first += take;
        n -= take;
    }
}

static const float *lend_values(void *user, int dataset, int64_t first, int64_t *n_out)
{
    shard_piece piece = piece_at(user, dataset, first);
    bool lends = piece.on_host && piece.dtype == ZRT_FLOAT32 && piece.filled > 0;
    *n_out = lends ? piece.filled : piece.n;
    return lends ? (const float *)(const void *)piece.address : NULL;
}

/* ---- opening and closing ---- */

zrt_status zrt__saving_open(zrt_engine *engine, const zrt_config *config)
{
    zrt__saving *s = &engine->saving;
    const zrt__device_ops *device = engine->runtime.device->ops;
    const zrt__group *world = zrt__context_world(engine->context);
    if (engine->compiled.staging.ring_bytes == 0)
        return ZRT_OK;
    ZRT_TRY(zrt__patient_open(world, &s->group));
    zrt_status status = zrt_config_print((zrt_config *)(uintptr_t)config, engine->settings.zero.n_ranks,
                                         engine->model->info.hidden_size, &s->configuration);
    if (status == ZRT_OK)
        status = zrt__layout_from(engine->compiled.zero, &engine->settings, &s->layout, &s->buffer_flat);
    if (status == ZRT_OK)
        status = device->stream_create(engine->runtime.device, "save", false, &s->stream);
    for (int i = 0; i < ZRT__N_STREAMS && status == ZRT_OK; i++)
        status = device->event_create(engine->runtime.device, &s->ready[i]);
    if (status == ZRT_OK) {
        uintptr_t ring = (uintptr_t)zrt__engine_address(engine, NULL, engine->compiled.staging.ring);
        int64_t tile = zrt__saver_tile_bytes(&s->layout);
        zrt__saver_options options = {.group = s->group,
                                      .stream = s->stream,
                                      .ring = (void *)((ring + RING_ALIGNMENT - 1) / RING_ALIGNMENT * RING_ALIGNMENT),
                                      .tile_bytes = tile,
                                      .n_slots = (int)(engine->compiled.staging.ring_bytes / tile)};
        status = zrt__saver_create(&options, &s->saver);
    }
    return zrt__group_agree(world, status);
}

void zrt__saving_close(zrt_engine *engine)
{
    zrt__saving *s = &engine->saving;
    zrt__saver_destroy(&s->saver);
    if (s->stream != NULL)
        engine->runtime.device->ops->stream_destroy(&s->stream);
    for (int i = 0; i < ZRT__N_STREAMS; i++)
        if (s->ready[i] != NULL)
            engine->runtime.device->ops->event_destroy(&s->ready[i]);
    zrt__patient_close(&s->group);
    if (s->folder != NULL)
        zrt__run_folder_release(&s->lock);
    zrt__layout_free(&s->layout);
    zrt__blobs_free(s->blobs, s->n_blobs);
    free(s->buffer_flat);
    free(s->folder);
    free(s->configuration);
}

/* ---- saving ---- */

zrt_status zrt__share_path(const zrt__group *group, const char *path, char **path_out)
{
    int64_t length = zrt__group_rank(group) == 0 && path != NULL ? (int64_t)strlen(path) : 0;
    *path_out = NULL;
    ZRT_TRY(zrt__group_broadcast(group, &length, sizeof length, 0));
    char *copy = zrt__calloc((size_t)length + 1, 1);
    zrt_status status = zrt__group_agree(group, copy != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK && zrt__group_rank(group) == 0)
        memcpy(copy, path, (size_t)length);
    if (status == ZRT_OK)
        status = zrt__group_broadcast(group, copy, (size_t)length + 1, 0);
    if (status != ZRT_OK) {
        free(copy);
        return status;
    }
    *path_out = copy;
    return ZRT_OK;
}

zrt_status zrt_engine_claim_folder(zrt_engine *engine, const char *folder)
{
    zrt__saving *s = &engine->saving;
    const zrt__group *world = zrt__context_world(engine->context);
    char *path = NULL;
    int lock = -1;
    ZRT_TRY(zrt__share_path(world, folder, &path));
    if (s->folder != NULL && strcmp(s->folder, path) == 0) {
        free(path);
        return ZRT_OK;
    }
    zrt_status status = zrt__group_rank(world) == 0 ? zrt__run_folder_claim(path, &lock) : ZRT_OK;
    status = zrt__group_agree(world, status);
    if (status != ZRT_OK) {
        zrt__run_folder_release(&lock);
        free(path);
        return status;
    }
    if (s->folder != NULL)
        zrt__run_folder_release(&s->lock);
    free(s->folder);
    s->folder = path;
    s->lock = lock;
    return ZRT_OK;
}

static zrt_status copy_blobs(const zrt__saving *s, zrt__manifest *manifest)
{
    for (size_t i = 0; i < s->n_blobs; i++)
        ZRT_TRY(zrt__blobs_set(&manifest->blobs, &manifest->n_blobs, &manifest->blobs_capacity, s->blobs[i].name,
                               s->blobs[i].data, s->blobs[i].bytes));
    return ZRT_OK;
}

static zrt__run_state state_of(const zrt_engine *engine)
{
    const zrt__step_state *state = zrt__engine_address(engine, NULL, engine->compiled.staging.state);
    return (zrt__run_state){.step = engine->step,
                            .skipped = state->skipped,
                            .unskipped = state->unskipped,
                            .samples = engine->samples,
                            .seed = engine->settings.seed,
                            .loss_scale = state->loss_scale,
                            .scaler_iteration = state->scaler_iteration,
                            .last_overflow = state->last_overflow,
                            .hysteresis_left = state->hysteresis_left,
                            .scale_at_minimum = state->scale_at_minimum,
                            .loss = state->loss,
                            .grad_norm = state->grad_norm,
                            .used_learning_rate = state->used_learning_rate,
                            .used_loss_scale = state->used_loss_scale,
                            .counted = state->counted};
}

/* Weights that a run starts from: as those of a Hugging Face folder, with no states and no past. */
static zrt_status fill_parameters_only(zrt_engine *engine, zrt__manifest *m)
{
    zrt_dtype dtype = engine->settings.zero.compute_dtype;
    zrt__settings settings = engine->settings;
    settings.zero.update.n_states = 0;
    *m = (zrt__manifest){.state = {.loss_scale = 1, .last_overflow = -1, .hysteresis_left = 1},
                         .stage = settings.zero.stage,
                         .metric = (double)NAN,
                         .model_name = zrt__strdup(engine->model->name),
                         .compute_dtype = zrt__strdup(zrt_dtype_name(dtype))};
    if (m->model_name == NULL || m->compute_dtype == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__hf_config_text(engine->model, dtype, &m->model_config);
    if (status != ZRT_OK && status != ZRT_ERR_NOT_SUPPORTED)
        return status;
    return zrt__layout_from(engine->compiled.zero, &settings, &m->layout, NULL);
}

static zrt_status fill_manifest(zrt_engine *engine, const zrt_save_options *options, zrt__manifest *m)
{
    if (options->parameters_only)
        return fill_parameters_only(engine, m);
    zrt_dtype dtype = engine->settings.zero.compute_dtype;
    *m = (zrt__manifest){.state = state_of(engine),
                         .stage = engine->settings.zero.stage,
                         .metric = options->has_metric ? options->metric : (double)NAN,
                         .metric_name = zrt__strdup(options->metric_name != NULL ? options->metric_name : "eval_loss"),
                         .greater_is_better = options->greater_is_better,
                         .model_name = zrt__strdup(engine->model->name),
                         .configuration = zrt__strdup(engine->saving.configuration),
                         .optimizer = zrt__strdup(zrt__optimizer_type_name(engine->settings.optimizer.type)),
                         .compute_dtype = zrt__strdup(zrt_dtype_name(dtype))};
    if (m->metric_name == NULL || m->model_name == NULL || m->configuration == NULL || m->optimizer == NULL ||
        m->compute_dtype == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__hf_config_text(engine->model, dtype, &m->model_config);
    if (status != ZRT_OK && status != ZRT_ERR_NOT_SUPPORTED)
        return status;
    ZRT_TRY(zrt__layout_from(engine->compiled.zero, &engine->settings, &m->layout, NULL));
    return copy_blobs(&engine->saving, m);
}

zrt_status zrt_engine_save_async(zrt_engine *engine, const char *folder, const zrt_save_options *options)
{
    static const zrt_save_options none = {0};
    zrt__saving *s = &engine->saving;
    const zrt__device_ops *device = engine->runtime.device->ops;
    const zrt__group *world = zrt__context_world(engine->context);
    if (engine->backward_due || engine->update_due || engine->micro_step != 0)
        return zrt__fail(ZRT_ERR_USAGE,
                         "zrt_engine_save between micro-steps: save after the last one's zrt_engine_step");
    if (s->saver == NULL)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "model %s has no parameters to save", engine->model->name);
    zrt__saver_wait(s->saver); /* its failure has been logged */
    ZRT_TRY(zrt_engine_claim_folder(engine, folder));
    zrt__manifest manifest = {0};
    bool lends =
        engine->runtime.device->ops == &zrt__device_cpu_ops || engine->settings.zero.offload != ZRT__OFFLOAD_NONE;
    zrt_status status = device->event_synchronize(engine->metrics_ready);
    if (status == ZRT_OK)
        status = zrt_engine_check(engine);
    /* Whichever stream the update runs on, what it leaves is what is saved. */
    for (int i = 0; i < ZRT__N_STREAMS; i++) {
        if (status == ZRT_OK && engine->runtime.streams[i] != NULL)
            status = device->event_record(s->ready[i], engine->runtime.streams[i]);
        if (status == ZRT_OK && engine->runtime.streams[i] != NULL)
            status = device->event_wait(s->ready[i], s->stream);
    }
    if (status == ZRT_OK && zrt__engine_speculation(engine) != NULL) /* which copy of the states counts */
        status = device->stream_synchronize(engine->runtime.streams[ZRT__STREAM_HOST]);
    if (status == ZRT_OK)
        status = fill_manifest(engine, options != NULL ? options : &none, &manifest);
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK) {
        zrt__save_request request = {.folder = s->folder,
                                     .manifest = &manifest,
                                     .source = {engine, copy_values, convert_values, lends ? lend_values : NULL},
                                     .keep_last = options != NULL ? options->keep_last : 0,
                                     .keep_best = options != NULL ? options->keep_best : 0};
        status = zrt__saver_start(s->saver, &request);
    }
    zrt__manifest_free(&manifest);
    return status;
}

zrt_status zrt_engine_save_wait(zrt_engine *engine)
{
    return engine->saving.saver != NULL ? zrt__saver_wait(engine->saving.saver) : ZRT_OK;
}

zrt_status zrt_engine_save(zrt_engine *engine, const char *folder, const zrt_save_options *options)
{
    ZRT_TRY(zrt_engine_save_async(engine, folder, options));
    return zrt_engine_save_wait(engine);
}

int64_t zrt_engine_step_count(const zrt_engine *engine)
{
    return engine->step;
}

/* ---- user state ---- */

zrt_status zrt_engine_set_user_state(zrt_engine *engine, const char *name, const void *data, size_t bytes)
{
    zrt__saving *s = &engine->saving;
    size_t total = data != NULL ? bytes : 0;
    for (size_t i = 0; i < s->n_blobs; i++)
        if (strcmp(s->blobs[i].name, name) != 0)
            total += s->blobs[i].bytes;
    if (total > MAX_USER_BYTES)
        return zrt__fail(ZRT_ERR_USAGE, "user state %s: %zu bytes in all; %zu are possible", name, total,
                         MAX_USER_BYTES);
    return zrt__blobs_set(&s->blobs, &s->n_blobs, &s->blobs_capacity, name, data, bytes);
}

zrt_status zrt_engine_get_user_state(const zrt_engine *engine, const char *name, const void **data_out,
                                     size_t *bytes_out)
{
    const zrt__user_blob *blob = zrt__blobs_find(engine->saving.blobs, engine->saving.n_blobs, name);
    *data_out = blob != NULL ? blob->data : NULL;
    *bytes_out = blob != NULL ? blob->bytes : 0;
    return blob != NULL ? ZRT_OK : ZRT_END;
}
