#include "config.h"

#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_host_stream.h"
#include "device/cuda/cuda_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cuda/cuda_blas.h"
#include "device/cuda/cudnn_attention.h"

static zrt_status status_of(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? ZRT_ERR_MEMORY : ZRT_ERR_DEVICE;
}

static const char *advice(cudaError_t error)
{
    switch (error) {
    case cudaErrorInsufficientDriver:
        return "; the driver is older than CUDA 13 needs: update it (580 or newer)";
    case cudaErrorNoDevice:
        return "; no GPU is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorInvalidPtx:
    case cudaErrorJitCompilerNotFound:
        return "; zerort's kernels were built for compute capabilities " ZRT_CUDA_ARCHES
               ": configure with --with-cuda-arch for this GPU";
    case cudaErrorDevicesUnavailable:
        return "; another process holds the GPU (see nvidia-smi)";
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
        return "; the GPU is faulty: take this host out of the job";
    default:
        return "";
    }
}

zrt_status zrt__cuda_check(const zrt__device *device, cudaError_t error, const char *what)
{
    const zrt__cuda_device *cuda = (const zrt__cuda_device *)device;
    if (error == cudaSuccess)
        return ZRT_OK;
    /* Errors that CUDA keeps are told again by every later call; the others are forgotten here. */
    cudaGetLastError();
    if (cuda == NULL)
        return zrt__fail(status_of(error), "%s: %s%s", what, cudaGetErrorString(error), advice(error));
    return zrt__fail(status_of(error), "%s: GPU %d (%s, %s) of host %s: %s%s", what, cuda->ordinal, cuda->name,
                     cuda->uuid, cuda->host, cudaGetErrorString(error), advice(error));
}

/* ---- which GPU ---- */

bool zrt__device_cuda_visible(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess && n > 0;
}

static zrt_status choose(const zrt__device_options *options, int *ordinal_out)
{
    int n = 0;
    const char *host = options->host != NULL ? options->host : "this host";
    cudaError_t error = cudaGetDeviceCount(&n);
    if (error == cudaErrorInsufficientDriver) {
        /* CUDA says the same where there is no driver at all */
        int version = 0;
        cudaDriverGetVersion(&version);
        if (version == 0)
            return zrt__fail(ZRT_ERR_DEVICE,
                             "host %s has no NVIDIA driver (libcuda.so.1): use --device cpu, or install it", host);
        return zrt__fail(ZRT_ERR_DEVICE, "host %s: its NVIDIA driver is for CUDA %d.%d, zerort needs %d.%d: update it",
                         host, version / 1000, version % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (error != cudaSuccess && error != cudaErrorNoDevice)
        return zrt__fail(ZRT_ERR_DEVICE, "host %s: looking for GPUs: %s%s", host, cudaGetErrorString(error),
                         advice(error));
    if (n == 0)
        return zrt__fail(ZRT_ERR_DEVICE,
                         "host %s shows this rank no GPU: see nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
                         host);
    int local_size = options->local_size > 0 ? options->local_size : 1;
    if (n > 1 && n < local_size)
        return zrt__fail(ZRT_ERR_DEVICE, "host %s has %d GPUs for its %d ranks: start %d, or use --device cpu", host, n,
                         local_size, n);
    /* One: the launcher shows each rank its own, or all share it, which the engine finds out by the UUIDs. */
    *ordinal_out = n == 1 ? 0 : options->local_index;
    return ZRT_OK;
}

static void write_uuid(const cudaUUID_t *uuid, char *out, size_t bytes)
{
    char text[40];
    size_t at = 0;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        snprintf(text + at, sizeof text - at, "%02x", (unsigned)(unsigned char)uuid->bytes[i]);
        at += 2;
    }
    snprintf(out, bytes, "GPU-%s", text);
}

/* ---- the GPU's clock beside the host's ---- */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The fault's memory takes the time: nothing else runs yet. The quickest of a few answers is the closest. */
static zrt_status set_clock(zrt__cuda_device *cuda)
{
    uint64_t *time = (uint64_t *)(void *)cuda->fault;
    int64_t best = INT64_MAX;
    for (int i = 0; i < 8; i++) {
        int64_t before = now();
        cudaError_t error = zrt__cuda_clock(NULL, time);
        if (error == cudaSuccess)
            error = cudaStreamSynchronize(NULL);
        if (error != cudaSuccess)
            return zrt__cuda_check(&cuda->base, error, "reading its clock");
        int64_t after = now();
        if (after - before < best) {
            best = after - before;
            cuda->clock_offset = before + best / 2 - (int64_t)*time;
        }
    }
    memset(cuda->fault, 0, sizeof *cuda->fault);
    return ZRT_OK;
}

/* ---- opening ---- */

static void cuda_close(zrt__device **device)
{
    if (device == NULL || *device == NULL)
        return;
    zrt__cuda_device *cuda = (zrt__cuda_device *)*device;
    zrt__cuda_host_close(cuda);
    zrt__cudnn_attention_destroy(&cuda->attention);
    zrt__cuda_blas_destroy(&cuda->blas);
    if (cuda->fault != NULL)
        cudaFreeHost(cuda->fault);
    free(cuda);
    *device = NULL;
}

static zrt_status open_gpu(zrt__cuda_device *cuda)
{
    struct cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceProperties(&properties, cuda->ordinal);
    if (error != cudaSuccess)
        return zrt__cuda_check(&cuda->base, error, "asking what it is");
    snprintf(cuda->name, sizeof cuda->name, "%.63s", properties.name);
    write_uuid(&properties.uuid, cuda->uuid, sizeof cuda->uuid);
    cuda->n_multiprocessors = properties.multiProcessorCount;
    cuda->capability = 10 * properties.major + properties.minor;
    cuda->total_bytes = (int64_t)properties.totalGlobalMem;
    /* A host that waits sleeps: ranks share cores with the threads that load data. */
    error = cudaInitDevice(cuda->ordinal, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid);
    if (error == cudaSuccess)
        error = cudaSetDevice(cuda->ordinal);
    if (error != cudaSuccess)
        return zrt__cuda_check(&cuda->base, error, "opening it");
    ZRT_TRY(zrt__cuda_check(&cuda->base, zrt__cuda_probe(), "loading zerort's kernels"));
    error = cudaHostAlloc((void **)&cuda->fault, sizeof *cuda->fault, cudaHostAllocPortable | cudaHostAllocMapped);
    if (error != cudaSuccess)
        return zrt__cuda_check(&cuda->base, error, "pinning a page of host memory");
    ZRT_TRY(set_clock(cuda));
    ZRT_TRY(zrt__cuda_blas_create(cuda, &cuda->blas));
    return zrt__cudnn_attention_create(cuda, &cuda->attention);
}

/* For host streams, which come later. */
static zrt_status keep_host_options(zrt__cuda_device *cuda, const zrt__device_options *options)
{
    cuda->host_options = *options;
    cuda->host_options.host = cuda->host;
    if (options->cores == NULL)
        return ZRT_OK;
    size_t bytes = (size_t)options->n_cores * sizeof *options->cores;
    cuda->host_options.cores = cuda->host_cores = zrt__malloc(bytes > 0 ? bytes : 1);
    if (cuda->host_cores == NULL)
        return ZRT_ERR_MEMORY;
    memcpy(cuda->host_cores, options->cores, bytes);
    return ZRT_OK;
}

static zrt_status cuda_open(const zrt__device_options *options, zrt__device **device_out)
{
    int ordinal = 0;
    ZRT_TRY(choose(options, &ordinal));
    zrt__cuda_device *cuda = zrt__calloc(1, sizeof *cuda);
    if (cuda == NULL)
        return ZRT_ERR_MEMORY;
    cuda->base.ops = &zrt__device_cuda_ops;
    cuda->ordinal = ordinal;
    cuda->deterministic = options->deterministic;
    snprintf(cuda->name, sizeof cuda->name, "unknown");
    snprintf(cuda->host, sizeof cuda->host, "%s", options->host != NULL ? options->host : "this host");
    zrt__device *device = &cuda->base;
    zrt_status status = keep_host_options(cuda, options);
    if (status == ZRT_OK)
        status = open_gpu(cuda);
    if (status != ZRT_OK) {
        cuda_close(&device);
        return status;
    }
    *device_out = device;
    return ZRT_OK;
}

/* Dense 16-bit peak with fp32 sums, without sparsity, as NVIDIA's data sheets give it. */
static double peak_flops(const zrt__cuda_device *cuda, zrt_dtype dtype)
{
    static const struct {
        const char *name;
        double tensor, vector;
    } known[] = {{"H200", 989.5e12, 67e12}, {"H100 PCIe", 756e12, 51e12}, {"H100 NVL", 835e12, 60e12},
                 {"H100", 989.5e12, 67e12}, {"H800", 989.5e12, 67e12},    {"GH200", 989.5e12, 67e12},
                 {"H20", 148e12, 44e12},    {"A100", 312e12, 19.5e12},    {"A800", 312e12, 19.5e12},
                 {"A30", 165e12, 10.3e12},  {"A10", 125e12, 31.2e12},     {"A40", 149.7e12, 37.4e12},
                 {"L40S", 362e12, 91.6e12}, {"L40", 181e12, 90.5e12},     {"L4", 121e12, 30.3e12},
                 {"B200", 2250e12, 75e12},  {"GB200", 2500e12, 80e12},    {"B300", 2250e12, 75e12}};
    size_t best = 0, length = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(cuda->name, known[i].name) != NULL && strlen(known[i].name) > length) {
            best = i;
            length = strlen(known[i].name);
        }
    if (length == 0)
        return 0.0;
    return dtype == ZRT_FLOAT32 ? known[best].vector : known[best].tensor;
}

static void cuda_describe(const zrt__device *device, zrt__device_description *out)
{
    const zrt__cuda_device *cuda = (const zrt__cuda_device *)device;
    *out = (zrt__device_description){.is_exclusive = true,
                                     .peak_flops_fp32 = peak_flops(cuda, ZRT_FLOAT32),
                                     .peak_flops_16bit = peak_flops(cuda, ZRT_BFLOAT16)};
    snprintf(out->name, sizeof out->name, "%s", cuda->name);
    snprintf(out->id, sizeof out->id, "%s", cuda->uuid);
}

zrt_status zrt__cuda_fault_status(const zrt__cuda_device *device)
{
    const zrt__cuda_fault *fault = device->fault;
    switch (fault->kind) {
    case ZRT__CUDA_FAULT_TOKEN:
        return zrt__fail(ZRT_ERR_INPUT,
                         "embedding: token %d at position %" PRId64 " is outside the table of %" PRId64
                         " rows; check the data's vocabulary",
                         fault->value, fault->at, fault->limit);
    case ZRT__CUDA_FAULT_POSITION:
        return zrt__fail(ZRT_ERR_INPUT,
                         "rotary positions: position %d is outside the table of %" PRId64
                         "; the sequence is longer than the model's maximum",
                         fault->value, fault->limit);
    case ZRT__CUDA_FAULT_CACHE_POSITION:
        return zrt__fail(ZRT_ERR_INPUT, "generation: position %d is outside the cache of %" PRId64 " tokens",
                         fault->value, fault->limit);
    default:
        return ZRT_OK;
    }
}

/* ---- failures that other threads find ---- */

void zrt__cuda_device_fail(zrt__device *device, zrt_status status, const char *message)
{
    zrt__cuda_device *cuda = (zrt__cuda_device *)device;
    if (__atomic_exchange_n(&cuda->failure_claimed, true, __ATOMIC_SEQ_CST))
        return;
    snprintf(cuda->failure, sizeof cuda->failure, "%s", message);
    __atomic_store_n(&cuda->failure_status, (int)status, __ATOMIC_SEQ_CST);
}

zrt_status zrt__cuda_device_failure(const zrt__device *device)
{
    zrt__cuda_device *cuda = (zrt__cuda_device *)(uintptr_t)device;
    zrt_status status = (zrt_status)__atomic_load_n(&cuda->failure_status, __ATOMIC_SEQ_CST);
    return status != ZRT_OK ? zrt__fail_with(status, cuda->failure) : ZRT_OK;
}

const zrt__device_ops zrt__device_cuda_ops = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .memory_info = zrt__cuda_memory_info,
    .allocate = zrt__cuda_allocate,
    .release = zrt__cuda_release,
    .allocated_bytes = zrt__cuda_allocated_bytes,
    .stream_create = zrt__cuda_stream_create,
    .host_stream_create = zrt__cuda_host_stream_create,
    .stream_destroy = zrt__cuda_stream_destroy,
    .launch = zrt__cuda_launch,
    .stream_synchronize = zrt__cuda_stream_synchronize,
    .stream_failure = zrt__cuda_stream_failure,
    .event_create = zrt__cuda_event_create,
    .event_destroy = zrt__cuda_event_destroy,
    .event_record = zrt__cuda_event_record,
    .event_wait = zrt__cuda_event_wait,
    .event_synchronize = zrt__cuda_event_synchronize,
    .copy = zrt__cuda_copy,
    .timestamp = zrt__cuda_timestamp,
};
