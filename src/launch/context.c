/* MPI start-up. */
#include "config.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <mpi.h>
#include <zerort/mpi.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/binary.h"
#include "launch/cores.h"
#include "launch/mpi_group.h"
#include "launch/watchdog.h"

struct zrt_context {
    zrt__group *world;
    zrt__activity *activity;
    zrt__watchdog *watchdog;
    zrt__placement placement;
    char host[256];
    int *cores;
    bool owns_mpi;
};

/* What Open MPI should know before it starts; what the user has set stays. */
static void prepare_environment(void)
{
    /* A rank that waits inside MPI gives its core to the threads that compute, its own too. mpirun turns this on when it
     * oversubscribes, srun does not. */
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    /* A program without a launcher needs no daemon of its own, which Open MPI would start and wait for. */
    if (getenv("OMPI_COMM_WORLD_SIZE") == NULL && getenv("PMIX_RANK") == NULL && getenv("PMI_RANK") == NULL &&
        getenv("PMI_FD") == NULL)
        setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
}

/* Ranks of a node that may use the same processors divide them; each keeps those that only it may use. */
static zrt_status divide_cores(const zrt__group *node, const cpu_set_t *before, zrt_context *context)
{
    zrt__placement *p = &context->placement;
    cpu_set_t allowed, *all = zrt__malloc((size_t)p->local_size * sizeof *all);
    bool undone = zrt__cores_allowed(before, &allowed);
    int index = 0, n = 0;
    zrt_status status = zrt__group_agree(node, all != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(node, &allowed, all, sizeof allowed);
    for (int i = 0; status == ZRT_OK && i < p->local_size; i++)
        if (CPU_EQUAL(&all[i], &allowed)) {
            index += i < p->local_rank;
            n++;
        }
    free(all);
    if (status == ZRT_OK)
        status = zrt__cores_share(&allowed, index, n, &context->cores, &p->n_cores, &p->n_threads);
    p->cores = context->cores;
    if (status == ZRT_OK && undone) {
        /* threads that this one starts inherit where it may run; where it is not allowed it stays where it is */
        cpu_set_t mine;
        CPU_ZERO(&mine);
        for (int i = 0; i < p->n_cores; i++)
            CPU_SET(p->cores[i], &mine);
        sched_setaffinity(0, sizeof mine, &mine);
    }
    return status;
}

static zrt_status place(zrt_context *context, const cpu_set_t *before)
{
    zrt__placement *p = &context->placement;
    zrt__group *node;
    p->rank = zrt__group_rank(context->world);
    p->size = zrt__group_size(context->world);
    p->host = context->host;
    gethostname(context->host, sizeof context->host - 1);
    zrt__error_set_rank(p->size > 1 ? p->rank : -1);
    ZRT_TRY(zrt__group_split(context->world, zrt__group_node(context->world), p->rank, &node));
    p->local_rank = zrt__group_rank(node);
    p->local_size = zrt__group_size(node);
    zrt_status status = divide_cores(node, before, context);
    zrt__group_destroy(&node);
    return status;
}

static void context_free(zrt_context *context)
{
    zrt__group_destroy(&context->world);
    zrt__watchdog_stop(&context->watchdog);
    zrt__activity_destroy(&context->activity);
    free(context->cores);
    free(context);
    zrt__error_set_rank(-1);
}

/* Collective over comm; all ranks succeed or all fail. */
static zrt_status create(MPI_Comm comm, const cpu_set_t *before, bool owns_mpi, zrt_context **context_out)
{
    zrt_context *context = zrt__calloc(1, sizeof *context);
    bool mine = context != NULL && zrt__activity_create(&context->activity) == ZRT_OK;
    if (!zrt__mpi_all(comm, mine)) {
        if (context != NULL)
            zrt__activity_destroy(&context->activity);
        free(context);
        return mine ? zrt__fail(ZRT_ERR_MEMORY, "another rank has no memory to start") : ZRT_ERR_MEMORY;
    }
    context->owns_mpi = owns_mpi;
    zrt_status status = zrt__group_create(comm, context->activity, &context->world);
    if (status == ZRT_OK)
        status = zrt__group_agree(context->world, place(context, before));
    if (status == ZRT_OK)
        status = zrt__binary_compare(context->world, context->host);
    if (status != ZRT_OK) {
        context_free(context);
        return status;
    }
    *context_out = context;
    return ZRT_OK;
}

static zrt_status check_threads(int provided, const char *what_to_do)
{
    static const char *const names[] = {"MPI_THREAD_SINGLE", "MPI_THREAD_FUNNELED", "MPI_THREAD_SERIALIZED"};
    if (provided >= MPI_THREAD_MULTIPLE)
        return ZRT_OK;
    return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "MPI provides %s, but each stream communicates in a thread of its own: %s",
                     provided >= 0 ? names[provided] : "no threads", what_to_do);
}

static void affinity(cpu_set_t *set)
{
    if (sched_getaffinity(0, sizeof *set, set) != 0)
        CPU_ZERO(set);
}

zrt_status zrt_init_comm(MPI_Comm comm, zrt_context **context_out)
{
    int initialized = 0, finalized = 0, provided = MPI_THREAD_SINGLE;
    cpu_set_t before;
    *context_out = NULL;
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    if (!initialized || finalized)
        return zrt__fail(ZRT_ERR_USAGE,
                         "zrt_init_comm when MPI %s: it needs a communicator of a running MPI (zrt_init starts it)",
                         finalized ? "has ended" : "has not started");
    if (comm == MPI_COMM_NULL)
        return zrt__fail(ZRT_ERR_USAGE, "zrt_init_comm with MPI_COMM_NULL: give a communicator that this rank is in");
    MPI_Query_thread(&provided);
    ZRT_TRY(check_threads(provided, "start MPI by MPI_Init_thread with MPI_THREAD_MULTIPLE, or let zrt_init start it"));
    affinity(&before);
    return create(comm, &before, false, context_out);
}

/* Tasks of srun that MPI does not know would each train alone, over one another's files, or end in MPI_Init with advice on how to
 * build MPI. */
static zrt_status check_launcher(bool is_known)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
    if (is_known || tasks == NULL || strtol(tasks, NULL, 10) <= 1)
        return ZRT_OK;
    return zrt__fail(ZRT_ERR_USAGE,
                     "srun started %s tasks, but MPI sees one rank in each: start them with srun --mpi=pmix, or with "
                     "mpirun inside salloc or sbatch",
                     tasks);
}

/* By mpirun, or by a Slurm that speaks with MPI. */
static bool has_launcher(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") != NULL || getenv("PMIX_RANK") != NULL || getenv("PMI_RANK") != NULL;
}

zrt_status zrt_init(int *argc, char ***argv, zrt_context **context_out)
{
    int initialized = 0, finalized = 0, provided = MPI_THREAD_SINGLE;
    cpu_set_t before, after;
    *context_out = NULL;
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    if (finalized)
        return zrt__fail(ZRT_ERR_USAGE, "zrt_init after MPI has ended, which starts once in a process: start it in the "
                                        "program and lend it by zrt_init_comm to start zerort again");
    if (initialized)
        return zrt_init_comm(MPI_COMM_WORLD, context_out);
    ZRT_TRY(check_launcher(has_launcher()));
    affinity(&before);
    prepare_environment();
    ZRT_TRY(zrt__mpi_check(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread"));
    /* Without mpirun, Open MPI may bind in there what Slurm left unbound. */
    affinity(&after);
    if (!CPU_EQUAL(&before, &after))
        sched_setaffinity(0, sizeof before, &before);
    zrt_status status = check_threads(provided, "use an MPI that is built with thread support");
    int size = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (status == ZRT_OK)
        status = check_launcher(size > 1 || getenv("OMPI_COMM_WORLD_SIZE") != NULL);
    if (status == ZRT_OK)
        status = create(MPI_COMM_WORLD, &before, true, context_out);
    if (status != ZRT_OK)
        MPI_Finalize();
    return status;
}

void zrt_finalize(zrt_context **context)
{
    if (context == NULL || *context == NULL)
        return;
    zrt_context *c = *context;
    /* A rank that does not come to the end is missed here too; only this thread may still speak to MPI. */
    zrt__watchdog_leave_mpi(c->watchdog);
    int number = zrt__activity_begin(c->activity, "the end of MPI", NULL);
    zrt__group_destroy(&c->world);
    if (c->owns_mpi)
        MPI_Finalize();
    zrt__activity_end(c->activity, number);
    context_free(c);
    *context = NULL;
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

zrt_status zrt_watchdog_start(zrt_context *context, double seconds, zrt_hang_fn *hangs, void *user)
{
    if (context->watchdog != NULL || hangs == NULL)
        return zrt__fail(ZRT_ERR_USAGE, "zrt_watchdog_start %s",
                         hangs == NULL ? "without a function to call" : "a second time in a context");
    if (!(seconds > 0) || context->placement.size == 1)
        return ZRT_OK;
    return zrt__watchdog_start(context->world, context->activity, seconds < 0.1 ? 0.1 : seconds, hangs, user,
                               &context->watchdog);
}

zrt__activity *zrt__context_activity(const zrt_context *context)
{
    return context->activity;
}

const zrt__placement *zrt__context_placement(const zrt_context *context)
{
    return &context->placement;
}

const zrt__group *zrt__context_world(const zrt_context *context)
{
    return context->world;
}
