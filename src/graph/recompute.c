/* Activation recomputation: which values of the forward pass backward finds kept, and which it computes again
 * (Chen et al. 2016; "selective": what costs memory but few operations, Korthikanti et al. 2022). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"

typedef struct recompute_state {
    zrt_unit *unit;
    zrt__recompute policy;
    int *producer;    /* by root tensor: forward node, -1 */
    int *again;       /* by tensor: the recomputed one, NO_TENSOR */
    size_t n_tensors; /* of the forward pass and first backward */
} recompute_state;

/* True when the value stays from the forward pass on. */
static bool kept(const recompute_state *state, int tensor)
{
    int root = state->unit->tensors[tensor]->alias_of;
    if (state->unit->tensors[root]->kind != ZRT__TENSOR_VALUE || state->producer[root] < 0)
        return true;
    if (state->policy == ZRT__RECOMPUTE_FULL)
        return false;
    return !state->unit->nodes[state->producer[root]].cheap;
}

static int recomputed(recompute_state *state, int tensor, zrt__node **nodes, size_t *n, size_t *capacity);

/* Emits the forward node again, its inputs first. */
static zrt_status run_again(recompute_state *state, int index, zrt__node **nodes, size_t *n, size_t *capacity)
{
    zrt_unit *unit = state->unit;
    zrt__node node = unit->nodes[index];
    for (int i = 0; i < ZRT__MAX_INPUTS; i++) {
        if (node.in[i] != ZRT__NO_TENSOR)
            node.in[i] = recomputed(state, node.in[i], nodes, n, capacity);
        if (unit->status != ZRT_OK)
            return unit->status;
    }
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++) {
        if (node.out[i] == ZRT__NO_TENSOR)
            continue;
        const zrt_tensor *old = unit->tensors[node.out[i]];
        if (old->kind != ZRT__TENSOR_VALUE) {
            node.out[i] = ZRT__NO_TENSOR; /* sums of the loss are not taken twice */
            continue;
        }
        zrt_tensor *fresh = zrt__unit_value(unit, old->dtype, old->n_dims, old->dims);
        if (fresh == NULL)
            return unit->status;
        state->again[node.out[i]] = fresh->id;
        node.out[i] = fresh->id;
    }
    node.backward = NULL;
    if (zrt__grow(nodes, capacity, *n, sizeof **nodes) != ZRT_OK)
        return unit->status = ZRT_ERR_MEMORY;
    (*nodes)[(*n)++] = node;
    return ZRT_OK;
}

static int recomputed(recompute_state *state, int tensor, zrt__node **nodes, size_t *n, size_t *capacity)
{
    zrt_unit *unit = state->unit;
    if ((size_t)tensor >= state->n_tensors || kept(state, tensor))
        return tensor;
    if (state->again[tensor] != ZRT__NO_TENSOR)
        return state->again[tensor];
    int root = unit->tensors[tensor]->alias_of;
    if (state->again[root] == ZRT__NO_TENSOR && run_again(state, state->producer[root], nodes, n, capacity) != ZRT_OK)
        return tensor;
    if (tensor != root) {
        const zrt_tensor *old = unit->tensors[tensor];
        zrt_tensor *alias = zrt__unit_alias(unit, unit->tensors[state->again[root]], old->n_dims, old->dims);
        if (alias == NULL)
            return tensor;
        state->again[tensor] = alias->id;
    }
    return state->again[tensor];
}

zrt_status zrt__recompute_apply(zrt_unit *unit, zrt__recompute policy)
{
    /* The last unit's backward follows its forward at once: nothing to gain. Keeping its loss out of it keeps the sums right. */
    if (policy == ZRT__RECOMPUTE_NONE || unit->has_loss || unit->n_forward == (int)unit->n_nodes)
        return ZRT_OK;
    recompute_state state = {.unit = unit, .policy = policy, .n_tensors = unit->n_tensors};
    size_t n = 0, capacity = 0;
    zrt__node *nodes = NULL;
    state.producer = zrt__malloc(unit->n_tensors * sizeof *state.producer);
    state.again = zrt__malloc(unit->n_tensors * sizeof *state.again);
    if (state.producer == NULL || state.again == NULL) {
        unit->status = ZRT_ERR_MEMORY;
        goto done;
    }
    for (size_t i = 0; i < unit->n_tensors; i++)
        state.producer[i] = state.again[i] = -1;
    for (int i = 0; i < unit->n_forward; i++)
        for (int k = 0; k < ZRT__MAX_OUTPUTS; k++)
            if (unit->nodes[i].out[k] != ZRT__NO_TENSOR)
                state.producer[unit->nodes[i].out[k]] = i;
    for (size_t i = 0; i < unit->n_outputs; i++) /* outputs live as edges anyway */
        state.producer[unit->tensors[unit->outputs[i].tensor]->alias_of] = -1;
    for (size_t i = 0; i < unit->n_nodes && unit->status == ZRT_OK; i++) {
        zrt__node node = unit->nodes[i];
        for (int k = 0; k < ZRT__MAX_INPUTS && i >= (size_t)unit->n_forward; k++)
            if (node.in[k] != ZRT__NO_TENSOR)
                node.in[k] = recomputed(&state, node.in[k], &nodes, &n, &capacity);
        if (zrt__grow(&nodes, &capacity, n, sizeof *nodes) != ZRT_OK) {
            unit->status = ZRT_ERR_MEMORY;
            break;
        }
        nodes[n++] = node;
    }
    if (unit->status == ZRT_OK) {
        zrt__node *old = unit->nodes;
        unit->nodes = nodes;
        unit->n_nodes = n;
        unit->nodes_capacity = capacity;
        nodes = old;
    }
done:
    free(nodes);
    free(state.producer);
    free(state.again);
    return unit->status;
}
