/* Which logical processors this rank may use, and its share of them. */
#ifndef ZRT_LAUNCH_CORES_H
#define ZRT_LAUNCH_CORES_H

#include <sched.h>
#include <stdbool.h>

#include <zerort/status.h>

/* The processors that the user, Slurm or the control group left to this rank, from the affinity that it started with.
 *
 * Kept: an affinity that was asked for: taskset, Slurm's --cpu-bind (the mask that srun gave), mpirun's --bind-to, --cpu-set,
 * --cpu-list or a rank file, and any at all where ZERORT_KEEP_BINDING is set. Undone: what mpirun binds when nobody asked (one
 * core a rank at one or two ranks, a socket beyond), because a rank has threads. mpirun tells by its environment:
 * OMPI_MCA_orte_bound_at_launch without OMPI_MCA_hwloc_base_binding_policy or one of the others; a policy that stands only in
 * openmpi-mca-params.conf is not seen and counts as the default. What stands instead is the affinity of mpirun's daemon, the
 * ancestor that started the rank, which has what the user or Slurm gave the whole job; without one, all processors of the
 * control group. True when a default binding was undone. */
bool zrt__cores_allowed(const cpu_set_t *before, cpu_set_t *allowed_out);

/* Share number `index` of `n` of the processors in `allowed`, neighbours in the machine together: whole cores (the first
 * processor of each, as a second hardware thread adds little to matrix products) while there is one for each share, else
 * hardware threads; with fewer than shares, all of them for everybody, with one thread each. *cores_out is malloc'ed. */
zrt_status zrt__cores_share(const cpu_set_t *allowed, int index, int n, int **cores_out, int *n_cores_out,
                            int *n_threads_out);

#endif
