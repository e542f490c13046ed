/* MPI start-up. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>
#include <zerort/mpi.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/cores.h"
#include "launch/mpi_group.h"

struct zrt_context {
    zrt__group *world;
    zrt__placement placement;
    char host[256];
    int *cores;
    bool owns_mpi;
};

static long environment_number(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtol(text, NULL, 10) : 0;
}

/* mpirun knows when it oversubscribes; srun does not, and then a rank that spins in MPI steals the core that another computes on. */
static void yield_when_oversubscribed(void)
{
    long local = environment_number("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (local == 0)
        local = environment_number("SLURM_NTASKS_PER_NODE");
    if (local == 0)
        local = environment_number("SLURM_TASKS_PER_NODE");
    if (local > sysconf(_SC_NPROCESSORS_ONLN))
        setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
}

static zrt_status local_ranks(zrt_context *context)
{
    MPI_Comm world = zrt__group_comm(context->world), host;
    zrt__placement *p = &context->placement;
    ZRT_TRY(zrt__mpi_check(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, p->rank, MPI_INFO_NULL, &host),
                           "MPI_Comm_split_type"));
    MPI_Comm_rank(host, &p->local_rank);
    MPI_Comm_size(host, &p->local_size);
    MPI_Comm_free(&host);
    return ZRT_OK;
}

static zrt_status create(MPI_Comm comm, bool owns_mpi, zrt_context **context_out)
{
    zrt_context *context = zrt__calloc(1, sizeof *context);
    if (context == NULL)
        return ZRT_ERR_MEMORY;
    context->owns_mpi = owns_mpi;
    zrt_status status = zrt__group_create(comm, &context->world);
    if (status == ZRT_OK) {
        zrt__placement *p = &context->placement;
        p->rank = zrt__group_rank(context->world);
        p->size = zrt__group_size(context->world);
        zrt__error_set_rank(p->size > 1 ? p->rank : -1);
        gethostname(context->host, sizeof context->host - 1);
        p->host = context->host;
        status = local_ranks(context);
        if (status == ZRT_OK)
            status = zrt__cores_share(p->local_rank, p->local_size, &context->cores, &p->n_cores, &p->n_threads);
        p->cores = context->cores;
        status = zrt__group_agree(context->world, status);
    }
    if (status != ZRT_OK) {
        zrt__group_destroy(&context->world);
        free(context->cores);
        free(context);
        return status;
    }
    *context_out = context;
    return ZRT_OK;
}

static zrt_status check_threads(int provided)
{
    if (provided >= MPI_THREAD_MULTIPLE)
        return ZRT_OK;
    return zrt__fail(
        ZRT_ERR_COMM,
        "MPI gives thread level %d and zerort needs MPI_THREAD_MULTIPLE: use an MPI built with thread support, "
        "and initialise it with MPI_Init_thread(MPI_THREAD_MULTIPLE)",
        provided);
}

zrt_status zrt_init(int *argc, char ***argv, zrt_context **context_out)
{
    int initialized = 0, provided = 0;
    MPI_Initialized(&initialized);
    if (initialized)
        return zrt_init_comm(MPI_COMM_WORLD, context_out);
    yield_when_oversubscribed();
    ZRT_TRY(zrt__mpi_check(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread"));
    zrt_status status = check_threads(provided);
    if (status == ZRT_OK)
        status = create(MPI_COMM_WORLD, true, context_out);
    if (status != ZRT_OK)
        MPI_Finalize();
    return status;
}

zrt_status zrt_init_comm(MPI_Comm comm, zrt_context **context_out)
{
    int initialized = 0, provided = 0;
    MPI_Initialized(&initialized);
    if (!initialized)
        return zrt__fail(ZRT_ERR_USAGE, "zrt_init_comm before MPI_Init_thread");
    MPI_Query_thread(&provided);
    ZRT_TRY(check_threads(provided));
    return create(comm, false, context_out);
}

void zrt_finalize(zrt_context **context)
{
    if (context == NULL || *context == NULL)
        return;
    bool owns_mpi = (*context)->owns_mpi;
    zrt__group_destroy(&(*context)->world);
    free((*context)->cores);
    free(*context);
    *context = NULL;
    zrt__error_set_rank(-1);
    if (owns_mpi)
        MPI_Finalize();
}

int zrt_rank(const zrt_context *context)
{
    return context->placement.rank;
}

int zrt_size(const zrt_context *context)
{
    return context->placement.size;
}

zrt_status zrt_agree(const zrt_context *context, zrt_status status)
{
    return zrt__group_agree(context->world, status);
}

const zrt__placement *zrt__context_placement(const zrt_context *context)
{
    return &context->placement;
}

const zrt__group *zrt__context_world(const zrt_context *context)
{
    return context->world;
}
