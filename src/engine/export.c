/* A Hugging Face folder out of an engine: config.json and safetensors, written tensor by tensor. */
#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "engine/engine.h"
#include "nn/hf_config.h"
#include "nn/lora_config.h"
#include "nn/text_file.h"

/* Shards of 5 GB, as transformers saves. */
#define MAX_FILE_BYTES ((size_t)5000000000)

/* Of a model with LoRA only the adapter is written, as peft does. */
static bool is_written(const zrt_model *model, const zrt__parameter *parameter)
{
    return model->lora == NULL || parameter->adapter || parameter->saved;
}

static zrt_status list_tensors(const zrt_model *model, zrt_dtype dtype, zrt__safetensors_tensor *tensors, size_t *n_out)
{
    *n_out = 0;
    for (size_t i = 0; i < model->n_parameters; i++) {
        const zrt__parameter *parameter = &model->parameters[i];
        if (!is_written(model, parameter))
            continue;
        zrt__safetensors_tensor *tensor = &tensors[(*n_out)++];
        *tensor = (zrt__safetensors_tensor){
            .name = zrt__format("%s%s", model->lora != NULL ? ZRT__ADAPTER_PREFIX : "", parameter->name),
            .dtype = dtype,
            .n_dims = parameter->n_dims};
        memcpy(tensor->dims, parameter->dims, sizeof tensor->dims);
        if (tensor->name == NULL)
            return ZRT_ERR_MEMORY;
    }
    return ZRT_OK;
}

static zrt_status write_config(const zrt_model *model, zrt_dtype dtype, const char *folder)
{
    if (model->lora == NULL)
        return zrt__hf_config_write(model, dtype, folder);
    char *text = NULL;
    ZRT_TRY(zrt__lora_config_text(model, &text));
    zrt_status status = zrt__text_file_write(folder, "adapter_config.json", text);
    free(text);
    return status;
}

static zrt_status begin(const zrt_engine *engine, const char *folder, zrt_dtype dtype,
                        zrt__safetensors_writer **writer_out)
{
    const zrt_model *model = engine->model;
    zrt__safetensors_tensor *tensors = zrt__calloc(model->n_parameters + 1, sizeof *tensors);
    if (tensors == NULL)
        return ZRT_ERR_MEMORY;
    size_t n = 0;
    zrt_status status = list_tensors(model, dtype, tensors, &n);
    if (status == ZRT_OK && mkdir(folder, 0777) != 0 && errno != EEXIST)
        status = zrt__fail(ZRT_ERR_IO, "folder %s: %s; name one that can be written", folder, strerror(errno));
    if (status == ZRT_OK)
        status = write_config(model, dtype, folder);
    if (status == ZRT_OK)
        status = model->lora != NULL
                     ? zrt__safetensors_writer_create_file(folder, "adapter_model.safetensors", n, tensors, writer_out)
                     : zrt__safetensors_writer_create(folder, n, tensors, MAX_FILE_BYTES, writer_out);
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)tensors[i].name);
    free(tensors);
    return status;
}

typedef struct writing {
    zrt__safetensors_writer *writer; /* NULL: this rank only hands out */
} writing;

static zrt_status append(void *user, const zrt_state_dict_piece *piece)
{
    writing *w = user;
    return w->writer != NULL ? zrt__safetensors_writer_append(w->writer, piece->values, ZRT_FLOAT32, piece->n) : ZRT_OK;
}

zrt_status zrt_engine_save_pretrained(zrt_engine *engine, const char *folder, zrt_dtype dtype)
{
    const zrt__group *world = zrt__context_world(engine->context);
    writing w = {NULL};
    zrt_status status = zrt__group_rank(world) == 0 ? begin(engine, folder, dtype, &w.writer) : ZRT_OK;
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK)
        status =
            zrt__state_dict_stream(engine, engine->settings.state_dict_rank0_only ? 0 : -1, is_written, append, &w);
    if (status == ZRT_OK && w.writer != NULL)
        status = zrt__safetensors_writer_commit(&w.writer);
    zrt__safetensors_writer_destroy(&w.writer);
    return zrt__group_agree(world, status);
}
