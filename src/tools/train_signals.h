/* What signals ask of a run. */
#ifndef ZRT_TOOLS_TRAIN_SIGNALS_H
#define ZRT_TOOLS_TRAIN_SIGNALS_H

#include <stdbool.h>

/* Preempted: a checkpoint was saved (or nothing has been trained), start again to go on. */
#define TRAIN_EXIT_PREEMPTED 85

typedef enum train_signal_kind {
    TRAIN_SIGNAL_NONE,
    TRAIN_SIGNAL_STOP,   /* SIGINT, SIGTERM: end after the step; a second one ends at once */
    TRAIN_SIGNAL_PREEMPT /* SIGUSR1, SIGUSR2, and SIGTERM of Slurm's: save, end, to be started again */
} train_signal_kind;

/* From here to the end of the process, which has one set of handlers. Before MPI starts, so that a signal at any moment counts. */
void train_signals_watch(void);
/* The strongest that has come to this rank. */
train_signal_kind train_signal(void);

#endif
