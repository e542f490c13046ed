/* A linear layer and the activation behind it as one kernel, and so on the way back: what lies between them is written
 * once and not read again before backward. */
#include "config.h"

#include "graph/graph.h"

static bool is_tensor(const zrt_unit *unit, int a, int b)
{
    return a != ZRT__NO_TENSOR && unit->tensors[a]->alias_of == unit->tensors[b]->alias_of;
}

static int count_uses(const zrt_unit *unit, int tensor)
{
    int uses = 0;
    for (size_t i = 0; i < unit->n_nodes; i++)
        for (int k = 0; k < ZRT__MAX_INPUTS; k++)
            uses += is_tensor(unit, unit->nodes[i].in[k], tensor);
    for (size_t i = 0; i < unit->n_outputs; i++)
        uses += is_tensor(unit, unit->outputs[i].tensor, tensor);
    return uses;
}

/* linear_forward, then activation_forward of its result alone: h stays for backward. */
static bool fuse_forward(const zrt_unit *unit, zrt__node *linear, const zrt__node *activation)
{
    int h = linear->out[0], readers = 0;
    if (linear->kernel != ZRT__KERNEL_linear_forward || activation->kernel != ZRT__KERNEL_activation_forward ||
        !is_tensor(unit, activation->in[0], h))
        return false;
    for (int i = 0; i < unit->n_forward; i++)
        for (int k = 0; k < ZRT__MAX_INPUTS; k++)
            readers += is_tensor(unit, unit->nodes[i].in[k], h);
    if (readers > 1)
        return false;
    linear->kernel = ZRT__KERNEL_linear_activation_forward;
    linear->attributes.linear.activation = activation->attributes.activation.kind;
    linear->out[0] = activation->out[0];
    linear->out[1] = count_uses(unit, h) > 1 ? h : ZRT__NO_TENSOR; /* the activation was one */
    return true;
}

/* linear_backward_input, then activation_backward of its result alone. */
static bool fuse_backward(const zrt_unit *unit, zrt__node *linear, const zrt__node *activation)
{
    int dy = linear->out[0];
    if (linear->kernel != ZRT__KERNEL_linear_backward_input || linear->in[2] != ZRT__NO_TENSOR ||
        activation->kernel != ZRT__KERNEL_activation_backward || !is_tensor(unit, activation->in[0], dy) ||
        count_uses(unit, dy) > 1)
        return false;
    linear->kernel = ZRT__KERNEL_linear_activation_backward;
    linear->attributes.linear.activation = activation->attributes.activation.kind;
    linear->in[2] = activation->in[1];
    linear->out[0] = activation->out[0];
    return true;
}

/* Takes a node out; compacting comes last. */
static void remove_node(zrt__node *node)
{
    node->kernel = ZRT__N_KERNELS;
    for (int k = 0; k < ZRT__MAX_INPUTS; k++)
        node->in[k] = ZRT__NO_TENSOR;
}

void zrt__fuse_activations(zrt_unit *unit)
{
    for (size_t i = 0; i + 1 < unit->n_nodes; i++) {
        zrt__node *node = &unit->nodes[i];
        if (fuse_forward(unit, node, node + 1) || fuse_backward(unit, node, node + 1))
            remove_node(node + 1);
    }
    size_t n = 0;
    int n_forward = 0;
    for (size_t i = 0; i < unit->n_nodes; i++) {
        if (unit->nodes[i].kernel == ZRT__N_KERNELS)
            continue;
        n_forward += i < (size_t)unit->n_forward;
        unit->nodes[n++] = unit->nodes[i];
    }
    unit->n_nodes = n;
    unit->n_forward = n_forward;
}
