/* Host streams of the CUDA device: what cuda_stream.c calls where a stream or the last record of an event is the host's. */
#ifndef ZRT_DEVICE_CUDA_CUDA_HOST_STREAM_H
#define ZRT_DEVICE_CUDA_CUDA_HOST_STREAM_H

#include "device/cuda/cuda_device.h"

/* An event as host streams record it; all NULL until one does. */
typedef struct zrt__cuda_host_event {
    zrt__event *event; /* the CPU device's */
    uint32_t *value;   /* pinned: the last ticket reached */
} zrt__cuda_host_event;

zrt_status zrt__cuda_host_stream_create(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out);
void zrt__cuda_host_stream_destroy(zrt__cuda_stream_state *stream);
zrt_status zrt__cuda_host_stream_synchronize(zrt__cuda_stream_state *stream);
/* A host stream waits for what the GPU recorded. */
zrt_status zrt__cuda_host_stream_wait(zrt__cuda_stream_state *stream, cudaEvent_t event);

zrt_status zrt__cuda_host_event_record(zrt__device *device, zrt__cuda_host_event *event,
                                       zrt__cuda_stream_state *stream);
/* A stream of the GPU waits for what a host stream recorded last. */
zrt_status zrt__cuda_wait_for_host(zrt__cuda_stream_state *stream, const zrt__cuda_host_event *event);
void zrt__cuda_host_event_destroy(zrt__cuda_host_event *event);

/* With the device, after its streams and events. */
void zrt__cuda_host_close(zrt__cuda_device *cuda);

#endif
