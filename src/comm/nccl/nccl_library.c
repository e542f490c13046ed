#include "config.h"

#include "comm/nccl/nccl_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void zrt__nccl_version_text(int version, char text[static 32])
{
    snprintf(text, 32, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

static zrt_status find(void *handle, const char *file, const char *name, bool needed, void *slot)
{
    void *function = dlsym(handle, name);
    if (function == NULL && needed)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s has no %s: zerort needs NCCL 2.19 or newer", file, name);
    memcpy(slot, &function, sizeof function);
    return ZRT_OK;
}

zrt_status zrt__nccl_load(zrt__nccl *nccl_out)
{
    zrt__nccl nccl = {0};
    const char *chosen = getenv("ZERORT_NCCL_LIBRARY");
    bool named = chosen != NULL && *chosen != '\0';
    const char *file = named ? chosen : "libnccl.so.2";
    char found[32], oldest[32];
    nccl.handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (nccl.handle == NULL && !named)
        nccl.handle = dlopen(ZRT_CUDA_LIBRARY_DIR "/libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (nccl.handle == NULL)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "several GPUs need NCCL, which cannot be loaded: %s; install it, add its folder to "
                         "LD_LIBRARY_PATH or name it in ZERORT_NCCL_LIBRARY",
                         dlerror());
#define FIND(name, needed) ZRT_TRY(find(nccl.handle, file, #name, needed, &nccl.name));
    ZRT__NCCL_TABLE(FIND)
#undef FIND
    if (nccl.ncclGetVersion(&nccl.version) != ncclSuccess || nccl.version < ZRT__NCCL_OLDEST) {
        zrt__nccl_version_text(nccl.version, found);
        zrt__nccl_version_text(ZRT__NCCL_OLDEST, oldest);
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s is NCCL %s, zerort needs %s or newer", file, found, oldest);
    }
    *nccl_out = nccl;
    return ZRT_OK;
}

void zrt__nccl_unload(zrt__nccl *nccl)
{
    *nccl = (zrt__nccl){0};
}
