/* What the draws of one dropout have in common. */
#ifndef ZRT_DEVICE_CPU_CPU_DRAW_H
#define ZRT_DEVICE_CPU_CPU_DRAW_H

#include "device/kernels.h"

struct zrt__cpu_draw {
    float probability;
    uint32_t op, step; /* third and fourth word of the counter */
};

static inline struct zrt__cpu_draw zrt__cpu_draw_make(const zrt__step_state *state, float probability,
                                                      uint32_t unit_index, uint32_t op_index)
{
    return (struct zrt__cpu_draw){probability, unit_index << 16 | op_index, (uint32_t)state->step};
}

#endif
