/* wall_clock_breakdown, comms_logger, flops_profiler, steps_per_print, dump_state, memory_breakdown: a step is traced entry by
 * entry where one of them asks for it. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"
#include "monitor/monitor.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool profiles(const zrt_engine *engine)
{
    return engine->settings.watch.flops && engine->step == engine->settings.watch.profile_step;
}

static zrt_status add_collectives(zrt_engine *engine, const zrt__plan *plan, const zrt__trace *trace, size_t first,
                                  size_t end, int segment)
{
    static const zrt_comm_kind kinds[] = {ZRT_COMM_ALL_GATHER, ZRT_COMM_REDUCE_SCATTER, ZRT_COMM_ALL_REDUCE};
    const zrt__watch *keys = &engine->settings.watch;
    zrt_monitor *monitor = engine->watch.monitor;
    for (size_t i = first; i < end; i++) {
        const zrt__entry *entry = &plan->entries[i];
        if (entry->collective == NULL || trace->begin[i] == 0)
            continue;
        const zrt__collective *c = &entry->collective->collective;
        zrt_comm_kind kind = kinds[entry->collective_kind];
        double seconds = (double)(trace->end[i] - trace->begin[i]) * 1e-9;
        if (keys->wall_clock_breakdown && segment != ZRT__SEGMENT_FORWARD && kind != ZRT_COMM_ALL_GATHER)
            zrt__monitor_add_reduction(monitor, seconds);
        if (keys->comms && (keys->comms_operations & 1u << kind) != 0)
            ZRT_TRY(zrt__monitor_add_comm(monitor, kind, keys->comms_debug ? entry->phase : "",
                                          (int64_t)(c->count * zrt_dtype_bytes(c->dtype)),
                                          engine->settings.zero.n_ranks, seconds, keys->comms_verbose));
    }
    return ZRT_OK;
}

zrt_status zrt__watch_run(zrt_engine *engine, int segment, zrt__trace *trace)
{
    static const zrt_timer timers[] = {ZRT_TIMER_FORWARD, ZRT_TIMER_BACKWARD, ZRT_TIMER_STEP};
    const zrt__watch *keys = &engine->settings.watch;
    zrt__engine_watch *watch = &engine->watch;
    int variant = zrt__variant_of(&engine->compiled, engine->micro_step, engine->settings.zero.micro_steps);
    zrt__plan *plan = engine->compiled.train[variant];
    bool flops = profiles(engine);
    if (watch->monitor == NULL || !(keys->wall_clock_breakdown || keys->comms || flops))
        return zrt__plan_run(plan, &engine->runtime, segment, trace);
    if (trace == NULL) {
        trace = &watch->traces[variant];
        if (trace->n == 0)
            ZRT_TRY(zrt__trace_create(plan, trace));
    }
    ZRT_TRY(zrt__engine_synchronize(engine));
    double begin = now();
    ZRT_TRY(zrt__plan_run(plan, &engine->runtime, segment, trace));
    ZRT_TRY(zrt__engine_synchronize(engine));
    double seconds = now() - begin;
    size_t first = plan->segments[segment];
    size_t end = segment + 1 < plan->n_segments ? plan->segments[segment + 1] : plan->n_entries;
    if (keys->wall_clock_breakdown)
        zrt_monitor_add_time(watch->monitor, timers[segment], seconds);
    if (flops) {
        watch->flops.seconds[segment] += seconds;
        ZRT_TRY(zrt__flops_add(&watch->flops, plan, trace, first, end, segment));
    }
    return add_collectives(engine, plan, trace, first, end, segment);
}

/* One parameter group where the file's optimizer decays all alike, else one with decay and one without, as upstream. */
static void print_step(zrt_engine *engine, int64_t skipped)
{
    const zrt__optimizer *optimizer = &engine->settings.optimizer;
    int n_groups = optimizer->decay_vectors ? 1 : 2, n_momenta = optimizer->type == ZRT__OPTIMIZER_SGD ? 1 : 2;
    double rate = zrt__schedule_rate(&engine->settings.schedule, engine->step - skipped), rates[] = {rate, rate};
    double momenta[] = {optimizer->beta1, optimizer->beta2, optimizer->beta1, optimizer->beta2};
    if (n_momenta == 1)
        momenta[0] = momenta[1] = optimizer->momentum;
    zrt_monitor_print_step(engine->watch.monitor, engine->step, skipped, n_groups, rates, n_momenta, momenta);
}

static zrt_status print_flops(zrt_engine *engine)
{
    const char *path = engine->settings.watch.flops_file;
    FILE *file = zrt__monitor_stream(engine->watch.monitor);
    if (*path == '\0') {
        if (file != NULL)
            zrt__flops_print(engine, &engine->watch.flops, file);
        return ZRT_OK;
    }
    if (engine->settings.zero.rank != 0)
        return ZRT_OK;
    file = fopen(path, "w");
    if (file == NULL)
        return zrt__fail(ZRT_ERR_IO, "flops_profiler.output_file %s: %s; name a file in a folder that can be written",
                         path, strerror(errno));
    zrt__flops_print(engine, &engine->watch.flops, file);
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        return zrt__fail(ZRT_ERR_IO, "flops_profiler.output_file %s could not be written: %s", path, strerror(errno));
    return ZRT_OK;
}

zrt_status zrt__watch_step(zrt_engine *engine, bool boundary)
{
    const zrt__watch *keys = &engine->settings.watch;
    zrt_monitor *monitor = engine->watch.monitor;
    zrt_metrics metrics;
    if (monitor == NULL)
        return ZRT_OK;
    if (keys->wall_clock_breakdown)
        zrt_monitor_print_micro_times(monitor);
    if (!boundary)
        return ZRT_OK;
    if (keys->wall_clock_breakdown)
        ZRT_TRY(zrt_monitor_print_times(monitor, engine->samples));
    if (keys->flops && engine->step == keys->profile_step + 1)
        ZRT_TRY(zrt__group_agree(zrt__context_world(engine->context), print_flops(engine)));
    bool prints = keys->steps_per_print > 0 && engine->step % keys->steps_per_print == 0;
    if (!prints && !zrt__monitor_has_points(monitor))
        return ZRT_OK;
    ZRT_TRY(zrt_engine_metrics(engine, &metrics));
    if (prints)
        print_step(engine, metrics.skipped);
    const zrt_metrics_row row = {.step = engine->step,
                                 .loss = metrics.loss,
                                 .grad_norm = metrics.grad_norm,
                                 .learning_rate = metrics.learning_rate,
                                 .loss_scale = metrics.loss_scale,
                                 .samples = engine->samples};
    return zrt__monitor_step(monitor, &row);
}

zrt_status zrt_engine_set_monitor(zrt_engine *engine, zrt_monitor *monitor)
{
    engine->watch.monitor = monitor;
    FILE *stream = monitor != NULL ? zrt__monitor_stream(monitor) : NULL;
    if (stream == NULL)
        return ZRT_OK;
    if (engine->watch.state != NULL)
        fprintf(stream, "zerort configuration:\n%s", engine->watch.state);
    if (engine->settings.watch.memory_breakdown)
        zrt__print_memory(stream, &engine->compiled, &engine->settings, engine->model);
    fflush(stream);
    return ferror(stream) ? zrt__fail(ZRT_ERR_IO, "the state of the engine could not be printed") : ZRT_OK;
}

void zrt__watch_free(zrt__engine_watch *watch)
{
    for (int i = 0; i < ZRT__N_WATCHED_PLANS; i++)
        zrt__trace_free(&watch->traces[i]);
    free(watch->state);
    free(watch->flops.rows);
    *watch = (zrt__engine_watch){.monitor = NULL};
}
