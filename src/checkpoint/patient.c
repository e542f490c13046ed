#include "config.h"

#include "checkpoint/patient.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

#include "base/error.h"
#include "launch/mpi_group.h"

enum { MESSAGE_BYTES = 1024, PIECE_BYTES = 1 << 24 };

zrt_status zrt__patient_open(const zrt__group *world, zrt__group **group_out)
{
    return zrt__group_split(world, 0, zrt__group_rank(world), group_out);
}

void zrt__patient_close(zrt__group **group)
{
    zrt__group_destroy(group);
}

int zrt__patient_rank(const zrt__group *group)
{
    return group != NULL ? zrt__group_rank(group) : 0;
}

int zrt__patient_size(const zrt__group *group)
{
    return group != NULL ? zrt__group_size(group) : 1;
}

static zrt_status finish(int code, MPI_Request *request, const char *call)
{
    int done = 0;
    long nanoseconds = 50000;
    while (code == MPI_SUCCESS && !done) {
        code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (code == MPI_SUCCESS && !done) {
            const struct timespec pause = {.tv_nsec = nanoseconds};
            nanosleep(&pause, NULL);
            if (nanoseconds < 2000000)
                nanoseconds *= 2;
        }
    }
    return zrt__mpi_check(code, call);
}

zrt_status zrt__patient_agree(const zrt__group *group, zrt_status status)
{
    MPI_Request request;
    char message[MESSAGE_BYTES];
    if (group == NULL)
        return status;
    struct {
        int status, rank;
    } mine = {status, zrt__group_rank(group)}, worst;
    snprintf(message, sizeof message, "%s", status < 0 ? zrt_error_message() : "");
    ZRT_TRY(finish(MPI_Iallreduce(&mine, &worst, 1, MPI_2INT, MPI_MINLOC, zrt__group_comm(group), &request), &request,
                   "MPI_Iallreduce"));
    if (worst.status >= 0)
        return ZRT_OK;
    ZRT_TRY(finish(MPI_Ibcast(message, sizeof message, MPI_BYTE, worst.rank, zrt__group_comm(group), &request),
                   &request, "MPI_Ibcast"));
    return zrt__fail_with((zrt_status)worst.status, message);
}

zrt_status zrt__patient_gather(const zrt__group *group, const void *send, size_t bytes, void *recv)
{
    MPI_Request request;
    if (group == NULL) {
        memcpy(recv, send, bytes);
        return ZRT_OK;
    }
    if (bytes > INT_MAX)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%zu bytes of checksums a rank are more than MPI takes at once", bytes);
    return finish(
        MPI_Igather(send, (int)bytes, MPI_BYTE, recv, (int)bytes, MPI_BYTE, 0, zrt__group_comm(group), &request),
        &request, "MPI_Igather");
}

zrt_status zrt__patient_or(const zrt__group *group, unsigned char *bits, size_t bytes)
{
    for (size_t at = 0; at < bytes && group != NULL; at += PIECE_BYTES) {
        MPI_Request request;
        int n = (int)(bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES);
        ZRT_TRY(finish(
            MPI_Iallreduce(MPI_IN_PLACE, bits + at, n, MPI_UNSIGNED_CHAR, MPI_BOR, zrt__group_comm(group), &request),
            &request, "MPI_Iallreduce"));
    }
    return ZRT_OK;
}
