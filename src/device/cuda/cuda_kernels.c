#include "config.h"

#include "device/cuda/cuda_kernels.h"

#define ZRT__CUDA_KERNEL_SLOT(name) .name = zrt__cuda_##name,
const zrt__kernel_ops zrt__kernel_cuda_ops = {ZRT__KERNEL_TABLE(ZRT__CUDA_KERNEL_SLOT)};
