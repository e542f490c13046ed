#include "config.h"

#include "device/cpu/cpu_device.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

void zrt__cpu_bind(const zrt__cpu_device *device)
{
    cpu_set_t set;
    if (device->n_cores == 0)
        return;
    CPU_ZERO(&set);
    for (int i = 0; i < device->n_cores; i++)
        if (device->cores[i] >= 0 && device->cores[i] < CPU_SETSIZE)
            CPU_SET(device->cores[i], &set);
    /* Where it is not allowed the thread stays where it may run. */
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void start_thread(void *user)
{
    zrt__cpu_bind(user);
}

static void cpu_close(zrt__device **device)
{
    if (device == NULL || *device == NULL)
        return;
    zrt__cpu_device *cpu = (zrt__cpu_device *)*device;
    zrt__cpu_pool_destroy(&cpu->pool);
    free(cpu->cores);
    free(cpu);
    *device = NULL;
}

static zrt_status cpu_open(const zrt__device_options *options, zrt__device **device_out)
{
    zrt__cpu_device *cpu = zrt__calloc(1, sizeof *cpu);
    if (cpu == NULL)
        return ZRT_ERR_MEMORY;
    cpu->base.ops = &zrt__device_cpu_ops;
    zrt__device *device = &cpu->base;
    zrt_status status = ZRT_OK;
    if (options->cores != NULL && options->n_cores > 0) {
        cpu->cores = zrt__malloc((size_t)options->n_cores * sizeof *cpu->cores);
        if (cpu->cores == NULL) {
            status = ZRT_ERR_MEMORY;
        } else {
            memcpy(cpu->cores, options->cores, (size_t)options->n_cores * sizeof *cpu->cores);
            cpu->n_cores = options->n_cores;
        }
    }
    cpu->n_threads = options->n_threads < 1 ? 1 : options->n_threads;
    if (status == ZRT_OK)
        status = zrt__cpu_pool_create(cpu->n_threads, start_thread, cpu, &cpu->pool);
    if (status != ZRT_OK) {
        cpu_close(&device);
        return status;
    }
    *device_out = device;
    return ZRT_OK;
}

static void cpu_describe(const zrt__device *device, zrt__device_description *out)
{
    (void)device;
    *out = (zrt__device_description){.name = "cpu"};
}

/* ---- memory ---- */

/* The number in a file of one number; SIZE_MAX where there is none ("max"). */
static size_t read_number(const char *path)
{
    FILE *file = fopen(path, "r");
    uintmax_t value;
    if (file == NULL)
        return SIZE_MAX;
    int n = fscanf(file, "%ju", &value);
    fclose(file);
    return n == 1 && value < SIZE_MAX ? (size_t)value : SIZE_MAX;
}

static size_t meminfo(const char *key)
{
    char line[256];
    size_t kib = 0, length = strlen(key);
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            kib = strtoull(line + length + 1, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

static void lower(size_t *value, size_t limit)
{
    if (limit < *value)
        *value = limit;
}

/* Bytes of a group's usage that are pages of files, which the kernel gives up for others: `key` is "inactive_file" and so on. */
static size_t read_statistic(const char *path, const char *key)
{
    char line[128];
    size_t bytes = 0, length = strlen(key);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, length) == 0 && line[length] == ' ')
            bytes = strtoull(line + length + 1, NULL, 10);
    if (file != NULL)
        fclose(file);
    return bytes;
}

/* What the limits of the process's control groups, version 1 or 2, leave of `free` and `total`. Every level up to the root counts. */
static void apply_cgroups(size_t *free_bytes, size_t *total)
{
    char line[4096];
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *controllers = strchr(line, ':'), *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        controllers++;
        path[strcspn(path, "\n")] = '\0';
        bool v2 = *controllers == '\0';
        if (!v2 && strcmp(controllers, "memory") != 0)
            continue;
        for (;;) {
            char name[4400];
            const char *root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
            snprintf(name, sizeof name, "%s%s/%s", root, path, v2 ? "memory.max" : "memory.limit_in_bytes");
            size_t limit = read_number(name);
            snprintf(name, sizeof name, "%s%s/%s", root, path, v2 ? "memory.current" : "memory.usage_in_bytes");
            size_t used = read_number(name);
            if (limit != SIZE_MAX && used != SIZE_MAX) {
                snprintf(name, sizeof name, "%s%s/memory.stat", root, path);
                size_t files = read_statistic(name, v2 ? "inactive_file" : "total_inactive_file") +
                               read_statistic(name, v2 ? "active_file" : "total_active_file");
                used -= files < used ? files : used;
                lower(total, limit);
                lower(free_bytes, limit > used ? limit - used : 0);
            }
            char *slash = strrchr(path, '/');
            if (slash == NULL || *path == '\0')
                break;
            *slash = '\0';
        }
    }
    if (file != NULL)
        fclose(file);
}

static zrt_status cpu_memory_info(zrt__device *device, size_t *free_out, size_t *total_out)
{
    (void)device;
    *free_out = meminfo("MemAvailable");
    *total_out = meminfo("MemTotal");
    if (*total_out == 0)
        return zrt__fail(ZRT_ERR_DEVICE, "/proc/meminfo does not say how much memory there is; give --host-memory");
    apply_cgroups(free_out, total_out);
    return ZRT_OK;
}

static zrt_status cpu_allocate(zrt__device *device, zrt__memory_class memory_class, size_t bytes, void **data_out)
{
    (void)memory_class;
    void *probe = zrt__malloc(1); /* lets the fault tests fail this allocation too */
    if (probe == NULL)
        return ZRT_ERR_MEMORY;
    free(probe);
    void *data = mmap(NULL, bytes > 0 ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return zrt__fail(ZRT_ERR_MEMORY, "the host gave no %zu bytes: %s", bytes, strerror(errno));
    /* Page faults are dear: 2 MiB at a time where the host allows. */
    madvise(data, bytes, MADV_HUGEPAGE);
    atomic_fetch_add(&((zrt__cpu_device *)device)->allocated, bytes);
    *data_out = data;
    return ZRT_OK;
}

static void cpu_release(zrt__device *device, zrt__memory_class memory_class, void *data, size_t bytes)
{
    (void)memory_class;
    if (data == NULL)
        return;
    munmap(data, bytes > 0 ? bytes : 1);
    atomic_fetch_sub(&((zrt__cpu_device *)device)->allocated, bytes);
}

static size_t cpu_allocated_bytes(const zrt__device *device)
{
    return atomic_load(&((zrt__cpu_device *)(uintptr_t)device)->allocated);
}

const zrt__device_ops zrt__device_cpu_ops = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .memory_info = cpu_memory_info,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .allocated_bytes = cpu_allocated_bytes,
    .stream_create = zrt__cpu_stream_create,
    .host_stream_create = zrt__cpu_stream_create,
    .stream_destroy = zrt__cpu_stream_destroy,
    .launch = zrt__cpu_stream_launch,
    .stream_synchronize = zrt__cpu_stream_synchronize,
    .stream_failure = zrt__cpu_stream_failure,
    .event_create = zrt__cpu_event_create,
    .event_destroy = zrt__cpu_event_destroy,
    .event_record = zrt__cpu_event_record,
    .event_wait = zrt__cpu_event_wait,
    .event_synchronize = zrt__cpu_event_synchronize,
    .copy = zrt__cpu_copy,
    .timestamp = zrt__cpu_timestamp,
};
