/* Memory of the CUDA device, for its table of functions: the GPU's, pinned and pageable host memory. */
#ifndef ZRT_DEVICE_CUDA_CUDA_MEMORY_H
#define ZRT_DEVICE_CUDA_CUDA_MEMORY_H

#include "device/cuda/cuda_device.h"

zrt_status zrt__cuda_memory_info(zrt__device *device, size_t *free_out, size_t *total_out);
zrt_status zrt__cuda_allocate(zrt__device *device, zrt__memory_class memory_class, size_t bytes, void **data_out);
void zrt__cuda_release(zrt__device *device, zrt__memory_class memory_class, void *data, size_t bytes);
size_t zrt__cuda_allocated_bytes(const zrt__device *device);

#endif
