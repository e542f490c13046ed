/* Where this rank runs: host, ranks beside it, cores. */
#ifndef ZRT_LAUNCH_PLACEMENT_H
#define ZRT_LAUNCH_PLACEMENT_H

#include <mpi.h>

#include "launch/cores.h"
#include "launch/launch.h"

/* Fills the placement from the ranks of `comm`; `node_out` is a number that the ranks of one node have in common.
 * `before` is the affinity that the process started with. Collective; all ranks succeed or all fail. */
zrt_status zrt__placement_create(MPI_Comm comm, const cpu_set_t *before, zrt__placement *placement, int *node_out);
void zrt__placement_destroy(zrt__placement *placement);

#endif
