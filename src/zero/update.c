/* The optimizer step: one small all-reduce, one decision on the device, one pass over each shard, gathers of what stays whole. */
#include "config.h"

#include <stddef.h>

#include "zero/zero.h"

/* Elements [first, first + n) of a shard that is on the device. */
static void update_elements(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, int64_t first, int64_t n,
                            bool decay)
{
    if (n <= 0)
        return;
    const zrt__zero_options *options = &zero->options;
    bool copies = options->compute_dtype != ZRT_FLOAT32;
    size_t at = (size_t)first * sizeof(float), element = zrt_dtype_bytes(options->compute_dtype);
    zrt_dtype gradient_dtype = options->accumulate_dtype;
    int64_t gradient_first = flat->local_gradient ? flat->shard_first + first : first;
    int64_t parameter_first = flat->kind == ZRT__FLAT_RESIDENT ? flat->shard_first + first : first;
    zrt__operand in[2] = {
        zrt__operand_1d(zrt__ref_at(flat->gradient, (size_t)gradient_first * zrt_dtype_bytes(gradient_dtype)),
                        gradient_dtype, n),
        zrt__operand_1d(zero->state, ZRT_UINT8, (int64_t)sizeof(zrt__step_state)),
    };
    zrt__operand out[4] = {
        zrt__operand_1d(zrt__ref_at(flat->master, at), ZRT_FLOAT32, n),
        options->update.n_states > 0 ? zrt__operand_1d(zrt__ref_at(flat->states[0], at), ZRT_FLOAT32, n)
                                     : ZRT__NO_OPERAND,
        options->update.n_states > 1 ? zrt__operand_1d(zrt__ref_at(flat->states[1], at), ZRT_FLOAT32, n)
                                     : ZRT__NO_OPERAND,
        copies ? zrt__operand_1d(zrt__ref_at(flat->parameter, (size_t)parameter_first * element),
                                 options->compute_dtype, n)
               : ZRT__NO_OPERAND,
    };
    zrt__plan_kernel(plan, ZRT__STREAM_COMPUTE, options->update.kernel, in, 2, out, 4, 0,
                     decay ? &options->update.decay : &options->update.no_decay);
}

/* The part of the shard that belongs to matrices, then the rest. */
static void update_flat(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat)
{
    int64_t decayed = flat->decay_elements - flat->shard_first;
    if (decayed < 0)
        decayed = 0;
    if (decayed > flat->shard_elements)
        decayed = flat->shard_elements;
    update_elements(zero, plan, flat, 0, decayed, true);
    update_elements(zero, plan, flat, decayed, flat->shard_elements - decayed, false);
}

void zrt__zero_emit_decision(const zrt__zero *zero, zrt__plan *plan, zrt__ref state)
{
    const zrt__step_rules *rules = zero->options.rules;
    zrt__operand in = {
        .ref = ZRT__NO_REF,
        .view = {.data = (void *)rules, .dtype = ZRT_UINT8, .n_dims = 1, .dims = {(int64_t)sizeof *rules}}};
    zrt__operand out = zrt__operand_1d(state, ZRT_UINT8, (int64_t)sizeof(zrt__step_state));
    zrt__plan_kernel(plan, ZRT__STREAM_COMPUTE, ZRT__KERNEL_step_decide, &in, 1, &out, 1, 0, NULL);
}

void zrt__zero_emit_step(zrt__zero *zero, zrt__plan *plan)
{
    const zrt__zero_options *options = &zero->options;
    zrt__ref sums = zrt__ref_at(zero->state, offsetof(zrt__step_state, sums));
    if (options->n_ranks > 1)
        zrt__plan_collective(plan, ZRT__STREAM_COMPUTE, ZRT__COLLECTIVE_ALL_REDUCE, sums, sums,
                             sizeof((zrt__step_state){0}.sums) / sizeof(double), ZRT_FLOAT64, ZRT__REDUCE_SUM,
                             "sums of the step");
    zrt__zero_emit_decision(zero, plan, zero->state);
    if (options->offload != ZRT__OFFLOAD_NONE)
        zrt__offload_begin(zero, plan);
    for (int i = 0; i < zero->n_flats; i++) {
        const zrt__flat *flat = &zero->flats[i];
        if (!flat->trainable || flat->on_host)
            continue;
        update_flat(zero, plan, flat);
        if (flat->kind != ZRT__FLAT_RESIDENT || flat->n_shards == 1)
            continue;
        /* Whole on every rank: gathered where it lies, while the next flat is updated. */
        size_t element = zrt_dtype_bytes(options->compute_dtype);
        zrt__plan_wait(plan, ZRT__STREAM_GATHER, zrt__plan_record(plan, ZRT__STREAM_COMPUTE));
        zrt__plan_collective(plan, ZRT__STREAM_GATHER, ZRT__COLLECTIVE_ALL_GATHER,
                             zrt__ref_at(flat->parameter, (size_t)flat->shard_first * element), flat->parameter,
                             (size_t)flat->shard_elements, options->compute_dtype, ZRT__REDUCE_SUM, flat->name);
    }
    zrt__plan_wait(plan, ZRT__STREAM_COMPUTE, zrt__plan_record(plan, ZRT__STREAM_GATHER));
    if (options->offload != ZRT__OFFLOAD_NONE)
        zrt__offload_step(zero, plan);
    zrt__plan_point(plan, ZRT__STREAM_COMPUTE);
}
