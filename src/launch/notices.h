/* Short messages between the ranks of a group outside its collectives: who fails or leaves tells those who may wait for it.
 * Nobody waits for anybody. */
#ifndef ZRT_LAUNCH_NOTICES_H
#define ZRT_LAUNCH_NOTICES_H

#include <stddef.h>

#include "launch/launch.h"

typedef struct zrt__notices zrt__notices;

enum { ZRT__NOTICE_BYTES = 768 }; /* small enough that MPI sends it without asking the receiver */

/* Gives. Collective over the group; all ranks succeed or all fail. The group outlives it. */
zrt_status zrt__notices_open(const zrt__group *group, zrt__notices **notices_out);
/* Local. What was not polled is lost. NULL is accepted. */
void zrt__notices_close(zrt__notices **notices);
/* Sends the same bytes (at most ZRT__NOTICE_BYTES) to every other rank, once: ZRT_ERR_USAGE the second time. Local. */
zrt_status zrt__notices_send(zrt__notices *notices, const void *data, size_t bytes);
/* Takes a notice that has come, ZRT__NOTICE_BYTES bytes filled up with zeros, and who sent it; rank -1: none has come. Local; one thread
 * at a time. */
zrt_status zrt__notices_poll(zrt__notices *notices, void *data, int *rank_out);

#endif
