/* Folders of the offload blocks. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "config/resolve.h"

/* The folder of a block whose device is nvme. */
zrt_status zrt__resolve_folder(zrt__resolution *resolution, const char *block, char *folder, size_t capacity)
{
    char path[128];
    snprintf(path, sizeof path, "zero_optimization.%s.nvme_path", block);
    const char *given = json_string_value(zrt__tree_get(resolution->config->file, path));
    if (given == NULL || *given == '\0')
        return zrt__fail(ZRT_ERR_CONFIG,
                         "zero_optimization.%s.device is \"nvme\" and %s is not given: name a folder on a "
                         "local disk",
                         block, path);
    if (strlen(given) >= capacity)
        return zrt__fail(ZRT_ERR_CONFIG, "%s is longer than %zu bytes", path, capacity - 1);
    snprintf(folder, capacity, "%s", given);
    return ZRT_OK;
}

/* CPU ranks have their parameters on the host; what else it asks for is not there. */
zrt_status zrt__check_offload_param(const zrt__resolution *resolution)
{
    const char *device =
        json_string_value(zrt__tree_get(resolution->config->file, "zero_optimization.offload_param.device"));
    if (device != NULL && strcmp(device, "nvme") == 0)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "zero_optimization.offload_param.device \"nvme\" is not supported: use "
                                                "\"none\", and offload_optimizer.device \"nvme\" for optimizer states");
    return ZRT_OK;
}
