#include "config.h"

#include "checkpoint/patient.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

#include "base/error.h"
#include "launch/mpi_group.h"

enum { MESSAGE_BYTES = 1024, PIECE_BYTES = 1 << 16 };

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

/* Point to point: nonblocking collectives of MPI libraries are not always safe beside other threads. */
enum { TAG = 71 };

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

static zrt_status patient_send(const zrt__group *group, const void *data, size_t bytes, int to)
{
    MPI_Request request;
    return finish(MPI_Isend(data, (int)bytes, MPI_BYTE, to, TAG, zrt__group_comm(group), &request), &request,
                  "MPI_Isend");
}

static zrt_status patient_receive(const zrt__group *group, void *data, size_t bytes, int from)
{
    MPI_Request request;
    return finish(MPI_Irecv(data, (int)bytes, MPI_BYTE, from, TAG, zrt__group_comm(group), &request), &request,
                  "MPI_Irecv");
}

typedef struct report {
    int status;
    char message[MESSAGE_BYTES];
} report;

/* Rank 0 keeps the worst, of the lowest rank that has it, and tells everyone. */
zrt_status zrt__patient_agree(const zrt__group *group, zrt_status status)
{
    report worst = {.status = status}, other;
    if (group == NULL)
        return status;
    if (status < 0)
        snprintf(worst.message, sizeof worst.message, "%s", zrt_error_message());
    if (zrt__group_rank(group) != 0) {
        ZRT_TRY(patient_send(group, &worst, sizeof worst, 0));
        ZRT_TRY(patient_receive(group, &worst, sizeof worst, 0));
    } else {
        for (int r = 1; r < zrt__group_size(group); r++) {
            ZRT_TRY(patient_receive(group, &other, sizeof other, r));
            if (other.status < worst.status)
                worst = other;
        }
        for (int r = 1; r < zrt__group_size(group); r++)
            ZRT_TRY(patient_send(group, &worst, sizeof worst, r));
    }
    return worst.status >= 0 ? ZRT_OK : zrt__fail_with((zrt_status)worst.status, worst.message);
}

zrt_status zrt__patient_gather(const zrt__group *group, const void *send, size_t bytes, void *recv)
{
    if (bytes > INT_MAX)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%zu bytes of checksums a rank are more than MPI takes at once", bytes);
    if (zrt__patient_rank(group) != 0)
        return patient_send(group, send, bytes, 0);
    memcpy(recv, send, bytes);
    for (int r = 1; r < zrt__patient_size(group); r++)
        ZRT_TRY(patient_receive(group, (char *)recv + (size_t)r * bytes, bytes, r));
    return ZRT_OK;
}

zrt_status zrt__patient_or(const zrt__group *group, unsigned char *bits, size_t bytes)
{
    unsigned char piece[PIECE_BYTES];
    for (size_t at = 0; at < bytes && zrt__patient_size(group) > 1; at += sizeof piece) {
        size_t n = bytes - at < sizeof piece ? bytes - at : sizeof piece;
        if (zrt__group_rank(group) != 0) {
            ZRT_TRY(patient_send(group, bits + at, n, 0));
            ZRT_TRY(patient_receive(group, bits + at, n, 0));
            continue;
        }
        for (int r = 1; r < zrt__group_size(group); r++) {
            ZRT_TRY(patient_receive(group, piece, n, r));
            for (size_t i = 0; i < n; i++)
                bits[at + i] |= piece[i];
        }
        for (int r = 1; r < zrt__group_size(group); r++)
            ZRT_TRY(patient_send(group, bits + at, n, r));
    }
    return ZRT_OK;
}
