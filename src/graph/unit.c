/* A unit while it is described: tensors, nodes, inputs and outputs. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "graph/graph.h"

void *zrt__unit_out_of_memory(zrt_unit *unit)
{
    if (unit->status == ZRT_OK)
        unit->status = ZRT_ERR_MEMORY;
    return NULL;
}

zrt_status zrt_unit_fail(zrt_unit *unit, const char *format, ...)
{
    if (unit->status != ZRT_OK)
        return unit->status;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const zrt__unit_description *description = &unit->build->model->units[unit->index];
    unit->status = zrt__fail(ZRT_ERR_CONFIG, "model %s, unit %d (%s): %s", unit->build->model->name, unit->index,
                             description->prefix, text);
    return unit->status;
}

zrt_status zrt_unit_status(const zrt_unit *unit)
{
    return unit->status;
}

zrt_mode zrt_unit_mode(const zrt_unit *unit)
{
    return unit->build->options.mode;
}

int64_t zrt_unit_rows(const zrt_unit *unit)
{
    return unit->build->options.rows;
}

int64_t zrt_unit_length(const zrt_unit *unit)
{
    return unit->build->options.length;
}

bool zrt__unit_trains(const zrt_unit *unit)
{
    return unit->build->options.mode == ZRT_MODE_TRAIN;
}

int64_t zrt_tensor_dim(const zrt_tensor *tensor, int dim)
{
    return tensor != NULL && dim >= 0 && dim < tensor->n_dims ? tensor->dims[dim] : 0;
}

int zrt_tensor_n_dims(const zrt_tensor *tensor)
{
    return tensor != NULL ? tensor->n_dims : 0;
}

int64_t zrt__tensor_elements(const zrt_tensor *tensor)
{
    int64_t n = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        n *= tensor->dims[i];
    return n;
}

int64_t zrt__tensor_columns(const zrt_tensor *tensor)
{
    return tensor->n_dims > 0 ? tensor->dims[tensor->n_dims - 1] : 1;
}

int64_t zrt__tensor_rows(const zrt_tensor *tensor)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < tensor->n_dims; i++)
        n *= tensor->dims[i];
    return n;
}

size_t zrt__tensor_bytes(const zrt_tensor *tensor)
{
    return (size_t)zrt__tensor_elements(tensor) * zrt_dtype_bytes(tensor->dtype);
}

zrt_tensor *zrt__unit_tensor(const zrt_unit *unit, int id)
{
    return id == ZRT__NO_TENSOR ? NULL : unit->tensors[id];
}

static zrt_tensor *new_tensor(zrt_unit *unit, zrt__tensor_kind kind, int index, zrt_dtype dtype, int n_dims,
                              const int64_t *dims)
{
    if (zrt__grow(&unit->tensors, &unit->tensors_capacity, unit->n_tensors, sizeof *unit->tensors) != ZRT_OK)
        return zrt__unit_out_of_memory(unit);
    zrt_tensor *tensor = zrt__calloc(1, sizeof *tensor);
    if (tensor == NULL)
        return zrt__unit_out_of_memory(unit);
    tensor->unit = unit;
    tensor->id = tensor->alias_of = (int)unit->n_tensors;
    tensor->kind = kind;
    tensor->index = index;
    tensor->dtype = dtype;
    tensor->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++)
        tensor->dims[i] = dims[i];
    unit->tensors[unit->n_tensors++] = tensor;
    return tensor;
}

zrt_tensor *zrt__unit_value(zrt_unit *unit, zrt_dtype dtype, int n_dims, const int64_t *dims)
{
    return new_tensor(unit, ZRT__TENSOR_VALUE, 0, dtype, n_dims, dims);
}

zrt_tensor *zrt__unit_alias(zrt_unit *unit, const zrt_tensor *tensor, int n_dims, const int64_t *dims)
{
    zrt_tensor *alias = new_tensor(unit, tensor->kind, tensor->index, tensor->dtype, n_dims, dims);
    if (alias != NULL) {
        alias->alias_of = tensor->alias_of;
        alias->offset = tensor->offset;
        alias->requires_grad = tensor->requires_grad;
    }
    return alias;
}

zrt_tensor *zrt__unit_slice(zrt_unit *unit, const zrt_tensor *tensor, int64_t offset, int n_dims, const int64_t *dims)
{
    zrt_tensor *slice = zrt__unit_alias(unit, tensor, n_dims, dims);
    if (slice != NULL)
        slice->offset += offset;
    return slice;
}

zrt_tensor *zrt__unit_reference(zrt_unit *unit, zrt__tensor_kind kind, int index, zrt_dtype dtype, int n_dims,
                                const int64_t *dims)
{
    for (size_t i = 0; i < unit->n_tensors; i++)
        if (unit->tensors[i]->kind == kind && unit->tensors[i]->index == index &&
            unit->tensors[i]->alias_of == unit->tensors[i]->id)
            return unit->tensors[i];
    return new_tensor(unit, kind, index, dtype, n_dims, dims);
}

zrt_tensor *zrt__unit_system(zrt_unit *unit, zrt__system_tensor which)
{
    int64_t dims[1] = {1};
    zrt_dtype dtype = ZRT_FLOAT32;
    switch (which) {
    case ZRT__SYSTEM_STEP_STATE:
        dims[0] = (int64_t)sizeof(zrt__step_state);
        dtype = ZRT_UINT8;
        break;
    case ZRT__SYSTEM_MICRO_SUMS:
        dims[0] = 2;
        dtype = ZRT_FLOAT64;
        break;
    case ZRT__SYSTEM_SAMPLE_IDS:
        dims[0] = unit->build->options.rows;
        dtype = ZRT_INT64;
        break;
    case ZRT__SYSTEM_GRAD_SCALE:
    case ZRT__N_SYSTEM_TENSORS:
        break;
    }
    return zrt__unit_reference(unit, ZRT__TENSOR_SYSTEM, (int)which, dtype, 1, dims);
}

zrt_tensor *zrt__unit_constant(zrt_unit *unit, float *values, int n_dims, const int64_t *dims)
{
    int64_t n = 1;
    for (int i = 0; i < n_dims; i++)
        n *= dims[i];
    uint64_t hash = zrt__hash_bytes(7, values, (size_t)n * sizeof *values);
    for (size_t i = 0; i < unit->n_constants; i++)
        if (unit->constants[i].n_elements == n && unit->constants[i].hash == hash) {
            free(values);
            return zrt__unit_reference(unit, ZRT__TENSOR_CONSTANT, (int)i, ZRT_FLOAT32, n_dims, dims);
        }
    if (zrt__grow(&unit->constants, &unit->constants_capacity, unit->n_constants, sizeof *unit->constants) != ZRT_OK) {
        free(values);
        return zrt__unit_out_of_memory(unit);
    }
    unit->constants[unit->n_constants] = (zrt__constant){n, values, hash};
    return zrt__unit_reference(unit, ZRT__TENSOR_CONSTANT, (int)unit->n_constants++, ZRT_FLOAT32, n_dims, dims);
}

void *zrt__unit_keep(zrt_unit *unit, const void *data, size_t bytes)
{
    if (bytes == 0)
        return NULL;
    void *copy = zrt__malloc(bytes);
    if (copy == NULL || zrt__grow(&unit->kept, &unit->kept_capacity, unit->n_kept, sizeof *unit->kept) != ZRT_OK) {
        free(copy);
        return zrt__unit_out_of_memory(unit);
    }
    memcpy(copy, data, bytes);
    unit->kept[unit->n_kept++] = copy;
    return copy;
}

zrt__node *zrt__unit_node(zrt_unit *unit, const zrt__node_spec *spec)
{
    if (unit->status != ZRT_OK)
        return NULL;
    if (zrt__grow(&unit->nodes, &unit->nodes_capacity, unit->n_nodes, sizeof *unit->nodes) != ZRT_OK)
        return zrt__unit_out_of_memory(unit);
    zrt__node *node = &unit->nodes[unit->n_nodes];
    *node = (zrt__node){
        .kernel = spec->kernel, .attributes = spec->attributes, .backward = spec->backward, .cheap = spec->cheap};
    bool requires_grad = false;
    for (int i = 0; i < ZRT__MAX_INPUTS; i++) {
        node->in[i] = spec->in[i] != NULL ? spec->in[i]->id : ZRT__NO_TENSOR;
        requires_grad |= spec->in[i] != NULL && spec->in[i]->requires_grad;
    }
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++) {
        node->out[i] = spec->out[i] != NULL ? spec->out[i]->id : ZRT__NO_TENSOR;
        if (spec->out[i] != NULL)
            unit->tensors[node->out[i]]->requires_grad = requires_grad && spec->backward != NULL;
    }
    unit->n_nodes++;
    return node;
}

static zrt_tensor *field_tensor(zrt_unit *unit, int index)
{
    const zrt__build *build = unit->build;
    const zrt__field *field = &build->model->fields[index];
    int64_t dims[ZRT_MAX_DIMS] = {build->options.rows};
    for (int i = 0; i < field->n_dims; i++)
        dims[i + 1] = field->dims[i] < 0 ? build->options.length : field->dims[i];
    return zrt__unit_reference(unit, ZRT__TENSOR_FIELD, index,
                               field->dtype == ZRT_FLOAT32 ? build->options.compute_dtype : field->dtype,
                               field->n_dims + 1, dims);
}

zrt_tensor *zrt_input(zrt_unit *unit, const char *name)
{
    if (unit->status != ZRT_OK)
        return NULL;
    zrt__build *build = unit->build;
    for (size_t i = build->n_edges; i-- > 0;) {
        zrt__edge *edge = &build->edges[i];
        if (edge->producer >= unit->index || strcmp(edge->name, name) != 0)
            continue;
        for (size_t k = 0; k < unit->n_inputs; k++)
            if (unit->inputs[k].edge == (int)i)
                return unit->tensors[unit->inputs[k].tensor];
        zrt_tensor *tensor = zrt__unit_reference(unit, ZRT__TENSOR_EDGE, (int)i, edge->dtype, edge->n_dims, edge->dims);
        if (tensor == NULL ||
            zrt__grow(&unit->inputs, &unit->inputs_capacity, unit->n_inputs, sizeof *unit->inputs) != ZRT_OK)
            return zrt__unit_out_of_memory(unit);
        tensor->requires_grad = edge->requires_grad;
        unit->inputs[unit->n_inputs++] = (zrt__port){(int)i, tensor->id, ZRT__NO_TENSOR};
        edge->last_consumer = unit->index;
        return tensor;
    }
    int field = zrt__model_find_field(build->model, name);
    if (field < 0) {
        zrt_unit_fail(unit, "input %s is neither an output of an earlier unit nor a field of the batch", name);
        return NULL;
    }
    return field_tensor(unit, field);
}

void zrt_output(zrt_unit *unit, const char *name, zrt_tensor *tensor)
{
    if (unit->status != ZRT_OK || tensor == NULL)
        return;
    zrt__build *build = unit->build;
    bool is_logits = strcmp(name, "logits") == 0;
    if (is_logits && build->options.mode == ZRT_MODE_TRAIN)
        return; /* nobody reads them in training */
    if (unit->tensors[tensor->alias_of]->kind != ZRT__TENSOR_VALUE) {
        tensor = zrt_scale(unit, tensor, 1.0f); /* an output has memory of its own */
        if (tensor == NULL)
            return;
    }
    if (zrt__grow(&build->edges, &build->edges_capacity, build->n_edges, sizeof *build->edges) != ZRT_OK ||
        zrt__grow(&unit->outputs, &unit->outputs_capacity, unit->n_outputs, sizeof *unit->outputs) != ZRT_OK) {
        zrt__unit_out_of_memory(unit);
        return;
    }
    zrt__edge *edge = &build->edges[build->n_edges];
    *edge = (zrt__edge){.name = zrt__strdup(name),
                        .producer = unit->index,
                        .dtype = tensor->dtype,
                        .n_dims = tensor->n_dims,
                        .requires_grad = tensor->requires_grad,
                        .last_consumer = -1,
                        .is_logits = is_logits};
    if (edge->name == NULL) {
        zrt__unit_out_of_memory(unit);
        return;
    }
    memcpy(edge->dims, tensor->dims, sizeof edge->dims);
    unit->outputs[unit->n_outputs++] = (zrt__port){(int)build->n_edges, tensor->id, ZRT__NO_TENSOR};
    build->n_edges++;
}
