/* Adapters' folders: which base model they belong to. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zerort/models.h>

#include "base/alloc.h"
#include "base/error.h"
#include "nn/lora_config.h"

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

zrt_status zrt__adapter_open(const char *folder, zrt_model **model_out)
{
    char *base = NULL, *path = NULL;
    zrt_model *model = NULL;
    zrt_status status = zrt_adapter_find_base(folder, &base);
    if (status == ZRT_OK)
        status = zrt_model_open(base, &model);
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
