/* Groups of ranks and their small blocking collectives. */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/mpi_group.h"

struct zrt__group {
    MPI_Comm comm;
    int rank, size;
    bool local;
    void *attachment;
    void (*destroy_attachment)(void *);
};

zrt_status zrt__mpi_check(int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS)
        return ZRT_OK;
    MPI_Error_string(code, text, &length);
    return zrt__fail(ZRT_ERR_COMM, "%s failed: %.300s", call, text);
}

/* A host can be split into pretended nodes of ZERORT_NODE_SIZE ranks. */
static zrt_status is_local(MPI_Comm comm, int rank, int size, bool *local_out)
{
    MPI_Comm host;
    int n = 0;
    const char *pretended = getenv("ZERORT_NODE_SIZE");
    long node = pretended != NULL ? strtol(pretended, NULL, 10) : 0;
    ZRT_TRY(zrt__mpi_check(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host),
                           "MPI_Comm_split_type"));
    MPI_Comm_size(host, &n);
    MPI_Comm_free(&host);
    *local_out = n == size && (node <= 0 || node >= size);
    return ZRT_OK;
}

zrt_status zrt__group_create(MPI_Comm comm, zrt__group **group_out)
{
    zrt__group *group = zrt__calloc(1, sizeof *group);
    zrt_status status = group != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (group == NULL)
        return status;
    status = zrt__mpi_check(MPI_Comm_dup(comm, &group->comm), "MPI_Comm_dup");
    if (status != ZRT_OK) {
        free(group);
        return status;
    }
    MPI_Comm_set_errhandler(group->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(group->comm, &group->rank);
    MPI_Comm_size(group->comm, &group->size);
    status = is_local(group->comm, group->rank, group->size, &group->local);
    if (status != ZRT_OK) {
        zrt__group_destroy(&group);
        return status;
    }
    *group_out = group;
    return ZRT_OK;
}

zrt_status zrt__group_split(const zrt__group *group, int color, int key, zrt__group **group_out)
{
    MPI_Comm comm;
    ZRT_TRY(zrt__mpi_check(MPI_Comm_split(group->comm, color, key, &comm), "MPI_Comm_split"));
    zrt_status status = zrt__group_create(comm, group_out);
    MPI_Comm_free(&comm);
    return status;
}

void zrt__group_destroy(zrt__group **group)
{
    if (group == NULL || *group == NULL)
        return;
    if ((*group)->attachment != NULL)
        (*group)->destroy_attachment((*group)->attachment);
    MPI_Comm_free(&(*group)->comm);
    free(*group);
    *group = NULL;
}

MPI_Comm zrt__group_comm(const zrt__group *group)
{
    return group->comm;
}

int zrt__group_rank(const zrt__group *group)
{
    return group->rank;
}

int zrt__group_size(const zrt__group *group)
{
    return group->size;
}

bool zrt__group_is_local(const zrt__group *group)
{
    return group->local;
}

void *zrt__group_attachment(const zrt__group *group)
{
    return group->attachment;
}

void zrt__group_attach(const zrt__group *group, void *attachment, void (*destroy)(void *))
{
    zrt__group *g = (zrt__group *)(uintptr_t)group; /* a cache: the group itself stays what it is */
    g->attachment = attachment;
    g->destroy_attachment = destroy;
}

zrt_status zrt__group_barrier(const zrt__group *group)
{
    return zrt__mpi_check(MPI_Barrier(group->comm), "MPI_Barrier");
}

zrt_status zrt__group_broadcast(const zrt__group *group, void *data, size_t bytes, int root)
{
    for (size_t at = 0; at < bytes; at += INT_MAX) {
        size_t n = bytes - at < INT_MAX ? bytes - at : INT_MAX;
        ZRT_TRY(zrt__mpi_check(MPI_Bcast((char *)data + at, (int)n, MPI_BYTE, root, group->comm), "MPI_Bcast"));
    }
    return ZRT_OK;
}

zrt_status zrt__group_all_gather(const zrt__group *group, const void *send, void *recv, size_t bytes_each)
{
    if (bytes_each > INT_MAX)
        return zrt__fail(ZRT_ERR_USAGE, "a set-up collective of %zu bytes a rank", bytes_each);
    return zrt__mpi_check(MPI_Allgather(send, (int)bytes_each, MPI_BYTE, recv, (int)bytes_each, MPI_BYTE, group->comm),
                          "MPI_Allgather");
}

zrt_status zrt__group_sum_int64(const zrt__group *group, int64_t *values, int n)
{
    return zrt__mpi_check(MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_INT64_T, MPI_SUM, group->comm), "MPI_Allreduce");
}

zrt_status zrt__group_agree(const zrt__group *group, zrt_status status)
{
    enum { MESSAGE_BYTES = 8192 };
    struct {
        int status, rank;
    } mine = {(int)status, group->rank}, worst = mine;
    char message[MESSAGE_BYTES] = "";
    ZRT_TRY(zrt__mpi_check(MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MINLOC, group->comm), "MPI_Allreduce"));
    if (worst.status >= 0)
        return status;
    strncpy(message, zrt_error_message(), sizeof message - 1);
    ZRT_TRY(zrt__mpi_check(MPI_Bcast(message, sizeof message, MPI_CHAR, worst.rank, group->comm), "MPI_Bcast"));
    return zrt__fail_with((zrt_status)worst.status, message);
}
