/* Memory: the GPU's by cudaMalloc; the host's by mmap, touched by all of the rank's threads before it is pinned, because one thread
 * that zeroes a hundred GiB takes half a minute. */
#include "config.h"

#include "device/cuda/cuda_memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/error.h"

/* Host memory from MAPPED on is mapped here; less comes from CUDA. */
enum { PAGE = 4096, MAPPED = 64 << 20, MOST_TOUCHERS = 32 };

zrt_status zrt__cuda_memory_info(zrt__device *device, size_t *free_out, size_t *total_out)
{
    return zrt__cuda_check(device, cudaMemGetInfo(free_out, total_out), "asking for its free memory");
}

static size_t rounded(size_t bytes)
{
    return bytes > 0 ? (bytes + PAGE - 1) / PAGE * PAGE : PAGE;
}

/* ---- the GPU's ---- */

static zrt_status allocate_device(zrt__cuda_device *cuda, size_t bytes, void **data_out)
{
    cudaError_t error = cudaMalloc(data_out, rounded(bytes));
    if (error == cudaErrorMemoryAllocation) {
        size_t left = 0, total = 0;
        cudaGetLastError();
        cudaMemGetInfo(&left, &total);
        return zrt__fail(ZRT_ERR_MEMORY,
                         "GPU %d (%s, %s) of host %s gave no %zu bytes: %zu of its %zu are free; see nvidia-smi for "
                         "what holds the rest",
                         cuda->ordinal, cuda->name, cuda->uuid, cuda->host, bytes, left, total);
    }
    ZRT_TRY(zrt__cuda_check(&cuda->base, error, "taking its memory"));
    error = cudaMemset(*data_out, 0, rounded(bytes));
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(NULL); /* other streams do not wait for this one */
    if (error != cudaSuccess)
        cudaFree(*data_out);
    return zrt__cuda_check(&cuda->base, error, "zeroing its memory");
}

/* ---- the host's ---- */

typedef struct touched {
    char *data;
    size_t bytes;
} touched;

static void *touch(void *arg)
{
    const touched *part = arg;
    for (size_t at = 0; at < part->bytes; at += PAGE)
        ((volatile char *)part->data)[at] = 0;
    return NULL;
}

/* A thread that cannot be had is not needed: pinning touches what is left. */
static void touch_all(const zrt__cuda_device *cuda, char *data, size_t bytes)
{
    pthread_t threads[MOST_TOUCHERS];
    touched parts[MOST_TOUCHERS];
    int n = cuda->host_options.n_threads, started = 0;
    n = n < 1 ? 1 : n > MOST_TOUCHERS ? MOST_TOUCHERS : n;
    size_t part = rounded(bytes / (size_t)n);
    for (int i = 0; i < n && (size_t)i * part < bytes; i++) {
        size_t left = bytes - (size_t)i * part;
        parts[i] = (touched){data + (size_t)i * part, left < part ? left : part};
        if (pthread_create(&threads[started], NULL, touch, &parts[i]) == 0)
            started++;
    }
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

static zrt_status pinning_failed(const zrt__cuda_device *cuda, cudaError_t error, size_t bytes)
{
    cudaGetLastError();
    return zrt__fail(
        ZRT_ERR_MEMORY,
        "host %s did not pin %zu bytes of its memory: %s; see ulimit -l and the memory limit of the control "
        "group, or set zero_optimization.offload_optimizer.pin_memory to false",
        cuda->host, bytes, cudaGetErrorString(error));
}

static zrt_status map(zrt__cuda_device *cuda, bool pinned, size_t bytes, void **data_out)
{
    size_t size = rounded(bytes);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return zrt__fail(ZRT_ERR_MEMORY, "host %s gave no %zu bytes: %s", cuda->host, bytes, strerror(errno));
    madvise(data, size, MADV_HUGEPAGE);
    if (pinned) {
        touch_all(cuda, data, size);
        cudaError_t error = cudaHostRegister(data, size, cudaHostRegisterPortable);
        if (error != cudaSuccess) {
            munmap(data, size);
            return pinning_failed(cuda, error, bytes);
        }
    }
    *data_out = data;
    return ZRT_OK;
}

static zrt_status pin(zrt__cuda_device *cuda, size_t bytes, void **data_out)
{
    cudaError_t error = cudaHostAlloc(data_out, rounded(bytes), cudaHostAllocPortable);
    if (error != cudaSuccess)
        return pinning_failed(cuda, error, bytes);
    memset(*data_out, 0, rounded(bytes));
    return ZRT_OK;
}

zrt_status zrt__cuda_allocate(zrt__device *device, zrt__memory_class memory_class, size_t bytes, void **data_out)
{
    zrt__cuda_device *cuda = (zrt__cuda_device *)device;
    void *data = NULL, *probe = zrt__malloc(1); /* lets the fault tests fail this allocation too */
    if (probe == NULL)
        return ZRT_ERR_MEMORY;
    free(probe);
    ZRT_TRY(zrt__cuda_check(device, cudaSetDevice(cuda->ordinal), "choosing it"));
    if (memory_class == ZRT__MEMORY_DEVICE)
        ZRT_TRY(allocate_device(cuda, bytes, &data));
    else if (memory_class == ZRT__MEMORY_PAGEABLE || bytes >= MAPPED)
        ZRT_TRY(map(cuda, memory_class == ZRT__MEMORY_PINNED, bytes, &data));
    else
        ZRT_TRY(pin(cuda, bytes, &data));
    __atomic_fetch_add(&cuda->allocated, bytes, __ATOMIC_SEQ_CST);
    *data_out = data;
    return ZRT_OK;
}

void zrt__cuda_release(zrt__device *device, zrt__memory_class memory_class, void *data, size_t bytes)
{
    if (data == NULL)
        return;
    if (memory_class == ZRT__MEMORY_DEVICE) {
        cudaFree(data);
    } else if (memory_class == ZRT__MEMORY_PAGEABLE || bytes >= MAPPED) {
        if (memory_class == ZRT__MEMORY_PINNED)
            cudaHostUnregister(data);
        munmap(data, rounded(bytes));
    } else {
        cudaFreeHost(data);
    }
    __atomic_fetch_sub(&((zrt__cuda_device *)device)->allocated, bytes, __ATOMIC_SEQ_CST);
}

size_t zrt__cuda_allocated_bytes(const zrt__device *device)
{
    return __atomic_load_n(&((zrt__cuda_device *)(uintptr_t)device)->allocated, __ATOMIC_SEQ_CST);
}
