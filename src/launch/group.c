/* Groups of ranks and their small blocking collectives. */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/activity.h"
#include "launch/mpi_group.h"

typedef struct attached {
    void *data;
    void (*destroy)(void *);
} attached;

struct zrt__group {
    MPI_Comm comm;
    int rank, size, node;
    bool local;
    zrt__activity *activity;
    attached *attached; /* a cache, and so not part of what const keeps */
};

enum { MESSAGE_BYTES = 8192, BROADCAST_BYTES = 1 << 30 };

zrt_status zrt__mpi_check(int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS)
        return ZRT_OK;
    MPI_Error_string(code, text, &length);
    return zrt__fail(ZRT_ERR_COMM, "%s failed: %.300s", call, text);
}

bool zrt__mpi_all(MPI_Comm comm, bool mine)
{
    int in = mine ? 1 : 0, out = 0;
    return MPI_Allreduce(&in, &out, 1, MPI_INT, MPI_MIN, comm) == MPI_SUCCESS && out != 0;
}

/* Ranks that wait for one that has no memory would wait for ever. */
static zrt_status group_new(MPI_Comm comm, zrt__group **group_out)
{
    zrt__group *group = zrt__calloc(1, sizeof *group);
    attached *place = zrt__calloc(1, sizeof *place);
    bool mine = group != NULL && place != NULL;
    if (zrt__mpi_all(comm, mine)) {
        group->comm = MPI_COMM_NULL;
        group->attached = place;
        *group_out = group;
        return ZRT_OK;
    }
    free(group);
    free(place);
    return mine ? zrt__fail(ZRT_ERR_MEMORY, "another rank has no memory for a group of ranks") : ZRT_ERR_MEMORY;
}

/* The lowest rank of the host, and which part of it where it is split into pretended nodes of ZERORT_NODE_SIZE ranks. */
static zrt_status number_node(MPI_Comm comm, int *node_out)
{
    MPI_Comm host;
    const char *text = getenv("ZERORT_NODE_SIZE");
    long node_size = text != NULL ? strtol(text, NULL, 10) : 0;
    int rank, host_rank, first;
    MPI_Comm_rank(comm, &rank);
    ZRT_TRY(zrt__mpi_check(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host),
                           "MPI_Comm_split_type"));
    MPI_Comm_rank(host, &host_rank);
    first = node_size > 0 && host_rank % node_size != 0 ? -1 : rank;
    /* the first rank of this rank's part: the largest one that is not above it */
    zrt_status status = zrt__mpi_check(MPI_Scan(&first, node_out, 1, MPI_INT, MPI_MAX, host), "MPI_Scan");
    if (status == ZRT_OK && node_size <= 0)
        status = zrt__mpi_check(MPI_Bcast(node_out, 1, MPI_INT, 0, host), "MPI_Bcast");
    MPI_Comm_free(&host);
    return status;
}

/* Ranks of one node share memory. */
static zrt_status fill(zrt__group *group)
{
    MPI_Comm_set_errhandler(group->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(group->comm, &group->rank);
    MPI_Comm_size(group->comm, &group->size);
    int ends[2] = {group->node, -group->node}, least[2] = {0, 0};
    ZRT_TRY(zrt__mpi_check(MPI_Allreduce(ends, least, 2, MPI_INT, MPI_MIN, group->comm), "MPI_Allreduce"));
    group->local = least[0] == -least[1];
    return ZRT_OK;
}

zrt_status zrt__group_create(MPI_Comm comm, zrt__activity *activity, zrt__group **group_out)
{
    zrt__group *group;
    *group_out = NULL;
    ZRT_TRY(group_new(comm, &group));
    group->activity = activity;
    zrt_status status = zrt__mpi_check(MPI_Comm_dup(comm, &group->comm), "MPI_Comm_dup");
    if (status == ZRT_OK)
        status = number_node(group->comm, &group->node);
    if (status == ZRT_OK)
        status = fill(group);
    if (status != ZRT_OK)
        zrt__group_destroy(&group);
    *group_out = group;
    return status;
}

zrt_status zrt__group_split(const zrt__group *parent, int color, int key, zrt__group **group_out)
{
    zrt__group *group;
    *group_out = NULL;
    ZRT_TRY(group_new(parent->comm, &group));
    group->node = parent->node;
    group->activity = parent->activity;
    zrt_status status = zrt__mpi_check(
        MPI_Comm_split(parent->comm, color < 0 ? MPI_UNDEFINED : color, key, &group->comm), "MPI_Comm_split");
    if (status == ZRT_OK && group->comm != MPI_COMM_NULL)
        status = fill(group);
    if (status != ZRT_OK || group->comm == MPI_COMM_NULL)
        zrt__group_destroy(&group);
    *group_out = group;
    return status;
}

void zrt__group_destroy(zrt__group **group)
{
    if (group == NULL || *group == NULL)
        return;
    if ((*group)->attached->data != NULL)
        (*group)->attached->destroy((*group)->attached->data);
    if ((*group)->comm != MPI_COMM_NULL)
        MPI_Comm_free(&(*group)->comm);
    free((*group)->attached);
    free(*group);
    *group = NULL;
}

MPI_Comm zrt__group_comm(const zrt__group *group)
{
    return group->comm;
}

int zrt__group_node(const zrt__group *group)
{
    return group->node;
}

zrt__activity *zrt__group_activity(const zrt__group *group)
{
    return group->activity;
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
    return group->attached->data;
}

void zrt__group_attach(const zrt__group *group, void *attachment, void (*destroy)(void *))
{
    *group->attached = (attached){attachment, destroy};
}

/* ---- collectives ---- */

static zrt_status ended(const zrt__group *group, int number, int code, const char *call)
{
    zrt__activity_end(group->activity, number);
    return zrt__mpi_check(code, call);
}

zrt_status zrt__group_barrier(const zrt__group *group)
{
    int number = zrt__activity_begin(group->activity, "a meeting of all ranks", NULL);
    return ended(group, number, MPI_Barrier(group->comm), "MPI_Barrier");
}

zrt_status zrt__group_broadcast(const zrt__group *group, void *data, size_t bytes, int root)
{
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < BROADCAST_BYTES ? bytes - done : BROADCAST_BYTES;
        int number = zrt__activity_begin(group->activity, "a broadcast at set-up", NULL);
        int code = MPI_Bcast((char *)data + done, (int)n, MPI_BYTE, root, group->comm);
        ZRT_TRY(ended(group, number, code, "MPI_Bcast"));
        done += n;
    }
    return ZRT_OK;
}

zrt_status zrt__group_move(const zrt__group *group, void *data, size_t bytes, int from, int to)
{
    if (from == to)
        return ZRT_OK;
    for (size_t done = 0; done < bytes;) {
        int n = (int)(bytes - done < BROADCAST_BYTES ? bytes - done : BROADCAST_BYTES);
        char *part = (char *)data + done;
        if (group->rank == from)
            ZRT_TRY(zrt__mpi_check(MPI_Send(part, n, MPI_BYTE, to, 0, group->comm), "MPI_Send"));
        if (group->rank == to)
            ZRT_TRY(zrt__mpi_check(MPI_Recv(part, n, MPI_BYTE, from, 0, group->comm, MPI_STATUS_IGNORE), "MPI_Recv"));
        done += (size_t)n;
    }
    return ZRT_OK;
}

zrt_status zrt__group_all_gather(const zrt__group *group, const void *send, void *recv, size_t bytes_each)
{
    if (bytes_each > INT_MAX)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "a gathering of %zu bytes a rank at set-up (at most %d)", bytes_each,
                         INT_MAX);
    int number = zrt__activity_begin(group->activity, "a gathering at set-up", NULL), n = (int)bytes_each;
    int code = MPI_Allgather(send, n, MPI_BYTE, recv, n, MPI_BYTE, group->comm);
    return ended(group, number, code, "MPI_Allgather");
}

zrt_status zrt__group_sum_int64(const zrt__group *group, int64_t *values, int n)
{
    int number = zrt__activity_begin(group->activity, "a sum of counts", NULL);
    return ended(group, number, MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_INT64_T, MPI_SUM, group->comm),
                 "MPI_Allreduce");
}

/* Lower is worse: errors, then the end of data, then success. */
static int goodness(zrt_status status)
{
    return status < ZRT_OK ? (int)status : status == ZRT_END ? 0 : 1;
}

zrt_status zrt__group_agree(const zrt__group *group, zrt_status status)
{
    struct {
        int value, rank;
    } mine = {goodness(status), group->rank}, worst = mine;
    int number = zrt__activity_begin(group->activity, "the agreement of all ranks", NULL);
    ZRT_TRY(ended(group, number, MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MINLOC, group->comm), "MPI_Allreduce"));
    if (worst.value >= 0)
        return worst.value == 0 ? ZRT_END : ZRT_OK;
    char message[MESSAGE_BYTES] = "";
    if (worst.rank == group->rank)
        strncpy(message, zrt_error_message(), sizeof message - 1);
    ZRT_TRY(zrt__group_broadcast(group, message, sizeof message, worst.rank));
    return zrt__fail_with((zrt_status)worst.value, message);
}
