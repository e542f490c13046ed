/* Pretrained weights: a Hugging Face folder, or an adapter's with the base model that it names. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/safetensors.h"
#include "engine/engine.h"
#include "nn/lora_config.h"
#include "nn/nn.h"

typedef struct pretrained {
    char *base_folder;
    const char *adapter_folder;
    zrt__safetensors *base, *adapter; /* adapter NULL: adapters start as they are made */
    uint64_t *seed;
    const zrt_model *model;
} pretrained;

static zrt_status find_in_adapter(const pretrained *from, const zrt__parameter *parameter,
                                  const zrt__safetensors_entry **entry_out)
{
    char *name = zrt__format(ZRT__ADAPTER_PREFIX "%s", parameter->name);
    if (name == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status =
        zrt__safetensors_find_parameter(from->adapter, name, parameter->n_dims, parameter->dims, entry_out);
    free(name);
    if (status != ZRT_OK)
        return zrt__fail_context(status, "adapter %s does not fit the model %s: ", from->adapter_folder,
                                 from->base_folder);
    return ZRT_OK;
}

/* A resized embedding or head has fewer rows in the folder. */
static zrt_status find_in_base(const pretrained *from, const zrt__parameter *parameter,
                               const zrt__safetensors_entry **entry_out)
{
    int64_t dims[ZRT_MAX_DIMS];
    memcpy(dims, parameter->dims, sizeof dims);
    if (from->model->stored_vocab > 0 && zrt__parameter_is_vocabulary(from->model, parameter))
        dims[0] = from->model->stored_vocab;
    return zrt__safetensors_find_parameter(from->base, parameter->name, parameter->n_dims, dims, entry_out);
}

/* NULL where the parameter is in neither file: an adapter that begins. */
static zrt_status find(const pretrained *from, const zrt__parameter *parameter,
                       const zrt__safetensors_entry **entry_out)
{
    *entry_out = NULL;
    bool begins =
        zrt__safetensors_lacks(from->base, parameter->name) && zrt__bert_begins_anew(from->model, parameter->name);
    if (!parameter->adapter && !begins)
        ZRT_TRY(find_in_base(from, parameter, entry_out));
    if (from->adapter != NULL && (parameter->adapter || parameter->saved))
        return find_in_adapter(from, parameter, entry_out);
    return ZRT_OK;
}

static zrt_status values(void *user, const zrt__parameter *parameter, int64_t first, int64_t n, float *out)
{
    const pretrained *from = user;
    const zrt__safetensors_entry *entry = NULL;
    ZRT_TRY(find(from, parameter, &entry));
    int64_t stored = entry == NULL || first > entry->n_elements ? 0 : entry->n_elements - first;
    stored = stored < n ? stored : n;
    if (stored > 0)
        ZRT_TRY(zrt__safetensors_read_entry(entry, first, stored, out));
    return stored < n ? zrt__parameter_initial(from->seed, parameter, first + stored, n - stored, out + stored)
                      : ZRT_OK;
}

static zrt_status check_unused(const zrt_engine *engine, zrt__safetensors *file, const char *folder)
{
    size_t index = 0;
    const zrt__safetensors_entry *unused = file != NULL ? zrt__safetensors_next_unused(file, &index) : NULL;
    /* What BERT was pretrained with. */
    while (unused != NULL && engine->model->info.n_classes > 0 && strncmp(unused->name, "cls.", 4) == 0)
        unused = zrt__safetensors_next_unused(file, &index);
    if (unused != NULL)
        return zrt__fail(ZRT_ERR_INPUT, "%s: tensor %s belongs to no parameter of model %s", folder, unused->name,
                         engine->model->name);
    return ZRT_OK;
}

/* Every parameter is there, and nothing is there that the model does not have. */
static zrt_status check_names(const zrt_engine *engine, const pretrained *from)
{
    for (size_t p = 0; p < engine->model->n_parameters; p++) {
        const zrt__parameter *parameter = &engine->model->parameters[p];
        const zrt__safetensors_entry *entry = NULL;
        ZRT_TRY(find(from, parameter, &entry));
        if (entry == NULL && !parameter->adapter && engine->settings.zero.rank == 0)
            zrt__log(ZRT_LOG_WARNING, "%s has no %s: it starts from drawn values", from->base_folder, parameter->name);
    }
    ZRT_TRY(check_unused(engine, from->base, from->base_folder));
    return check_unused(engine, from->adapter, from->adapter_folder);
}

static zrt_status open_files(const zrt_engine *engine, const char *folder, pretrained *from)
{
    if (!zrt__is_adapter_folder(folder)) {
        from->base_folder = zrt__strdup(folder);
        return from->base_folder == NULL ? ZRT_ERR_MEMORY : zrt__safetensors_open(folder, &from->base);
    }
    if (engine->model->lora == NULL)
        return zrt__fail(ZRT_ERR_USAGE, "folder %s holds an adapter, and model %s has no LoRA", folder,
                         engine->model->name);
    ZRT_TRY(zrt_adapter_find_base(folder, &from->base_folder));
    ZRT_TRY(zrt__safetensors_open(from->base_folder, &from->base));
    char *path = zrt__format("%s/adapter_model.safetensors", folder);
    zrt_status status = path == NULL ? ZRT_ERR_MEMORY : zrt__safetensors_open(path, &from->adapter);
    free(path);
    from->adapter_folder = folder;
    return status;
}

zrt_status zrt_engine_load_pretrained(zrt_engine *engine, const char *folder)
{
    pretrained from = {.seed = &engine->settings.seed, .model = engine->model};
    zrt_status status = open_files(engine, folder, &from);
    if (status == ZRT_OK)
        status = check_names(engine, &from);
    if (status == ZRT_OK)
        status = zrt__parameters_fill(engine, values, NULL, &from, true);
    zrt__safetensors_close(&from.adapter);
    zrt__safetensors_close(&from.base);
    free(from.base_folder);
    return zrt__group_agree(zrt__context_world(engine->context), status);
}
