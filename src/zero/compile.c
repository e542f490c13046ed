/* Graphs to plans: operands, nodes, gathers. */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "zero/compile.h"

zrt__operand zrt__operand_1d(zrt__ref ref, zrt_dtype dtype, int64_t n)
{
    return (zrt__operand){.ref = ref, .view = {.dtype = dtype, .n_dims = 1, .dims = {n}}};
}

static size_t value_index(const zrt__compiler *compiler, const zrt_tensor *tensor)
{
    return compiler->first_value[tensor->unit->index] + (size_t)tensor->alias_of;
}

/* Last uses, and what the forward pass leaves for backward. */
static void analyse(zrt__compiler *compiler)
{
    const zrt__build *build = compiler->build;
    for (int u = 0; u < build->n_units; u++) {
        const zrt_unit *unit = build->units[u];
        size_t first = compiler->first_value[u];
        for (size_t i = 0; i < unit->n_nodes; i++) {
            for (int k = 0; k < ZRT__MAX_INPUTS; k++) {
                const zrt_tensor *tensor = zrt__unit_tensor(unit, unit->nodes[i].in[k]);
                if (tensor == NULL)
                    continue;
                compiler->last_use[first + (size_t)tensor->alias_of] = (int)i;
                if (i >= (size_t)unit->n_forward)
                    compiler->kept_for_backward[first + (size_t)tensor->alias_of] = true;
            }
        }
        for (size_t i = 0; i < unit->n_outputs; i++)
            compiler->last_use[first + (size_t)unit->tensors[unit->outputs[i].tensor]->alias_of] = INT_MAX;
        for (size_t i = 0; i < unit->n_inputs; i++)
            if (unit->inputs[i].grad != ZRT__NO_TENSOR)
                compiler->last_use[first + (size_t)unit->tensors[unit->inputs[i].grad]->alias_of] = INT_MAX;
    }
}

zrt_status zrt__compiler_begin(zrt__compiler *compiler, zrt__zero *zero, zrt__plan *plan, const zrt__build *build)
{
    compiler->zero = zero;
    compiler->plan = plan;
    compiler->build = build;
    size_t flats = (size_t)zero->n_flats + 1, slots = zero->model->n_slots + 1, edges = build->n_edges + 1, values = 1;
    compiler->first_value = zrt__calloc((size_t)build->n_units + 1, sizeof *compiler->first_value);
    if (compiler->first_value == NULL)
        return ZRT_ERR_MEMORY;
    for (int u = 0; u < build->n_units; u++) {
        compiler->first_value[u] = values;
        values += build->units[u]->n_tensors;
    }
    compiler->gathered = zrt__malloc(flats * sizeof *compiler->gathered);
    compiler->gather_event = zrt__malloc(flats * sizeof *compiler->gather_event);
    compiler->gradients = zrt__malloc(flats * sizeof *compiler->gradients);
    compiler->contributions = zrt__calloc(flats, sizeof *compiler->contributions);
    compiler->slot_written = zrt__calloc(slots, sizeof *compiler->slot_written);
    compiler->edges = zrt__malloc(edges * sizeof *compiler->edges);
    compiler->edge_grads = zrt__malloc(edges * sizeof *compiler->edge_grads);
    compiler->values = zrt__malloc(values * sizeof *compiler->values);
    compiler->last_use = zrt__malloc(values * sizeof *compiler->last_use);
    compiler->kept_for_backward = zrt__calloc(values, sizeof *compiler->kept_for_backward);
    if (compiler->gathered == NULL || compiler->gather_event == NULL || compiler->gradients == NULL ||
        compiler->contributions == NULL || compiler->slot_written == NULL || compiler->edges == NULL ||
        compiler->edge_grads == NULL || compiler->values == NULL || compiler->last_use == NULL ||
        compiler->kept_for_backward == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < flats; i++) {
        compiler->gathered[i] = compiler->gradients[i] = ZRT__NO_REF;
        compiler->gather_event[i] = -1;
    }
    for (size_t i = 0; i < edges; i++)
        compiler->edges[i] = compiler->edge_grads[i] = ZRT__NO_REF;
    for (size_t i = 0; i < values; i++) {
        compiler->values[i] = ZRT__NO_REF;
        compiler->last_use[i] = -1;
    }
    for (int i = 0; i < 2; i++) {
        compiler->pending_reduce[i] = compiler->pending_down[i] = -1;
        for (int k = 0; k < 4; k++)
            compiler->pending_buffers[i][k] = ZRT__NO_REF;
    }
    analyse(compiler);
    return zrt__residency_create(zero, build, &compiler->schedule);
}

void zrt__compiler_end(zrt__compiler *compiler)
{
    zrt__residency_free(&compiler->schedule);
    free(compiler->gathered);
    free(compiler->gather_event);
    free(compiler->gradients);
    free(compiler->contributions);
    free(compiler->slot_written);
    free(compiler->edges);
    free(compiler->edge_grads);
    free(compiler->values);
    free(compiler->last_use);
    free(compiler->kept_for_backward);
    free(compiler->first_value);
}

static zrt__ref constant_ref(zrt__compiler *compiler, const zrt_unit *unit, int index)
{
    zrt__zero *zero = compiler->zero;
    const zrt__constant *constant = &unit->constants[index];
    for (size_t i = 0; i < zero->n_constants; i++)
        if (zero->constants[i].hash == constant->hash && zero->constants[i].n_elements == constant->n_elements)
            return zero->constants[i].ref;
    size_t bytes = (size_t)constant->n_elements * sizeof(float);
    float *values = zrt__malloc(bytes);
    zrt__ref ref = zrt__memory_persistent(zero->memory, ZRT__REGION_DEVICE, ZRT__CATEGORY_CONSTANTS, bytes);
    if (values == NULL || ref.buffer >= 0 ||
        zrt__grow(&zero->constants, &zero->constants_capacity, zero->n_constants, sizeof *zero->constants) != ZRT_OK) {
        free(values);
        compiler->status = ZRT_ERR_MEMORY;
        return ZRT__NO_REF;
    }
    memcpy(values, constant->values, bytes);
    zero->constants[zero->n_constants].hash = constant->hash;
    zero->constants[zero->n_constants].n_elements = constant->n_elements;
    zero->constants[zero->n_constants].values = values;
    zero->constants[zero->n_constants++].ref = ref;
    return ref;
}

static zrt__ref system_ref(const zrt__zero *zero, int which)
{
    switch ((zrt__system_tensor)which) {
    case ZRT__SYSTEM_GRAD_SCALE:
        return zrt__ref_at(zero->state, offsetof(zrt__step_state, grad_scale));
    case ZRT__SYSTEM_MICRO_SUMS:
        return zrt__ref_at(zero->state, offsetof(zrt__step_state, micro_sums));
    case ZRT__SYSTEM_SAMPLE_IDS:
        return zero->sample_ids;
    case ZRT__SYSTEM_STEP_STATE:
    case ZRT__N_SYSTEM_TENSORS:
        break;
    }
    return zero->state;
}

static zrt__ref param_ref(const zrt__compiler *compiler, int slot)
{
    const zrt__zero *zero = compiler->zero;
    int flat = zero->slot_flat[slot];
    zrt__ref base =
        zero->flats[flat].kind == ZRT__FLAT_RESIDENT ? zero->flats[flat].parameter : compiler->gathered[flat];
    return zrt__ref_at(base, (size_t)zero->slot_offset[slot] * zrt_dtype_bytes(zero->options.compute_dtype));
}

/* The input that `node` may overwrite with output `k`: a value of the unit that nothing uses afterwards. */
static const zrt_tensor *reusable_input(const zrt__compiler *compiler, const zrt_unit *unit, size_t index, int k,
                                        size_t bytes)
{
    const zrt__node *node = &unit->nodes[index];
    uint32_t candidates = zrt__kernel_in_place(node->kernel, k);
    for (int i = 0; i < ZRT__MAX_INPUTS; i++) {
        const zrt_tensor *in = zrt__unit_tensor(unit, node->in[i]);
        if ((candidates >> i & 1u) == 0 || in == NULL || in->kind != ZRT__TENSOR_VALUE ||
            compiler->last_use[value_index(compiler, in)] != (int)index || zrt__tensor_bytes(in) != bytes ||
            zrt__tensor_elements(in) != zrt__tensor_elements(unit->tensors[in->alias_of]))
            continue;
        int uses = 0; /* the same tensor twice among the inputs: both reads must come first */
        for (int other = 0; other < ZRT__MAX_INPUTS; other++) {
            const zrt_tensor *t = zrt__unit_tensor(unit, node->in[other]);
            uses += t != NULL && t->kind == ZRT__TENSOR_VALUE && t->alias_of == in->alias_of;
        }
        bool taken = false; /* by an earlier output of this node */
        for (int out = 0; out < k; out++) {
            const zrt_tensor *t = zrt__unit_tensor(unit, node->out[out]);
            taken |=
                t != NULL && t->kind == ZRT__TENSOR_VALUE &&
                compiler->values[value_index(compiler, t)].buffer == compiler->values[value_index(compiler, in)].buffer;
        }
        if (uses == 1 && !taken)
            return in;
    }
    return NULL;
}

static zrt__ref value_ref(zrt__compiler *compiler, const zrt_tensor *tensor, size_t node, int output, bool is_edge)
{
    zrt__ref *ref = &compiler->values[value_index(compiler, tensor)];
    if (!zrt__ref_is_none(*ref) || output < 0)
        return *ref;
    const zrt_unit *unit = tensor->unit;
    size_t bytes = zrt__tensor_bytes(unit->tensors[tensor->alias_of]);
    const zrt_tensor *input = reusable_input(compiler, unit, node, output, bytes);
    if (input != NULL) {
        *ref = compiler->values[value_index(compiler, input)];
        return *ref;
    }
    bool kept = compiler->kept_for_backward[value_index(compiler, tensor)] && node < (size_t)unit->n_forward;
    *ref = zrt__plan_buffer(compiler->plan, ZRT__REGION_DEVICE,
                            is_edge ? ZRT__CATEGORY_EDGES
                            : kept  ? ZRT__CATEGORY_ACTIVATIONS
                                    : ZRT__CATEGORY_WORKSPACE,
                            bytes);
    return *ref;
}

static zrt__ref cache_ref(zrt__compiler *compiler, const zrt_tensor *tensor)
{
    if (compiler->next_cache == compiler->n_caches) {
        zrt__ref *caches = zrt__realloc(compiler->caches, (size_t)(compiler->n_caches + 1) * sizeof *caches);
        if (caches == NULL) {
            compiler->status = ZRT_ERR_MEMORY;
            return ZRT__NO_REF;
        }
        compiler->caches = caches;
        caches[compiler->n_caches++] =
            zrt__plan_buffer(compiler->plan, ZRT__REGION_DEVICE, ZRT__CATEGORY_CACHE, zrt__tensor_bytes(tensor));
    }
    return compiler->caches[compiler->next_cache++];
}

/* output: which output of the node it is, -1: an input. */
static zrt__operand operand(zrt__compiler *compiler, const zrt_tensor *tensor, size_t node, int output,
                            uint32_t *accumulate)
{
    if (tensor == NULL)
        return ZRT__NO_OPERAND;
    zrt__operand result = {.view = {.dtype = tensor->dtype, .n_dims = tensor->n_dims}};
    memcpy(result.view.dims, tensor->dims, sizeof result.view.dims);
    const zrt_unit *unit = tensor->unit;
    bool add = false;
    switch (tensor->kind) {
    case ZRT__TENSOR_VALUE:
        result.ref =
            value_ref(compiler, tensor, node, output, compiler->last_use[value_index(compiler, tensor)] == INT_MAX);
        break;
    case ZRT__TENSOR_PARAM:
        result.ref = param_ref(compiler, tensor->index);
        break;
    case ZRT__TENSOR_PARAM_GRAD:
        result.ref = zrt__compiler_gradient(compiler, tensor->index, &result.view.dtype, &add);
        *accumulate |= add ? 1u << output : 0;
        break;
    case ZRT__TENSOR_EDGE:
        result.ref = compiler->edges[tensor->index];
        break;
    case ZRT__TENSOR_EDGE_GRAD:
        result.ref = compiler->edge_grads[tensor->index];
        break;
    case ZRT__TENSOR_FIELD:
        result.ref = compiler->zero->fields[tensor->index];
        break;
    case ZRT__TENSOR_CONSTANT:
        result.ref = constant_ref(compiler, unit, tensor->index);
        break;
    case ZRT__TENSOR_STATE:
        result.ref = cache_ref(compiler, tensor);
        break;
    case ZRT__TENSOR_SYSTEM:
        result.ref = system_ref(compiler->zero, tensor->index);
        break;
    }
    result.ref = zrt__ref_at(result.ref, (size_t)tensor->offset * zrt_dtype_bytes(tensor->dtype));
    return result;
}

/* The unit's outputs become edges, its inputs' gradients the edges' gradients. */
static void publish(zrt__compiler *compiler, const zrt_unit *unit, bool backward)
{
    for (size_t i = 0; i < unit->n_outputs && !backward; i++)
        compiler->edges[unit->outputs[i].edge] =
            compiler->values[value_index(compiler, unit->tensors[unit->outputs[i].tensor])];
    for (size_t i = 0; i < unit->n_inputs && backward; i++)
        if (unit->inputs[i].grad != ZRT__NO_TENSOR)
            compiler->edge_grads[unit->inputs[i].edge] =
                compiler->values[value_index(compiler, unit->tensors[unit->inputs[i].grad])];
}

void zrt__compiler_nodes(zrt__compiler *compiler, int index, size_t begin, size_t end)
{
    const zrt_unit *unit = compiler->build->units[index];
    compiler->plan->unit = index;
    for (size_t i = begin; i < end && compiler->status == ZRT_OK; i++) {
        const zrt__node *node = &unit->nodes[i];
        zrt__operand in[ZRT__MAX_INPUTS], out[ZRT__MAX_OUTPUTS];
        uint32_t accumulate = node->accumulate;
        for (int k = 0; k < ZRT__MAX_INPUTS; k++)
            in[k] = operand(compiler, zrt__unit_tensor(unit, node->in[k]), i, -1, &accumulate);
        for (int k = 0; k < ZRT__MAX_OUTPUTS; k++)
            out[k] = operand(compiler, zrt__unit_tensor(unit, node->out[k]), i, k, &accumulate);
        zrt__plan_kernel(compiler->plan, ZRT__STREAM_COMPUTE, node->kernel, in, ZRT__MAX_INPUTS, out, ZRT__MAX_OUTPUTS,
                         accumulate, &node->attributes);
    }
    publish(compiler, unit, begin >= (size_t)unit->n_forward && compiler->build->options.mode == ZRT_MODE_TRAIN);
    compiler->plan->unit = -1;
}

static void enqueue_gather(zrt__compiler *compiler, int index)
{
    const zrt__zero *zero = compiler->zero;
    const zrt__flat *flat = &zero->flats[index];
    zrt__plan *plan = compiler->plan;
    zrt_dtype dtype = zero->options.compute_dtype;
    zrt__ref buffer = zrt__plan_buffer(plan, ZRT__REGION_REGISTERED, ZRT__CATEGORY_GATHERED,
                                       (size_t)flat->n_elements * zrt_dtype_bytes(dtype));
    compiler->gathered[index] = buffer;
    zrt__plan_wait(plan, ZRT__STREAM_GATHER, zrt__plan_record(plan, ZRT__STREAM_COMPUTE));
    zrt__offload_await(zero, plan, flat, ZRT__STREAM_GATHER);
    zrt__plan_collective(plan, ZRT__STREAM_GATHER, ZRT__COLLECTIVE_ALL_GATHER, flat->parameter, buffer,
                         (size_t)flat->shard_elements, dtype, ZRT__REDUCE_SUM, flat->name);
    compiler->gather_event[index] = zrt__plan_record(plan, ZRT__STREAM_GATHER);
}

/* What is never gathered in a pass may still be on its way from the step before. */
static void await_residents(zrt__compiler *compiler, int unit)
{
    const zrt__zero *zero = compiler->zero;
    const zrt_unit *u = compiler->build->units[unit];
    for (int f = 0; f < zero->n_flats; f++) {
        bool used = false;
        for (size_t i = 0; i < u->n_tensors && !used; i++)
            used = u->tensors[i]->kind == ZRT__TENSOR_PARAM && zero->slot_flat[u->tensors[i]->index] == f;
        if (used && zero->flats[f].kind == ZRT__FLAT_RESIDENT)
            zrt__offload_await(zero, compiler->plan, &zero->flats[f], ZRT__STREAM_COMPUTE);
    }
}

void zrt__compiler_gather(zrt__compiler *compiler, int index)
{
    const zrt__residency *schedule = &compiler->schedule;
    compiler->plan->unit = schedule->uses[index].unit;
    /* What this use needs comes before what is fetched ahead. */
    for (int ahead = 0; ahead < 2; ahead++)
        for (size_t i = 0; i < schedule->n_gathers; i++)
            if (schedule->gathers[i].issue == index && (schedule->gathers[i].first > index) == (ahead == 1)) {
                if (compiler->gather_event[schedule->gathers[i].flat] >= 0)
                    zrt__plan_wait(compiler->plan, ZRT__STREAM_COMPUTE,
                                   compiler->gather_event[schedule->gathers[i].flat]);
                enqueue_gather(compiler, schedule->gathers[i].flat);
            }
    const zrt__use *use = &schedule->uses[index];
    if (!use->backward)
        await_residents(compiler, use->unit);
    for (int i = 0; i < use->n_flats; i++) {
        zrt__plan_wait(compiler->plan, ZRT__STREAM_COMPUTE, compiler->gather_event[use->flats[i]]);
        compiler->gather_event[use->flats[i]] = -1;
    }
}
