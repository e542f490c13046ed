/* What DeepSpeed's keys ask to be printed and logged of an engine's steps; only for the files of this folder. */
#ifndef ZRT_ENGINE_WATCH_H
#define ZRT_ENGINE_WATCH_H

#include <zerort/monitor.h>

#include "plan/plan.h"

enum { ZRT__N_WATCHED_PLANS = 4 };

/* Floating-point operations and time of one kernel or unit in the profiled step. */
typedef struct zrt__flops_row {
    int unit; /* -1: of no unit */
    zrt__kernel kernel;
    int64_t calls;
    double macs, flops, seconds[3]; /* of forward; seconds by segment: forward, backward, step */
} zrt__flops_row;

typedef struct zrt__flops {
    zrt__flops_row *rows;
    size_t n, capacity;
    double macs, flops, seconds[3]; /* the host's, whole segments */
} zrt__flops;

typedef struct zrt__engine_watch {
    zrt_monitor *monitor; /* lent; NULL: nobody watches */
    zrt__trace traces[ZRT__N_WATCHED_PLANS];
    char *state; /* dump_state's text */
    zrt__flops flops;
} zrt__engine_watch;

/* Runs a segment, measured where a key asks for it: then it waits for the segment to end. */
zrt_status zrt__watch_run(zrt_engine *engine, int segment, zrt__trace *trace);
/* After a micro-step; `boundary`: it was the last of a step. */
zrt_status zrt__watch_step(zrt_engine *engine, bool boundary);
void zrt__watch_free(zrt__engine_watch *watch);

/* Adds the entries [first, end) of a plan that ran with this trace. */
zrt_status zrt__flops_add(zrt__flops *flops, const zrt__plan *plan, const zrt__trace *trace, size_t first, size_t end,
                          int segment);
/* DeepSpeed's flops profile. */
void zrt__flops_print(const zrt_engine *engine, const zrt__flops *flops, FILE *file);

#endif
