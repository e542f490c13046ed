#include "config.h"

#include "device/cuda/cudnn_library.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static zrt_status find(void *handle, const char *file, const char *name, void *slot)
{
    void *function = dlsym(handle, name);
    if (function == NULL)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s has no %s: zerort needs cuDNN 9.6 or newer", file, name);
    memcpy(slot, &function, sizeof function);
    return ZRT_OK;
}

static void *open_first(const char *const *files)
{
    for (; *files != NULL; files++) {
        void *handle = dlopen(*files, RTLD_NOW | RTLD_LOCAL);
        if (handle != NULL)
            return handle;
    }
    return NULL;
}

zrt_status zrt__cudnn_load(zrt__cudnn_library *library_out)
{
    zrt__cudnn_library library = {0};
    const char *chosen = getenv("ZERORT_CUDNN_LIBRARY");
    const char *files[] = {"libcudnn.so.9", ZRT_CUDA_LIBRARY_DIR "/libcudnn.so.9", NULL};
    if (chosen != NULL && strcmp(chosen, "none") == 0)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "cuDNN is left out: ZERORT_CUDNN_LIBRARY is \"none\"");
    if (chosen != NULL && *chosen != '\0') {
        files[0] = chosen;
        files[1] = NULL;
    }
    library.handle = open_first(files);
    if (library.handle == NULL)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "cuDNN cannot be loaded: %s; install it, add its folder to LD_LIBRARY_PATH or name it in "
                         "ZERORT_CUDNN_LIBRARY",
                         dlerror());
#define FIND(name) ZRT_TRY(find(library.handle, files[0], #name, &library.name));
    ZRT__CUDNN_TABLE(FIND)
#undef FIND
    library.version = library.cudnnGetVersion();
    if (library.version < ZRT__CUDNN_OLDEST || library.version >= 100000)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s is cuDNN %zu.%zu, zerort needs 9.6 or a later 9", files[0],
                         library.version / 10000, library.version / 100 % 100);
    *library_out = library;
    return ZRT_OK;
}

zrt_status zrt__cudnn_check(const zrt__cudnn_library *library, cudnnStatus_t result, const char *what)
{
    char detail[512] = "";
    if (result == CUDNN_STATUS_SUCCESS)
        return ZRT_OK;
    library->cudnnGetLastErrorString(detail, sizeof detail);
    return zrt__fail(ZRT_ERR_DEVICE, "cuDNN: %s: %s%s%s", what, library->cudnnGetErrorString(result),
                     *detail != '\0' ? ": " : "", detail);
}
