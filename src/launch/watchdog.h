/* The thread that ends a job which hangs; zrt_watchdog_start says what it does. */
#ifndef ZRT_LAUNCH_WATCHDOG_H
#define ZRT_LAUNCH_WATCHDOG_H

#include "launch/activity.h"
#include "launch/launch.h"

typedef struct zrt__watchdog zrt__watchdog;

/* Gives. Collective over the group; all ranks succeed or all fail. The activity outlives it. */
zrt_status zrt__watchdog_start(const zrt__group *group, zrt__activity *activity, double seconds, zrt_hang_fn *hangs,
                               void *user, zrt__watchdog **watchdog_out);
/* From here on it talks to no other rank, for MPI is about to end; it goes on watching this one. Local. NULL is accepted. */
void zrt__watchdog_leave_mpi(zrt__watchdog *watchdog);
/* Local. NULL is accepted. */
void zrt__watchdog_stop(zrt__watchdog **watchdog);

#endif
