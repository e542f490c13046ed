/* Collectives for a thread beside the training: while others are late it sleeps, because a waiting MPI call takes the core that
 * computes. Over a communicator that nobody else uses. A group of NULL is one rank alone. */
#ifndef ZRT_CHECKPOINT_PATIENT_H
#define ZRT_CHECKPOINT_PATIENT_H

#include "launch/launch.h"

/* A group of the same ranks with a communicator of its own. Collective. */
zrt_status zrt__patient_open(const zrt__group *world, zrt__group **group_out);
void zrt__patient_close(zrt__group **group);
int zrt__patient_rank(const zrt__group *group);
int zrt__patient_size(const zrt__group *group);
/* As zrt__group_agree. */
zrt_status zrt__patient_agree(const zrt__group *group, zrt_status status);
/* `bytes` of every rank to rank 0, one after the other; recv is NULL elsewhere. */
zrt_status zrt__patient_gather(const zrt__group *group, const void *send, size_t bytes, void *recv);
/* Bits of all ranks joined, everywhere. */
zrt_status zrt__patient_or(const zrt__group *group, unsigned char *bits, size_t bytes);

#endif
