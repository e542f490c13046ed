/* Layer and root-mean-square normalisation, fused with an addition that comes right before. */
#include "config.h"

#include "graph/graph.h"

/* Operands of the four forward kernels: [add_]layernorm and [add_]rmsnorm. */
typedef struct norm_operands {
    bool fused, layer;
    int x, weight, bias, mean, rstd; /* tensor ids; x is what was normalised */
} norm_operands;

static norm_operands operands_of(const zrt__node *node)
{
    bool fused = node->kernel == ZRT__KERNEL_add_layernorm_forward || node->kernel == ZRT__KERNEL_add_rmsnorm_forward;
    bool layer = node->kernel == ZRT__KERNEL_layernorm_forward || node->kernel == ZRT__KERNEL_add_layernorm_forward;
    int first = fused ? 2 : 1;
    return (norm_operands){
        .fused = fused,
        .layer = layer,
        .x = fused ? node->out[layer ? 3 : 2] : node->in[0],
        .weight = node->in[first],
        .bias = layer ? node->in[first + 1] : ZRT__NO_TENSOR,
        .mean = layer ? node->out[1] : ZRT__NO_TENSOR,
        .rstd = node->out[layer ? 2 : 1],
    };
}

static void norm_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    norm_operands o = operands_of(node);
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    zrt_tensor *dx = zrt__gradient_of(gradients, o.x); /* of the sum, by later uses */
    bool accumulate_w = false, accumulate_b = false;
    zrt_tensor *dw = NULL, *db = NULL;
    if (dy != NULL) {
        dw = zrt__gradient_param(gradients, o.weight, &accumulate_w);
        db = zrt__gradient_param(gradients, o.bias, &accumulate_b);
        zrt_tensor *before = dx;
        dx = zrt__gradient_like(gradients, o.x);
        zrt_tensor *x = zrt__unit_tensor(unit, o.x), *weight = zrt__unit_tensor(unit, o.weight);
        zrt_tensor *mean = zrt__unit_tensor(unit, o.mean), *rstd = zrt__unit_tensor(unit, o.rstd);
        zrt__node_spec spec = {.kernel = o.layer ? ZRT__KERNEL_layernorm_backward : ZRT__KERNEL_rmsnorm_backward,
                               .out = {dx, dw, db},
                               .attributes = node->attributes};
        const zrt_tensor *layer_in[] = {dy, x, weight, mean, rstd, before};
        const zrt_tensor *rms_in[] = {dy, x, weight, rstd, before};
        int n = o.layer ? 6 : 5;
        for (int i = 0; i < n; i++)
            spec.in[i] = o.layer ? layer_in[i] : rms_in[i];
        zrt__node *emitted = zrt__unit_node(unit, &spec);
        if (emitted != NULL)
            emitted->accumulate = (accumulate_w ? 2u : 0u) | (accumulate_b ? 4u : 0u);
    }
    if (!o.fused) {
        zrt__gradient_set(gradients, o.x, dx);
        return;
    }
    zrt__gradient_add(gradients, node->in[0], dx);
    zrt__gradient_add(gradients, node->in[1], dx);
}

static zrt_tensor *norm(zrt_unit *unit, zrt_tensor *x, zrt_tensor *weight, zrt_tensor *bias, float eps, bool layer)
{
    if (unit->status != ZRT_OK || x == NULL || weight == NULL)
        return NULL;
    int64_t columns = zrt__tensor_columns(x);
    if (weight->n_dims != 1 || weight->dims[0] != columns || weight->kind != ZRT__TENSOR_PARAM ||
        (bias != NULL && (bias->n_dims != 1 || bias->dims[0] != columns || bias->kind != ZRT__TENSOR_PARAM))) {
        zrt_unit_fail(unit, "normalisation: weight and bias must be parameters of %lld elements", (long long)columns);
        return NULL;
    }
    int64_t n = zrt__tensor_rows(x);
    zrt_tensor *y = zrt__unit_value(unit, x->dtype, x->n_dims, x->dims);
    zrt_tensor *mean = layer ? zrt__unit_value(unit, ZRT_FLOAT32, 1, &n) : NULL;
    zrt_tensor *rstd = zrt__unit_value(unit, ZRT_FLOAT32, 1, &n);
    if (rstd == NULL)
        return NULL;
    zrt__node_spec spec = {.attributes = {.norm = {eps}}, .backward = norm_backward, .cheap = true};
    zrt__node *last = unit->n_nodes > 0 ? &unit->nodes[unit->n_nodes - 1] : NULL;
    if (last != NULL && last->kernel == ZRT__KERNEL_add && last->out[0] == x->id) {
        /* x = a + b was the node before: one kernel reads a and b and writes x and y. */
        zrt_tensor *a = unit->tensors[last->in[0]], *b = unit->tensors[last->in[1]];
        unit->n_nodes--;
        if (layer) {
            spec.kernel = ZRT__KERNEL_add_layernorm_forward;
            spec.in[0] = a, spec.in[1] = b, spec.in[2] = weight, spec.in[3] = bias;
            spec.out[0] = y, spec.out[1] = mean, spec.out[2] = rstd, spec.out[3] = x;
        } else {
            spec.kernel = ZRT__KERNEL_add_rmsnorm_forward;
            spec.in[0] = a, spec.in[1] = b, spec.in[2] = weight;
            spec.out[0] = y, spec.out[1] = rstd, spec.out[2] = x;
        }
    } else if (layer) {
        spec.kernel = ZRT__KERNEL_layernorm_forward;
        spec.in[0] = x, spec.in[1] = weight, spec.in[2] = bias;
        spec.out[0] = y, spec.out[1] = mean, spec.out[2] = rstd;
    } else {
        spec.kernel = ZRT__KERNEL_rmsnorm_forward;
        spec.in[0] = x, spec.in[1] = weight;
        spec.out[0] = y, spec.out[1] = rstd;
    }
    zrt__unit_node(unit, &spec);
    return y;
}

zrt_tensor *zrt_layernorm(zrt_unit *unit, zrt_tensor *x, zrt_tensor *weight, zrt_tensor *bias, float eps)
{
    return norm(unit, x, weight, bias, eps, true);
}

zrt_tensor *zrt_rmsnorm(zrt_unit *unit, zrt_tensor *x, zrt_tensor *weight, float eps)
{
    return norm(unit, x, weight, NULL, eps, false);
}
