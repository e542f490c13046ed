#include "config.h"

#include <math.h>
#include <stdlib.h>

#include <zerort/checkpoint.h>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "checkpoint/run_checkpoints.h"

zrt_status zrt_checkpoint_find_best(const char *folder, char **path_out)
{
    int64_t *steps = NULL;
    size_t n = 0;
    double least = (double)INFINITY;
    *path_out = NULL;
    ZRT_TRY(zrt__checkpoint_list(folder, &steps, &n));
    zrt_status status = ZRT_OK;
    for (size_t i = 0; i < n && status == ZRT_OK; i++) {
        zrt__manifest manifest;
        char *path = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, steps[i]);
        if (path == NULL) {
            status = ZRT_ERR_MEMORY;
            break;
        }
        bool better = false;
        if (zrt__manifest_read(path, &manifest) == ZRT_OK) {
            better = isfinite(manifest.metric) && manifest.metric < least;
            least = better ? manifest.metric : least;
            zrt__manifest_free(&manifest);
        }
        free(better ? *path_out : path);
        if (better)
            *path_out = path;
    }
    free(steps);
    return status != ZRT_OK ? status : *path_out != NULL ? ZRT_OK : ZRT_END;
}
