#include "config.h"

#include "launch/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/mpi_group.h"

/* The ranks that share memory with this one. ZERORT_NODE_SIZE=N makes each N ranks of a host a node of their own. */
static zrt_status split_by_node(MPI_Comm comm, MPI_Comm *node_comm, int *pretended_out)
{
    const char *text = getenv("ZERORT_NODE_SIZE");
    int size = text != NULL ? atoi(text) : 0, rank, local_rank;
    MPI_Comm host;
    *pretended_out = -1;
    MPI_Comm_rank(comm, &rank);
    ZRT_TRY(zrt__mpi_check(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host),
                           "finding the ranks of this host"));
    if (size <= 0) {
        *node_comm = host;
        return ZRT_OK;
    }
    MPI_Comm_rank(host, &local_rank);
    *pretended_out = local_rank / size;
    zrt_status status = zrt__mpi_check(MPI_Comm_split(host, *pretended_out, local_rank, node_comm), "pretending nodes");
    MPI_Comm_free(&host);
    return status;
}

/* Ranks that may use the same processors divide them. */
static zrt_status divide_cores(MPI_Comm node, const cpu_set_t *before, zrt__placement *placement)
{
    cpu_set_t allowed;
    bool undone = zrt__cores_allowed(before, &allowed);
    cpu_set_t *all = zrt__malloc((size_t)placement->local_size * sizeof *all);
    int *cores = zrt__malloc(CPU_SETSIZE * sizeof *cores);
    zrt_status status = ZRT_OK;
    placement->cores = cores;
    if (!zrt__mpi_all(node, all != NULL && cores != NULL))
        status = all != NULL && cores != NULL
                     ? zrt__fail(ZRT_ERR_MEMORY, "another rank of this host has no memory for the map of cores")
                     : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = zrt__mpi_check(MPI_Allgather(&allowed, sizeof allowed, MPI_BYTE, all, sizeof allowed, MPI_BYTE, node),
                                "sharing cores");
    if (status == ZRT_OK) {
        int index = 0, n = 0;
        for (int i = 0; i < placement->local_size; i++) {
            bool same = CPU_EQUAL(&all[i], &allowed) != 0;
            index += same && i < placement->local_rank ? 1 : 0;
            n += same ? 1 : 0;
        }
        placement->n_cores = zrt__cores_share(&allowed, index, n, cores, CPU_SETSIZE);
        if (undone) { /* threads that this one starts inherit where it may run; a refusal changes nothing */
            cpu_set_t mine;
            CPU_ZERO(&mine);
            for (int i = 0; i < placement->n_cores; i++)
                CPU_SET(cores[i], &mine);
            sched_setaffinity(0, sizeof mine, &mine);
        }
    }
    free(all);
    return status;
}

zrt_status zrt__placement_create(MPI_Comm comm, const cpu_set_t *before, zrt__placement *placement, int *node_out)
{
    MPI_Comm node = MPI_COMM_NULL;
    char host[MPI_MAX_PROCESSOR_NAME + 1] = "";
    int length, pretended;
    MPI_Comm_rank(comm, &placement->rank);
    MPI_Comm_size(comm, &placement->size);
    zrt_status status = split_by_node(comm, &node, &pretended);
    if (status == ZRT_OK) {
        MPI_Comm_rank(node, &placement->local_rank);
        MPI_Comm_size(node, &placement->local_size);
        *node_out = placement->rank;
        status = zrt__mpi_check(MPI_Bcast(node_out, 1, MPI_INT, 0, node), "numbering the hosts");
    }
    if (status == ZRT_OK)
        status = zrt__mpi_check(MPI_Get_processor_name(host, &length), "asking the host's name");
    if (status == ZRT_OK) {
        placement->host = pretended < 0 ? zrt__strdup(host) : zrt__format("%s:%d", host, pretended);
        status = divide_cores(node, before, placement);
        if (placement->host == NULL)
            status = ZRT_ERR_MEMORY;
    }
    if (node != MPI_COMM_NULL)
        MPI_Comm_free(&node);
    if (!zrt__mpi_all(comm, status == ZRT_OK) && status == ZRT_OK)
        status = zrt__fail(ZRT_ERR_MEMORY, "another rank could not find its place: see its message");
    if (status != ZRT_OK)
        zrt__placement_destroy(placement);
    return status;
}

void zrt__placement_destroy(zrt__placement *placement)
{
    free((void *)placement->host);
    free((void *)placement->cores);
    placement->host = NULL;
    placement->cores = NULL;
}
