#include "config.h"

#include "launch/notices.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/mpi_group.h"

enum { TAG = 1, CLOSE_TURNS = 100 };

struct zrt__notices {
    MPI_Comm comm;
    int rank, size;
    MPI_Request *requests; /* of what was sent, [size] */
    int n_requests;
    char sent[ZRT__NOTICE_BYTES];
};

static void notices_free(zrt__notices *notices)
{
    if (notices == NULL)
        return;
    free(notices->requests);
    free(notices);
}

zrt_status zrt__notices_open(const zrt__group *group, zrt__notices **notices_out)
{
    zrt__notices *notices = zrt__calloc(1, sizeof *notices);
    *notices_out = NULL;
    if (notices != NULL)
        notices->requests = zrt__calloc((size_t)zrt__group_size(group), sizeof(MPI_Request));
    bool mine = notices != NULL && notices->requests != NULL;
    zrt_status status = zrt__group_agree(group, mine ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK) {
        notices->rank = zrt__group_rank(group);
        notices->size = zrt__group_size(group);
        notices->comm = MPI_COMM_NULL;
        status = zrt__mpi_check(MPI_Comm_dup(zrt__group_comm(group), &notices->comm), "a communicator for notices");
        status = zrt__group_agree(group, status);
        if (status != ZRT_OK && notices->comm != MPI_COMM_NULL)
            MPI_Comm_free(&notices->comm);
    }
    if (status != ZRT_OK) {
        notices_free(notices);
        return status;
    }
    *notices_out = notices;
    return ZRT_OK;
}

zrt_status zrt__notices_send(zrt__notices *notices, const void *data, size_t bytes)
{
    if (bytes > ZRT__NOTICE_BYTES || notices->n_requests > 0)
        return zrt__fail(ZRT_ERR_USAGE, "a notice of %zu bytes, or a second one, cannot be sent", bytes);
    memcpy(notices->sent, data, bytes);
    for (int i = 1; i < notices->size; i++) {
        int to = (notices->rank + i) % notices->size;
        ZRT_TRY(zrt__mpi_check(MPI_Isend(notices->sent, sizeof notices->sent, MPI_BYTE, to, TAG, notices->comm,
                                         &notices->requests[notices->n_requests]),
                               "sending a notice"));
        notices->n_requests++;
    }
    return ZRT_OK;
}

zrt_status zrt__notices_poll(zrt__notices *notices, void *data, int *rank_out)
{
    int there = 0;
    char taken[ZRT__NOTICE_BYTES];
    MPI_Status from;
    *rank_out = -1;
    ZRT_TRY(zrt__mpi_check(MPI_Iprobe(MPI_ANY_SOURCE, TAG, notices->comm, &there, &from), "asking for a notice"));
    if (!there)
        return ZRT_OK;
    ZRT_TRY(
        zrt__mpi_check(MPI_Recv(taken, sizeof taken, MPI_BYTE, from.MPI_SOURCE, TAG, notices->comm, MPI_STATUS_IGNORE),
                       "taking a notice"));
    memcpy(data, taken, sizeof taken);
    *rank_out = from.MPI_SOURCE;
    return ZRT_OK;
}

void zrt__notices_close(zrt__notices **notices)
{
    if (notices == NULL || *notices == NULL)
        return;
    zrt__notices *n = *notices;
    int done = n->n_requests == 0;
    /* A rank that is gone takes nothing; what MPI still holds must then stay where it is. */
    for (int turn = 0; !done && turn < CLOSE_TURNS; turn++) {
        if (MPI_Testall(n->n_requests, n->requests, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            break;
        if (!done)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    /* The communicator stays: MPI gives the number of a freed one to the next, which would then count what was sent and never
     * taken among its own messages, and wait for ever for the one that has that place. */
    if (done)
        notices_free(n);
    *notices = NULL;
}
