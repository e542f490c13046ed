/* For programs that have initialised MPI themselves: the one header that shows mpi.h. */
#ifndef ZERORT_MPI_H
#define ZERORT_MPI_H

#include <mpi.h>

#include <zerort/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As zrt_init, over a communicator that the caller lends; it is duplicated. MPI must have been initialised with
 * MPI_THREAD_MULTIPLE. Collective over `comm`. zrt_finalize leaves MPI initialised. */
ZRT_EXPORT zrt_status zrt_init_comm(MPI_Comm comm, zrt_context **context_out);

#ifdef __cplusplus
}
#endif
#endif
