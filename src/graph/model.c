#include "config.h"

#include "graph/graph.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

zrt_status zrt_model_create(const char *name, zrt_model **model_out)
{
    static const int64_t length[1] = {-1};
    static const char *const fields[] = {"input_ids", "labels", "position_ids"};
    zrt_model *model = zrt__calloc(1, sizeof *model);
    if (model == NULL)
        return ZRT_ERR_MEMORY;
    model->name = zrt__strdup(name);
    model->info.bos_token_id = model->info.eos_token_id = -1;
    zrt_status status = model->name == NULL ? ZRT_ERR_MEMORY : ZRT_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == ZRT_OK; i++)
        status = zrt_model_add_field(model, fields[i], ZRT_INT32, 1, length);
    if (status == ZRT_OK) {
        zrt__build_options probe = {.mode = ZRT_MODE_EVALUATE, .rows = 1, .length = 2, .table_length = 2};
        zrt__build *build = zrt__calloc(1, sizeof *build);
        if (build == NULL) {
            status = ZRT_ERR_MEMORY;
        } else {
            build->model = model;
            build->options = probe;
            model->probe = build;
        }
    }
    if (status != ZRT_OK) {
        zrt_model_destroy(&model);
        return status;
    }
    *model_out = model;
    return ZRT_OK;
}

zrt_status zrt_model_set_packing(zrt_model *model)
{
    static const int64_t length[1] = {-1};

    if (model->packs)
        return ZRT_OK;
    ZRT_TRY(zrt_model_add_field(model, "segment_ids", ZRT_INT32, 1, length));
    model->packs = true;
    return ZRT_OK;
}

void zrt_model_destroy(zrt_model **model)
{
    if (model == NULL || *model == NULL)
        return;
    zrt_model *m = *model;
    zrt__build_destroy(&m->probe);
    zrt__lora_destroy(&m->lora);
    for (size_t i = 0; i < m->n_units; i++) {
        free(m->units[i].prefix);
        free(m->units[i].spec);
    }
    for (size_t i = 0; i < m->n_parameters; i++)
        free(m->parameters[i].name);
    for (size_t i = 0; i < m->n_fields; i++)
        free(m->fields[i].name);
    free(m->units);
    free(m->parameters);
    free(m->slots);
    free(m->fields);
    free(m->name);
    free(m);
    *model = NULL;
}

zrt_status zrt_model_add_field(zrt_model *model, const char *name, zrt_dtype dtype, int n_dims, const int64_t *dims)
{
    if (n_dims < 0 || n_dims >= ZRT_MAX_DIMS)
        return zrt__fail(ZRT_ERR_USAGE, "field %s: %d dimensions a row; 0 to %d are possible", name, n_dims,
                         ZRT_MAX_DIMS - 1);
    int found = zrt__model_find_field(model, name);
    if (found < 0) {
        if (model->n_fields == ZRT_BATCH_MAX_FIELDS)
            return zrt__fail(ZRT_ERR_USAGE, "field %s: a model has at most %d fields", name, ZRT_BATCH_MAX_FIELDS);
        ZRT_TRY(zrt__grow(&model->fields, &model->fields_capacity, model->n_fields, sizeof *model->fields));
        found = (int)model->n_fields;
        model->fields[found].name = zrt__strdup(name);
        if (model->fields[found].name == NULL)
            return ZRT_ERR_MEMORY;
        model->n_fields++;
    }
    zrt__field *field = &model->fields[found];
    field->dtype = dtype;
    field->n_dims = n_dims;
    memset(field->dims, 0, sizeof field->dims);
    for (int i = 0; i < n_dims; i++)
        field->dims[i] = dims[i];
    return ZRT_OK;
}

void zrt_model_set_info(zrt_model *model, const zrt_model_info *info)
{
    model->info = *info;
}

const zrt_model_info *zrt_model_get_info(const zrt_model *model)
{
    return &model->info;
}

const char *zrt_model_get_name(const zrt_model *model)
{
    return model->name;
}

int zrt_model_n_parameters(const zrt_model *model)
{
    return (int)model->n_parameters;
}

int64_t zrt_model_n_elements(const zrt_model *model)
{
    int64_t n = 0;
    for (size_t i = 0; i < model->n_parameters; i++)
        n += model->parameters[i].n_elements;
    return n;
}

zrt_status zrt_model_get_parameter(const zrt_model *model, int index, const char **name_out, int *n_dims_out,
                                   int64_t dims_out[ZRT_MAX_DIMS])
{
    if (index < 0 || (size_t)index >= model->n_parameters)
        return zrt__fail(ZRT_ERR_USAGE, "parameter %d of model %s, which has %zu", index, model->name,
                         model->n_parameters);
    const zrt__parameter *parameter = &model->parameters[index];
    *name_out = parameter->name;
    *n_dims_out = parameter->n_dims;
    memcpy(dims_out, parameter->dims, sizeof parameter->dims);
    return ZRT_OK;
}

zrt_status zrt_model_freeze(zrt_model *model, const char *pattern)
{
    int n = 0;
    for (size_t i = 0; i < model->n_parameters; i++) {
        if (fnmatch(pattern, model->parameters[i].name, 0) != 0)
            continue;
        /* What is packed is one tensor with one gradient: all of it trains or none. */
        const zrt__slot *slot = &model->slots[model->parameters[i].slot];
        for (int k = 0; k < slot->n_parameters; k++)
            model->parameters[slot->first_parameter + k].trainable = false;
        n++;
    }
    if (n == 0)
        return zrt__fail(ZRT_ERR_CONFIG, "freeze pattern '%s' matches no parameter of model %s (the first is %s)",
                         pattern, model->name, model->n_parameters > 0 ? model->parameters[0].name : "none");
    return ZRT_OK;
}

int zrt__model_find_parameter(const zrt_model *model, const char *name)
{
    for (size_t i = 0; i < model->n_parameters; i++)
        if (strcmp(model->parameters[i].name, name) == 0)
            return (int)i;
    return -1;
}

int zrt__model_find_field(const zrt_model *model, const char *name)
{
    for (size_t i = 0; i < model->n_fields; i++)
        if (strcmp(model->fields[i].name, name) == 0)
            return (int)i;
    return -1;
}

bool zrt__parameter_is_vocabulary(const zrt_model *model, const zrt__parameter *parameter)
{
    return parameter->n_dims == 2 && parameter->dims[0] == model->info.vocab_size && !parameter->adapter;
}

bool zrt__slot_trainable(const zrt_model *model, int slot)
{
    return model->parameters[model->slots[slot].first_parameter].trainable;
}
