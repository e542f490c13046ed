/* NCCL on the CUDA device: the table that the engine opens. */
#include "config.h"

#include <stdio.h>

#include "base/error.h"
#include "comm/nccl/comm_nccl.h"
#include "device/cuda/cuda_device.h"

static zrt_status enter(const zrt__device *device)
{
    return zrt__cuda_check(device, cudaSetDevice(((const zrt__cuda_device *)device)->ordinal), "choosing it");
}

static void *stream_handle(const zrt__stream *stream)
{
    return zrt__cuda_stream(stream);
}

static zrt_status clear(const zrt__device *device, void *data, size_t bytes)
{
    cudaError_t error = cudaMemset(data, 0, bytes);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(NULL); /* other streams do not wait for this one */
    return zrt__cuda_check(device, error, "clearing memory for collectives");
}

static zrt_status allocate(const zrt__device *device, size_t bytes, void **data_out)
{
    return zrt__cuda_check(device, cudaMalloc(data_out, bytes), "taking memory for gathered parameters");
}

static void release(const zrt__device *device, void *data)
{
    (void)device;
    cudaFree(data);
}

static zrt_status copy(zrt__stream *stream, void *dst, const void *src, size_t bytes)
{
    /* CUDA's copies may not overlap; one rank's operands are the same memory or lie apart */
    return zrt__cuda_check(
        stream->device, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, zrt__cuda_stream(stream)), "a copy");
}

static zrt_status check(const zrt__device *device)
{
    ZRT_TRY(zrt__cuda_device_failure(device));
    return zrt__cuda_check(device, cudaPeekAtLastError(), "a kernel or copy");
}

static void describe(const zrt__device *device, char *text, size_t n_bytes)
{
    const zrt__cuda_device *cuda = (const zrt__cuda_device *)device;
    snprintf(text, n_bytes, "GPU %d (%s, %s)", cuda->ordinal, cuda->name, cuda->uuid);
}

static const zrt__nccl_platform cuda_platform = {
    .enter = enter,
    .stream = stream_handle,
    .clear = clear,
    .allocate = allocate,
    .release = release,
    .copy = copy,
    .check = check,
    .fail = zrt__cuda_device_fail,
    .describe = describe,
};

static zrt_status open_on_cuda(const zrt__group *group, zrt__device *device, const char *label, zrt__comm **comm_out);

const zrt__comm_ops zrt__comm_nccl_ops = ZRT__COMM_NCCL_TABLE(open_on_cuda);

static zrt_status open_on_cuda(const zrt__group *group, zrt__device *device, const char *label, zrt__comm **comm_out)
{
    return zrt__comm_nccl_open(&zrt__comm_nccl_ops, group, device, label, &cuda_platform, comm_out);
}
