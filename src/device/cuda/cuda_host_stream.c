/* Streams of the host's cores beside the GPU's (offloaded updates), ordered with them by the same events.
 *
 * A host stream is one of the CPU device and a companion of CUDA's. Where it waits for the GPU, the companion waits and then calls
 * back, which opens the stream's gate. Where the GPU waits for it, tickets are written to pinned memory, at which the GPU's stream
 * looks (cuStreamWaitValue32): nobody of the host is woken for that. */
#include "config.h"

#include <cuda.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cuda/cuda_host_stream.h"
#include "device/host_events.h"

static const zrt__device_ops *const cpu = &zrt__device_cpu_ops;

/* libcuda is not linked: the runtime has loaded it. */
static zrt_status find_wait(zrt__cuda_device *cuda)
{
    enum cudaDriverEntryPointQueryResult result;
    void *function = NULL;
    cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &function, 12000, cudaEnableDefault, &result);
    if (error != cudaSuccess || function == NULL)
        return zrt__fail(ZRT_ERR_DEVICE,
                         "host %s: its NVIDIA driver has no cuStreamWaitValue32, which offloading needs", cuda->host);
    memcpy(&cuda->wait_value, &function, sizeof function);
    return ZRT_OK;
}

static zrt_status open_host(zrt__cuda_device *cuda)
{
    if (cuda->host_device != NULL)
        return ZRT_OK;
    ZRT_TRY(find_wait(cuda));
    return cpu->open(&cuda->host_options, &cuda->host_device);
}

zrt_status zrt__cuda_host_stream_create(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out)
{
    zrt__cuda_device *cuda = (zrt__cuda_device *)device;
    ZRT_TRY(open_host(cuda));
    zrt__cuda_stream_state *stream = zrt__calloc(1, sizeof *stream);
    if (stream == NULL)
        return ZRT_ERR_MEMORY;
    stream->base = (zrt__stream){device, name};
    zrt_status status = cpu->event_create(cuda->host_device, &stream->gate);
    if (status == ZRT_OK)
        status = cpu->stream_create(cuda->host_device, name, computes, &stream->host);
    if (status == ZRT_OK)
        status = zrt__cuda_check(device, cudaStreamCreateWithFlags(&stream->handle, cudaStreamNonBlocking),
                                 "creating a host stream");
    if (status != ZRT_OK) {
        cpu->stream_destroy(&stream->host);
        cpu->event_destroy(&stream->gate);
        free(stream);
        return status;
    }
    *stream_out = &stream->base;
    return ZRT_OK;
}

/* After an error of the GPU nobody calls back. */
static cudaError_t wait_for_companion(zrt__cuda_stream_state *stream)
{
    cudaError_t error = cudaStreamSynchronize(stream->handle);
    if (error != cudaSuccess)
        zrt__host_event_complete(stream->gate, zrt__host_event_last(stream->gate));
    return error;
}

void zrt__cuda_host_stream_destroy(zrt__cuda_stream_state *stream)
{
    wait_for_companion(stream);
    cpu->stream_destroy(&stream->host);
    cpu->event_destroy(&stream->gate);
    cudaStreamDestroy(stream->handle);
    free(stream);
}

zrt_status zrt__cuda_host_stream_synchronize(zrt__cuda_stream_state *stream)
{
    cudaError_t error = wait_for_companion(stream);
    ZRT_TRY(cpu->stream_synchronize(stream->host));
    return zrt__cuda_check(stream->base.device, error, "what a host stream waits for");
}

static void CUDART_CB open_gate(void *user)
{
    zrt__cuda_stream_state *stream = user;
    zrt__host_event_complete(stream->gate, ++stream->n_opened);
}

zrt_status zrt__cuda_host_stream_wait(zrt__cuda_stream_state *stream, cudaEvent_t event)
{
    cudaError_t error = cudaStreamWaitEvent(stream->handle, event, 0);
    if (error == cudaSuccess)
        error = cudaLaunchHostFunc(stream->handle, open_gate, stream);
    ZRT_TRY(zrt__cuda_check(stream->base.device, error, "waiting for an event on a host stream"));
    zrt__host_event_begin(stream->gate);
    return cpu->event_wait(stream->gate, stream->host);
}

/* ---- events that a host stream records ---- */

enum { VALUES_OF_A_PAGE = 1024 };

static zrt_status take_value(zrt__cuda_device *cuda, uint32_t **value_out)
{
    if (cuda->n_values % VALUES_OF_A_PAGE == 0) {
        ZRT_TRY(zrt__grow(&cuda->value_pages, &cuda->value_pages_capacity, cuda->n_values / VALUES_OF_A_PAGE,
                          sizeof *cuda->value_pages));
        uint32_t *page = NULL;
        ZRT_TRY(zrt__cuda_check(
            &cuda->base,
            cudaHostAlloc((void **)&page, VALUES_OF_A_PAGE * sizeof *page, cudaHostAllocPortable | cudaHostAllocMapped),
            "pinning memory for events"));
        memset(page, 0, VALUES_OF_A_PAGE * sizeof *page);
        cuda->value_pages[cuda->n_values / VALUES_OF_A_PAGE] = page;
    }
    *value_out = cuda->value_pages[cuda->n_values / VALUES_OF_A_PAGE] + cuda->n_values % VALUES_OF_A_PAGE;
    cuda->n_values++;
    return ZRT_OK;
}

zrt_status zrt__cuda_host_event_record(zrt__device *device, zrt__cuda_host_event *event, zrt__cuda_stream_state *stream)
{
    zrt__cuda_device *cuda = (zrt__cuda_device *)device;
    if (event->event == NULL) {
        ZRT_TRY(take_value(cuda, &event->value));
        ZRT_TRY(cpu->event_create(cuda->host_device, &event->event));
        zrt__host_event_mirror(event->event, event->value);
    }
    return cpu->event_record(event->event, stream->host);
}

zrt_status zrt__cuda_wait_for_host(zrt__cuda_stream_state *stream, const zrt__cuda_host_event *event)
{
    const zrt__cuda_device *cuda = zrt__cuda_device_of(&stream->base);
    uint32_t ticket = zrt__host_event_last(event->event);
    CUresult result = cuda->wait_value((CUstream)stream->handle, (CUdeviceptr)(uintptr_t)event->value, ticket,
                                       CU_STREAM_WAIT_VALUE_GEQ);
    if (result != CUDA_SUCCESS)
        return zrt__fail(ZRT_ERR_DEVICE, "stream %s of %s: waiting for the host failed: CUDA driver error %d",
                         stream->base.name, cuda->name, (int)result);
    return ZRT_OK;
}

void zrt__cuda_host_event_destroy(zrt__cuda_host_event *event)
{
    cpu->event_destroy(&event->event); /* its place in pinned memory is the device's */
}

void zrt__cuda_host_close(zrt__cuda_device *cuda)
{
    for (size_t i = 0; i * VALUES_OF_A_PAGE < cuda->n_values; i++)
        cudaFreeHost(cuda->value_pages[i]);
    free(cuda->value_pages);
    free(cuda->host_cores);
    if (cuda->host_device != NULL)
        cpu->close(&cuda->host_device);
}
