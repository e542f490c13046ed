/* The order of a preflight, and how findings of all ranks become lines. */
#include "config.h"

#include "preflight/preflight.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

void zrt__finding_set(zrt__finding *finding, zrt_preflight_level level, const char *format, ...)
{
    va_list args;
    finding->level = (int32_t)level;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
}

void zrt__preflight_say(zrt__preflight *p, zrt_preflight_level level, const char *subject, const char *format, ...)
{
    char text[1024];
    va_list args;
    p->n_errors += level == ZRT_PREFLIGHT_ERROR;
    p->n_warnings += level == ZRT_PREFLIGHT_WARNING;
    if (p->placement->rank != 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->say(p->user, level, subject, text);
}

/* What another rank of the host found too is said once. */
static bool is_repeated(const zrt__finding *all, int rank)
{
    for (int r = 0; r < rank; r++)
        if (all[r].level == all[rank].level && strcmp(all[r].host, all[rank].host) == 0 &&
            strcmp(all[r].text, all[rank].text) == 0)
            return true;
    return false;
}

zrt_status zrt__preflight_gather(zrt__preflight *p, const char *subject, const zrt__finding *mine)
{
    int n = p->placement->size;
    bool well = true;
    zrt__finding *all = zrt__calloc((size_t)n, sizeof *all);
    zrt__finding named = *mine;
    snprintf(named.host, sizeof named.host, "%s", p->placement->host);
    zrt_status status = zrt__group_agree(p->world, all == NULL ? ZRT_ERR_MEMORY : ZRT_OK);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(p->world, &named, all, sizeof named);
    for (int r = 0; r < n && status == ZRT_OK; r++) {
        if (all[r].level == ZRT_PREFLIGHT_OK)
            continue;
        well = false;
        if (!is_repeated(all, r))
            zrt__preflight_say(p, (zrt_preflight_level)all[r].level, subject, "rank %d on %s: %s", r, all[r].host,
                               all[r].text);
    }
    if (status == ZRT_OK && well && all[0].text[0] != '\0')
        zrt__preflight_say(p, ZRT_PREFLIGHT_OK, subject, "%s", all[0].text);
    free(all);
    return status;
}

zrt_status zrt__preflight_max(const zrt__preflight *p, double *value)
{
    int n = p->placement->size;
    double *all = zrt__malloc((size_t)n * sizeof *all);
    zrt_status status = zrt__group_agree(p->world, all == NULL ? ZRT_ERR_MEMORY : ZRT_OK);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(p->world, value, all, sizeof *all);
    for (int r = 0; r < n && status == ZRT_OK; r++)
        *value = all[r] > *value ? all[r] : *value;
    free(all);
    return status;
}

/* ---- devices ---- */

static zrt_status open_cpu(const zrt__preflight *p, zrt__device **device_out)
{
    zrt__device_options options = {.n_threads = p->placement->n_threads,
                                   .cores = p->placement->cores,
                                   .n_cores = p->placement->n_cores,
                                   .local_index = p->placement->local_rank,
                                   .local_size = p->placement->local_size,
                                   .host = p->placement->host};
    return zrt__device_cpu_ops.open(&options, device_out);
}

/* The GPU of this rank; NULL where it has none or is to have none. */
static void find_gpu(const zrt__preflight *p, const char *wanted, zrt__device **device_out, zrt__finding *finding)
{
    bool asked = strcmp(wanted, "cuda") == 0;
    zrt__finding_set(finding, ZRT_PREFLIGHT_OK, "none: ranks compute on the CPUs");
    if (strcmp(wanted, "cpu") == 0)
        return;
#ifdef ZRT_HAVE_CUDA
    if (asked || zrt__device_cuda_visible()) {
        zrt__device_options options = {.n_threads = p->placement->n_threads,
                                       .local_index = p->placement->local_rank,
                                       .local_size = p->placement->local_size,
                                       .host = p->placement->host};
        zrt__device_description description;
        if (zrt__device_cuda_ops.open(&options, device_out) != ZRT_OK) {
            zrt__finding_set(finding, ZRT_PREFLIGHT_ERROR, "%.*s", ZRT__PREFLIGHT_TEXT - 1, zrt_error_message());
            return;
        }
        size_t free_bytes = 0, total = 0;
        (*device_out)->ops->describe(*device_out, &description);
        (*device_out)->ops->memory_info(*device_out, &free_bytes, &total);
        zrt__finding_set(finding, free_bytes * 10 < total * 9 ? ZRT_PREFLIGHT_WARNING : ZRT_PREFLIGHT_OK,
                         "%s, %.1f of %.1f GiB free%s", description.name, (double)free_bytes / (1 << 30),
                         (double)total / (1 << 30),
                         free_bytes * 10 < total * 9 ? ": another process holds the rest, see nvidia-smi" : "");
    }
#else
    (void)p;
    (void)device_out;
    if (asked)
        zrt__finding_set(finding, ZRT_PREFLIGHT_ERROR, "this zerort was built without CUDA (configure --with-cuda)");
#endif
}

static zrt_status check_devices(zrt__preflight *p, const char *wanted)
{
    zrt__device *cpu = NULL, *gpu = NULL;
    zrt__finding finding = {0};
    zrt_status status = zrt__group_agree(p->world, open_cpu(p, &cpu));
    if (status == ZRT_OK) {
        find_gpu(p, wanted, &gpu, &finding);
        status = zrt__preflight_gather(p, "GPUs", &finding);
    }
    double without = gpu == NULL;
    if (status == ZRT_OK)
        status = zrt__preflight_max(p, &without);
    if (status == ZRT_OK)
        status = zrt__preflight_memory(p, cpu);
    if (status == ZRT_OK)
        status = zrt__preflight_collectives(p, cpu);
    if (status == ZRT_OK && without == 0)
        status = zrt__preflight_collectives(p, gpu);
    if (gpu != NULL)
        gpu->ops->close(&gpu);
    if (cpu != NULL)
        cpu->ops->close(&cpu);
    return status;
}

zrt_status zrt_preflight(zrt_context *context, const zrt_preflight_options *options, zrt_preflight_fn *say, void *user,
                         int *n_errors_out, int *n_warnings_out)
{
    const zrt__placement *placement = zrt__context_placement(context);
    zrt__preflight p = {.context = context,
                        .world = zrt__context_world(context),
                        .placement = placement,
                        .output_dir = options->output_dir != NULL ? options->output_dir : ".",
                        .first_of_host = placement->local_rank == 0,
                        .say = say,
                        .user = user};
    int64_t hosts = p.first_of_host;
    zrt_status status = zrt__group_sum_int64(p.world, &hosts, 1);
    p.n_hosts = (int)hosts;
    if (status == ZRT_OK)
        status = zrt__preflight_launch(&p);
    if (status == ZRT_OK)
        status = zrt__preflight_versions(&p);
    if (status == ZRT_OK)
        status = zrt__preflight_clocks(&p);
    if (status == ZRT_OK)
        status = check_devices(&p, options->device != NULL ? options->device : "auto");
    if (status == ZRT_OK)
        status = zrt__preflight_folder(&p);
    *n_errors_out = p.n_errors;
    *n_warnings_out = p.n_warnings;
    return status;
}
