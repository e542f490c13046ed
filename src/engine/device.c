/* Where an engine runs: its device, streams and communicators, and whether the run fits there. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"

/* ---- which device ---- */

#ifdef ZRT_HAVE_CUDA
/* NCCL would wait for ever, and two ranks on one GPU are slower than one. Collective. */
static zrt_status check_exclusive(const zrt__group *world, const zrt__device *device, const char *host)
{
    int size = zrt__group_size(world);
    zrt__device_description mine, *all = zrt__calloc((size_t)size, sizeof *all);
    device->ops->describe(device, &mine);
    zrt_status status = zrt__group_agree(world, all != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(world, &mine, all, sizeof mine);
    for (int r = 0; r < size && status == ZRT_OK; r++)
        if (r != zrt__group_rank(world) && strcmp(all[r].id, mine.id) == 0)
            status = zrt__fail(ZRT_ERR_DEVICE,
                               "ranks %d and %d of host %s got the same GPU, %s (%s): give each rank its own "
                               "(srun --gpus-per-task=1, or no CUDA_VISIBLE_DEVICES), or start fewer ranks",
                               zrt__group_rank(world), r, host, mine.name, mine.id);
    free(all);
    return zrt__group_agree(world, status);
}

/* The GPU of this rank, where all ranks get one. *device_out NULL: `wanted` is false and some rank has none. Collective. */
static zrt_status open_cuda(const zrt__group *world, const zrt__device_options *options, bool wanted,
                            zrt__device **device_out)
{
    zrt__device *device = NULL;
    zrt_status status;
    *device_out = NULL;
    if (!wanted) {
        int64_t without = !zrt__device_cuda_visible();
        ZRT_TRY(zrt__group_sum_int64(world, &without, 1));
        if (without > 0)
            return ZRT_OK;
    }
    status = zrt__group_agree(world, zrt__device_cuda_ops.open(options, &device));
    if (status == ZRT_OK)
        status = check_exclusive(world, device, options->host);
    if (status != ZRT_OK && device != NULL)
        zrt__device_cuda_ops.close(&device);
    if (status != ZRT_OK && !wanted) {
        if (zrt__group_rank(world) == 0)
            zrt__log(ZRT_LOG_WARNING, "training on the CPUs: %s", zrt_error_message());
        status = ZRT_OK;
    }
    *device_out = device;
    return status;
}
#endif

/* Opens the runtime's device and chooses its kernels. Collective. */
static zrt_status choose(zrt_engine *engine)
{
    const zrt__placement *placement = zrt__context_placement(engine->context);
    const zrt__group *world = zrt__context_world(engine->context);
    zrt__device_options options = {.n_threads = placement->n_threads,
                                   .cores = placement->cores,
                                   .n_cores = placement->n_cores,
                                   .local_index = placement->local_rank,
                                   .local_size = placement->local_size,
                                   .host = placement->host,
                                   .deterministic = engine->settings.deterministic};
    zrt__runtime *runtime = &engine->runtime;
    runtime->host_kernels = &zrt__kernel_cpu_ops;
#ifdef ZRT_HAVE_CUDA
    if (strcmp(engine->settings.device, "cpu") != 0) {
        bool wanted = strcmp(engine->settings.device, "cuda") == 0;
        ZRT_TRY(open_cuda(world, &options, wanted, &runtime->device));
        if (runtime->device != NULL) {
            runtime->kernels = &zrt__kernel_cuda_ops;
            engine->settings.device = "cuda";
            return ZRT_OK;
        }
    }
#else
    if (strcmp(engine->settings.device, "cuda") == 0)
        return zrt__fail(ZRT_ERR_DEVICE, "--device cuda: this zerort was built without CUDA (configure --with-cuda); "
                                         "use --device cpu");
#endif
    engine->settings.device = "cpu";
    runtime->kernels = &zrt__kernel_cpu_ops;
    return zrt__group_agree(world, zrt__device_cpu_ops.open(&options, &runtime->device));
}

/* ---- streams ---- */

/* Copies and the host's kernels have streams where something is offloaded. */
static bool has_stream(const zrt_engine *engine, zrt__stream_role role)
{
    if (role >= ZRT__STREAM_FILE_READ)
        return zrt__engine_uses_stream(engine, role);
    return role <= ZRT__STREAM_REDUCE || engine->settings.zero.offload != ZRT__OFFLOAD_NONE;
}

/* Streams whose work the host's cores do. */
static bool on_host(zrt__stream_role role)
{
    return role == ZRT__STREAM_HOST || role >= ZRT__STREAM_FILE_READ;
}

static zrt_status make_streams(zrt_engine *engine)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    for (int i = 0; i < ZRT__N_STREAMS; i++)
        if (has_stream(engine, (zrt__stream_role)i))
            ZRT_TRY((on_host((zrt__stream_role)i) ? device->host_stream_create : device->stream_create)(
                engine->runtime.device, zrt__stream_role_name((zrt__stream_role)i),
                i == ZRT__STREAM_COMPUTE || i == ZRT__STREAM_HOST, &engine->runtime.streams[i]));
    int n_marks = engine->compiled.memory.n_marks;
    engine->runtime.marks = zrt__calloc((size_t)n_marks + 1, sizeof *engine->runtime.marks);
    if (engine->runtime.marks == NULL)
        return ZRT_ERR_MEMORY;
    for (int i = 0; i < n_marks; i++)
        ZRT_TRY(device->event_create(engine->runtime.device, &engine->runtime.marks[i]));
    ZRT_TRY(device->event_create(engine->runtime.device, &engine->staged));
    ZRT_TRY(device->event_create(engine->runtime.device, &engine->metrics_ready));
    return device->event_create(engine->runtime.device, &engine->loss.event);
}

static bool on_gpu(const zrt_engine *engine)
{
    return strcmp(engine->settings.device, "cuda") == 0;
}

zrt_status zrt__engine_open_device(zrt_engine *engine)
{
    if (engine->runtime.device != NULL)
        return ZRT_OK;
    ZRT_TRY(choose(engine));
    if (on_gpu(engine) && engine->settings.offload_optimizer)
        zrt__settings_offload(&engine->settings);
    return ZRT_OK;
}

zrt_status zrt__engine_open_streams(zrt_engine *engine)
{
    return zrt__group_agree(zrt__context_world(engine->context), make_streams(engine));
}

/* Of a GPU, beside what the plan has: scratch of streams, attention's workspace, NCCL's buffers. */
#define LIBRARIES_BYTES ((size_t)2 << 30)

zrt_status zrt__engine_ask_device(zrt_engine *engine)
{
    const zrt__group *world = zrt__context_world(engine->context);
    const zrt__placement *placement = zrt__context_placement(engine->context);
    size_t available = 0, total = 0;
    ZRT_TRY(zrt__engine_open_device(engine));
    zrt_status status = engine->runtime.device->ops->memory_info(engine->runtime.device, &available, &total);
    if (!on_gpu(engine)) /* which all ranks of a host share */
        available = (engine->settings.host_memory > 0 ? engine->settings.host_memory : available) /
                    (size_t)placement->local_size;
    else
        available -= available < LIBRARIES_BYTES ? available : LIBRARIES_BYTES;
    uint64_t *all = zrt__calloc((size_t)zrt__group_size(world), sizeof *all), mine = available;
    status = zrt__group_agree(world, all != NULL ? status : ZRT_ERR_MEMORY);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(world, &mine, all, sizeof mine);
    for (int r = 0; r < zrt__group_size(world) && status == ZRT_OK; r++)
        mine = all[r] < mine ? all[r] : mine;
    free(all);
    engine->settings.device_memory = (size_t)mine;
    return status;
}

/* ---- communicators ---- */

zrt_status zrt__engine_open_comms(zrt_engine *engine)
{
    const zrt__group *world = zrt__context_world(engine->context);
    const zrt__comm_ops *comm = &zrt__comm_mpi_ops;
    if (on_gpu(engine)) {
#ifdef ZRT_HAVE_NCCL
        comm = &zrt__comm_nccl_ops;
#else
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "--device cuda: this zerort was built without NCCL (configure --with-nccl); use --device cpu");
#endif
    }
    /* Every stream has a communicator of its own: two never share one. */
    for (int i = 0; i <= ZRT__STREAM_REDUCE; i++)
        ZRT_TRY(comm->open(world, engine->runtime.device, zrt__stream_role_name((zrt__stream_role)i),
                           &engine->runtime.comms[i]));
    return ZRT_OK;
}

/* ---- memory ---- */

zrt_status zrt__engine_check_memory(zrt_engine *engine)
{
    const zrt__placement *placement = zrt__context_placement(engine->context);
    const zrt__settings *settings = &engine->settings;
    size_t available = 0, total = 0;
    char where[512];
    ZRT_TRY(zrt__host_memory_available(settings, &engine->host_available));
    ZRT_TRY(zrt__fit_check(engine->model, settings, &engine->compiled, ZRT__FIT_HOST, placement->local_size,
                           engine->host_available, placement->host));
    if (!on_gpu(engine))
        return ZRT_OK;
    zrt__device_description description;
    engine->runtime.device->ops->describe(engine->runtime.device, &description);
    ZRT_TRY(engine->runtime.device->ops->memory_info(engine->runtime.device, &available, &total));
    if (settings->device_memory > 0 && settings->device_memory < available)
        available = settings->device_memory;
    snprintf(where, sizeof where, "%s of host %s", description.name, placement->host);
    return zrt__fit_check(engine->model, settings, &engine->compiled, ZRT__FIT_GPU, 1, available, where);
}
