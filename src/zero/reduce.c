/* Gradients: where they are written, when they are reduced. Each unit's flat gradient is reduced as soon as its last
 * contribution is in, on a stream of its own, and added to this rank's shard there; its memory is free again one unit later. */
#include "config.h"

#include <stddef.h>

#include "zero/compile.h"

void zrt__compiler_count_contributions(zrt__compiler *compiler)
{
    const zrt__build *build = compiler->build;
    for (int u = 0; u < build->n_units; u++) {
        const zrt_unit *unit = build->units[u];
        for (int f = 0; f < compiler->zero->n_flats; f++) {
            bool contributes = false;
            for (size_t i = 0; i < unit->n_tensors && !contributes; i++)
                contributes = unit->tensors[i]->kind == ZRT__TENSOR_PARAM_GRAD &&
                              compiler->zero->slot_flat[unit->tensors[i]->index] == f;
            compiler->contributions[f] += contributes;
        }
    }
}

void zrt__zero_emit_padding(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__ref ref, zrt_dtype dtype)
{
    for (int i = 0; i < flat->n_slots; i++) {
        int64_t end = zero->slot_offset[flat->slots[i]] + zero->model->slots[flat->slots[i]].n_elements;
        int64_t next = i + 1 < flat->n_slots ? zero->slot_offset[flat->slots[i + 1]] : flat->n_elements;
        if (next == end)
            continue;
        zrt__operand gap = zrt__operand_1d(zrt__ref_at(ref, (size_t)end * zrt_dtype_bytes(dtype)), dtype, next - end);
        zrt__plan_kernel(plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_zero, NULL, 0, &gap, 1, 0, NULL);
    }
}

/* Backward writes fp32 or the compute dtype; what is reduced in another is converted on its way. */
static zrt_dtype written_dtype(const zrt__zero *zero)
{
    const zrt__zero_options *options = &zero->options;
    return options->reduce_dtype == ZRT_FLOAT32 ? ZRT_FLOAT32 : options->compute_dtype;
}

zrt__ref zrt__compiler_gradient(zrt__compiler *compiler, int slot, zrt_dtype *dtype_out, bool *accumulate_out)
{
    zrt__zero *zero = compiler->zero;
    int index = zero->slot_flat[slot];
    const zrt__flat *flat = &zero->flats[index];
    zrt__ref base = flat->gradient;
    *dtype_out = zero->options.accumulate_dtype;
    *accumulate_out = compiler->slot_written[slot];
    if (flat->local_gradient) {
        *accumulate_out |= !compiler->variant.first;
    } else {
        *dtype_out = written_dtype(zero);
        if (zrt__ref_is_none(compiler->gradients[index])) {
            compiler->gradients[index] =
                zrt__plan_buffer(compiler->plan, ZRT__REGION_REGISTERED, ZRT__CATEGORY_GRADIENTS,
                                 (size_t)flat->n_elements * zrt_dtype_bytes(*dtype_out));
            zrt__zero_emit_padding(zero, compiler->plan, flat, compiler->gradients[index], *dtype_out);
        }
        base = compiler->gradients[index];
    }
    compiler->slot_written[slot] = true;
    return zrt__ref_at(base, (size_t)zero->slot_offset[slot] * zrt_dtype_bytes(*dtype_out));
}

/* Where squared norms are added up. Whole gradients on every rank (stage 0) count once. */
static zrt__operand sums_operand(const zrt__zero *zero, const zrt__flat *flat)
{
    bool counts = flat->n_shards == zero->options.n_ranks || zero->options.rank == 0;
    zrt__ref ref =
        counts ? zrt__ref_at(zero->state, offsetof(zrt__step_state, sums) + 2 * sizeof(double)) : zero->dummy_sums;
    return zrt__operand_1d(ref, ZRT_FLOAT64, 2);
}

/* Slots of the buffer that nothing wrote have no gradient. */
static void zero_unwritten(zrt__compiler *compiler, const zrt__flat *flat, zrt__ref buffer, zrt_dtype dtype)
{
    const zrt__zero *zero = compiler->zero;
    for (int i = 0; i < flat->n_slots; i++) {
        int slot = flat->slots[i];
        if (compiler->slot_written[slot])
            continue;
        zrt__operand out =
            zrt__operand_1d(zrt__ref_at(buffer, (size_t)zero->slot_offset[slot] * zrt_dtype_bytes(dtype)), dtype,
                            zero->model->slots[slot].n_elements);
        zrt__plan_kernel(compiler->plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_zero, NULL, 0, &out, 1, 0, NULL);
    }
}

/* Reduces `buffer` over the ranks: all of it in place, or this rank's slice into `slice`. */
static void enqueue_reduction(zrt__compiler *compiler, const zrt__flat *flat, zrt__ref buffer, zrt__ref slice,
                              zrt_dtype dtype)
{
    zrt__plan *plan = compiler->plan;
    zrt__plan_wait(plan, ZRT__STREAM_REDUCE, zrt__plan_record(plan, ZRT__STREAM_COMPUTE));
    if (compiler->zero->options.n_ranks == 1)
        return;
    if (flat->n_shards == 1)
        zrt__plan_collective(plan, ZRT__STREAM_REDUCE, ZRT__COLLECTIVE_ALL_REDUCE, buffer, buffer,
                             (size_t)flat->n_elements, dtype, ZRT__REDUCE_AVERAGE, flat->name);
    else
        zrt__plan_collective(plan, ZRT__STREAM_REDUCE, ZRT__COLLECTIVE_REDUCE_SCATTER, buffer, slice,
                             (size_t)flat->shard_elements, dtype, ZRT__REDUCE_AVERAGE, flat->name);
}

/* Gradients that were added up on this rank alone: their reduction, and their norm, come with the last micro-step. */
static void finish_local(zrt__compiler *compiler, const zrt__flat *flat)
{
    if (!compiler->variant.last)
        return;
    zrt__zero *zero = compiler->zero;
    zrt__stream_role stream = ZRT__STREAM_COMPUTE;
    zrt_dtype dtype = zero->options.accumulate_dtype;
    zrt__ref slice = zrt__ref_at(flat->gradient, (size_t)flat->shard_first * zrt_dtype_bytes(dtype));
    if (zero->options.n_ranks > 1) {
        enqueue_reduction(compiler, flat, flat->gradient, slice, dtype);
        stream = ZRT__STREAM_REDUCE;
    }
    zrt__operand shard = zrt__operand_1d(slice, dtype, flat->shard_elements);
    zrt__operand sums = sums_operand(zero, flat);
    zrt__plan_kernel(compiler->plan, stream, ZRT__KERNEL_sum_squares, &shard, 1, &sums, 1, 1u, NULL);
    if (flat->on_host)
        zrt__offload_gradient(zero, compiler->plan, flat, stream, slice);
}

/* The events at which what was enqueued for reductions has run. */
static void reduced(const zrt__compiler *compiler, int *reduce_out, int *down_out)
{
    bool offloaded = compiler->zero->options.offload != ZRT__OFFLOAD_NONE;
    *reduce_out = zrt__plan_record(compiler->plan, ZRT__STREAM_REDUCE);
    *down_out = offloaded ? zrt__plan_record(compiler->plan, ZRT__STREAM_TO_HOST) : -1;
}

/* The unreduced gradients of a flat stay until its reduction has run. */
static void hold(zrt__compiler *compiler, int index, zrt__ref buffer)
{
    compiler->gradients[index] = ZRT__NO_REF;
    for (int k = 0; k < 4; k++)
        if (zrt__ref_is_none(compiler->pending_buffers[0][k])) {
            compiler->pending_buffers[0][k] = buffer;
            return;
        }
    /* More flats a unit than slots: wait at once. */
    int reduce, down;
    reduced(compiler, &reduce, &down);
    zrt__plan_wait(compiler->plan, ZRT__STREAM_COMPUTE, reduce);
    zrt__plan_wait(compiler->plan, ZRT__STREAM_COMPUTE, down);
    zrt__plan_keep(compiler->plan, buffer);
}

/* The complete gradients of a flat in the dtype in which they are reduced. */
static zrt__ref reducible(zrt__compiler *compiler, const zrt__flat *flat, zrt__ref written)
{
    zrt_dtype from = written_dtype(compiler->zero), to = compiler->zero->options.reduce_dtype;
    if (from == to)
        return written;
    zrt__ref ref = zrt__plan_buffer(compiler->plan, ZRT__REGION_REGISTERED, ZRT__CATEGORY_GRADIENTS,
                                    (size_t)flat->n_elements * zrt_dtype_bytes(to));
    zrt__operand in = zrt__operand_1d(written, from, flat->n_elements),
                 out = zrt__operand_1d(ref, to, flat->n_elements);
    zrt__plan_kernel(compiler->plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_convert, &in, 1, &out, 1, 0, NULL);
    return ref;
}

static void reduce_flat(zrt__compiler *compiler, int index)
{
    zrt__zero *zero = compiler->zero;
    const zrt__flat *flat = &zero->flats[index];
    zrt_dtype dtype = zero->options.reduce_dtype;
    zero_unwritten(compiler, flat, compiler->gradients[index], written_dtype(zero));
    zrt__ref buffer = reducible(compiler, flat, compiler->gradients[index]);
    bool final = compiler->variant.last;
    bool first = compiler->variant.first;
    zrt__ref slice = zrt__ref_at(buffer, (size_t)flat->shard_first * zrt_dtype_bytes(dtype));
    if (first && dtype == zero->options.accumulate_dtype && flat->n_shards > 1 && !zrt__ref_is_none(flat->gradient))
        slice = flat->gradient; /* nothing to add it to: where it stays */
    enqueue_reduction(compiler, flat, buffer, slice, dtype);
    zrt__operand in = zrt__operand_1d(slice, dtype, flat->shard_elements);
    if (zrt__ref_is_none(flat->gradient)) { /* offload, and nothing to add up */
        zrt__operand sums = sums_operand(zero, flat);
        zrt__plan_kernel(compiler->plan, ZRT__STREAM_REDUCE, ZRT__KERNEL_sum_squares, &in, 1, &sums, 1, 1u, NULL);
        zrt__offload_gradient(zero, compiler->plan, flat, ZRT__STREAM_REDUCE, slice);
        hold(compiler, index, buffer);
        return;
    }
    zrt__operand out[2] = {zrt__operand_1d(flat->gradient, zero->options.accumulate_dtype, flat->shard_elements),
                           final ? sums_operand(zero, flat) : ZRT__NO_OPERAND};
    zrt__plan_kernel(compiler->plan, ZRT__STREAM_REDUCE, ZRT__KERNEL_gradient_reduced, &in, 1, out, 2,
                     (first ? 0u : 1u) | 2u, NULL);
    if (final && flat->on_host)
        zrt__offload_gradient(zero, compiler->plan, flat, ZRT__STREAM_REDUCE, flat->gradient);
    hold(compiler, index, buffer);
}

/* The compute stream waits for the reductions of the unit before the last one; one unit's stay in flight. */
static void retire(zrt__compiler *compiler, int which)
{
    if (compiler->pending_reduce[which] < 0)
        return;
    zrt__plan_wait(compiler->plan, ZRT__STREAM_COMPUTE, compiler->pending_reduce[which]);
    zrt__plan_wait(compiler->plan, ZRT__STREAM_COMPUTE, compiler->pending_down[which]);
    for (int k = 0; k < 4; k++) {
        zrt__plan_keep(compiler->plan, compiler->pending_buffers[which][k]);
        compiler->pending_buffers[which][k] = ZRT__NO_REF;
    }
    compiler->pending_reduce[which] = compiler->pending_down[which] = -1;
}

void zrt__compiler_reduce(zrt__compiler *compiler, int index)
{
    const zrt_unit *unit = compiler->build->units[index];
    zrt__zero *zero = compiler->zero;
    bool any = false;
    compiler->plan->unit = index;
    retire(compiler, 1);
    compiler->pending_reduce[1] = compiler->pending_reduce[0];
    compiler->pending_down[1] = compiler->pending_down[0];
    compiler->pending_reduce[0] = compiler->pending_down[0] = -1;
    for (int k = 0; k < 4; k++) {
        compiler->pending_buffers[1][k] = compiler->pending_buffers[0][k];
        compiler->pending_buffers[0][k] = ZRT__NO_REF;
    }
    for (int f = 0; f < zero->n_flats; f++) {
        bool contributed = false;
        for (size_t i = 0; i < unit->n_tensors && !contributed; i++)
            contributed =
                unit->tensors[i]->kind == ZRT__TENSOR_PARAM_GRAD && zero->slot_flat[unit->tensors[i]->index] == f;
        if (!contributed)
            continue;
        compiler->contributions[f]--;
        if (compiler->contributions[f] > 0)
            continue; /* a later unit adds to the same buffer: one reduction for all */
        if (zero->flats[f].local_gradient) {
            finish_local(compiler, &zero->flats[f]);
        } else {
            reduce_flat(compiler, f);
            any = true;
        }
    }
    if (any)
        reduced(compiler, &compiler->pending_reduce[0], &compiler->pending_down[0]);
    compiler->plan->unit = -1;
}

void zrt__compiler_reduce_rest(zrt__compiler *compiler)
{
    retire(compiler, 1);
    retire(compiler, 0);
    zrt__plan_wait(compiler->plan, ZRT__STREAM_COMPUTE, zrt__plan_record(compiler->plan, ZRT__STREAM_REDUCE));
    zrt__plan_point(compiler->plan, ZRT__STREAM_COMPUTE);
}
