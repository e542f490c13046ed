/* Adapters' folders: which base model they belong to. */
#include "config.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zerort/models.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"
#include "nn/lora_config.h"

#define MOST_HEADER_BYTES (UINT64_C(100) << 20)

static bool has(const char *folder, const char *name)
{
    struct stat info;
    char *path = zrt__format("%s/%s", folder, name);
    bool found = path != NULL && stat(path, &info) == 0;
    free(path);
    return found;
}

bool zrt__is_adapter_folder(const char *folder)
{
    return has(folder, "adapter_config.json") && !has(folder, "config.json");
}

zrt_status zrt_adapter_find_base(const char *adapter, char **base_out)
{
    char *path = zrt__format("%s/adapter_config.json", adapter), *base = NULL, *found = NULL;
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__lora_config_base(path, &base);
    for (int i = 0; status == ZRT_OK && found == NULL && i < (*base == '/' ? 1 : 3); i++) {
        char *place = i == 0   ? zrt__format("%s", base)
                      : i == 1 ? zrt__format("%s/%s", adapter, base)
                               : zrt__format("%s/../%s", adapter, base);
        if (place == NULL)
            status = ZRT_ERR_MEMORY;
        else if (has(place, "config.json"))
            found = place;
        else
            free(place);
    }
    if (status == ZRT_OK && found == NULL)
        status = zrt__fail(ZRT_ERR_INPUT,
                           "%s: the base model's folder '%s' is neither in the working folder nor in the adapter's nor "
                           "in its parent (no config.json there); name the base with --model and the adapter's "
                           "configuration with --lora-config",
                           path, base);
    free(path);
    free(base);
    *base_out = found;
    return status;
}

/* The header of FOLDER/adapter_model.safetensors; NULL where there is none that can be read, which is told when the weights are. */
static json_t *read_header(const char *folder)
{
    unsigned char length[8];
    uint64_t bytes = 0;
    char *path = zrt__format("%s/adapter_model.safetensors", folder), *text = NULL;
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    json_t *root = NULL;
    free(path);
    if (file == NULL)
        return NULL;
    if (fread(length, 1, sizeof length, file) == sizeof length)
        for (int i = 8; i-- > 0;)
            bytes = bytes << 8 | length[i];
    if (bytes > 0 && bytes <= MOST_HEADER_BYTES && (text = zrt__malloc((size_t)bytes)) != NULL &&
        fread(text, 1, (size_t)bytes, file) == (size_t)bytes)
        root = json_loadb(text, (size_t)bytes, 0, NULL);
    free(text);
    fclose(file);
    return root;
}

/* Rows of the embedding or head that the adapter has whole; 0 where it has none, or not more than the model. */
static int64_t grown_vocabulary(const char *adapter, const zrt_model *model)
{
    int64_t rows = 0;
    json_t *header = read_header(adapter);
    for (size_t i = 0; header != NULL && i < model->n_parameters; i++) {
        const zrt__parameter *parameter = &model->parameters[i];
        if (!zrt__parameter_is_vocabulary(model, parameter))
            continue;
        char *name = zrt__format(ZRT__ADAPTER_PREFIX "%s", parameter->name);
        const json_t *shape = name != NULL ? json_object_get(json_object_get(header, name), "shape") : NULL;
        json_int_t n = json_integer_value(json_array_get(shape, 0));
        if (n > parameter->dims[0] && n <= INT32_MAX)
            rows = n;
        free(name);
    }
    json_decref(header);
    return rows;
}

zrt_status zrt__adapter_open_base(const char *adapter, const char *base, zrt_model **model_out)
{
    ZRT_TRY(zrt_model_open(base, model_out));
    int64_t rows = grown_vocabulary(adapter, *model_out);
    if (rows == 0)
        return ZRT_OK;
    zrt_model_destroy(model_out);
    return zrt_model_open_resized(base, rows, model_out);
}

zrt_status zrt__adapter_open(const char *folder, zrt_model **model_out)
{
    char *base = NULL, *path = NULL;
    zrt_model *model = NULL;
    zrt_status status = zrt_adapter_find_base(folder, &base);
    if (status == ZRT_OK)
        status = zrt__adapter_open_base(folder, base, &model);
    if (status == ZRT_OK && (path = zrt__format("%s/adapter_config.json", folder)) == NULL)
        status = ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = zrt_model_read_lora(model, path);
    free(base);
    free(path);
    if (status != ZRT_OK) {
        zrt_model_destroy(&model);
        return status;
    }
    *model_out = model;
    return ZRT_OK;
}
