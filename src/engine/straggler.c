/* Which rank computes slower than the others: a step is timed entry by entry, and what a rank waited for others is left out, because
 * collectives make the steps of all as long as the slowest one's. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"

zrt_status zrt_engine_time_step(zrt_engine *engine)
{
    zrt__timed_step *timed = &engine->timed;
    int variant = zrt__variant_of(&engine->compiled, 0, engine->settings.zero.micro_steps);
    if (timed->trace.n == 0)
        ZRT_TRY(zrt__trace_create(engine->compiled.train[variant], &timed->trace));
    timed->plan = engine->compiled.train[variant];
    timed->step = engine->step;
    timed->is_due = true;
    return ZRT_OK;
}

zrt__trace *zrt__timed_trace(zrt_engine *engine)
{
    zrt__timed_step *timed = &engine->timed;
    return timed->is_due && timed->step == engine->step && engine->micro_step == 0 ? &timed->trace : NULL;
}

/* Kernels of the compute stream: collectives are waited for elsewhere, or are no calls. */
static double busy_seconds(const zrt__timed_step *timed)
{
    double sum = 0;
    for (size_t i = 0; i < timed->trace.n; i++) {
        const zrt__entry *entry = &timed->plan->entries[i];
        if (entry->stream == ZRT__STREAM_COMPUTE && entry->call != NULL && timed->trace.begin[i] != 0)
            sum += (double)(timed->trace.end[i] - timed->trace.begin[i]) * 1e-9;
    }
    return sum;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct rank_time {
    double seconds;
    char host[64];
} rank_time;

static zrt_status find(const zrt__group *world, const rank_time *mine, rank_time *all, double *sorted,
                       zrt_straggler *straggler)
{
    int n = zrt__group_size(world);
    ZRT_TRY(zrt__group_all_gather(world, mine, all, sizeof *mine));
    for (int r = 0; r < n; r++) {
        sorted[r] = all[r].seconds;
        if (all[r].seconds > all[straggler->rank].seconds)
            straggler->rank = r;
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_size);
    straggler->seconds = all[straggler->rank].seconds;
    straggler->median_seconds = sorted[(n - 1) / 2]; /* of two ranks the faster one's */
    snprintf(straggler->host, sizeof straggler->host, "%s", all[straggler->rank].host);
    return ZRT_OK;
}

zrt_status zrt_engine_find_straggler(zrt_engine *engine, zrt_straggler *straggler_out)
{
    const zrt__group *world = zrt__context_world(engine->context);
    zrt__timed_step *timed = &engine->timed;
    int n = zrt__group_size(world);
    *straggler_out = (zrt_straggler){.rank = 0};
    if (!timed->is_due || engine->step <= timed->step)
        return ZRT_OK;
    timed->is_due = false;
    straggler_out->step = timed->step + 1;
    rank_time mine = {0}, *all = zrt__calloc((size_t)n, sizeof *all);
    double *sorted = zrt__calloc((size_t)n, sizeof *sorted);
    zrt_status status = all != NULL && sorted != NULL ? zrt__engine_synchronize(engine) : ZRT_ERR_MEMORY;
    snprintf(mine.host, sizeof mine.host, "%s", zrt__context_placement(engine->context)->host);
    mine.seconds = status == ZRT_OK ? busy_seconds(timed) : 0;
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK)
        status = find(world, &mine, all, sorted, straggler_out);
    free(all);
    free(sorted);
    return status;
}
