/* Optimizer states on the host (Ren et al. 2021, ZeRO-Offload), without the device waiting for them: a gradient shard goes down
 * as soon as it is reduced, while backward runs on; norm and overflow are taken on the device, so that the clip factor and
 * whether the step is skipped are known when backward ends; then tiles are updated and go up, in the order in which the
 * next forward pass asks for them. Each byte crosses once: a gradient down, a parameter of the compute dtype up.
 * Where it is speculative, tiles are updated while backward runs (offload/tile.h). */
#include "config.h"

#include <stddef.h>

#include "offload/tile.h"
#include "zero/zero.h"

static zrt__operand bytes_operand(zrt__ref ref, size_t bytes)
{
    return zrt__operand_1d(ref, ZRT_UINT8, (int64_t)bytes);
}

static bool is_speculative(const zrt__zero *zero)
{
    return zero->options.offload == ZRT__OFFLOAD_SPECULATIVE;
}

/* ---- the rings ---- */

static void plan_ring(zrt__zero *zero, zrt__ring *ring, size_t element)
{
    ring->slot_bytes = (size_t)zero->tile_elements * element;
    ring->slots = zrt__memory_persistent(zero->memory, ZRT__REGION_PINNED, ZRT__CATEGORY_RING,
                                         ZRT__RING_SLOTS * ring->slot_bytes);
    ring->free = zero->memory->n_marks;
    for (int i = 0; i < ZRT__RING_SLOTS; i++)
        zrt__memory_mark(zero->memory);
}

zrt_status zrt__offload_allocate(zrt__zero *zero)
{
    const zrt__zero_options *options = &zero->options;
    int64_t largest = 1;
    size_t gradient = 0;
    for (int i = 0; i < zero->n_flats; i++) {
        const zrt__flat *flat = &zero->flats[i];
        if (!flat->on_host)
            continue;
        largest = flat->shard_elements > largest ? flat->shard_elements : largest;
        gradient = zrt_dtype_bytes(flat->host_gradient_dtype);
    }
    zero->tile_elements = options->offload_tile < largest ? options->offload_tile : largest;
    if (!options->staged || gradient == 0)
        return ZRT_OK;
    if (zero->tile_elements > ZRT__RING_ELEMENTS)
        zero->tile_elements = ZRT__RING_ELEMENTS;
    plan_ring(zero, &zero->down, gradient);
    plan_ring(zero, &zero->up, zrt_dtype_bytes(options->compute_dtype));
    return zero->memory->persistent.failed ? ZRT_ERR_MEMORY : ZRT_OK;
}

/* `filler` may fill the slot that comes next; *mark_out is reached when it has been emptied. */
static zrt__ref take_slot(zrt__ring *ring, zrt__plan *plan, zrt__stream_role filler, int *mark_out)
{
    int slot = ring->next;
    ring->next = (slot + 1) % ZRT__RING_SLOTS;
    *mark_out = ring->free + slot;
    zrt__plan_await(plan, filler, *mark_out);
    return zrt__ref_at(ring->slots, (size_t)slot * ring->slot_bytes);
}

/* The host's cores copy n elements. */
static void host_copy(zrt__plan *plan, zrt__ref to, zrt__ref from, zrt_dtype dtype, int64_t n)
{
    zrt__operand in = zrt__operand_1d(from, dtype, n), out = zrt__operand_1d(to, dtype, n);
    zrt__plan_kernel(plan, ZRT__STREAM_HOST, ZRT__KERNEL_accumulate, &in, 1, &out, 1, 0, NULL);
}

/* ---- tiles ---- */

typedef struct tile {
    int64_t first, n; /* elements of the shard */
} tile;

static zrt__launch_fn *tile_function(zrt__kernel rule, bool speculated)
{
    switch (rule) {
    case ZRT__KERNEL_sgd:
        return speculated ? zrt__tile_speculate_sgd : zrt__tile_update_sgd;
    case ZRT__KERNEL_lion:
        return speculated ? zrt__tile_speculate_lion : zrt__tile_update_lion;
    default:
        return speculated ? zrt__tile_speculate_adamw : zrt__tile_update_adamw;
    }
}

static void update_elements(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, tile t, bool decay,
                            bool speculated)
{
    const zrt__zero_options *options = &zero->options;
    if (t.n <= 0)
        return;
    size_t at = (size_t)t.first * sizeof(float), element = zrt_dtype_bytes(options->compute_dtype);
    size_t gradient_at = (size_t)t.first * zrt_dtype_bytes(flat->host_gradient_dtype);
    bool apart = flat->host_parameter.buffer != flat->master.buffer;
    zrt__operand in[ZRT__MAX_INPUTS] = {
        [ZRT__TILE_GRADIENT] =
            zrt__operand_1d(zrt__ref_at(flat->host_gradient, gradient_at), flat->host_gradient_dtype, t.n),
        [ZRT__TILE_STATE] = bytes_operand(zero->host_state, sizeof(zrt__step_state)),
        [ZRT__TILE_PREDICTED] = bytes_operand(zero->host_predicted, sizeof(zrt__step_state)),
        [ZRT__TILE_CONTROL] = bytes_operand(zero->control, sizeof(zrt__speculation)),
    };
    zrt__operand out[ZRT__MAX_OUTPUTS];
    for (int i = 0; i < 3; i++) {
        bool there = i <= options->update.n_states;
        in[ZRT__TILE_SECOND + i] = out[ZRT__TILE_FIRST + i] = ZRT__NO_OPERAND;
        if (there)
            out[ZRT__TILE_FIRST + i] = zrt__operand_1d(zrt__ref_at(zrt__state_shard(flat, i, 0), at), ZRT_FLOAT32, t.n);
        if (there && is_speculative(zero))
            in[ZRT__TILE_SECOND + i] = zrt__operand_1d(zrt__ref_at(zrt__state_shard(flat, i, 1), at), ZRT_FLOAT32, t.n);
    }
    out[ZRT__TILE_PARAMETER] = apart ? zrt__operand_1d(zrt__ref_at(flat->host_parameter, (size_t)t.first * element),
                                                       options->compute_dtype, t.n)
                                     : ZRT__NO_OPERAND;
    zrt__plan_host_call(plan, tile_function(options->update.kernel, speculated), speculated ? "speculate" : "update",
                        in, ZRT__TILE_SECOND + 3, out, ZRT__MAX_OUTPUTS, 0,
                        decay ? &options->update.decay : &options->update.no_decay);
}

/* The part that belongs to matrices, then the rest. */
static void update_tile(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, tile t, bool speculated)
{
    int64_t decayed = flat->decay_elements - flat->shard_first - t.first;
    decayed = decayed < 0 ? 0 : decayed > t.n ? t.n : decayed;
    update_elements(zero, plan, flat, (tile){t.first, decayed}, true, speculated);
    update_elements(zero, plan, flat, (tile){t.first + decayed, t.n - decayed}, false, speculated);
}

static tile tile_at(const zrt__zero *zero, const zrt__flat *flat, int64_t first)
{
    int64_t left = flat->shard_elements - first, most = zero->tile_elements;
    return (tile){first, left < most ? left : most};
}

/* ---- backward ---- */

void zrt__offload_predict(zrt__zero *zero, zrt__plan *plan)
{
    const zrt__zero_options *options = &zero->options;
    zrt__ref sums = zrt__ref_at(zero->predicted, offsetof(zrt__step_state, sums));
    zrt__plan_copy(plan, ZRT__STREAM_COMPUTE, zero->predicted, zero->state, sizeof(zrt__step_state), "step state");
    if (options->n_ranks > 1)
        zrt__plan_collective(plan, ZRT__STREAM_COMPUTE, ZRT__COLLECTIVE_ALL_REDUCE, sums, sums,
                             sizeof((zrt__step_state){0}.sums) / sizeof(double), ZRT_FLOAT64, ZRT__REDUCE_SUM,
                             "sums of the forward pass");
    zrt__zero_emit_decision(zero, plan, zero->predicted);
    zrt__plan_wait(plan, ZRT__STREAM_TO_HOST, zrt__plan_record(plan, ZRT__STREAM_COMPUTE));
    zrt__plan_await(plan, ZRT__STREAM_TO_HOST, zero->host_state_read);
    zrt__plan_copy(plan, ZRT__STREAM_TO_HOST, zero->host_predicted, zero->predicted, sizeof(zrt__step_state),
                   "predicted state");
    zrt__plan_wait(plan, ZRT__STREAM_HOST, zrt__plan_record(plan, ZRT__STREAM_TO_HOST));
    zrt__operand in = bytes_operand(zero->host_predicted, sizeof(zrt__step_state)),
                 out = bytes_operand(zero->control, sizeof(zrt__speculation));
    zrt__plan_host_call(plan, zrt__tile_predict, "predict", &in, 1, &out, 1, 0, NULL);
}

/* A slot's worth at a time; where the last update still reads the old gradient, the stream "host" runs behind it. */
static void stage_gradient(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__ref shard)
{
    size_t element = zrt_dtype_bytes(flat->host_gradient_dtype);
    for (int64_t first = 0; first < flat->shard_elements; first += zero->tile_elements) {
        tile t = tile_at(zero, flat, first);
        int emptied;
        zrt__ref slot = take_slot(&zero->down, plan, ZRT__STREAM_TO_HOST, &emptied);
        zrt__plan_copy(plan, ZRT__STREAM_TO_HOST, slot, zrt__ref_at(shard, (size_t)first * element),
                       (size_t)t.n * element, flat->name);
        zrt__plan_wait(plan, ZRT__STREAM_HOST, zrt__plan_record(plan, ZRT__STREAM_TO_HOST));
        host_copy(plan, zrt__ref_at(flat->host_gradient, (size_t)first * element), slot, flat->host_gradient_dtype,
                  t.n);
        zrt__plan_reach(plan, ZRT__STREAM_HOST, emptied);
    }
}

void zrt__offload_gradient(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__stream_role stream,
                           zrt__ref shard)
{
    zrt__plan_wait(plan, ZRT__STREAM_TO_HOST, zrt__plan_record(plan, stream));
    if (zero->options.staged) {
        stage_gradient(zero, plan, flat, shard);
    } else {
        zrt__plan_await(plan, ZRT__STREAM_TO_HOST, flat->updated);
        zrt__plan_copy(plan, ZRT__STREAM_TO_HOST, flat->host_gradient, shard,
                       (size_t)flat->shard_elements * zrt_dtype_bytes(flat->host_gradient_dtype), flat->name);
        if (is_speculative(zero))
            zrt__plan_wait(plan, ZRT__STREAM_HOST, zrt__plan_record(plan, ZRT__STREAM_TO_HOST));
    }
    if (!is_speculative(zero))
        return;
    zrt__plan_await(plan, ZRT__STREAM_HOST, flat->ready); /* what went up last has left */
    for (int64_t first = 0; first < flat->shard_elements; first += zero->tile_elements)
        update_tile(zero, plan, flat, tile_at(zero, flat, first), true);
}

/* ---- step ---- */

void zrt__offload_begin(zrt__zero *zero, zrt__plan *plan)
{
    zrt__plan_wait(plan, ZRT__STREAM_TO_HOST, zrt__plan_record(plan, ZRT__STREAM_COMPUTE));
    zrt__plan_await(plan, ZRT__STREAM_TO_HOST, zero->host_state_read);
    zrt__plan_copy(plan, ZRT__STREAM_TO_HOST, zero->host_state, zero->state, sizeof(zrt__step_state), "step state");
    zrt__plan_wait(plan, ZRT__STREAM_HOST, zrt__plan_record(plan, ZRT__STREAM_TO_HOST));
    if (!is_speculative(zero))
        return;
    zrt__operand in[2] = {bytes_operand(zero->host_predicted, sizeof(zrt__step_state)),
                          bytes_operand(zero->host_state, sizeof(zrt__step_state))},
                 out = bytes_operand(zero->control, sizeof(zrt__speculation));
    zrt__plan_host_call(plan, zrt__tile_decide, "decide", in, 2, &out, 1, 0, NULL);
    zrt__plan_reach(plan, ZRT__STREAM_HOST, zero->host_decided);
}

static void update_flat(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, int *file_tile)
{
    size_t element = zrt_dtype_bytes(zero->options.compute_dtype);
    zrt__plan_await(plan, ZRT__STREAM_HOST, flat->ready); /* what went up last has left */
    if (flat->in_file)
        zrt__files_update(zero, plan, flat, file_tile);
    for (int64_t first = 0; first < flat->shard_elements && !flat->in_file; first += zero->tile_elements) {
        tile t = tile_at(zero, flat, first);
        int64_t held = flat->kind == ZRT__FLAT_RESIDENT ? flat->shard_first + first : first;
        zrt__ref from = zrt__ref_at(flat->host_parameter, (size_t)first * element);
        int emptied = -1;
        update_tile(zero, plan, flat, t, false);
        if (zero->options.staged) {
            zrt__ref slot = take_slot(&zero->up, plan, ZRT__STREAM_HOST, &emptied);
            host_copy(plan, slot, from, zero->options.compute_dtype, t.n);
            from = slot;
        }
        zrt__plan_wait(plan, ZRT__STREAM_TO_DEVICE, zrt__plan_record(plan, ZRT__STREAM_HOST));
        zrt__plan_copy(plan, ZRT__STREAM_TO_DEVICE, zrt__ref_at(flat->parameter, (size_t)held * element), from,
                       (size_t)t.n * element, flat->name);
        if (emptied >= 0)
            zrt__plan_reach(plan, ZRT__STREAM_TO_DEVICE, emptied);
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
    int down = zrt__plan_record(plan, ZRT__STREAM_TO_HOST), file_tile = 0;
    for (int i = 0; i < zero->n_flats; i++)
        if (zero->flats[i].on_host)
            update_flat(zero, plan, &zero->flats[i], &file_tile);
    zrt__plan_reach(plan, ZRT__STREAM_HOST, zero->host_state_read);
    zrt__plan_wait(plan, ZRT__STREAM_COMPUTE, down); /* the next step writes the state */
    if (zero->options.offload == ZRT__OFFLOAD_SERIAL) {
        zrt__plan_wait(plan, ZRT__STREAM_COMPUTE, zrt__plan_record(plan, ZRT__STREAM_TO_DEVICE));
        zrt__plan_wait(plan, ZRT__STREAM_COMPUTE, zrt__plan_record(plan, ZRT__STREAM_GATHER));
    }
}

void zrt__offload_await(const zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__stream_role stream)
{
    if (flat->on_host && zero->options.offload != ZRT__OFFLOAD_SERIAL)
        zrt__plan_await(plan, stream, flat->ready);
}
