/* The parameters that a unit declares, and the slots that they share. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"

static zrt_status register_parameter(zrt_unit *unit, zrt_model *model, const char *name, int n_dims,
                                     const int64_t *dims, zrt_initializer init, int slot, int64_t offset)
{
    const char *prefix = model->units[unit->index].prefix;
    char *full = zrt__format("%s%s%s", prefix, *prefix != '\0' ? "." : "", name);
    if (full == NULL)
        return unit->status = ZRT_ERR_MEMORY;
    if (zrt__model_find_parameter(model, full) >= 0) {
        zrt_unit_fail(unit, "parameter %s is declared twice; use zrt_param_shared for the second use", full);
        free(full);
        return unit->status;
    }
    if (zrt__grow(&model->parameters, &model->parameters_capacity, model->n_parameters, sizeof *model->parameters) !=
        ZRT_OK) {
        free(full);
        return unit->status = ZRT_ERR_MEMORY;
    }
    zrt__parameter *parameter = &model->parameters[model->n_parameters++];
    *parameter = (zrt__parameter){.name = full,
                                  .n_dims = n_dims,
                                  .n_elements = 1,
                                  .init = init,
                                  .slot = slot,
                                  .offset = offset,
                                  .trainable = true};
    for (int i = 0; i < n_dims; i++) {
        parameter->dims[i] = dims[i];
        parameter->n_elements *= dims[i];
    }
    model->units[unit->index].n_parameters++;
    return ZRT_OK;
}

static zrt_tensor *slot_tensor(zrt_unit *unit, int slot)
{
    const zrt_model *model = unit->build->model;
    const zrt__slot *s = &model->slots[slot];
    zrt_tensor *tensor =
        zrt__unit_reference(unit, ZRT__TENSOR_PARAM, slot, unit->build->options.compute_dtype, s->n_dims, s->dims);
    if (tensor != NULL)
        tensor->requires_grad = zrt__unit_trains(unit) && zrt__slot_trainable(model, slot);
    return tensor;
}

/* Declares the parts as one slot, or finds the slot that they are when the unit is described again. */
static zrt_tensor *declare(zrt_unit *unit, int n_parts, const zrt_param_part *parts, int n_dims, const int64_t *dims)
{
    if (unit->status != ZRT_OK)
        return NULL;
    zrt_model *model = unit->registering ? unit->build->model : NULL;
    int64_t row = 1;
    for (int i = 0; i < n_dims; i++) {
        if (dims[i] <= 0) {
            zrt_unit_fail(unit, "parameter %s: dimension %d is %lld; it must be positive", parts[0].name, i,
                          (long long)dims[i]);
            return NULL;
        }
        row *= i > 0 ? dims[i] : 1;
    }
    if (model == NULL) {
        const zrt_model *known = unit->build->model;
        const zrt__unit_description *description = &known->units[unit->index];
        int index = description->first_parameter + unit->next_parameter;
        if (unit->next_parameter + n_parts > description->n_parameters ||
            known->slots[known->parameters[index].slot].n_parameters != n_parts ||
            memcmp(known->slots[known->parameters[index].slot].dims, dims, (size_t)n_dims * sizeof *dims) != 0) {
            zrt_unit_fail(unit, "parameter %s was not declared the same when the unit was first described",
                          parts[0].name);
            return NULL;
        }
        unit->next_parameter += n_parts;
        return slot_tensor(unit, known->parameters[index].slot);
    }
    if (zrt__grow(&model->slots, &model->slots_capacity, model->n_slots, sizeof *model->slots) != ZRT_OK)
        return zrt__unit_out_of_memory(unit);
    int index = (int)model->n_slots;
    zrt__slot *slot = &model->slots[index];
    *slot = (zrt__slot){.unit = unit->index,
                        .first_parameter = (int)model->n_parameters,
                        .n_parameters = n_parts,
                        .n_dims = n_dims,
                        .n_elements = dims[0] * row};
    memcpy(slot->dims, dims, (size_t)n_dims * sizeof *dims);
    int64_t offset = 0;
    for (int i = 0; i < n_parts; i++) {
        int64_t part_dims[ZRT_MAX_DIMS];
        memcpy(part_dims, dims, (size_t)n_dims * sizeof *dims);
        part_dims[0] = parts[i].n_rows;
        if (register_parameter(unit, model, parts[i].name, n_dims, part_dims, parts[i].init, index, offset) != ZRT_OK)
            return NULL;
        offset += parts[i].n_rows * row;
    }
    model->n_slots++;
    return slot_tensor(unit, index);
}

zrt_tensor *zrt_param(zrt_unit *unit, const char *name, int n_dims, const int64_t *dims, zrt_initializer init)
{
    if (unit->status != ZRT_OK)
        return NULL;
    if (n_dims < 1 || n_dims > ZRT_MAX_DIMS) {
        zrt_unit_fail(unit, "parameter %s has %d dimensions; 1 to %d are possible", name, n_dims, ZRT_MAX_DIMS);
        return NULL;
    }
    zrt_param_part part = {name, dims[0], init};
    return declare(unit, 1, &part, n_dims, dims);
}

zrt_tensor *zrt_param_pack(zrt_unit *unit, int n_parts, const zrt_param_part *parts, int n_dims, int64_t n_columns)
{
    if (unit->status != ZRT_OK)
        return NULL;
    if (n_dims < 1 || n_dims > 2 || n_parts < 1) {
        zrt_unit_fail(unit, "a pack holds one or more parameters of 1 or 2 dimensions");
        return NULL;
    }
    int64_t dims[2] = {0, n_columns};
    for (int i = 0; i < n_parts; i++)
        dims[0] += parts[i].n_rows;
    return declare(unit, n_parts, parts, n_dims, dims);
}

zrt_tensor *zrt_param_shared(zrt_unit *unit, const char *full_name)
{
    if (unit->status != ZRT_OK)
        return NULL;
    zrt_model *model = unit->build->model;
    int index = zrt__model_find_parameter(model, full_name);
    if (index < 0 || model->slots[model->parameters[index].slot].n_parameters != 1) {
        zrt_unit_fail(unit, "shared parameter %s: no earlier unit declared it by itself", full_name);
        return NULL;
    }
    int slot = model->parameters[index].slot;
    if (unit->registering && model->slots[slot].unit != unit->index)
        model->slots[slot].shared = true;
    return slot_tensor(unit, slot);
}
