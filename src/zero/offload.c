/* Optimizer states on the host (Ren et al. 2021, ZeRO-Offload), without the device waiting for them: a gradient shard goes down
 * as soon as it is reduced, while backward runs on; norm and overflow are taken on the device, so that the clip factor and
 * whether the step is skipped are known when backward ends; then tiles are updated and go up, in the order in which the
 * next forward pass asks for them. Each byte crosses once: a gradient down, a parameter of the compute dtype up. */
#include "config.h"

#include <stddef.h>

#include "zero/zero.h"

void zrt__offload_gradient(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__stream_role stream,
                           zrt__ref shard)
{
    (void)zero;
    zrt__plan_wait(plan, ZRT__STREAM_TO_HOST, zrt__plan_record(plan, stream));
    zrt__plan_await(plan, ZRT__STREAM_TO_HOST, flat->updated);
    zrt__plan_copy(plan, ZRT__STREAM_TO_HOST, flat->host_gradient, shard,
                   (size_t)flat->shard_elements * zrt_dtype_bytes(flat->host_gradient_dtype), flat->name);
}

/* Elements [first, first + n) of the shard: updated, then back to where the device has them. */
static void update_tile(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, int64_t first, int64_t n)
{
    size_t element = zrt_dtype_bytes(zero->options.compute_dtype);
    int64_t decayed = flat->decay_elements - flat->shard_first - first;
    decayed = decayed < 0 ? 0 : decayed > n ? n : decayed;
    zrt__zero_update_elements(zero, plan, ZRT__STREAM_HOST, flat, first, decayed, true);
    zrt__zero_update_elements(zero, plan, ZRT__STREAM_HOST, flat, first + decayed, n - decayed, false);
    int64_t held = flat->kind == ZRT__FLAT_RESIDENT ? flat->shard_first + first : first;
    zrt__plan_wait(plan, ZRT__STREAM_TO_DEVICE, zrt__plan_record(plan, ZRT__STREAM_HOST));
    zrt__plan_copy(plan, ZRT__STREAM_TO_DEVICE, zrt__ref_at(flat->parameter, (size_t)held * element),
                   zrt__ref_at(flat->host_parameter, (size_t)first * element), (size_t)n * element, flat->name);
}

static void update_flat(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, int *tile)
{
    size_t element = zrt_dtype_bytes(zero->options.compute_dtype);
    zrt__plan_await(plan, ZRT__STREAM_HOST, flat->ready); /* what went up last has left */
    if (flat->in_file)
        zrt__files_update(zero, plan, flat, tile);
    for (int64_t first = 0; first < flat->shard_elements && !flat->in_file; first += zero->options.offload_tile) {
        int64_t left = flat->shard_elements - first;
        update_tile(zero, plan, flat, first, left < zero->options.offload_tile ? left : zero->options.offload_tile);
    }
    zrt__plan_reach(plan, ZRT__STREAM_HOST, flat->updated);
    if (flat->kind != ZRT__FLAT_RESIDENT || flat->n_shards == 1) {
        zrt__plan_reach(plan, ZRT__STREAM_TO_DEVICE, flat->ready);
        return;
    }
    zrt__plan_wait(plan, ZRT__STREAM_GATHER, zrt__plan_record(plan, ZRT__STREAM_TO_DEVICE));
    zrt__plan_collective(plan, ZRT__STREAM_GATHER, ZRT__COLLECTIVE_ALL_GATHER,
                         zrt__ref_at(flat->parameter, (size_t)flat->shard_first * element), flat->parameter,
                         (size_t)flat->shard_elements, zero->options.compute_dtype, ZRT__REDUCE_SUM, flat->name);
    zrt__plan_reach(plan, ZRT__STREAM_GATHER, flat->ready);
}

void zrt__offload_step(zrt__zero *zero, zrt__plan *plan)
{
    zrt__plan_wait(plan, ZRT__STREAM_TO_HOST, zrt__plan_record(plan, ZRT__STREAM_COMPUTE));
    zrt__plan_await(plan, ZRT__STREAM_TO_HOST, zero->host_state_read);
    zrt__plan_copy(plan, ZRT__STREAM_TO_HOST, zero->host_state, zero->state, sizeof(zrt__step_state), "step state");
    int down = zrt__plan_record(plan, ZRT__STREAM_TO_HOST), tile = 0;
    zrt__plan_wait(plan, ZRT__STREAM_HOST, down);
    for (int i = 0; i < zero->n_flats; i++)
        if (zero->flats[i].trainable)
            update_flat(zero, plan, &zero->flats[i], &tile);
    zrt__plan_reach(plan, ZRT__STREAM_HOST, zero->host_state_read);
    zrt__plan_wait(plan, ZRT__STREAM_COMPUTE, down); /* the next step writes the state */
    if (zero->options.offload == ZRT__OFFLOAD_SERIAL) {
        zrt__plan_wait(plan, ZRT__STREAM_COMPUTE, zrt__plan_record(plan, ZRT__STREAM_TO_DEVICE));
        zrt__plan_wait(plan, ZRT__STREAM_COMPUTE, zrt__plan_record(plan, ZRT__STREAM_GATHER));
    }
    zrt__plan_point(plan, ZRT__STREAM_COMPUTE);
}

void zrt__offload_await(const zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__stream_role stream)
{
    if (zero->options.offload == ZRT__OFFLOAD_PIPELINED && flat->trainable)
        zrt__plan_await(plan, stream, flat->ready);
}
