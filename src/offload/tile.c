#include "config.h"

#include "offload/tile.h"

#include <string.h>

#include "base/error.h"

static const zrt_view *copy_of(const zrt__call *call, int which)
{
    return which == 0 ? &call->out[ZRT__TILE_FIRST] : &call->in[ZRT__TILE_SECOND];
}

/* From one copy of the states to another, or in place. */
static zrt_status update(zrt__stream *stream, const zrt__call *call, zrt__launch_fn *rule, int state, int from, int to)
{
    zrt__call rewritten = {.in = {call->in[ZRT__TILE_GRADIENT], call->in[state]}, .attributes = call->attributes};
    for (int i = 0; i < 3; i++) {
        rewritten.out[i] = copy_of(call, to)[i];
        if (from != to)
            rewritten.in[2 + i] = copy_of(call, from)[i];
    }
    rewritten.out[3] = call->out[ZRT__TILE_PARAMETER];
    return rule(stream, &rewritten);
}

/* The parameters that a skipped step leaves as they were. */
static zrt_status restore(zrt__stream *stream, const zrt__call *call, int current)
{
    const zrt_view *parameter = &call->out[ZRT__TILE_PARAMETER];
    zrt__call copy = {.in = {copy_of(call, current)[0]}, .out = {*parameter}};
    if (parameter->data == NULL)
        return ZRT_OK;
    return parameter->dtype == ZRT_FLOAT32 ? zrt__kernel_cpu_ops.accumulate(stream, &copy)
                                           : zrt__kernel_cpu_ops.convert(stream, &copy);
}

static zrt_status update_decided(zrt__stream *stream, const zrt__call *call, zrt__launch_fn *rule)
{
    const zrt__speculation *control = call->in[ZRT__TILE_CONTROL].data;
    const zrt__step_state *state = call->in[ZRT__TILE_STATE].data;
    int current = control != NULL ? control->current : 0;
    if (control != NULL && control->accepted)
        return ZRT_OK;
    if (!state->skip)
        return update(stream, call, rule, ZRT__TILE_STATE, current, current);
    return control != NULL && control->speculating ? restore(stream, call, current) : ZRT_OK;
}

static zrt_status speculate(zrt__stream *stream, const zrt__call *call, zrt__launch_fn *rule)
{
    const zrt__speculation *control = call->in[ZRT__TILE_CONTROL].data;
    if (!control->speculating)
        return ZRT_OK;
    return update(stream, call, rule, ZRT__TILE_PREDICTED, control->current, 1 - control->current);
}

#define RULE(name)                                                              \
    zrt_status zrt__tile_update_##name(zrt__stream *stream, const void *arg)    \
    {                                                                           \
        return update_decided(stream, arg, zrt__kernel_cpu_ops.name);           \
    }                                                                           \
    zrt_status zrt__tile_speculate_##name(zrt__stream *stream, const void *arg) \
    {                                                                           \
        return speculate(stream, arg, zrt__kernel_cpu_ops.name);                \
    }
RULE(adamw)
RULE(sgd)
RULE(lion)

zrt_status zrt__tile_predict(zrt__stream *stream, const void *arg)
{
    (void)stream;
    const zrt__call *call = arg;
    const zrt__step_state *predicted = call->in[0].data;
    zrt__speculation *control = call->out[0].data;
    control->speculating = !control->above_clip && !predicted->skip;
    control->accepted = 0;
    control->tried += control->speculating;
    return ZRT_OK;
}

zrt_status zrt__tile_decide(zrt__stream *stream, const void *arg)
{
    (void)stream;
    const zrt__call *call = arg;
    const zrt__step_state *predicted = call->in[0].data, *state = call->in[1].data;
    zrt__speculation *control = call->out[0].data;
    bool same_factor = memcmp(&predicted->update_scale, &state->update_scale, sizeof state->update_scale) == 0;
    control->accepted = control->speculating && !state->skip && same_factor &&
                        memcmp(&predicted->learning_rate, &state->learning_rate, sizeof state->learning_rate) == 0 &&
                        predicted->unskipped == state->unskipped;
    if (control->accepted)
        control->current = 1 - control->current;
    control->discarded += control->speculating && !control->accepted;
    if (!state->skip)
        control->above_clip = !same_factor;
    return ZRT_OK;
}
