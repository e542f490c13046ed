/* The backend's own communicator: one of three ways to communicate behind one table.
 *  - one rank: copies;
 *  - all ranks on one host: memory that they share (shared_*.c);
 *  - otherwise: MPI's blocking collectives in the stream's thread (over_mpi.c). */
#ifndef ZRT_COMM_MPI_COMM_MPI_H
#define ZRT_COMM_MPI_COMM_MPI_H

#include <mpi.h>
#include <pthread.h>

#include "comm/comm.h"
#include "comm/mpi/meeting.h"
#include "comm/mpi/segment.h"

typedef struct zrt__comm_mpi {
    zrt__comm base;
    const zrt__group *group; /* lent; outlives the communicator */
    char *label;
    size_t allocated_bytes;
    zrt__host *host;      /* lent by the group; NULL where nothing was to be shared */
    zrt__meeting meeting; /* of the ranks of the host, one a communicator */
    MPI_Comm mpi;         /* a communicator of its own where MPI does the work */
    char *scratch;        /* for it: parts of other ranks before they are summed */
    size_t scratch_bytes;
    size_t chunk_bytes; /* of each rank in one call of MPI (ZERORT_COMM_CHUNK, for tests), a multiple of 64 */
    char **sends, **recvs, **chunks; /* [size], for the collective that runs */
    const char **parts;
    int *counts; /* [4 * size] */
} zrt__comm_mpi;

enum { ZRT__SMALL_BYTES = 8192 }; /* an all-reduce of so little is one exchange of MPI and not two */

struct zrt__comm_memory {
    size_t bytes;          /* as asked for */
    zrt__segment *segment; /* shared memory, or */
    void *data;            /* this rank's own */
    size_t mapped_bytes;
};

typedef zrt_status zrt__collective_fn(zrt__comm_mpi *comm, const zrt__collective *c);

zrt__collective_fn zrt__shared_all_gather, zrt__shared_reduce_scatter, zrt__shared_all_reduce, zrt__shared_broadcast,
    zrt__shared_barrier;
zrt__collective_fn zrt__over_mpi_all_gather, zrt__over_mpi_reduce_scatter, zrt__over_mpi_all_reduce,
    zrt__over_mpi_broadcast, zrt__over_mpi_barrier;

#endif
