/* The head and its loss in parts: logits of all tokens are by far the largest value of a model, and nothing but their own
 * gradient needs them. So the last product, the cross-entropy and the products of its backward pass run for some rows at
 * a time, all of it in the forward pass: what is multiplied into the gradient is known by then (Hsu et al. 2024, Liger
 * Kernel; the loss's own backward pass is linear in what comes from above, which is 1). */
#include "config.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "graph/graph.h"

#define ROWS_MULTIPLE 128 /* tiles of products */

typedef struct loss_head {
    int linear, loss;                       /* forward nodes */
    int loss_backward, weight, input;       /* backward nodes; weight, input: -1 where not wanted */
    const zrt_tensor *x, *labels, *dx;      /* dx NULL: not wanted */
    int64_t n_rows, n_inputs, n_vocabulary; /* in all, columns of x, columns of the logits */
} loss_head;

/* True when no other nodes than these read the tensor. */
static bool only_user(const zrt_unit *unit, int tensor, const int *allowed, int n_allowed)
{
    int root = unit->tensors[tensor]->alias_of;
    for (size_t i = 0; i < unit->n_nodes; i++) {
        bool reads = false, expected = false;
        for (int k = 0; k < ZRT__MAX_INPUTS; k++)
            reads |= unit->nodes[i].in[k] != ZRT__NO_TENSOR && unit->tensors[unit->nodes[i].in[k]]->alias_of == root;
        for (int k = 0; k < n_allowed; k++)
            expected |= allowed[k] == (int)i;
        if (reads && !expected)
            return false;
    }
    return true;
}

static int find(const zrt_unit *unit, zrt__kernel kernel, int operand, bool output, int tensor)
{
    for (size_t i = 0; i < unit->n_nodes; i++) {
        const zrt__node *node = &unit->nodes[i];
        int id = output ? node->out[operand] : node->in[operand];
        if (node->kernel == kernel && id != ZRT__NO_TENSOR &&
            unit->tensors[id]->alias_of == unit->tensors[tensor]->alias_of)
            return (int)i;
    }
    return -1;
}

/* True when the unit ends in a linear layer whose result only the loss uses. */
static bool find_head(const zrt_unit *unit, loss_head *head)
{
    head->loss = -1;
    for (int i = 0; i < unit->n_forward; i++)
        if (unit->nodes[i].kernel == ZRT__KERNEL_cross_entropy_forward)
            head->loss = i;
    if (head->loss < 0)
        return false;
    int logits = unit->nodes[head->loss].in[0];
    head->linear = find(unit, ZRT__KERNEL_linear_forward, 0, true, logits);
    head->loss_backward = find(unit, ZRT__KERNEL_cross_entropy_backward, 0, false, logits);
    if (head->linear < 0 || head->loss_backward < 0)
        return false;
    int dlogits = unit->nodes[head->loss_backward].out[0];
    head->weight = find(unit, ZRT__KERNEL_linear_backward_weight, 0, false, dlogits);
    head->input = find(unit, ZRT__KERNEL_linear_backward_input, 0, false, dlogits);
    const int of_logits[] = {head->loss, head->loss_backward}, of_dlogits[] = {head->weight, head->input};
    if (!only_user(unit, logits, of_logits, 2) || !only_user(unit, dlogits, of_dlogits, 2))
        return false;
    if (head->input >= 0 && unit->nodes[head->input].in[2] != ZRT__NO_TENSOR)
        return false; /* x has another gradient, which comes later than this */
    head->x = unit->tensors[unit->nodes[head->linear].in[0]];
    head->labels = unit->tensors[unit->nodes[head->loss].in[1]];
    head->dx = head->input >= 0 ? unit->tensors[unit->nodes[head->input].out[0]] : NULL;
    head->n_rows = zrt__tensor_rows(head->x);
    head->n_inputs = zrt__tensor_columns(head->x);
    head->n_vocabulary = zrt__tensor_columns(unit->tensors[logits]);
    return true;
}

/* The nodes of rows [first, first + n). */
static void emit_rows(zrt_unit *unit, const loss_head *head, int64_t first, int64_t n)
{
    const zrt__node linear = unit->nodes[head->linear];
    const int64_t dims[2] = {n, head->n_vocabulary}, x_dims[2] = {n, head->n_inputs};
    zrt_tensor *x = zrt__unit_slice(unit, head->x, first * head->n_inputs, 2, x_dims);
    zrt_tensor *labels = zrt__unit_slice(unit, head->labels, first, 1, dims);
    zrt_tensor *logits = zrt__unit_value(unit, head->x->dtype, 2, dims);
    zrt_tensor *dlogits = zrt__unit_value(unit, head->x->dtype, 2, dims);
    zrt__unit_node(
        unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_linear_forward,
                                .in = {x, zrt__unit_tensor(unit, linear.in[1]), zrt__unit_tensor(unit, linear.in[2])},
                                .out = {logits},
                                .attributes = linear.attributes});
    zrt__node *loss =
        zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_cross_entropy,
                                               .in = {logits, labels, zrt__unit_system(unit, ZRT__SYSTEM_GRAD_SCALE)},
                                               .out = {zrt__unit_system(unit, ZRT__SYSTEM_MICRO_SUMS), dlogits}});
    if (loss != NULL)
        loss->accumulate = 1;
    if (head->weight >= 0) {
        const zrt__node weight = unit->nodes[head->weight];
        zrt__node *node = zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_linear_backward_weight,
                                                                 .in = {dlogits, x},
                                                                 .out = {zrt__unit_tensor(unit, weight.out[0]),
                                                                         zrt__unit_tensor(unit, weight.out[1])},
                                                                 .attributes = weight.attributes});
        if (node != NULL)
            node->accumulate = first > 0 ? 3u : 0u;
    }
    if (head->dx == NULL)
        return;
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_linear_backward_input,
                                           .in = {dlogits, zrt__unit_tensor(unit, linear.in[1])},
                                           .out = {zrt__unit_slice(unit, head->dx, first * head->n_inputs, 2, x_dims)},
                                           .attributes = linear.attributes});
}

zrt_status zrt__chunk_loss(zrt_unit *unit, size_t chunk_bytes)
{
    loss_head head;
    if (!unit->has_loss || !find_head(unit, &head) || head.n_rows == 0)
        return unit->status;
    size_t row_bytes = (size_t)head.n_vocabulary * zrt_dtype_bytes(head.x->dtype);
    int64_t n_chunks = (int64_t)(((size_t)head.n_rows * row_bytes + chunk_bytes - 1) / chunk_bytes);
    int64_t rows = (head.n_rows + n_chunks - 1) / n_chunks;
    if (rows > ROWS_MULTIPLE)
        rows = (rows + ROWS_MULTIPLE - 1) / ROWS_MULTIPLE * ROWS_MULTIPLE;

    size_t n_before = unit->n_nodes, n = 0;
    for (int64_t first = 0; first < head.n_rows; first += rows)
        emit_rows(unit, &head, first, head.n_rows - first < rows ? head.n_rows - first : rows);
    if (unit->status != ZRT_OK)
        return unit->status;
    zrt__node *nodes = zrt__malloc(unit->n_nodes * sizeof *nodes);
    if (nodes == NULL)
        return unit->status = ZRT_ERR_MEMORY;
    for (int i = 0; i < unit->n_forward; i++)
        if (i != head.linear && i != head.loss)
            nodes[n++] = unit->nodes[i];
    for (size_t i = n_before; i < unit->n_nodes; i++)
        nodes[n++] = unit->nodes[i];
    int n_forward = (int)n;
    for (size_t i = (size_t)unit->n_forward; i < n_before; i++)
        if ((int)i != head.loss_backward && (int)i != head.weight && (int)i != head.input)
            nodes[n++] = unit->nodes[i];
    free(unit->nodes);
    unit->nodes = nodes;
    unit->nodes_capacity = unit->n_nodes;
    unit->n_nodes = n;
    unit->n_forward = n_forward;
    return ZRT_OK;
}
