/* Libraries of NVIDIA's that are loaded when first needed, so that a binary starts where they are not. */
#ifndef ZRT_DEVICE_CUDA_CUDA_LIBRARY_H
#define ZRT_DEVICE_CUDA_CUDA_LIBRARY_H

#include <zerort/status.h>

/* One function of a library and where its address goes. */
typedef struct zrt__cuda_symbol {
    const char *name;
    void **address_out;
} zrt__cuda_symbol;

/* Loads `soname` ("libcublasLt.so.13") by the linker's rules, else from the folder that configure found, and looks up
 * n symbols. It stays loaded. Errors: ZRT_ERR_DEVICE naming the library, what was missing and `package` to install. */
zrt_status zrt__cuda_library_open(const char *soname, const char *package, const zrt__cuda_symbol *symbols, int n);

#endif
