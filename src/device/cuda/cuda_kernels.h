/* The GPU's kernels, one function a slot of kernel_ops. */
#ifndef ZRT_DEVICE_CUDA_CUDA_KERNELS_H
#define ZRT_DEVICE_CUDA_CUDA_KERNELS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "device/cuda/cuda_device.h"
#include "device/kernels.h"

#define ZRT__CUDA_KERNEL_DECLARATION(name) zrt_status zrt__cuda_##name(zrt__stream *stream, const void *arg);
ZRT__KERNEL_TABLE(ZRT__CUDA_KERNEL_DECLARATION)
#undef ZRT__CUDA_KERNEL_DECLARATION

#ifdef __cplusplus
}
#endif

#endif
