#include "config.h"

#include "tools/train_signals.h"

#include <signal.h>
#include <stdlib.h>

/* What the handlers can reach. */
static volatile sig_atomic_t stop_requested, preempt_requested;

static void request_stop(int signal_number)
{
    (void)signal_number;
    stop_requested = 1;
}

static void request_preemption(int signal_number)
{
    (void)signal_number;
    preempt_requested = 1;
}

/* srun and sbatch send SIGTERM before they kill, with time between; mpirun, in a job of Slurm's too, kills within a second. */
static bool is_slurms(void)
{
    return getenv("SLURM_JOB_ID") != NULL && getenv("OMPI_COMM_WORLD_RANK") == NULL;
}

void train_signals_watch(void)
{
    /* A second one finds the default again, which ends at once. */
    struct sigaction stop = {.sa_flags = (int)SA_RESETHAND | SA_RESTART}, preempt = {.sa_flags = SA_RESTART};
    stop.sa_handler = request_stop;
    preempt.sa_handler = request_preemption;
    sigemptyset(&stop.sa_mask);
    sigemptyset(&preempt.sa_mask);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, is_slurms() ? &preempt : &stop, NULL);
    sigaction(SIGUSR1, &preempt, NULL);
    sigaction(SIGUSR2, &preempt, NULL);
}

train_signal_kind train_signal(void)
{
    return preempt_requested ? TRAIN_SIGNAL_PREEMPT : stop_requested ? TRAIN_SIGNAL_STOP : TRAIN_SIGNAL_NONE;
}
