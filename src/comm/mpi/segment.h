/* Memory that the ranks of a host share. A segment is one anonymous file (memfd) a rank, mapped by all: nothing has a name
 * in /dev/shm that could stay behind. Only the ranks that are alive hold it. */
#ifndef ZRT_COMM_MPI_SEGMENT_H
#define ZRT_COMM_MPI_SEGMENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "launch/launch.h"

typedef struct zrt__segment {
    uint32_t id;  /* the same on all ranks */
    size_t bytes; /* of each rank's part, a multiple of the page */
    char **parts; /* [size] in this rank's address space */
} zrt__segment;

/* What the communicators of one group share. */
typedef struct zrt__host {
    int rank, size;
    bool tried, usable; /* whether every rank could map the memory of the others */
    bool crowded;       /* more ranks than processors: a rank that spins keeps another from arriving */
    int *pids, *pidfds; /* [size]; a pidfd tells the end of a process even before its parent has asked for it */
    uint32_t next_id;
    pthread_rwlock_t lock; /* segments come and go while streams communicate */
    zrt__segment **segments;
    size_t n_segments, capacity;
} zrt__host;

/* Finds or makes the host of a group; lent, it ends with the group. Collective over the group. */
zrt_status zrt__host_of(const zrt__group *group, zrt__host **host_out);
/* The lowest rank that has ended, -1: none. */
int zrt__host_dead_rank(const zrt__host *host);

/* Collective over the group; all ranks succeed or all fail: ZRT_ERR_MEMORY, or ZRT_ERR_COMM where a rank cannot map another's
 * memory. The first `reserved_bytes` of each part are taken from the machine at once, so that none is missing later.
 * `writable`: the parts of other ranks too. `listed`: zrt__host_find knows it. */
zrt_status zrt__segment_create(const zrt__group *group, zrt__host *host, size_t bytes, size_t reserved_bytes,
                               bool writable, bool listed, zrt__segment **segment_out);
void zrt__segment_destroy(zrt__host *host, zrt__segment **segment);

/* Where this rank's memory [data, data + bytes) lies: its segment and offset; false where it is in none. */
bool zrt__host_find(zrt__host *host, const void *data, size_t bytes, uint32_t *id_out, uint64_t *offset_out);
/* Another rank's memory in this one's address space; NULL where the segment is not known. */
char *zrt__host_at(zrt__host *host, int rank, uint32_t id, uint64_t offset);

/* ZRT_ERR_MEMORY when the machine has less than `bytes` left: asking Linux for more ends in a killed process. */
zrt_status zrt__memory_is_there(size_t bytes);

#endif
