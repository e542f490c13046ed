/* Start and end, places, groups, agreement. */
/* ranks: 1 2 3 4 */
#include "config.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/mpi.h>

#include "base/error.h"
#include "launch/cores.h"
#include "launch/mpi_group.h"
#include "tap_mpi.h"

#define WORLD MPI_COMM_WORLD

static void placement_points(const zrt_context *context)
{
    const zrt__placement *p = zrt__context_placement(context);
    int rank, size;
    MPI_Comm_rank(WORLD, &rank);
    MPI_Comm_size(WORLD, &size);
    tap_ok_all(WORLD, zrt_rank(context) == rank && zrt_size(context) == size, "rank and size");
    tap_ok_all(WORLD, p->rank == rank && p->local_rank == rank && p->local_size == size && strlen(p->host) > 0,
               "one host holds all ranks");
    tap_ok_all(WORLD, p->n_cores >= 1 && p->cores != NULL && p->n_threads >= 1 && p->n_threads <= p->n_cores,
               "each rank has a core and threads");
    tap_ok_all(WORLD, zrt__group_is_local(zrt__context_world(context)), "the group of one host is local");
    /* shares do not meet while there are enough cores */
    int mine[2] = {p->n_cores, p->cores[0]}, all[2 * 64];
    MPI_Allgather(mine, 2, MPI_INT, all, 2, MPI_INT, WORLD);
    bool apart = true;
    for (int r = 0; r < size && p->n_threads == p->n_cores; r++)
        for (int i = 0; i < p->n_cores; i++)
            apart = apart && (r == rank || p->cores[i] != all[2 * r + 1]);
    tap_ok_all(WORLD, apart, "shares of cores do not meet");
}

static void group_points(const zrt__group *world)
{
    int rank = zrt__group_rank(world), size = zrt__group_size(world);
    int64_t values[3] = {rank, 1, (int64_t)1 << 40};
    bool ok = zrt__group_sum_int64(world, values, 3) == ZRT_OK;
    tap_ok_all(WORLD, ok && values[0] == size * (size - 1) / 2 && values[1] == size && values[2] == (int64_t)size << 40,
               "sums");
    int sent = 100 + rank, all[64] = {0};
    ok = zrt__group_all_gather(world, &sent, all, sizeof sent) == ZRT_OK;
    for (int i = 0; i < size; i++)
        ok = ok && all[i] == 100 + i;
    tap_ok_all(WORLD, ok, "all-gather");
    char text[8] = "";
    if (rank == size - 1)
        strncpy(text, "root", sizeof text - 1);
    ok = zrt__group_broadcast(world, text, sizeof text, size - 1) == ZRT_OK && strcmp(text, "root") == 0;
    tap_ok_all(WORLD, ok, "broadcast");
    tap_ok_all(WORLD, zrt__group_barrier(world) == ZRT_OK, "barrier");
    zrt__group *part = NULL, *none = NULL;
    ok = zrt__group_split(world, rank % 2, -rank, &part) == ZRT_OK && part != NULL &&
         zrt__group_size(part) == (size + 1 - rank % 2) / 2;
    tap_ok_all(WORLD, ok, "a split has the ranks of one colour");
    int highest = rank % 2 == (size - 1) % 2 ? size - 1 : size - 2;
    tap_ok_all(WORLD, ok && zrt__group_rank(part) == (highest - rank) / 2, "in the order of the keys");
    tap_ok_all(WORLD, ok && zrt__group_is_local(part), "a part of a local group is local");
    zrt__group_destroy(&part);
    ok = zrt__group_split(world, rank == 0 ? -1 : 0, 0, &none) == ZRT_OK && (none == NULL) == (rank == 0);
    tap_ok_all(WORLD, ok, "a negative colour is in no group");
    zrt__group_destroy(&none);
}

static void agreement_points(const zrt_context *context)
{
    int rank = zrt_rank(context), last = zrt_size(context) - 1;
    tap_ok_all(WORLD, zrt_agree(context, ZRT_OK) == ZRT_OK, "success is agreed on");
    tap_ok_all(WORLD, zrt_agree(context, rank == last ? ZRT_END : ZRT_OK) == ZRT_END,
               "the end of one is the end of all");
    zrt_status mine = rank == last ? zrt__fail(ZRT_ERR_IO, "disk of rank %d", rank) : ZRT_END;
    zrt_status status = zrt_agree(context, mine);
    char want[64];
    snprintf(want, sizeof want, "disk of rank %d", last);
    tap_ok_all(WORLD, status == ZRT_ERR_IO && strstr(zrt_error_message(), want) != NULL,
               "an error is worse than the end, and all have its message");
    mine = zrt__fail(ZRT_ERR_INPUT, "file of rank %d", rank);
    status = zrt_agree(context, mine);
    tap_ok_all(WORLD, status == ZRT_ERR_INPUT && strstr(zrt_error_message(), "file of rank 0") != NULL,
               "of equal errors the message of the lowest rank is told");
}

static void core_points(void)
{
    cpu_set_t before, allowed, one;
    int *cores = NULL, n_cores = 0, n_threads = 0;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof before, &before);
    int first = 0;
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_SET(first, &one);
    setenv("OMPI_MCA_orte_bound_at_launch", "1", 1);
    setenv("OMPI_MCA_hwloc_base_binding_policy", "core", 1);
    tap_ok_all(WORLD, !zrt__cores_allowed(&one, &allowed) && CPU_EQUAL(&one, &allowed), "a binding asked for is kept");
    unsetenv("OMPI_MCA_hwloc_base_binding_policy");
    tap_ok_all(WORLD, zrt__cores_allowed(&one, &allowed) && CPU_COUNT(&allowed) >= CPU_COUNT(&before),
               "the binding that nobody asked for is undone");
    setenv("ZERORT_KEEP_BINDING", "1", 1);
    tap_ok_all(WORLD, !zrt__cores_allowed(&one, &allowed) && CPU_EQUAL(&one, &allowed),
               "unless ZERORT_KEEP_BINDING keeps it");
    unsetenv("ZERORT_KEEP_BINDING");
    unsetenv("OMPI_MCA_orte_bound_at_launch");
    tap_ok_all(WORLD, !zrt__cores_allowed(&one, &allowed) && CPU_EQUAL(&one, &allowed), "what else binds is kept");
    bool ok = zrt__cores_share(&one, 1, 3, &cores, &n_cores, &n_threads) == ZRT_OK && n_cores == 1 && n_threads == 1 &&
              cores[0] == first;
    free(cores);
    tap_ok_all(WORLD, ok, "ranks that have one core between them share it");
}

/* A host in two pretended nodes is not local. */
static void pretended_points(void)
{
    zrt_context *context = NULL;
    int rank, size;
    MPI_Comm_rank(WORLD, &rank);
    MPI_Comm_size(WORLD, &size);
    setenv("ZERORT_NODE_SIZE", "2", 1);
    bool ok = zrt_init_comm(WORLD, &context) == ZRT_OK;
    unsetenv("ZERORT_NODE_SIZE");
    const zrt__placement *p = ok ? zrt__context_placement(context) : NULL;
    tap_ok_all(WORLD, ok && zrt__group_is_local(zrt__context_world(context)) == (size <= 2),
               "ZERORT_NODE_SIZE splits a host");
    tap_ok_all(WORLD, ok && p->local_rank == rank % 2 && p->local_size == (size - rank / 2 * 2 >= 2 ? 2 : 1),
               "and counts the ranks of its parts");
    zrt__group *pair = NULL;
    ok = ok && zrt__group_split(zrt__context_world(context), (rank + 1) / 2, rank, &pair) == ZRT_OK;
    tap_ok_all(WORLD, ok && zrt__group_is_local(pair) == (zrt__group_size(pair) == 1),
               "a group across them is not local");
    zrt__group_destroy(&pair);
    zrt_finalize(&context);
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL, *second = NULL;
    int initialized = 0, finalized = 0;
    zrt_status status = zrt_init_comm(WORLD, &context);
    bool refused = status == ZRT_ERR_USAGE && context == NULL;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK)
        return 1;
    tap_ok_all(WORLD, refused, "zrt_init_comm needs a running MPI");
    MPI_Initialized(&initialized);
    tap_ok_all(WORLD, initialized != 0, "zrt_init starts MPI");
    placement_points(context);
    group_points(zrt__context_world(context));
    agreement_points(context);
    core_points();
    pretended_points();
    tap_ok_all(WORLD, zrt_init_comm(MPI_COMM_NULL, &second) == ZRT_ERR_USAGE, "MPI_COMM_NULL is refused");
    tap_ok_all(WORLD, zrt_init(NULL, NULL, &second) == ZRT_OK, "zrt_init over an MPI that runs");
    zrt_finalize(&second);
    MPI_Finalized(&finalized);
    tap_ok_all(WORLD, finalized == 0 && second == NULL, "zrt_finalize leaves an MPI that it did not start");
    int exit_status = tap_done_all(WORLD);
    zrt_finalize(&context);
    MPI_Finalized(&finalized);
    if (!finalized || context != NULL || zrt_init(NULL, NULL, &second) != ZRT_ERR_USAGE)
        return 1;
    return exit_status;
}
