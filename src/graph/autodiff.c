/* Reverse-mode differentiation of a unit: graph in, graph out. Gradients are tensors written once, so that aliasing one as the gradient of several
 * tensors is safe; sums use a kernel's `add` operand where it has one. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"

static zrt_status gradients_reserve(zrt__gradients *gradients)
{
    if (gradients->n >= gradients->unit->n_tensors)
        return ZRT_OK;
    size_t n = gradients->unit->n_tensors + 64;
    int *of = zrt__realloc(gradients->of, n * sizeof *of);
    if (of == NULL)
        return gradients->unit->status = ZRT_ERR_MEMORY;
    for (size_t i = gradients->n; i < n; i++)
        of[i] = ZRT__NO_TENSOR;
    gradients->of = of;
    gradients->n = n;
    return ZRT_OK;
}

zrt_tensor *zrt__gradient_of(zrt__gradients *gradients, int tensor)
{
    zrt_unit *unit = gradients->unit;
    if (tensor == ZRT__NO_TENSOR || (size_t)unit->tensors[tensor]->alias_of >= gradients->n)
        return NULL;
    zrt_tensor *gradient = zrt__unit_tensor(unit, gradients->of[unit->tensors[tensor]->alias_of]);
    const zrt_tensor *like = unit->tensors[tensor];
    if (gradient == NULL || (gradient->n_dims == like->n_dims &&
                             memcmp(gradient->dims, like->dims, (size_t)like->n_dims * sizeof *like->dims) == 0))
        return gradient;
    return zrt__unit_alias(unit, gradient, like->n_dims, like->dims);
}

bool zrt__gradient_wanted(zrt__gradients *gradients, int tensor)
{
    return tensor != ZRT__NO_TENSOR && gradients->unit->tensors[tensor]->requires_grad;
}

zrt_tensor *zrt__gradient_like(zrt__gradients *gradients, int tensor)
{
    const zrt_tensor *t = gradients->unit->tensors[tensor];
    return zrt__unit_value(gradients->unit, t->dtype, t->n_dims, t->dims);
}

void zrt__gradient_set(zrt__gradients *gradients, int tensor, zrt_tensor *gradient)
{
    if (gradient == NULL || gradients_reserve(gradients) != ZRT_OK)
        return;
    gradients->of[gradients->unit->tensors[tensor]->alias_of] = gradient->id;
}

void zrt__gradient_add(zrt__gradients *gradients, int tensor, zrt_tensor *gradient)
{
    if (gradient == NULL || !zrt__gradient_wanted(gradients, tensor))
        return;
    zrt_tensor *before = zrt__gradient_of(gradients, tensor);
    if (before != NULL) {
        zrt_tensor *sum = zrt__gradient_like(gradients, tensor);
        zrt__node_spec spec = {.kernel = ZRT__KERNEL_add, .in = {before, gradient}, .out = {sum}};
        zrt__unit_node(gradients->unit, &spec);
        gradient = sum;
    }
    zrt__gradient_set(gradients, tensor, gradient);
}

zrt_tensor *zrt__gradient_param(zrt__gradients *gradients, int tensor, bool *accumulate_out)
{
    if (!zrt__gradient_wanted(gradients, tensor))
        return NULL;
    const zrt_tensor *param = gradients->unit->tensors[tensor];
    zrt_tensor *gradient = zrt__unit_reference(gradients->unit, ZRT__TENSOR_PARAM_GRAD, param->index, param->dtype,
                                               param->n_dims, param->dims);
    *accumulate_out = gradients->param_written[param->index];
    gradients->param_written[param->index] = true;
    return gradient;
}

/* The gradients that later units left for this unit's outputs. */
static void seed_outputs(zrt__gradients *gradients)
{
    zrt_unit *unit = gradients->unit;
    for (size_t i = 0; i < unit->n_outputs; i++) {
        zrt__port *port = &unit->outputs[i];
        const zrt__edge *edge = &unit->build->edges[port->edge];
        if (!edge->requires_grad || edge->last_consumer < 0)
            continue;
        zrt_tensor *gradient =
            zrt__unit_reference(unit, ZRT__TENSOR_EDGE_GRAD, port->edge, edge->dtype, edge->n_dims, edge->dims);
        if (gradient == NULL)
            return;
        port->grad = gradient->id;
        zrt__gradient_add(gradients, port->tensor, gradient);
    }
}

/* What units after this one have left for an edge that it reads too. */
static void seed_inputs(zrt__gradients *gradients)
{
    zrt_unit *unit = gradients->unit;
    for (size_t i = 0; i < unit->n_inputs; i++) {
        const zrt__edge *edge = &unit->build->edges[unit->inputs[i].edge];
        if (!edge->requires_grad || edge->last_consumer <= unit->index)
            continue;
        zrt_tensor *gradient = zrt__unit_reference(unit, ZRT__TENSOR_EDGE_GRAD, unit->inputs[i].edge, edge->dtype,
                                                   edge->n_dims, edge->dims);
        zrt__gradient_set(gradients, unit->inputs[i].tensor, gradient);
    }
}

/* Gives the input edges' gradients memory of their own. */
static void finish_inputs(zrt__gradients *gradients)
{
    zrt_unit *unit = gradients->unit;
    for (size_t i = 0; i < unit->n_inputs; i++) {
        zrt__port *port = &unit->inputs[i];
        zrt_tensor *gradient = zrt__gradient_of(gradients, port->tensor);
        const zrt_tensor *input = unit->tensors[port->tensor];
        if (!input->requires_grad)
            continue;
        if (gradient == NULL) {
            gradient = zrt__gradient_like(gradients, port->tensor);
            zrt__node_spec zero = {.kernel = ZRT__KERNEL_zero, .out = {gradient}};
            zrt__unit_node(unit, &zero);
        }
        bool taken = unit->tensors[gradient->alias_of]->kind != ZRT__TENSOR_VALUE;
        for (size_t k = 0; k < i; k++)
            taken |= unit->inputs[k].grad != ZRT__NO_TENSOR &&
                     unit->tensors[unit->inputs[k].grad]->alias_of == gradient->alias_of;
        if (taken) {
            zrt_tensor *copy = zrt__gradient_like(gradients, port->tensor);
            zrt__node_spec spec = {
                .kernel = ZRT__KERNEL_scale, .in = {gradient}, .out = {copy}, .attributes = {.scale = {1.0f}}};
            zrt__unit_node(unit, &spec);
            gradient = copy;
        }
        if (gradient != NULL)
            port->grad = gradient->id;
    }
}

zrt_status zrt__autodiff(zrt_unit *unit)
{
    zrt__gradients gradients = {.unit = unit};
    gradients.param_written = zrt__calloc(unit->build->model->n_slots + 1, sizeof *gradients.param_written);
    if (gradients.param_written == NULL)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(gradients_reserve(&gradients));
    seed_outputs(&gradients);
    seed_inputs(&gradients);
    for (int i = unit->n_forward - 1; i >= 0 && unit->status == ZRT_OK; i--) {
        zrt__node node = unit->nodes[i]; /* a copy: emitting moves the array */
        if (node.backward == NULL)
            continue;
        bool reached = unit->tensors[node.out[0]]->kind == ZRT__TENSOR_SYSTEM; /* the loss */
        for (int k = 0; k < ZRT__MAX_OUTPUTS; k++)
            reached |= zrt__gradient_of(&gradients, node.out[k]) != NULL;
        for (int k = 0, wanted = 0; k < ZRT__MAX_INPUTS && reached; k++) {
            wanted |= zrt__gradient_wanted(&gradients, node.in[k]);
            if (k == ZRT__MAX_INPUTS - 1)
                reached = wanted;
        }
        if (reached)
            node.backward(&gradients, &node);
        gradients_reserve(&gradients);
    }
    if (unit->status == ZRT_OK)
        finish_inputs(&gradients);
    free(gradients.of);
    free(gradients.param_written);
    return unit->status;
}
