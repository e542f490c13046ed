/* Loading a checkpoint, and what the tools ask of one. */
#include "config.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/run_checkpoints.h"
#include "config/resolved.h"
#include "engine/engine.h"

/* Elements that are read and copied at a time. */
#define CHUNK 262144

typedef struct loading {
    zrt_engine *engine;
    const zrt_load_options *options;
    zrt__restore *restore;
    const zrt__layout *layout;                /* of the checkpoint */
    int datasets[ZRT__CHECKPOINT_MAX_STATES]; /* by state of this engine: its dataset there; 0: not there */
} loading;

static bool is_excluded(const loading *l, const char *dataset, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dataset, name);
    for (int i = 0; i < l->options->n_excluded; i++)
        if (fnmatch(l->options->excluded[i], path, 0) == 0)
            return true;
    return false;
}

/* ---- whether it fits ---- */

static void shape_text(int n_dims, const int64_t *dims, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "[");
    for (int i = 0; i < n_dims && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%" PRId64, i > 0 ? ", " : "", dims[i]);
    if (used < bytes)
        snprintf(text + used, bytes - used, "]");
}

static zrt_status check_parameter(const loading *l, const char *folder, const zrt__parameter *parameter)
{
    const zrt__layout_parameter *there = zrt__layout_parameter_find(l->layout, parameter->name);
    const char *model = l->engine->model->name, *other = zrt__restore_manifest(l->restore)->model_name;
    char mine[128], theirs[128];
    if (there == NULL)
        return is_excluded(l, "parameters", parameter->name)
                   ? ZRT_OK
                   : zrt__fail(ZRT_ERR_INPUT, "%s: is of another model (%s): it has no parameter %s of model %s",
                               folder, other, parameter->name, model);
    if (there->n_dims == parameter->n_dims &&
        memcmp(there->dims, parameter->dims, (size_t)there->n_dims * sizeof *there->dims) == 0)
        return ZRT_OK;
    shape_text(parameter->n_dims, parameter->dims, mine, sizeof mine);
    shape_text(there->n_dims, there->dims, theirs, sizeof theirs);
    return zrt__fail(ZRT_ERR_INPUT, "%s: is of another model (%s): parameter %s is %s there and %s in model %s", folder,
                     other, parameter->name, theirs, mine, model);
}

static zrt_status check_states(loading *l, const char *folder)
{
    const zrt__settings *settings = &l->engine->settings;
    const zrt__manifest *manifest = zrt__restore_manifest(l->restore);
    for (int i = 0; i < settings->zero.update.n_states; i++) {
        const char *name = zrt__optimizer_state_name(&settings->optimizer, i);
        for (int d = 0; d < l->layout->n_states; d++)
            if (strcmp(l->layout->states[d], name) == 0)
                l->datasets[i] = 1 + d;
        if (l->datasets[i] == 0 && manifest->optimizer != NULL && !is_excluded(l, name, ""))
            return zrt__fail(
                ZRT_ERR_INPUT,
                "%s: was saved with optimizer %s and has no %s, which optimizer %s keeps; use that optimizer, "
                "or exclude '%s/*'",
                folder, manifest->optimizer, name, zrt__optimizer_type_name(settings->optimizer.type), name);
    }
    return ZRT_OK;
}

static zrt_status check(loading *l, const char *folder)
{
    const zrt_model *model = l->engine->model;
    for (size_t p = 0; p < model->n_parameters; p++)
        ZRT_TRY(check_parameter(l, folder, &model->parameters[p]));
    for (size_t p = 0; p < l->layout->n_parameters; p++)
        if (zrt__model_find_parameter(model, l->layout->parameters[p].name) < 0 &&
            !is_excluded(l, "parameters", l->layout->parameters[p].name))
            return zrt__fail(ZRT_ERR_INPUT, "%s: is of another model (%s): model %s has no parameter %s", folder,
                             zrt__restore_manifest(l->restore)->model_name, model->name, l->layout->parameters[p].name);
    return check_states(l, folder);
}

/* ---- values ---- */

static zrt_status parameter_values(void *user, const zrt__parameter *parameter, int64_t first, int64_t n, float *out)
{
    loading *l = user;
    return zrt__restore_read(l->restore, 0, zrt__layout_parameter_find(l->layout, parameter->name), first, n, out);
}

static bool parameter_is_wanted(void *user, const zrt__parameter *parameter)
{
    loading *l = user;
    return !is_excluded(l, "parameters", parameter->name);
}

/* This rank's part of one state of one parameter. */
static zrt_status load_state(loading *l, int state, size_t p, float *chunk)
{
    zrt_engine *engine = l->engine;
    const zrt__device_ops *device = engine->runtime.device->ops;
    zrt__stream *stream = zrt__engine_stream(engine);
    const zrt__parameter *parameter = &engine->model->parameters[p];
    const char *name = zrt__optimizer_state_name(&engine->settings.optimizer, state);
    const zrt__layout_parameter *there = zrt__layout_parameter_find(l->layout, parameter->name);
    int index = 0;
    int64_t start = 0;
    zrt__zero_locate(engine->compiled.zero, (int)p, &index, &start);
    const zrt__flat *flat = &engine->compiled.zero->flats[index];
    if (!flat->trainable || is_excluded(l, name, parameter->name))
        return ZRT_OK;
    bool zeros = zrt__restore_manifest(l->restore)->optimizer == NULL; /* an imported model has none by design */
    if (!zeros && !l->layout->buffers[there->buffer].trainable)
        return zrt__fail(ZRT_ERR_INPUT,
                         "parameter %s was frozen when the checkpoint was saved and has no %s there; freeze it, or "
                         "exclude '%s/%s'",
                         parameter->name, name, name, parameter->name);
    int64_t from = flat->shard_first - start, to = from + flat->shard_elements;
    from = from > 0 ? from : 0;
    to = to < parameter->n_elements ? to : parameter->n_elements;
    float *values = zrt__engine_address(engine, NULL, zrt__engine_state_shard(engine, flat, 1 + state));
    for (int64_t at = from; at < to; at += CHUNK) {
        int64_t n = to - at < CHUNK ? to - at : CHUNK;
        if (zeros)
            memset(chunk, 0, (size_t)n * sizeof *chunk);
        else
            ZRT_TRY(zrt__restore_read(l->restore, l->datasets[state], there, at, n, chunk));
        if (flat->in_file) {
            ZRT_TRY(zrt__file_state_write(engine, flat, 1 + state, start + at - flat->shard_first, n, chunk));
            continue;
        }
        ZRT_TRY(device->copy(stream, values + (start + at - flat->shard_first), chunk, (size_t)n * sizeof *chunk));
        ZRT_TRY(device->stream_synchronize(stream));
    }
    return ZRT_OK;
}

static zrt_status load_values(loading *l)
{
    zrt_engine *engine = l->engine;
    ZRT_TRY(zrt__parameters_fill(engine, parameter_values, parameter_is_wanted, l, false));
    float *chunk = zrt__malloc(CHUNK * sizeof *chunk);
    zrt_status status = chunk != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    for (int s = 0; s < engine->settings.zero.update.n_states; s++)
        for (size_t p = 0; p < engine->model->n_parameters && status == ZRT_OK; p++)
            if (l->datasets[s] > 0 || zrt__restore_manifest(l->restore)->optimizer == NULL)
                status = load_state(l, s, p, chunk);
    free(chunk);
    return status;
}

static zrt_status load_scalars(loading *l)
{
    zrt_engine *engine = l->engine;
    const zrt__run_state *saved = &zrt__restore_manifest(l->restore)->state;
    const zrt__device_ops *device = engine->runtime.device->ops;
    zrt__step_state *state = zrt__engine_address(engine, NULL, engine->compiled.staging.state);
    if (saved->seed != engine->settings.seed && zrt__group_rank(engine->saving.group) == 0)
        zrt__log(ZRT_LOG_WARNING,
                 "the checkpoint was saved with seed %" PRIu64 " and this run has %" PRIu64
                 ": dropout goes on with that of the checkpoint",
                 saved->seed, engine->settings.seed);
    engine->settings.seed = saved->seed;
    *state = (zrt__step_state){.seed = saved->seed,
                               .step = saved->step,
                               .grad_norm = saved->grad_norm,
                               .loss = saved->loss,
                               .used_loss_scale = saved->used_loss_scale,
                               .used_learning_rate = saved->used_learning_rate,
                               .counted = saved->counted,
                               .unskipped = saved->unskipped,
                               .skipped = saved->skipped,
                               .loss_scale = saved->loss_scale,
                               .scaler_iteration = saved->scaler_iteration,
                               .last_overflow = saved->last_overflow,
                               .hysteresis_left = (int32_t)saved->hysteresis_left,
                               .scale_at_minimum = (int32_t)saved->scale_at_minimum};
    /* Another precision has another scaler, which starts anew. */
    const char *dtype = zrt_dtype_name(engine->settings.zero.compute_dtype);
    if (strcmp(dtype, zrt__restore_manifest(l->restore)->compute_dtype) != 0 ||
        zrt__restore_manifest(l->restore)->optimizer == NULL || !engine->settings.rules.dynamic_loss_scale) {
        state->loss_scale = engine->settings.initial_loss_scale;
        state->scaler_iteration = 0;
        state->last_overflow = -1;
        state->hysteresis_left = engine->settings.rules.hysteresis;
        state->scale_at_minimum = 0;
    }
    engine->step = saved->step;
    engine->least_loss_scale = 0;
    engine->samples = saved->samples;
    engine->micro_step = 0;
    engine->backward_due = engine->update_due = engine->loss.valid = false;
    ZRT_TRY(zrt__engine_upload_rates(engine));
    ZRT_TRY(device->copy(zrt__engine_stream(engine), zrt__engine_address(engine, NULL, engine->compiled.zero->state),
                         state, sizeof *state));
    ZRT_TRY(device->event_record(engine->metrics_ready, zrt__engine_stream(engine)));
    return device->stream_synchronize(zrt__engine_stream(engine));
}

static zrt_status load_blobs(loading *l)
{
    const zrt__manifest *manifest = zrt__restore_manifest(l->restore);
    zrt__saving *s = &l->engine->saving;
    zrt__blobs_free(s->blobs, s->n_blobs);
    s->blobs = NULL;
    s->n_blobs = s->blobs_capacity = 0;
    for (size_t i = 0; i < manifest->n_blobs; i++)
        ZRT_TRY(zrt__blobs_set(&s->blobs, &s->n_blobs, &s->blobs_capacity, manifest->blobs[i].name,
                               manifest->blobs[i].data, manifest->blobs[i].bytes));
    return ZRT_OK;
}

/* One line of what is not as it was; loading another way is allowed, not knowing of it is not. */
static zrt_status report_differences(const loading *l, const char *folder)
{
    const zrt__manifest *m = zrt__restore_manifest(l->restore);
    char values[1024] = "", world[64] = "";
    if (m->configuration == NULL || zrt__group_rank(l->engine->saving.group) != 0)
        return ZRT_OK;
    ZRT_TRY(zrt__resolved_difference(m->configuration, l->engine->saving.configuration, values, sizeof values));
    if (m->layout.world != l->engine->settings.zero.n_ranks)
        snprintf(world, sizeof world, "%d -> %d ranks%s", m->layout.world, l->engine->settings.zero.n_ranks,
                 *values != '\0' ? ", " : "");
    if (*world != '\0' || *values != '\0')
        zrt__log(ZRT_LOG_INFO, "%s was saved with another configuration: %s%s", folder, world, values);
    return ZRT_OK;
}

static zrt_status load_one(zrt_engine *engine, const char *folder, const zrt_load_options *options)
{
    const zrt__group *group = engine->saving.group;
    loading l = {.engine = engine, .options = options};
    zrt_status status = zrt__restore_open(folder, group, &l.restore);
    if (status == ZRT_OK) {
        l.layout = &zrt__restore_manifest(l.restore)->layout;
        status = check(&l, folder);
    }
    status = zrt__group_agree(group, status);
    if (status == ZRT_OK)
        status = zrt__group_agree(group, load_values(&l));
    if (status == ZRT_OK)
        status = zrt__restore_verify_rest(l.restore);
    if (status == ZRT_OK)
        status = zrt__group_agree(group, load_scalars(&l));
    if (status == ZRT_OK)
        status = zrt__group_agree(group, load_blobs(&l));
    if (status == ZRT_OK)
        status = zrt__group_agree(group, report_differences(&l, folder));
    zrt__restore_close(&l.restore);
    return status;
}

/* ---- which ---- */

/* Rank 0's list of a run folder's checkpoints, on all ranks. */
static zrt_status share_list(const zrt__group *group, const char *folder, int64_t **steps_out, size_t *n_out)
{
    int64_t count = 0;
    size_t n = 0;
    int64_t *steps = NULL;
    struct stat info;
    zrt_status status = ZRT_OK;
    *steps_out = NULL;
    if (zrt__group_rank(group) == 0) {
        if (stat(folder, &info) != 0)
            status = zrt__fail(ZRT_ERR_INPUT, "%s: there is no such folder", folder);
        else
            status = zrt__checkpoint_list(folder, &steps, &n);
        count = (int64_t)n;
    }
    status = zrt__group_agree(group, status);
    if (status == ZRT_OK)
        status = zrt__group_broadcast(group, &count, sizeof count, 0);
    if (status == ZRT_OK && zrt__group_rank(group) != 0)
        steps = zrt__malloc(((size_t)count + 1) * sizeof *steps);
    if (status == ZRT_OK)
        status = zrt__group_agree(group, steps == NULL && count > 0 ? ZRT_ERR_MEMORY : ZRT_OK);
    if (status == ZRT_OK && count > 0)
        status = zrt__group_broadcast(group, steps, (size_t)count * sizeof *steps, 0);
    if (status != ZRT_OK) {
        free(steps);
        return status;
    }
    *steps_out = steps;
    *n_out = (size_t)count;
    return ZRT_OK;
}

static zrt_status load_newest(zrt_engine *engine, const char *folder, const zrt_load_options *options)
{
    const zrt__group *group = engine->saving.group;
    int64_t *steps = NULL;
    size_t n = 0;
    ZRT_TRY(share_list(group, folder, &steps, &n));
    zrt_status status = ZRT_END;
    for (size_t i = 0; i < n; i++) {
        char *path = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, steps[i]);
        status = zrt__group_agree(group, path != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
        if (status == ZRT_OK)
            status = load_one(engine, path, options);
        free(path);
        /* What another one could be better in. */
        bool goes_on = options->fall_back && i + 1 < n && (status == ZRT_ERR_INPUT || status == ZRT_ERR_IO);
        if (!goes_on)
            break;
        if (zrt__group_rank(group) == 0)
            zrt__log(ZRT_LOG_WARNING, "%s; trying " ZRT__CHECKPOINT_PREFIX "%" PRId64, zrt_error_message(),
                     steps[i + 1]);
    }
    free(steps);
    return status;
}

zrt_status zrt_engine_load(zrt_engine *engine, const char *folder, const zrt_load_options *options)
{
    static const zrt_load_options none = {0};
    const zrt__group *group = engine->saving.group;
    if (engine->backward_due || engine->update_due || engine->saving.saver == NULL)
        return zrt__fail(ZRT_ERR_USAGE, "zrt_engine_load in the middle of a step, or of a model without parameters");
    zrt__saver_wait(engine->saving.saver);
    ZRT_TRY(zrt__group_agree(group, zrt__engine_synchronize(engine)));
    char *path = NULL;
    ZRT_TRY(zrt__share_path(group, folder, &path));
    unsigned char is_one = zrt__group_rank(group) == 0 && zrt__is_checkpoint(path);
    zrt_status status = zrt__group_broadcast(group, &is_one, 1, 0);
    options = options != NULL ? options : &none;
    if (status == ZRT_OK)
        status = is_one ? load_one(engine, path, options) : load_newest(engine, path, options);
    free(path);
    return status;
}
