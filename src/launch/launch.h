/* MPI start-up: ranks, hosts, cores, groups. No MPI type shows here; launch/mpi_group.h has them for comm/mpi and checkpoint. */
#ifndef ZRT_LAUNCH_LAUNCH_H
#define ZRT_LAUNCH_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/engine.h>

typedef struct zrt__group zrt__group; /* an ordered set of ranks; wraps a duplicated communicator */

/* Facts of this rank, gathered at zrt_init. */
typedef struct zrt__placement {
    int rank, size;
    int local_rank, local_size; /* among the ranks of this host */
    const char *host;
    int n_cores; /* this rank's share of the host's cores (or its cgroup's, affinity of the user's or Slurm's binding kept) */
    const int *cores; /* n_cores logical processors */
    int n_threads;    /* that compute: n_cores, or 1 where more ranks than cores share them */
} zrt__placement;
const zrt__placement *zrt__context_placement(const zrt_context *context);

/* What this rank's threads wait for others in; lent. See launch/activity.h. */
struct zrt__activity *zrt__context_activity(const zrt_context *context);
/* The same of a group's ranks. */
struct zrt__activity *zrt__group_activity(const zrt__group *group);

/* The group of all ranks; lent. */
const zrt__group *zrt__context_world(const zrt_context *context);
int zrt__group_rank(const zrt__group *group);
int zrt__group_size(const zrt__group *group);
/* True when all ranks of the group share this host. */
bool zrt__group_is_local(const zrt__group *group);

/* Small blocking host collectives for set-up (never inside a step). Collective over the group. */
zrt_status zrt__group_barrier(const zrt__group *group);
zrt_status zrt__group_broadcast(const zrt__group *group, void *data, size_t bytes, int root);
/* From one rank to another; for the others nothing. */
zrt_status zrt__group_move(const zrt__group *group, void *data, size_t bytes, int from, int to);
zrt_status zrt__group_all_gather(const zrt__group *group, const void *send, void *recv, size_t bytes_each);
zrt_status zrt__group_sum_int64(const zrt__group *group, int64_t *values, int n);
/* Worst status of all; on return every rank has it and the message of the lowest rank that has it. */
zrt_status zrt__group_agree(const zrt__group *group, zrt_status status);

#endif
