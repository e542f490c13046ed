/* A device: where tensors live and entries run. One backend is one const table of functions with no NULL slot. */
#ifndef ZRT_DEVICE_DEVICE_H
#define ZRT_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>
#include <zerort/tensor.h>

typedef struct zrt__device_ops zrt__device_ops;

/* The first member of every backend's own struct. */
typedef struct zrt__device {
    const zrt__device_ops *ops;
} zrt__device;

typedef struct zrt__stream {
    zrt__device *device;
    const char *name;
} zrt__stream;

typedef struct zrt__event {
    zrt__device *device;
} zrt__event;

typedef enum zrt__memory_class {
    ZRT__MEMORY_DEVICE,   /* what kernels read and write */
    ZRT__MEMORY_PINNED,   /* host memory that copies at full rate; on the CPU the same as DEVICE */
    ZRT__MEMORY_PAGEABLE, /* other host memory */
} zrt__memory_class;

typedef struct zrt__device_options {
    int n_threads;    /* CPU: threads that compute, >= 1 (the stream's own included) */
    const int *cores; /* CPU: n_cores logical processors this rank may use, NULL: leave affinity alone */
    int n_cores;
    int local_index;  /* CUDA: which device, where this rank sees several */
    int local_size;   /* ranks of this host; 0: 1 */
    const char *host; /* for messages; NULL: "this host" */
    bool deterministic;
} zrt__device_options;

typedef struct zrt__device_description {
    char name[64];                            /* "NVIDIA H200", "cpu" */
    char id[48];                              /* its UUID; "" on the CPU */
    bool is_exclusive;                        /* two ranks must not have the same id */
    double peak_flops_fp32, peak_flops_16bit; /* of matrix products, fp32 sums; 0: unknown */
} zrt__device_description;

/* Work in stream order: on the CPU it runs on the stream's thread; on CUDA it is called at once and enqueues. `arg` must stay valid until it ran. */
typedef zrt_status zrt__launch_fn(zrt__stream *stream, const void *arg);

struct zrt__device_ops {
    const char *name; /* "cpu", "cuda" */

    zrt_status (*open)(const zrt__device_options *options, zrt__device **device_out);
    void (*close)(zrt__device **device);
    void (*describe)(const zrt__device *device, zrt__device_description *description_out);

    /* Bytes the device could give now, and has. On the CPU: of the node or its cgroup. */
    zrt_status (*memory_info)(zrt__device *device, size_t *free_out, size_t *total_out);
    /* Zero-filled, aligned to 4096. allocated_bytes counts what is held. */
    zrt_status (*allocate)(zrt__device *device, zrt__memory_class memory_class, size_t bytes, void **data_out);
    void (*release)(zrt__device *device, zrt__memory_class memory_class, void *data, size_t bytes);
    size_t (*allocated_bytes)(const zrt__device *device);

    /* In-order streams. Destroy waits for what is enqueued. `computes`: the stream's kernels may use all of n_threads; others one. */
    zrt_status (*stream_create)(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out);
    /* A stream whose launches run on this rank's cores with the CPU's kernels, on host memory; ordered with the others by events. On the
     * CPU as stream_create. */
    zrt_status (*host_stream_create)(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out);
    void (*stream_destroy)(zrt__stream **stream);
    zrt_status (*launch)(zrt__stream *stream, zrt__launch_fn *fn, const void *arg);
    /* Blocks the host until everything enqueued has run; the first failure of the stream, once it failed it runs nothing more. */
    zrt_status (*stream_synchronize)(zrt__stream *stream);
    /* The first failure that is known by now. Waits for nothing. */
    zrt_status (*stream_failure)(zrt__stream *stream);

    /* As CUDA's: wait makes later work of `stream` wait for the last record that was enqueued before the call; an event never recorded is done. */
    zrt_status (*event_create)(zrt__device *device, zrt__event **event_out);
    void (*event_destroy)(zrt__event **event);
    zrt_status (*event_record)(zrt__event *event, zrt__stream *stream);
    zrt_status (*event_wait)(zrt__event *event, zrt__stream *stream);
    zrt_status (*event_synchronize)(zrt__event *event); /* host waits */

    /* Copies in stream order between any memory of this device and the host. */
    zrt_status (*copy)(zrt__stream *stream, void *dst, const void *src, size_t bytes);
    /* Writes the time in ns (CLOCK_MONOTONIC) at which the stream gets there; *slot is readable after a synchronise. */
    zrt_status (*timestamp)(zrt__stream *stream, uint64_t *slot);
};

extern const zrt__device_ops zrt__device_cpu_ops;
extern const zrt__device_ops zrt__device_cuda_ops; /* where CUDA was found: ZRT_HAVE_CUDA */
/* Likewise. False without a driver, or where the launcher shows this process no GPU. */
bool zrt__device_cuda_visible(void);

#endif
