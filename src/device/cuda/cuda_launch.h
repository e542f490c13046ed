/* How .cu files launch kernels. */
#ifndef ZRT_DEVICE_CUDA_CUDA_LAUNCH_H
#define ZRT_DEVICE_CUDA_CUDA_LAUNCH_H

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>

/* The kernel in parentheses where it has template arguments. */
#define ZRT__CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)

/* Whether this GPU has code for the kernel. */
template <class F> static inline cudaError_t zrt_cuda_loadable(F *kernel)
{
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, (const void *)kernel);
}
#define ZRT__CUDA_LOADABLE(kernel) zrt_cuda_loadable(kernel)

/* Lets a kernel have more shared memory than 48 KiB; once a kernel. */
#define ZRT__CUDA_ALLOW_SHARED(kernel, bytes) \
    cudaFuncSetAttribute((const void *)(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes))

/* Dynamic shared memory of a kernel. */
#define ZRT__CUDA_SHARED(type, name)                            \
    extern __shared__ __align__(16) unsigned char zrt_shared[]; \
    type *name = reinterpret_cast<type *>(zrt_shared)

static __device__ inline unsigned long long zrt_cuda_nanoseconds()
{
    unsigned long long t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}

#else
#error ".cu files are for nvcc"
#endif

#endif
