/* Which cores a rank may use. */
#ifndef ZRT_LAUNCH_CORES_H
#define ZRT_LAUNCH_CORES_H

#include <zerort/status.h>

/* The share of rank `local_rank` of `local_size` in this host's cores: *cores_out (malloc'ed) are the logical processors that its threads
 * may run on, one a core; *n_threads_out how many of them compute. With fewer cores than ranks they all may use all, with one
 * thread each.
 *
 * What Open MPI bound the rank to by its own defaults (one core for 2 ranks, a socket beyond) is ignored. What Slurm bound
 * (SLURM_CPU_BIND_TYPE other than none), what was bound without mpirun (taskset), and everything where ZERORT_KEEP_BINDING is
 * set, is kept: then the share is what the rank is bound to. */
zrt_status zrt__cores_share(int local_rank, int local_size, int **cores_out, int *n_cores_out, int *n_threads_out);

#endif
