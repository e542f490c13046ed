/* Streams, events, copies and times of the GPU. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_host_stream.h"

enum { N_TIMES = 65536, COMPUTE_SCRATCH = 96 << 20, OTHER_SCRATCH = 1 << 20 };

typedef struct cuda_event {
    zrt__event base;
    cudaEvent_t handle;
    zrt__cuda_host_event host;
    bool on_host; /* it was last recorded by a host stream */
} cuda_event;

/* Keeps the first failure: every later call of the stream tells it again. */
static zrt_status fail(zrt__cuda_stream_state *stream, zrt_status status)
{
    if (stream->status == ZRT_OK && status != ZRT_OK) {
        stream->status = status;
        snprintf(stream->message, sizeof stream->message, "%s", zrt_error_message());
    }
    return status;
}

static zrt_status check(zrt__stream *stream, cudaError_t error, const char *what)
{
    char text[160];
    if (error == cudaSuccess)
        return ZRT_OK;
    snprintf(text, sizeof text, "%s on stream %s", what, stream->name);
    return fail((zrt__cuda_stream_state *)stream, zrt__cuda_check(stream->device, error, text));
}

zrt_status zrt__cuda_stream_create(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out)
{
    zrt__cuda_device *cuda = (zrt__cuda_device *)device;
    zrt__cuda_stream_state *stream = zrt__calloc(1, sizeof *stream);
    if (stream == NULL)
        return ZRT_ERR_MEMORY;
    int least = 0, greatest = 0;
    stream->base = (zrt__stream){device, name};
    stream->scratch_bytes = computes ? COMPUTE_SCRATCH : OTHER_SCRATCH;
    cudaError_t error = cudaSetDevice(cuda->ordinal);
    if (error == cudaSuccess)
        error = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    /* What communicates goes before what computes: its few blocks shall not wait for a product's many. */
    if (error == cudaSuccess)
        error = cudaStreamCreateWithPriority(&stream->handle, cudaStreamNonBlocking, computes ? least : greatest);
    zrt_status status = zrt__cuda_check(device, error, "creating a stream");
    /* Not counted as allocated: it is the kernels' own, and no part of a plan. */
    if (status == ZRT_OK)
        status = zrt__cuda_check(device, cudaMalloc(&stream->scratch, stream->scratch_bytes),
                                 "taking scratch memory for a stream");
    if (status != ZRT_OK) {
        if (stream->handle != NULL)
            cudaStreamDestroy(stream->handle);
        free(stream);
        return status;
    }
    *stream_out = &stream->base;
    return ZRT_OK;
}

void zrt__cuda_stream_destroy(zrt__stream **stream)
{
    if (stream == NULL || *stream == NULL)
        return;
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)*stream;
    *stream = NULL;
    if (s->host != NULL) {
        zrt__cuda_host_stream_destroy(s);
        return;
    }
    cudaStreamSynchronize(s->handle);
    cudaStreamDestroy(s->handle);
    cudaFree(s->scratch);
    if (s->times != NULL)
        cudaFreeHost(s->times);
    free(s->slots);
    free(s);
}

zrt_status zrt__cuda_scratch(zrt__stream *stream, size_t bytes, const char *what, void **data_out)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    if (bytes > s->scratch_bytes)
        return zrt__fail(
            ZRT_ERR_NOT_SUPPORTED,
            "%s needs %zu bytes of scratch memory on the GPU and stream %s has %zu: make the batch smaller", what,
            bytes, stream->name, s->scratch_bytes);
    *data_out = s->scratch;
    return ZRT_OK;
}

zrt_status zrt__cuda_launch(zrt__stream *stream, zrt__launch_fn *fn, const void *arg)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    if (s->status != ZRT_OK)
        return zrt__fail_with(s->status, s->message);
    zrt_status status = zrt__cuda_device_failure(stream->device);
    if (status == ZRT_OK)
        status = s->host != NULL ? zrt__device_cpu_ops.launch(s->host, fn, arg) : fn(stream, arg);
    if (status != ZRT_OK)
        return fail(s, status);
    if (s->host != NULL)
        return ZRT_OK;
    return check(stream, cudaPeekAtLastError(), "launching a kernel");
}

/* What the GPU wrote, in the host's time, to where it is wanted. */
static void deliver_times(zrt__cuda_stream_state *s)
{
    int64_t offset = ((zrt__cuda_device *)s->base.device)->clock_offset;
    for (size_t i = 0; i < s->n_slots; i++)
        *s->slots[i].slot = (uint64_t)((int64_t)*s->slots[i].written + offset);
    s->n_slots = 0;
}

zrt_status zrt__cuda_stream_synchronize(zrt__stream *stream)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    if (s->host != NULL)
        return zrt__cuda_host_stream_synchronize(s);
    cudaError_t error = cudaStreamSynchronize(s->handle);
    if (error == cudaSuccess)
        deliver_times(s);
    if (s->status == ZRT_OK)
        ZRT_TRY(check(stream, error, "a kernel or copy"));
    return zrt__cuda_stream_failure(stream);
}

zrt_status zrt__cuda_stream_failure(zrt__stream *stream)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    if (s->status != ZRT_OK)
        return zrt__fail_with(s->status, s->message);
    if (s->host != NULL)
        ZRT_TRY(zrt__device_cpu_ops.stream_failure(s->host));
    cudaError_t error = cudaStreamQuery(s->handle);
    if (error == cudaErrorNotReady)
        cudaGetLastError();
    else
        ZRT_TRY(check(stream, error, "a kernel or copy"));
    ZRT_TRY(fail(s, zrt__cuda_device_failure(stream->device)));
    return fail(s, zrt__cuda_fault_status((zrt__cuda_device *)stream->device));
}

zrt_status zrt__cuda_event_create(zrt__device *device, zrt__event **event_out)
{
    cuda_event *event = zrt__calloc(1, sizeof *event);
    if (event == NULL)
        return ZRT_ERR_MEMORY;
    event->base.device = device;
    cudaError_t error = cudaEventCreateWithFlags(&event->handle, cudaEventDisableTiming | cudaEventBlockingSync);
    if (error != cudaSuccess) {
        free(event);
        return zrt__cuda_check(device, error, "creating an event");
    }
    *event_out = &event->base;
    return ZRT_OK;
}

void zrt__cuda_event_destroy(zrt__event **event)
{
    if (event == NULL || *event == NULL)
        return;
    zrt__cuda_host_event_destroy(&((cuda_event *)*event)->host);
    cudaEventDestroy(((cuda_event *)*event)->handle);
    free(*event);
    *event = NULL;
}

zrt_status zrt__cuda_event_record(zrt__event *event, zrt__stream *stream)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    cuda_event *e = (cuda_event *)event;
    e->on_host = s->host != NULL;
    if (e->on_host)
        return fail(s, zrt__cuda_host_event_record(stream->device, &e->host, s));
    return check(stream, cudaEventRecord(e->handle, s->handle), "recording an event");
}

zrt_status zrt__cuda_event_wait(zrt__event *event, zrt__stream *stream)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    cuda_event *e = (cuda_event *)event;
    if (s->host != NULL)
        return fail(s, e->on_host ? zrt__device_cpu_ops.event_wait(e->host.event, s->host)
                                  : zrt__cuda_host_stream_wait(s, e->handle));
    if (e->on_host)
        return fail(s, zrt__cuda_wait_for_host(s, &e->host));
    return check(stream, cudaStreamWaitEvent(s->handle, e->handle, 0), "waiting for an event");
}

zrt_status zrt__cuda_event_synchronize(zrt__event *event)
{
    cuda_event *e = (cuda_event *)event;
    if (e->on_host)
        return zrt__device_cpu_ops.event_synchronize(e->host.event);
    ZRT_TRY(zrt__cuda_check(event->device, cudaEventSynchronize(e->handle), "a kernel or copy"));
    ZRT_TRY(zrt__cuda_device_failure(event->device));
    return zrt__cuda_fault_status((zrt__cuda_device *)event->device);
}

zrt_status zrt__cuda_copy(zrt__stream *stream, void *dst, const void *src, size_t bytes)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    if (s->host != NULL)
        return zrt__device_cpu_ops.copy(s->host, dst, src, bytes);
    return check(stream, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, zrt__cuda_stream(stream)),
                 "enqueueing a copy");
}

zrt_status zrt__cuda_timestamp(zrt__stream *stream, uint64_t *slot)
{
    zrt__cuda_stream_state *s = (zrt__cuda_stream_state *)stream;
    if (s->host != NULL)
        return zrt__device_cpu_ops.timestamp(s->host, slot);
    if (s->times == NULL) {
        s->slots = zrt__calloc(N_TIMES, sizeof *s->slots);
        if (s->slots == NULL)
            return ZRT_ERR_MEMORY;
        ZRT_TRY(check(
            stream,
            cudaHostAlloc((void **)&s->times, N_TIMES * sizeof *s->times, cudaHostAllocPortable | cudaHostAllocMapped),
            "pinning memory for times"));
    }
    if (s->n_slots == N_TIMES)
        ZRT_TRY(zrt__cuda_stream_synchronize(stream));
    size_t i = s->n_slots++;
    s->slots[i] = (zrt__cuda_stream_slot){slot, &s->times[i]};
    return check(stream, zrt__cuda_clock(s->handle, &s->times[i]), "taking a time");
}
