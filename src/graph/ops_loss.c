/* Cross-entropy and ops that users write themselves. */
#include "config.h"

#include <string.h>

#include "graph/graph.h"

static void cross_entropy_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dlogits = zrt__gradient_like(gradients, node->in[0]);
    zrt__unit_node(
        unit,
        &(zrt__node_spec){.kernel = ZRT__KERNEL_cross_entropy_backward,
                          .in = {zrt__unit_tensor(unit, node->in[0]), zrt__unit_tensor(unit, node->in[1]),
                                 zrt__unit_tensor(unit, node->out[1]), zrt__unit_system(unit, ZRT__SYSTEM_GRAD_SCALE)},
                          .out = {dlogits}});
    zrt__gradient_add(gradients, node->in[0], dlogits);
}

void zrt_cross_entropy(zrt_unit *unit, zrt_tensor *logits, zrt_tensor *labels)
{
    if (unit->status != ZRT_OK || logits == NULL)
        return;
    if (unit->build->options.mode == ZRT_MODE_GENERATE) {
        zrt_output(unit, "logits", logits);
        return;
    }
    if (labels == NULL)
        return;
    if (unit->has_loss) {
        zrt_unit_fail(unit, "a model has one loss, this is the second");
        return;
    }
    if (labels->dtype != ZRT_INT32 || zrt__tensor_elements(labels) != zrt__tensor_rows(logits)) {
        zrt_unit_fail(unit, "cross-entropy of %lld rows of logits needs as many int32 labels, not %lld",
                      (long long)zrt__tensor_rows(logits), (long long)zrt__tensor_elements(labels));
        return;
    }
    int64_t n = zrt__tensor_rows(logits);
    zrt_tensor *sums = zrt__unit_system(unit, ZRT__SYSTEM_MICRO_SUMS);
    zrt_tensor *lse = zrt__unit_value(unit, ZRT_FLOAT32, 1, &n);
    zrt__node *node = zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_cross_entropy_forward,
                                                             .in = {logits, labels},
                                                             .out = {sums, lse},
                                                             .backward = cross_entropy_backward});
    if (node == NULL)
        return;
    node->accumulate = 1;
    unit->has_loss = true;
    zrt_output(unit, "logits", logits);
}

static void user_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    int n = node->attributes.user.n_inputs;
    zrt__node_spec spec = {.kernel = ZRT__KERNEL_user_backward, .attributes = node->attributes};
    zrt_tensor *grads[ZRT__MAX_OUTPUTS] = {NULL};
    for (int i = 0; i < n; i++)
        spec.in[i] = zrt__unit_tensor(unit, node->in[i]);
    spec.in[n] = zrt__unit_tensor(unit, node->out[0]);
    spec.in[n + 1] = zrt__gradient_of(gradients, node->out[0]);
    for (int i = 0; i < n && i < ZRT__MAX_OUTPUTS; i++)
        if (zrt__gradient_wanted(gradients, node->in[i]))
            spec.out[i] = grads[i] = zrt__gradient_like(gradients, node->in[i]);
    zrt__unit_node(unit, &spec);
    for (int i = 0; i < n && i < ZRT__MAX_OUTPUTS; i++) {
        if (grads[i] == NULL)
            continue;
        if (unit->tensors[node->in[i]]->kind != ZRT__TENSOR_PARAM) {
            zrt__gradient_add(gradients, node->in[i], grads[i]);
            continue;
        }
        bool accumulate = false;
        zrt_tensor *total = zrt__gradient_param(gradients, node->in[i], &accumulate);
        zrt__node *emitted =
            zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_accumulate, .in = {grads[i]}, .out = {total}});
        if (emitted != NULL)
            emitted->accumulate = accumulate;
    }
}

zrt_tensor *zrt_apply(zrt_unit *unit, const zrt_op *op, zrt_tensor *const *inputs, const void *attributes,
                      size_t attribute_bytes)
{
    if (unit->status != ZRT_OK)
        return NULL;
    if (op->n_inputs < 1 || op->n_inputs > ZRT__MAX_INPUTS - 2 ||
        (op->backward != NULL && op->n_inputs > ZRT__MAX_OUTPUTS)) {
        zrt_unit_fail(unit, "op %s has %d inputs; 1 to %d are possible, %d with a backward", op->name, op->n_inputs,
                      ZRT__MAX_INPUTS - 2, ZRT__MAX_OUTPUTS);
        return NULL;
    }
    zrt__node_spec spec = {.kernel = ZRT__KERNEL_user_forward, .backward = op->backward != NULL ? user_backward : NULL};
    zrt_view views[ZRT__MAX_INPUTS] = {{0}}, output = {0};
    for (int i = 0; i < op->n_inputs; i++) {
        if (inputs[i] == NULL)
            return NULL;
        spec.in[i] = inputs[i];
        views[i].dtype = inputs[i]->dtype;
        views[i].n_dims = inputs[i]->n_dims;
        memcpy(views[i].dims, inputs[i]->dims, sizeof views[i].dims);
    }
    void *copy = zrt__unit_keep(unit, attributes, attribute_bytes);
    if (copy == NULL && attribute_bytes > 0)
        return NULL;
    zrt_status status = op->shape(views, copy, &output);
    if (status != ZRT_OK || output.n_dims < 1 || output.n_dims > ZRT_MAX_DIMS) {
        zrt_unit_fail(unit, "op %s refuses its inputs: %s", op->name, zrt_status_text(status));
        return NULL;
    }
    spec.attributes.user.op = op;
    spec.attributes.user.attributes = copy;
    spec.attributes.user.n_inputs = op->n_inputs;
    zrt_tensor *y = zrt__unit_value(unit, output.dtype, output.n_dims, output.dims);
    spec.out[0] = y;
    zrt__unit_node(unit, &spec);
    return y;
}
