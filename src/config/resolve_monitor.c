/* What is watched while a run trains: DeepSpeed's breakdowns, its comms_logger and its flops_profiler. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "config/resolve.h"

static bool is_on(const zrt__resolution *resolution, const char *path)
{
    return json_is_true(zrt__tree_get(resolution->tree, path));
}

static int64_t whole(const zrt__resolution *resolution, const char *path)
{
    return (int64_t)json_integer_value(zrt__tree_get(resolution->tree, path));
}

/* Upstream's names of collectives, those of PyTorch included; others are not called here. */
static zrt_status operation(const json_t *item, zrt__watch *watch)
{
    static const char *const names[][3] = {{"all_gather_into_tensor", "all_gather", "all_gather_base"},
                                           {"reduce_scatter_tensor", "reduce_scatter", "reduce_scatter_base"},
                                           {"all_reduce", "inference_all_reduce", "all_reduce_coalesced"},
                                           {"broadcast", "broadcast", "broadcast"}};
    const char *name = json_string_value(item);
    if (name == NULL)
        return zrt__fail(ZRT_ERR_CONFIG, "configuration key comms_logger.prof_ops must be a list of names of "
                                         "collectives, for example [\"all_reduce\", \"all_gather\"]");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < 3; j++)
            if (strcmp(names[i][j], name) == 0)
                watch->comms_operations |= 1u << i;
    return ZRT_OK;
}

zrt_status zrt__resolve_monitor(zrt__resolution *resolution)
{
    zrt__watch *watch = &resolution->out->watch;
    const json_t *item;
    size_t i;
    watch->steps_per_print = whole(resolution, "steps_per_print");
    watch->dump_state = is_on(resolution, "dump_state");
    watch->wall_clock_breakdown = is_on(resolution, "wall_clock_breakdown");
    watch->memory_breakdown = is_on(resolution, "memory_breakdown");
    watch->comms = is_on(resolution, "comms_logger.enabled");
    watch->comms_verbose = is_on(resolution, "comms_logger.verbose");
    watch->comms_debug = is_on(resolution, "comms_logger.debug");
    json_array_foreach(zrt__tree_get(resolution->tree, "comms_logger.prof_ops"), i, item)
        ZRT_TRY(operation(item, watch));
    if (is_on(resolution, "comms_logger.prof_all"))
        watch->comms_operations = ~0u;
    watch->flops = is_on(resolution, "flops_profiler.enabled");
    watch->flops_detailed = is_on(resolution, "flops_profiler.detailed");
    watch->profile_step = whole(resolution, "flops_profiler.profile_step");
    watch->module_depth = whole(resolution, "flops_profiler.module_depth");
    watch->top_modules = whole(resolution, "flops_profiler.top_modules");
    const char *file = json_string_value(zrt__tree_get(resolution->tree, "flops_profiler.output_file"));
    if (file != NULL && strlen(file) >= sizeof watch->flops_file)
        return zrt__fail(ZRT_ERR_CONFIG, "configuration key flops_profiler.output_file is longer than %zu bytes",
                         sizeof watch->flops_file - 1);
    snprintf(watch->flops_file, sizeof watch->flops_file, "%s", file != NULL ? file : "");
    return ZRT_OK;
}
