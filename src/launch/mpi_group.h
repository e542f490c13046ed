/* The MPI side of groups, for launch, comm/mpi and checkpoint. */
#ifndef ZRT_LAUNCH_MPI_GROUP_H
#define ZRT_LAUNCH_MPI_GROUP_H

#include <mpi.h>

#include "launch/launch.h"

/* The group's communicator; lent. Its error handler is MPI_ERRORS_RETURN. Whoever communicates in another thread duplicates it. */
MPI_Comm zrt__group_comm(const zrt__group *group);
/* A number that the ranks of one node have in common: those that share memory, or ZERORT_NODE_SIZE of them. */
int zrt__group_node(const zrt__group *group);

/* Wraps a duplicate of `comm`; what is waited for in it and in its parts shows in `activity` (lent; may be NULL). Gives. Collective over
 * comm; all ranks succeed or all fail. */
zrt_status zrt__group_create(MPI_Comm comm, struct zrt__activity *activity, zrt__group **group_out);
/* Ranks of the same colour in the order of `key`, then of their ranks; NULL where it is negative. Gives. Collective over the group. */
zrt_status zrt__group_split(const zrt__group *group, int color, int key, zrt__group **group_out);
/* Collective over the group. NULL is accepted. */
void zrt__group_destroy(zrt__group **group);

/* A place where comm/mpi keeps what all communicators of a group share; `destroy` runs with the group. */
void *zrt__group_attachment(const zrt__group *group);
void zrt__group_attach(const zrt__group *group, void *attachment, void (*destroy)(void *));

/* Turns MPI's error code into a status with MPI's text in the message. */
zrt_status zrt__mpi_check(int code, const char *call);
/* True on every rank when it is on all. Needs no memory. Collective over `comm`. */
bool zrt__mpi_all(MPI_Comm comm, bool mine);

#endif
