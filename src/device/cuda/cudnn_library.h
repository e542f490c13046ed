/* cuDNN, loaded when it is first needed: attention has kernels of its own where it is missing. */
#ifndef ZRT_DEVICE_CUDA_CUDNN_LIBRARY_H
#define ZRT_DEVICE_CUDA_CUDNN_LIBRARY_H

#include <cudnn.h>

#include <zerort/status.h>

/* clang-format off */
#define ZRT__CUDNN_TABLE(X)                                                                    \
    X(cudnnGetVersion) X(cudnnGetErrorString) X(cudnnGetLastErrorString) X(cudnnCreate)        \
    X(cudnnDestroy) X(cudnnSetStream) X(cudnnBackendCreateDescriptor)                          \
    X(cudnnBackendDestroyDescriptor) X(cudnnBackendFinalize) X(cudnnBackendSetAttribute)       \
    X(cudnnBackendGetAttribute) X(cudnnBackendExecute)
/* clang-format on */

/* The functions by cuDNN's names, as cudnn.h declares them. */
typedef struct zrt__cudnn_library {
    void *handle;
    size_t version; /* 91400 is 9.14.0 */
#define ZRT__CUDNN_SLOT(name) __typeof__(name) *name;
    ZRT__CUDNN_TABLE(ZRT__CUDNN_SLOT)
#undef ZRT__CUDNN_SLOT
} zrt__cudnn_library;

enum { ZRT__CUDNN_OLDEST = 90600 }; /* backward needs no cleared memory */

/* Loads "libcudnn.so.9", or what ZERORT_CUDNN_LIBRARY names ("none": pretends that there is none). Local.
 * ZRT_ERR_NOT_SUPPORTED where it is missing or too old. */
zrt_status zrt__cudnn_load(zrt__cudnn_library *library_out);

/* What cuDNN said, as the one message. */
zrt_status zrt__cudnn_check(const zrt__cudnn_library *library, cudnnStatus_t result, const char *what);

#endif
