/* What the host's cores do of an offloaded update: calls of the stream "host", a tile of a shard each. The decision of a step
 * (whether it is skipped, what gradients are multiplied by) comes down with its state; nothing here waits for the device.
 *
 * A speculated update is made during backward, with the factor that the step will have if it is neither skipped nor clipped, from
 * the current copy of the states into the other one. When the decision comes the copies change places, or the tile is
 * updated from what it was. */
#ifndef ZRT_OFFLOAD_TILE_H
#define ZRT_OFFLOAD_TILE_H

#include "device/kernels.h"

/* In host memory, zero at first; only calls of the stream "host" write it. */
typedef struct zrt__speculation {
    int32_t current;     /* which copy of the states counts: 0 or 1 */
    int32_t speculating; /* this step's tiles are updated during backward */
    int32_t accepted;    /* and were right */
    int32_t above_clip;  /* the last step that was not skipped was clipped */
    int64_t tried;       /* steps that were updated during backward */
    int64_t discarded;   /* of them, updated again or skipped */
} zrt__speculation;

/* Operands of the two updates. Without speculation in[2], in[3] and the second copy are none. */
enum {
    ZRT__TILE_GRADIENT,  /* in: f32|T [n] */
    ZRT__TILE_STATE,     /* in: zrt__step_state as decided */
    ZRT__TILE_PREDICTED, /* in: zrt__step_state as predicted */
    ZRT__TILE_CONTROL,   /* in: zrt__speculation */
    ZRT__TILE_SECOND,    /* in: the second copy: master, then the optimizer's states, f32 [n] */
};
enum {
    ZRT__TILE_FIRST,         /* out: the first copy, likewise */
    ZRT__TILE_PARAMETER = 3, /* out: T [n], on its way up; none where that is the master itself */
};
/* The calls, one for each update rule: the update of a tile that the step decides on, and the speculated one. */
zrt_status zrt__tile_update_adamw(zrt__stream *stream, const void *arg);
zrt_status zrt__tile_update_sgd(zrt__stream *stream, const void *arg);
zrt_status zrt__tile_update_lion(zrt__stream *stream, const void *arg);
zrt_status zrt__tile_speculate_adamw(zrt__stream *stream, const void *arg);
zrt_status zrt__tile_speculate_sgd(zrt__stream *stream, const void *arg);
zrt_status zrt__tile_speculate_lion(zrt__stream *stream, const void *arg);

/* in predicted state, out control: whether this step is worth speculating. Before the first tile. */
zrt_status zrt__tile_predict(zrt__stream *stream, const void *arg);
/* in predicted state, state, out control: which copy counts from here on. After the last speculated tile. */
zrt_status zrt__tile_decide(zrt__stream *stream, const void *arg);

#endif
