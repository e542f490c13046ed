/* A Hugging Face folder out of an engine: config.json and safetensors, written tensor by tensor. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "engine/engine.h"
#include "nn/hf_config.h"

/* Shards of 5 GB, as transformers saves. */
#define MAX_FILE_BYTES ((size_t)5000000000)

static zrt_status begin(const zrt_engine *engine, const char *folder, zrt_dtype dtype,
                        zrt__safetensors_writer **writer_out)
{
    const zrt_model *model = engine->model;
    zrt__safetensors_tensor *tensors = zrt__calloc(model->n_parameters + 1, sizeof *tensors);
    if (tensors == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < model->n_parameters; i++) {
        const zrt__parameter *parameter = &model->parameters[i];
        tensors[i] = (zrt__safetensors_tensor){.name = parameter->name, .dtype = dtype, .n_dims = parameter->n_dims};
        memcpy(tensors[i].dims, parameter->dims, sizeof tensors[i].dims);
    }
    zrt_status status = ZRT_OK;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        status = zrt__fail(ZRT_ERR_IO, "folder %s: %s; name one that can be written", folder, strerror(errno));
    if (status == ZRT_OK)
        status = zrt__hf_config_write(model, dtype, folder);
    if (status == ZRT_OK)
        status = zrt__safetensors_writer_create(folder, model->n_parameters, tensors, MAX_FILE_BYTES, writer_out);
    free(tensors);
    return status;
}

zrt_status zrt_engine_save_pretrained(zrt_engine *engine, const char *folder, zrt_dtype dtype)
{
    const zrt__group *world = zrt__context_world(engine->context);
    zrt__safetensors_writer *writer = NULL;
    bool writes = zrt__group_rank(world) == 0;
    int64_t largest = 1;
    for (size_t i = 0; i < engine->model->n_parameters; i++)
        if (engine->model->parameters[i].n_elements > largest)
            largest = engine->model->parameters[i].n_elements;
    float *values = writes ? zrt__malloc((size_t)largest * sizeof *values) : NULL;
    zrt_status status = writes && values == NULL ? ZRT_ERR_MEMORY : ZRT_OK;
    if (writes && status == ZRT_OK)
        status = begin(engine, folder, dtype, &writer);
    status = zrt__group_agree(world, status);
    zrt_status written = ZRT_OK; /* of rank 0; the others go on handing out their shards */
    for (size_t i = 0; i < engine->model->n_parameters && status == ZRT_OK; i++) {
        const zrt__parameter *parameter = &engine->model->parameters[i];
        status = zrt_engine_get_full(engine, parameter->name, ZRT_STATE_PARAMETER, values);
        if (writes && status == ZRT_OK && written == ZRT_OK)
            written = zrt__safetensors_writer_append(writer, values, ZRT_FLOAT32, parameter->n_elements);
    }
    if (writes && status == ZRT_OK && written == ZRT_OK)
        written = zrt__safetensors_writer_commit(&writer);
    zrt__safetensors_writer_destroy(&writer);
    free(values);
    return zrt__group_agree(world, status != ZRT_OK ? status : written);
}
