/* What this rank's threads wait for others in, for the watchdog and its report. */
#ifndef ZRT_LAUNCH_ACTIVITY_H
#define ZRT_LAUNCH_ACTIVITY_H

#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

typedef struct zrt__activity zrt__activity;

/* Gives. */
zrt_status zrt__activity_create(zrt__activity **activity_out);
void zrt__activity_destroy(zrt__activity **activity);

/* A thread begins to wait for other ranks in `where`: `what` (NULL: only where), which are copied. Gives what zrt__activity_end
 * takes. Threads may call these at once; NULL is accepted and does nothing. */
int zrt__activity_begin(zrt__activity *activity, const char *where, const char *what);
void zrt__activity_end(zrt__activity *activity, int number);

/* The step that is run, for reports; -1: none yet. */
void zrt__activity_step(zrt__activity *activity, int64_t step);

/* Seconds that the longest of them has waited, without the time in which this process did not run: the watcher looks every
 * `period` seconds, and what is missing between two looks is not counted. 0: nobody waits. For one watcher. */
double zrt__activity_longest(zrt__activity *activity, double period);
/* "in step 12, reduce: reduce h.3 for 10.2 s" */
void zrt__activity_describe(zrt__activity *activity, char *text, size_t n_bytes);

#endif
