/* The CPU device: streams are worker threads that take work in order; kernels of the computing stream share a thread pool. */
#ifndef ZRT_DEVICE_CPU_CPU_DEVICE_H
#define ZRT_DEVICE_CPU_CPU_DEVICE_H

#include <stdatomic.h>

#include "device/cpu/cpu_threads.h"
#include "device/device.h"

typedef struct zrt__cpu_device {
    zrt__device base;
    zrt__cpu_pool *pool;
    int n_threads;       /* that share a kernel */
    int *cores, n_cores; /* what worker threads are bound to; none: left alone */
    _Atomic size_t allocated;
} zrt__cpu_device;

/* Binds the calling thread to the cores of the device, all of them: the scheduler places the threads of a rank among its cores. */
void zrt__cpu_bind(const zrt__cpu_device *device);

/* Splits [0, n) into ranges over the device's threads, the calling one among them; inline when the stream does not
 * compute, there is one thread, or n <= grain. Ranges are multiples of grain but for the last. Which thread gets which must not
 * change results: only outputs that do not depend on each other may be split. */
void zrt__cpu_parallel(zrt__stream *stream, int64_t n, int64_t grain, zrt__cpu_range_fn *fn, void *arg);

/* Scratch memory of the calling thread, a pool's or stream's: the same on every call. */
void *zrt__cpu_thread_scratch(size_t *bytes_out);

/* The stream half of device_ops, in cpu_stream.c. */
zrt_status zrt__cpu_stream_create(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out);
void zrt__cpu_stream_destroy(zrt__stream **stream);
zrt_status zrt__cpu_stream_launch(zrt__stream *stream, zrt__launch_fn *fn, const void *arg);
zrt_status zrt__cpu_stream_synchronize(zrt__stream *stream);
zrt_status zrt__cpu_stream_failure(zrt__stream *stream);
zrt_status zrt__cpu_event_create(zrt__device *device, zrt__event **event_out);
void zrt__cpu_event_destroy(zrt__event **event);
zrt_status zrt__cpu_event_record(zrt__event *event, zrt__stream *stream);
zrt_status zrt__cpu_event_wait(zrt__event *event, zrt__stream *stream);
zrt_status zrt__cpu_event_synchronize(zrt__event *event);
zrt_status zrt__cpu_copy(zrt__stream *stream, void *dst, const void *src, size_t bytes);
zrt_status zrt__cpu_timestamp(zrt__stream *stream, uint64_t *slot);
bool zrt__cpu_stream_computes(const zrt__stream *stream);

#endif
