#include "config.h"

#include "device/cpu/cpu_blas.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "base/error.h"

/* The AVX-512 kernels, where an Intel processor has what they use: OpenBLAS 0.3.21 takes those newer than itself for Haswell
 * (1.7 times slower on Sapphire Rapids). On AMD's Zen 4 the kernels that it picks are 5% faster. What the user set stands. */
static const char *better_core(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_is("intel") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "SkylakeX";
#endif
    return NULL;
}

static void set_unless_set(const char *name, const char *value, int *was_set)
{
    *was_set = getenv(name) != NULL || value == NULL;
    if (!*was_set)
        setenv(name, value, 1);
}

zrt_status zrt__cpu_blas_open(zrt__cpu_blas *blas_out)
{
    int core_was_set, threads_was_set;
    /* One thread a call: the device's own threads cut the products, so that results do not depend on their number. */
    set_unless_set("OPENBLAS_CORETYPE", better_core(), &core_was_set);
    set_unless_set("OPENBLAS_NUM_THREADS", "1", &threads_was_set);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!core_was_set)
        unsetenv("OPENBLAS_CORETYPE");
    if (!threads_was_set)
        unsetenv("OPENBLAS_NUM_THREADS");
    if (library == NULL)
        return zrt__fail(ZRT_ERR_DEVICE, "OpenBLAS is not there: %s (Debian: apt-get install libopenblas0-pthread)",
                         dlerror());
    void *symbol = dlsym(library, "cblas_sgemm");
    void *set_threads = dlsym(library, "openblas_set_num_threads");
    if (symbol == NULL || set_threads == NULL) {
        dlclose(library);
        return zrt__fail(ZRT_ERR_DEVICE, "libopenblas.so.0 has no cblas_sgemm: install OpenBLAS with its C interface");
    }
    void (*set)(int);
    *(void **)&set = set_threads;
    set(1);
    *(void **)&blas_out->sgemm = symbol;
    blas_out->library = library;
    return ZRT_OK;
}

void zrt__cpu_blas_close(zrt__cpu_blas *blas)
{
    /* The library stays loaded: its threads' memory is not given back by dlclose, and the next device wants it again. */
    *blas = (zrt__cpu_blas){0};
}
