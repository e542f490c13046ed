/* Describing all units of a model for one shape. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"

static void unit_destroy(zrt_unit *unit)
{
    if (unit == NULL)
        return;
    for (size_t i = 0; i < unit->n_tensors; i++)
        free(unit->tensors[i]);
    for (size_t i = 0; i < unit->n_constants; i++)
        free(unit->constants[i].values);
    for (size_t i = 0; i < unit->n_kept; i++)
        free(unit->kept[i]);
    free(unit->kept);
    free(unit->tensors);
    free(unit->nodes);
    free(unit->constants);
    free(unit->inputs);
    free(unit->outputs);
    free(unit);
}

static zrt_status describe_unit(zrt__build *build, int index, bool registering)
{
    const zrt__unit_description *description = &build->model->units[index];
    zrt_unit **units = zrt__realloc(build->units, (size_t)(index + 1) * sizeof *units);
    if (units == NULL)
        return ZRT_ERR_MEMORY;
    build->units = units;
    zrt_unit *unit = zrt__calloc(1, sizeof *unit);
    if (unit == NULL)
        return ZRT_ERR_MEMORY;
    build->units[build->n_units++] = unit;
    unit->build = build;
    unit->index = index;
    unit->registering = registering;
    zrt_status status = description->describe(unit, description->spec);
    if (unit->status != ZRT_OK)
        return unit->status; /* its message came first */
    if (status != ZRT_OK)
        return status;
    if (!registering && unit->next_parameter != description->n_parameters)
        return zrt_unit_fail(unit, "declared %d parameters, but %d when it was first described", unit->next_parameter,
                             description->n_parameters);
    unit->n_forward = (int)unit->n_nodes;
    return ZRT_OK;
}

zrt_status zrt_model_add_unit(zrt_model *model, const char *prefix, zrt_describe_fn *describe, const void *spec,
                              size_t spec_bytes)
{
    ZRT_TRY(zrt__grow(&model->units, &model->units_capacity, model->n_units, sizeof *model->units));
    zrt__unit_description *description = &model->units[model->n_units];
    *description = (zrt__unit_description){.prefix = zrt__strdup(prefix),
                                           .describe = describe,
                                           .spec = zrt__malloc(spec_bytes > 0 ? spec_bytes : 1),
                                           .first_parameter = (int)model->n_parameters};
    if (description->prefix == NULL || description->spec == NULL) {
        free(description->prefix);
        free(description->spec);
        return ZRT_ERR_MEMORY;
    }
    if (spec_bytes > 0)
        memcpy(description->spec, spec, spec_bytes);
    model->n_units++;
    return describe_unit(model->probe, (int)model->n_units - 1, true);
}

zrt_status zrt__model_register(zrt_model *model)
{
    zrt__build *probe = zrt__calloc(1, sizeof *probe);
    if (probe == NULL)
        return ZRT_ERR_MEMORY;
    probe->model = model;
    probe->options = model->probe->options;
    zrt__build_destroy(&model->probe);
    model->probe = probe;
    for (size_t i = 0; i < model->n_parameters; i++)
        free(model->parameters[i].name);
    model->n_parameters = model->n_slots = 0;
    for (size_t i = 0; i < model->n_units; i++) {
        model->units[i].first_parameter = (int)model->n_parameters;
        model->units[i].n_parameters = 0;
        ZRT_TRY(describe_unit(probe, (int)i, true));
    }
    return ZRT_OK;
}

zrt_status zrt__build_create(zrt_model *model, const zrt__build_options *options, zrt__build **build_out)
{
    zrt__build *build = zrt__calloc(1, sizeof *build);
    if (build == NULL)
        return ZRT_ERR_MEMORY;
    build->model = model;
    build->options = *options;
    zrt_status status = ZRT_OK;
    for (size_t i = 0; i < model->n_units && status == ZRT_OK; i++)
        status = describe_unit(build, (int)i, false);
    bool has_loss = build->n_units > 0 && build->units[build->n_units - 1]->has_loss;
    if (status == ZRT_OK && options->mode == ZRT_MODE_TRAIN && !has_loss)
        status = zrt__fail(ZRT_ERR_CONFIG, "model %s: its last unit has no loss (zrt_cross_entropy)", model->name);
    if (status == ZRT_OK && options->mode == ZRT_MODE_TRAIN) {
        for (int i = build->n_units - 1; i >= 0 && status == ZRT_OK; i--) {
            status = zrt__autodiff(build->units[i]);
            if (status == ZRT_OK)
                status = zrt__chunk_loss(build->units[i], options->loss_chunk_bytes > 0 ? options->loss_chunk_bytes
                                                                                        : ZRT__LOSS_CHUNK_BYTES);
            if (status == ZRT_OK && options->recompute != ZRT__RECOMPUTE_SELECTIVE) /* which keeps h and not y */
                zrt__fuse_activations(build->units[i]);
            if (status == ZRT_OK)
                status = zrt__recompute_apply(build->units[i], options->recompute);
        }
    }
    for (int i = 0; i < build->n_units && status == ZRT_OK && options->mode != ZRT_MODE_TRAIN; i++)
        zrt__fuse_activations(build->units[i]);
    if (status != ZRT_OK) {
        zrt__build_destroy(&build);
        return status;
    }
    *build_out = build;
    return ZRT_OK;
}

void zrt__build_destroy(zrt__build **build)
{
    if (build == NULL || *build == NULL)
        return;
    zrt__build *b = *build;
    for (int i = 0; i < b->n_units; i++)
        unit_destroy(b->units[i]);
    for (size_t i = 0; i < b->n_edges; i++)
        free(b->edges[i].name);
    free(b->units);
    free(b->edges);
    free(b);
    *build = NULL;
}
