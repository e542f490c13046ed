/* The CUDA device: one GPU of the node. Streams and events are CUDA's; launching enqueues at once. */
#ifndef ZRT_DEVICE_CUDA_CUDA_DEVICE_H
#define ZRT_DEVICE_CUDA_CUDA_DEVICE_H

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "device/device.h"

typedef struct zrt__cuda_blas zrt__cuda_blas;

/* What kernels report that cannot return a status: written by the GPU into host memory, read where the host waits. */
typedef enum zrt__cuda_fault_kind {
    ZRT__CUDA_FAULT_NONE,
    ZRT__CUDA_FAULT_TOKEN,         /* a token outside the embedding's table */
    ZRT__CUDA_FAULT_POSITION,      /* a position outside the rotary table */
    ZRT__CUDA_FAULT_CACHE_POSITION /* a position outside the key/value cache */
} zrt__cuda_fault_kind;

typedef struct zrt__cuda_fault {
    int kind;
    int value;     /* what was found */
    int64_t at;    /* where */
    int64_t limit; /* what it should be below */
} zrt__cuda_fault;

typedef struct zrt__cuda_device {
    zrt__device base;
    int ordinal; /* among the visible ones */
    int n_multiprocessors;
    int capability; /* 10 major + minor */
    int64_t total_bytes;
    bool deterministic;
    char name[64], uuid[48], host[64];
    /* by atomic builtins: C++ reads this header too */
    size_t allocated;
    zrt__cuda_fault *fault; /* pinned */
    zrt__cuda_blas *blas;
    struct zrt__cudnn_attention *attention; /* cuDNN's; NULL where there is none */
    bool failure_claimed;                   /* atomic, too */
    int failure_status;                     /* of what another thread found: after failure is written */
    char failure[1024];
    int64_t clock_offset; /* CLOCK_MONOTONIC less the GPU's nanoseconds */
    /* of host streams (cuda_host_stream.c) */
    zrt__device_options host_options;
    int *host_cores;
    zrt__device *host_device; /* NULL until there is one */
    CUresult(CUDAAPI *wait_value)(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned flags);
    uint32_t **value_pages; /* pinned tickets of events */
    size_t value_pages_capacity, n_values;
} zrt__cuda_device;

typedef struct zrt__cuda_stream_slot {
    uint64_t *slot;    /* where the time is wanted */
    uint64_t *written; /* pinned: where the GPU wrote it */
} zrt__cuda_stream_slot;

typedef struct zrt__cuda_stream_state {
    zrt__stream base;
    cudaStream_t handle;
    void *scratch; /* kernels' partial sums and cuBLASLt's workspace: used and left within one launch */
    size_t scratch_bytes;
    zrt_status status; /* of the first failure */
    char message[1024];
    /* pending timestamps */
    uint64_t *times;
    zrt__cuda_stream_slot *slots;
    size_t n_slots;
    /* of a host stream: `handle` is its companion */
    zrt__stream *host; /* NULL: a stream of the GPU */
    zrt__event *gate;
    uint32_t n_opened; /* by CUDA's callbacks, one at a time */
} zrt__cuda_stream_state;

static inline cudaStream_t zrt__cuda_stream(const zrt__stream *stream)
{
    return ((const zrt__cuda_stream_state *)stream)->handle;
}

static inline zrt__cuda_device *zrt__cuda_device_of(const zrt__stream *stream)
{
    return (zrt__cuda_device *)stream->device;
}

/* ZRT_OK, or the one message of an error of CUDA: what was tried, host, GPU, cause, advice. */
zrt_status zrt__cuda_check(const zrt__device *device, cudaError_t error, const char *what);
/* All that is enqueued or waited for after it gives this failure, the first one. Any thread: for what no call of CUDA tells, such
 * as a rank that is gone. */
void zrt__cuda_device_fail(zrt__device *device, zrt_status status, const char *message);
zrt_status zrt__cuda_device_failure(const zrt__device *device);
/* The stream's scratch memory; ZRT_ERR_NOT_SUPPORTED naming `what` where it is not as large. */
zrt_status zrt__cuda_scratch(zrt__stream *stream, size_t bytes, const char *what, void **data_out);
/* What a kernel reported, as a status; ZRT_OK when nothing. */
zrt_status zrt__cuda_fault_status(const zrt__cuda_device *device);
/* Writes the GPU's clock in nanoseconds to pinned memory, in stream order (cuda_clock.cu). */
cudaError_t zrt__cuda_clock(cudaStream_t stream, uint64_t *time);
/* cudaErrorNoKernelImageForDevice and its like where the kernels were not built for this GPU. */
cudaError_t zrt__cuda_probe(void);

/* The stream half of device_ops, in cuda_stream.c. */
zrt_status zrt__cuda_stream_create(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out);
void zrt__cuda_stream_destroy(zrt__stream **stream);
zrt_status zrt__cuda_launch(zrt__stream *stream, zrt__launch_fn *fn, const void *arg);
zrt_status zrt__cuda_stream_synchronize(zrt__stream *stream);
zrt_status zrt__cuda_stream_failure(zrt__stream *stream);
zrt_status zrt__cuda_event_create(zrt__device *device, zrt__event **event_out);
void zrt__cuda_event_destroy(zrt__event **event);
zrt_status zrt__cuda_event_record(zrt__event *event, zrt__stream *stream);
zrt_status zrt__cuda_event_wait(zrt__event *event, zrt__stream *stream);
zrt_status zrt__cuda_event_synchronize(zrt__event *event);
zrt_status zrt__cuda_copy(zrt__stream *stream, void *dst, const void *src, size_t bytes);
zrt_status zrt__cuda_timestamp(zrt__stream *stream, uint64_t *slot);

#endif
