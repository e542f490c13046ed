/* Parameters: initial values, and whole tensors out of their shards. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "base/random.h"
#include "engine/engine.h"

/* Elements that are moved between ranks at a time. */
#define CHUNK 262144

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

zrt_status zrt__parameter_initial(void *user, const zrt__parameter *parameter, int64_t first, int64_t n, float *out)
{
    const uint64_t *seed = user;
    uint64_t key = zrt__hash_mix(*seed, zrt__hash_bytes(11, parameter->name, strlen(parameter->name)));
    float scale = parameter->init.scale;
    switch (parameter->init.kind) {
    case ZRT_INIT_ZERO:
    case ZRT_INIT_ONE:
        for (int64_t i = 0; i < n; i++)
            out[i] = parameter->init.kind == ZRT_INIT_ONE ? 1.0f : 0.0f;
        return ZRT_OK;
    case ZRT_INIT_NORMAL:
        zrt__random_normal(key, (uint64_t)first, (size_t)n, out);
        break;
    case ZRT_INIT_UNIFORM:
        zrt__random_uniform(key, (uint64_t)first, (size_t)n, out);
        break;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] *= scale;
    return ZRT_OK;
}

zrt_status zrt__parameters_initialize(zrt_engine *engine)
{
    return zrt__parameters_fill(engine, zrt__parameter_initial, NULL, &engine->settings.seed, true);
}

/* ---- whole tensors ---- */

/* What turns the shard's gradient into the gradient of the loss: unscaled, divided by the counted labels. */
static zrt_status gradient_factor(zrt_engine *engine, double *factor_out)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    zrt__step_state *state = zrt__engine_address(engine, NULL, engine->compiled.staging.state);
    ZRT_TRY(zrt__engine_synchronize(engine));
    ZRT_TRY(device->copy(zrt__engine_stream(engine), state,
                         zrt__engine_address(engine, NULL, engine->compiled.zero->state), sizeof *state));
    ZRT_TRY(zrt__engine_synchronize(engine));
    int64_t counted = (int64_t)state->sums[1];
    ZRT_TRY(zrt__group_sum_int64(zrt__context_world(engine->context), &counted, 1));
    *factor_out = counted > 0 ? state->capacity / ((double)counted * state->loss_scale) : 0;
    return ZRT_OK;
}

/* Where this rank's shard of a state is, and in which dtype. */
static zrt_status state_ref(const zrt_engine *engine, const zrt__flat *flat, zrt_state state, zrt__ref *ref_out,
                            zrt_dtype *dtype_out)
{
    int n = engine->settings.zero.update.n_states;
    *dtype_out = flat->trainable ? ZRT_FLOAT32 : engine->settings.zero.compute_dtype;
    switch (state) {
    case ZRT_STATE_PARAMETER:
        *ref_out = flat->trainable ? zrt__engine_state_shard(engine, flat, 0) : flat->parameter;
        return ZRT_OK;
    case ZRT_STATE_GRADIENT:
        *dtype_out = zrt__gradient_shard(engine->compiled.zero, flat, ref_out);
        return flat->trainable ? ZRT_OK : zrt__fail(ZRT_ERR_USAGE, "a frozen parameter has no gradient");
    case ZRT_STATE_EXP_AVG:
    case ZRT_STATE_EXP_AVG_SQ:
        break;
    }
    int which = state == ZRT_STATE_EXP_AVG ? 0 : 1;
    if (!flat->trainable || which >= n)
        return zrt__fail(ZRT_ERR_USAGE, "this parameter has no such optimizer state");
    *ref_out = zrt__engine_state_shard(engine, flat, 1 + which);
    return ZRT_OK;
}

/* As fetch, of a state in a file. */
static zrt_status fetch_file(zrt_engine *engine, const zrt__flat *flat, zrt_state state, int64_t first, int64_t n,
                             float *out)
{
    int which = state == ZRT_STATE_PARAMETER ? 0 : state == ZRT_STATE_EXP_AVG ? 1 : 2;
    return zrt__file_state_read(engine, flat, which, first - flat->shard_first, n, out);
}

/* This rank's elements [first, first + n) of a flat's shard, as fp32. */
static zrt_status fetch(zrt_engine *engine, const zrt__flat *flat, zrt__ref ref, zrt_dtype dtype, int64_t first,
                        int64_t n, double factor, float *out)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    const char *from = zrt__engine_address(engine, NULL, ref);
    ZRT_TRY(device->copy(zrt__engine_stream(engine), out,
                         from + (size_t)(first - flat->shard_first) * zrt_dtype_bytes(dtype),
                         (size_t)n * zrt_dtype_bytes(dtype)));
    ZRT_TRY(device->stream_synchronize(zrt__engine_stream(engine)));
    if (dtype != ZRT_FLOAT32) { /* from the end, so that the widening does not overtake the source */
        uint16_t half;
        for (int64_t i = n; i-- > 0;) {
            memcpy(&half, (const char *)out + (size_t)i * sizeof half, sizeof half);
            out[i] = dtype == ZRT_FLOAT16 ? zrt__fp16_to_float(half) : zrt__bf16_to_float(half);
        }
    }
    for (int64_t i = 0; i < n && factor != 1; i++)
        out[i] = (float)(out[i] * factor);
    return ZRT_OK;
}

zrt_status zrt__parameter_stream(zrt_engine *engine, int p, zrt_state state, const zrt__piece_stream *to)
{
    const zrt__group *world = zrt__context_world(engine->context);
    int rank = engine->settings.zero.rank;
    int index = 0;
    int64_t start = 0;
    zrt__ref ref = ZRT__NO_REF;
    zrt_dtype dtype;
    double factor = 1;
    zrt__zero_locate(engine->compiled.zero, p, &index, &start);
    const zrt__flat *flat = &engine->compiled.zero->flats[index];
    ZRT_TRY(state_ref(engine, flat, state, &ref, &dtype));
    ZRT_TRY(zrt__engine_synchronize(engine));
    if (state == ZRT_STATE_GRADIENT)
        ZRT_TRY(gradient_factor(engine, &factor));
    /* A frozen resident parameter and stage 0's states are whole on every rank. */
    bool whole = flat->n_shards == 1, in_file = flat->in_file && state != ZRT_STATE_GRADIENT;
    bool wanted = to->root < 0 || to->root == rank;
    int64_t end = start + engine->model->parameters[p].n_elements;
    zrt_status status = ZRT_OK;
    for (int shard = 0; shard < flat->n_shards && status == ZRT_OK; shard++) {
        int64_t from = max64(start, shard * flat->shard_elements),
                last = min64(end, (shard + 1) * flat->shard_elements);
        for (int64_t at = from; at < last && status == ZRT_OK; at += to->capacity) {
            int64_t n = min64(to->capacity, last - at);
            if (whole ? wanted : shard == rank)
                status = in_file ? fetch_file(engine, flat, state, at, n, to->buffer)
                                 : fetch(engine, flat, ref, dtype, at, n, factor, to->buffer);
            if (!whole && status == ZRT_OK)
                status = to->root < 0 ? zrt__group_broadcast(world, to->buffer, (size_t)n * sizeof(float), shard)
                                      : zrt__group_move(world, to->buffer, (size_t)n * sizeof(float), shard, to->root);
            if (wanted && status == ZRT_OK)
                to->piece(to->user, at - start, n, to->buffer);
        }
    }
    return status;
}

static void keep_piece(void *user, int64_t first, int64_t n, const float *values)
{
    if (user != NULL)
        memcpy((float *)user + first, values, (size_t)n * sizeof *values);
}

zrt_status zrt_engine_get_full(zrt_engine *engine, const char *name, zrt_state state, float *values)
{
    int p = zrt__model_find_parameter(engine->model, name);
    if (p < 0)
        return zrt__fail(ZRT_ERR_USAGE, "model %s has no parameter %s", engine->model->name, name);
    float *chunk = zrt__malloc(CHUNK * sizeof *chunk);
    zrt_status status = zrt__group_agree(zrt__context_world(engine->context), chunk != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    const zrt__piece_stream to = {.root = -1, .buffer = chunk, .capacity = CHUNK, .piece = keep_piece, .user = values};
    if (status == ZRT_OK)
        status = zrt__parameter_stream(engine, p, state, &to);
    free(chunk);
    return status;
}
