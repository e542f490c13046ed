#include "config.h"

#include "device/cuda/cuda_library.h"

#include <dlfcn.h>
#include <stdio.h>

#include "base/error.h"

zrt_status zrt__cuda_library_open(const char *soname, const char *package, const zrt__cuda_symbol *symbols, int n)
{
    char path[1024], first_error[512] = "";
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *error = dlerror();
        snprintf(first_error, sizeof first_error, "%s", error != NULL ? error : "unknown error");
        snprintf(path, sizeof path, "%s/%s", ZRT_CUDA_LIBRARY_DIR, soname);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (library == NULL)
        return zrt__fail(ZRT_ERR_DEVICE, "%s cannot be loaded: %s; install %s or add its folder to LD_LIBRARY_PATH",
                         soname, first_error, package);
    for (int i = 0; i < n; i++) {
        *symbols[i].address_out = dlsym(library, symbols[i].name);
        if (*symbols[i].address_out == NULL) {
            dlclose(library);
            return zrt__fail(ZRT_ERR_DEVICE, "%s has no %s: it is older than zerort needs; install a newer %s", soname,
                             symbols[i].name, package);
        }
    }
    return ZRT_OK;
}
