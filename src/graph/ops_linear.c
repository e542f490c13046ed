/* Embedding and linear layers. */
#include "config.h"

#include "graph/graph.h"

static void embedding_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    bool accumulate = false;
    zrt_tensor *dtable = zrt__gradient_param(gradients, node->in[1], &accumulate);
    if (dtable != NULL) {
        zrt__node *emitted = zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_embedding_backward,
                                                                    .in = {dy, zrt__unit_tensor(unit, node->in[0])},
                                                                    .out = {dtable}});
        if (emitted != NULL)
            emitted->accumulate = accumulate;
    }
    if (node->in[2] != ZRT__NO_TENSOR)
        zrt__gradient_add(gradients, node->in[2], dy);
}

zrt_tensor *zrt_embedding(zrt_unit *unit, zrt_tensor *ids, zrt_tensor *table, zrt_tensor *add)
{
    if (unit->status != ZRT_OK || ids == NULL || table == NULL)
        return NULL;
    if (ids->dtype != ZRT_INT32 || table->n_dims != 2 || table->kind != ZRT__TENSOR_PARAM ||
        ids->n_dims >= ZRT_MAX_DIMS) {
        zrt_unit_fail(unit, "embedding needs int32 ids and a parameter [entries, columns]");
        return NULL;
    }
    int64_t dims[ZRT_MAX_DIMS];
    for (int i = 0; i < ids->n_dims; i++)
        dims[i] = ids->dims[i];
    dims[ids->n_dims] = table->dims[1];
    zrt_tensor *y = zrt__unit_value(unit, table->dtype, ids->n_dims + 1, dims);
    if (y != NULL && add != NULL && zrt__tensor_elements(add) != zrt__tensor_elements(y)) {
        zrt_unit_fail(unit, "embedding: what is added has %lld elements, the result %lld",
                      (long long)zrt__tensor_elements(add), (long long)zrt__tensor_elements(y));
        return NULL;
    }
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_embedding_forward,
                                           .in = {ids, table, add},
                                           .out = {y},
                                           .backward = embedding_backward,
                                           .cheap = true});
    return y;
}

static void linear_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    bool accumulate_w = false, accumulate_b = false;
    zrt_tensor *dw = zrt__gradient_param(gradients, node->in[1], &accumulate_w);
    zrt_tensor *db = zrt__gradient_param(gradients, node->in[2], &accumulate_b);
    if (dw != NULL || db != NULL) {
        zrt__node *emitted = zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_linear_backward_weight,
                                                                    .in = {dy, zrt__unit_tensor(unit, node->in[0])},
                                                                    .out = {dw, db},
                                                                    .attributes = node->attributes});
        if (emitted != NULL)
            emitted->accumulate = (accumulate_w ? 1u : 0u) | (accumulate_b ? 2u : 0u);
    }
    if (zrt__gradient_wanted(gradients, node->in[0])) {
        zrt_tensor *dx = zrt__gradient_like(gradients, node->in[0]);
        zrt_tensor *before = zrt__gradient_of(gradients, node->in[0]);
        zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_linear_backward_input,
                                               .in = {dy, zrt__unit_tensor(unit, node->in[1]), before},
                                               .out = {dx},
                                               .attributes = node->attributes});
        zrt__gradient_set(gradients, node->in[0], dx);
    }
}

zrt_tensor *zrt_linear(zrt_unit *unit, zrt_tensor *x, zrt_tensor *weight, zrt_tensor *bias, zrt_weight_layout layout)
{
    if (unit->status != ZRT_OK || x == NULL || weight == NULL)
        return NULL;
    bool in_out = layout == ZRT_WEIGHT_IN_OUT;
    if (weight->n_dims != 2 || weight->kind != ZRT__TENSOR_PARAM || x->n_dims < 1 ||
        zrt__tensor_columns(x) != weight->dims[in_out ? 0 : 1]) {
        zrt_unit_fail(unit, "linear: input of %lld columns, weight [%lld, %lld] %s", (long long)zrt__tensor_columns(x),
                      (long long)zrt_tensor_dim(weight, 0), (long long)zrt_tensor_dim(weight, 1),
                      in_out ? "[in, out]" : "[out, in]");
        return NULL;
    }
    int64_t n_out = weight->dims[in_out ? 1 : 0];
    if (bias != NULL && (bias->n_dims != 1 || bias->dims[0] != n_out || bias->kind != ZRT__TENSOR_PARAM)) {
        zrt_unit_fail(unit, "linear: the bias must be a parameter of %lld elements", (long long)n_out);
        return NULL;
    }
    int64_t dims[ZRT_MAX_DIMS];
    for (int i = 0; i < x->n_dims; i++)
        dims[i] = x->dims[i];
    dims[x->n_dims - 1] = n_out;
    zrt_tensor *y = zrt__unit_value(unit, x->dtype, x->n_dims, dims);
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_linear_forward,
                                           .in = {x, weight, bias},
                                           .out = {y},
                                           .attributes = {.linear = {in_out}},
                                           .backward = linear_backward});
    return unit->build->model->lora == NULL ? y : zrt__lora_apply(unit, x, y, weight, in_out);
}
