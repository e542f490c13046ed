/* Full state dicts: every parameter, a piece at a time, through memory that is in the plan. */
#include "config.h"

#include <stdint.h>

#include "base/error.h"
#include "engine/engine.h"

/* Elements that are on their way at once: 4 MiB. */
#define LARGEST_PIECE INT64_C(1048576)

typedef struct handing_out {
    const zrt__parameter *parameter;
    zrt_state_dict_fn *piece;
    void *user;
    zrt_status status; /* of this rank's calls; the others go on */
} handing_out;

int64_t zrt__state_dict_capacity(int64_t ring_bytes)
{
    int64_t elements = ring_bytes / (int64_t)sizeof(float);
    return elements < LARGEST_PIECE ? elements : LARGEST_PIECE;
}

static void hand_out(void *user, int64_t first, int64_t n, const float *values)
{
    handing_out *h = user;
    const zrt__parameter *p = h->parameter;
    const zrt_state_dict_piece piece = {.name = p->name,
                                        .n_dims = p->n_dims,
                                        .dims = p->dims,
                                        .n_elements = p->n_elements,
                                        .first = first,
                                        .n = n,
                                        .values = values};
    if (h->status == ZRT_OK)
        h->status = h->piece(h->user, &piece);
}

zrt_status zrt__state_dict_stream(zrt_engine *engine, int root, zrt__chosen_fn *chosen, zrt_state_dict_fn *piece,
                                  void *user)
{
    const zrt_model *model = engine->model;
    const zrt__staging *staging = &engine->compiled.staging;
    if (engine->backward_due || engine->update_due || engine->micro_step != 0)
        return zrt__fail(ZRT_ERR_USAGE,
                         "a state dict between micro-steps: ask for it after the last one's zrt_engine_step");
    zrt_engine_save_wait(engine); /* which has the ring; a failure has been logged */
    handing_out h = {.piece = piece, .user = user, .status = ZRT_OK};
    zrt__piece_stream to = {
        .root = root, .capacity = zrt__state_dict_capacity(staging->ring_bytes), .piece = hand_out, .user = &h};
    if (staging->ring_bytes > 0)
        to.buffer = zrt__engine_address(engine, NULL, staging->ring);
    zrt_status status = ZRT_OK;
    for (size_t p = 0; p < model->n_parameters && status == ZRT_OK; p++) {
        h.parameter = &model->parameters[p];
        if (chosen == NULL || chosen(model, h.parameter))
            status = zrt__parameter_stream(engine, (int)p, ZRT_STATE_PARAMETER, &to);
    }
    return zrt__group_agree(zrt__context_world(engine->context), status != ZRT_OK ? status : h.status);
}

typedef struct uploading {
    zrt_engine *engine;
    zrt_state_dict_fn *piece;
    void *user;
} uploading;

/* The same values in the device's memory. */
static zrt_status upload(void *user, const zrt_state_dict_piece *piece)
{
    uploading *u = user;
    const zrt__device_ops *device = u->engine->runtime.device->ops;
    zrt__stream *stream = zrt__engine_stream(u->engine);
    zrt_state_dict_piece there = *piece;
    float *values = zrt__engine_address(u->engine, NULL, u->engine->compiled.staging.state_dict);
    ZRT_TRY(device->copy(stream, values, piece->values, (size_t)piece->n * sizeof *values));
    ZRT_TRY(device->stream_synchronize(stream));
    there.values = values;
    return u->piece(u->user, &there);
}

zrt_status zrt_engine_full_state_dict(zrt_engine *engine, zrt_state_dict_fn *piece, void *user)
{
    int root = engine->settings.state_dict_rank0_only ? 0 : -1;
    if (zrt__ref_is_none(engine->compiled.staging.state_dict))
        return zrt__state_dict_stream(engine, root, NULL, piece, user);
    uploading u = {engine, piece, user};
    return zrt__state_dict_stream(engine, root, NULL, upload, &u);
}
