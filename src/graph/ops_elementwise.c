/* Activations, sums, products, dropout, reshapes. */
#include "config.h"

#include <string.h>

#include "graph/graph.h"

static zrt_tensor *like(zrt_unit *unit, const zrt_tensor *x)
{
    return zrt__unit_value(unit, x->dtype, x->n_dims, x->dims);
}

static void activation_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_tensor *dx = zrt__gradient_like(gradients, node->in[0]);
    zrt__kernel kernel =
        node->kernel == ZRT__KERNEL_glu_forward ? ZRT__KERNEL_glu_backward : ZRT__KERNEL_activation_backward;
    zrt__unit_node(gradients->unit, &(zrt__node_spec){.kernel = kernel,
                                                      .in = {zrt__gradient_of(gradients, node->out[0]),
                                                             zrt__unit_tensor(gradients->unit, node->in[0])},
                                                      .out = {dx},
                                                      .attributes = node->attributes});
    zrt__gradient_add(gradients, node->in[0], dx);
}

zrt_tensor *zrt_activation(zrt_unit *unit, zrt_tensor *x, zrt_activation_kind kind)
{
    if (unit->status != ZRT_OK || x == NULL)
        return NULL;
    zrt_tensor *y = like(unit, x);
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_activation_forward,
                                           .in = {x},
                                           .out = {y},
                                           .attributes = {.activation = {kind}},
                                           .backward = activation_backward,
                                           .cheap = true});
    return y;
}

zrt_tensor *zrt_glu(zrt_unit *unit, zrt_tensor *x, zrt_activation_kind kind)
{
    if (unit->status != ZRT_OK || x == NULL)
        return NULL;
    int64_t dims[ZRT_MAX_DIMS];
    memcpy(dims, x->dims, sizeof dims);
    if (x->n_dims < 1 || zrt__tensor_columns(x) % 2 != 0) {
        zrt_unit_fail(unit, "gated activation: %lld columns are not gate and up of equal size",
                      (long long)zrt__tensor_columns(x));
        return NULL;
    }
    dims[x->n_dims - 1] /= 2;
    zrt_tensor *y = zrt__unit_value(unit, x->dtype, x->n_dims, dims);
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_glu_forward,
                                           .in = {x},
                                           .out = {y},
                                           .attributes = {.activation = {kind}},
                                           .backward = activation_backward,
                                           .cheap = true});
    return y;
}

static void dropout_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    if (zrt__gradient_wanted(gradients, node->in[0])) {
        zrt_tensor *dx = zrt__gradient_like(gradients, node->in[0]);
        zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_dropout,
                                               .in = {dy, NULL, zrt__unit_tensor(unit, node->in[2]),
                                                      zrt__unit_tensor(unit, node->in[3])},
                                               .out = {dx},
                                               .attributes = node->attributes});
        zrt__gradient_add(gradients, node->in[0], dx);
    }
    if (node->in[1] != ZRT__NO_TENSOR)
        zrt__gradient_add(gradients, node->in[1], dy);
}

zrt_tensor *zrt_dropout(zrt_unit *unit, zrt_tensor *x, float probability)
{
    if (unit->status != ZRT_OK || x == NULL)
        return NULL;
    if (!(probability >= 0 && probability < 1)) {
        zrt_unit_fail(unit, "dropout probability %g is not in [0, 1)", (double)probability);
        return NULL;
    }
    uint32_t op = probability > 0 ? unit->n_random_ops++ : 0;
    if (!zrt__unit_trains(unit) || probability == 0)
        return x;
    zrt_tensor *y = like(unit, x);
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_dropout,
                                           .in = {x, NULL, zrt__unit_system(unit, ZRT__SYSTEM_SAMPLE_IDS),
                                                  zrt__unit_system(unit, ZRT__SYSTEM_STEP_STATE)},
                                           .out = {y},
                                           .attributes = {.dropout = {probability, (uint32_t)unit->index, op}},
                                           .backward = dropout_backward,
                                           .cheap = true});
    return y;
}

static void add_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    zrt__gradient_add(gradients, node->in[0], dy);
    zrt__gradient_add(gradients, node->in[1], dy);
}

static void mul_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    for (int i = 0; i < 2; i++) {
        if (!zrt__gradient_wanted(gradients, node->in[i]))
            continue;
        zrt_tensor *dx = zrt__gradient_like(gradients, node->in[i]);
        zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_mul,
                                               .in = {dy, zrt__unit_tensor(unit, node->in[1 - i])},
                                               .out = {dx}});
        zrt__gradient_add(gradients, node->in[i], dx);
    }
}

static zrt_tensor *binary(zrt_unit *unit, zrt_tensor *a, zrt_tensor *b, zrt__kernel kernel, zrt__backward_fn *backward)
{
    if (unit->status != ZRT_OK || a == NULL || b == NULL)
        return NULL;
    if (zrt__tensor_elements(a) != zrt__tensor_elements(b) || a->dtype != b->dtype) {
        zrt_unit_fail(unit, "%s of tensors of %lld and %lld elements (%s and %s)", zrt__kernel_name(kernel),
                      (long long)zrt__tensor_elements(a), (long long)zrt__tensor_elements(b), zrt_dtype_name(a->dtype),
                      zrt_dtype_name(b->dtype));
        return NULL;
    }
    zrt_tensor *y = like(unit, a);
    zrt__unit_node(unit,
                   &(zrt__node_spec){.kernel = kernel, .in = {a, b}, .out = {y}, .backward = backward, .cheap = true});
    return y;
}

zrt_tensor *zrt_add(zrt_unit *unit, zrt_tensor *a, zrt_tensor *b)
{
    if (unit->status == ZRT_OK && a != NULL && b != NULL && unit->n_nodes > 0 &&
        zrt__tensor_elements(a) == zrt__tensor_elements(b)) {
        /* residual + dropout(x), the dropout being the node before: one kernel. */
        zrt__node *last = &unit->nodes[unit->n_nodes - 1];
        zrt_tensor *other = last->out[0] == b->id ? a : b;
        if (last->kernel == ZRT__KERNEL_dropout && last->in[1] == ZRT__NO_TENSOR && a != b &&
            (last->out[0] == a->id || last->out[0] == b->id)) {
            last->in[1] = other->id;
            zrt_tensor *y = unit->tensors[last->out[0]];
            y->requires_grad |= other->requires_grad;
            return y;
        }
    }
    return binary(unit, a, b, ZRT__KERNEL_add, add_backward);
}

zrt_tensor *zrt_mul(zrt_unit *unit, zrt_tensor *a, zrt_tensor *b)
{
    return binary(unit, a, b, ZRT__KERNEL_mul, mul_backward);
}

static void scale_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_tensor *dx = zrt__gradient_like(gradients, node->in[0]);
    zrt__unit_node(gradients->unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_scale,
                                                      .in = {zrt__gradient_of(gradients, node->out[0])},
                                                      .out = {dx},
                                                      .attributes = node->attributes});
    zrt__gradient_add(gradients, node->in[0], dx);
}

zrt_tensor *zrt_scale(zrt_unit *unit, zrt_tensor *x, float factor)
{
    if (unit->status != ZRT_OK || x == NULL)
        return NULL;
    zrt_tensor *y = like(unit, x);
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_scale,
                                           .in = {x},
                                           .out = {y},
                                           .attributes = {.scale = {factor}},
                                           .backward = scale_backward,
                                           .cheap = true});
    return y;
}

zrt_tensor *zrt_reshape(zrt_unit *unit, zrt_tensor *x, int n_dims, const int64_t *dims)
{
    if (unit->status != ZRT_OK || x == NULL)
        return NULL;
    int64_t n = 1;
    for (int i = 0; i < n_dims && i < ZRT_MAX_DIMS; i++)
        n *= dims[i];
    if (n_dims < 1 || n_dims > ZRT_MAX_DIMS || n != zrt__tensor_elements(x)) {
        zrt_unit_fail(unit, "reshape of %lld elements to %lld", (long long)zrt__tensor_elements(x), (long long)n);
        return NULL;
    }
    return zrt__unit_alias(unit, x, n_dims, dims);
}

static void last_position_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_tensor *dx = zrt__gradient_like(gradients, node->in[0]);
    zrt__unit_node(gradients->unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_last_position_backward,
                                                      .in = {zrt__gradient_of(gradients, node->out[0])},
                                                      .out = {dx},
                                                      .attributes = node->attributes});
    zrt__gradient_add(gradients, node->in[0], dx);
}

static zrt_tensor *one_position(zrt_unit *unit, zrt_tensor *x, bool last)
{
    if (unit->status != ZRT_OK || x == NULL)
        return NULL;
    if (x->n_dims != 3) {
        zrt_unit_fail(unit, "one position is of [rows, length, columns], not of %d dimensions", x->n_dims);
        return NULL;
    }
    zrt_tensor *y = zrt__unit_value(unit, x->dtype, 3, (int64_t[]){x->dims[0], 1, x->dims[2]});
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_last_position_forward,
                                           .in = {x},
                                           .out = {y},
                                           .attributes = {.last = {last ? x->dims[1] - 1 : 0}},
                                           .backward = last_position_backward,
                                           .cheap = true});
    return y;
}

zrt_tensor *zrt_last_position(zrt_unit *unit, zrt_tensor *x)
{
    return one_position(unit, x, true);
}

zrt_tensor *zrt_first_position(zrt_unit *unit, zrt_tensor *x)
{
    return one_position(unit, x, false);
}
