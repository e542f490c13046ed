/* How the ranks were started: MPI, hosts, cores, versions, clocks. */
#include "config.h"

#include <gnu/libc-version.h>
#include <hdf5.h>
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include <zerort/version.h>

#include "base/alloc.h"
#include "preflight/preflight.h"

/* "Open MPI v4.1.4", without who packaged it. */
static void mpi_version(char *text, size_t bytes)
{
    char whole[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(whole, &length);
    whole[strcspn(whole, ",\n")] = '\0';
    snprintf(text, bytes, "%s", whole);
}

zrt_status zrt__preflight_launch(zrt__preflight *p)
{
    const zrt__placement *place = p->placement;
    char version[64];
    int provided = 0;
    zrt__finding cores = {0};
    mpi_version(version, sizeof version);
    MPI_Query_thread(&provided);
    /* Less than that zrt_init has refused. */
    zrt__preflight_say(p, ZRT_PREFLIGHT_OK, "MPI", "%s, %s", version,
                       provided == MPI_THREAD_MULTIPLE ? "MPI_THREAD_MULTIPLE" : "too few threads");
    zrt__preflight_say(p, ZRT_PREFLIGHT_OK, "ranks", "%d on %d host%s%s", place->size, p->n_hosts,
                       p->n_hosts == 1 ? "" : "s", place->size == 1 ? ": start several by mpirun -np N or srun" : "");
    if (place->n_threads < place->n_cores)
        zrt__finding_set(&cores, ZRT_PREFLIGHT_WARNING,
                         "%d ranks share %d processors: start fewer there, or expect them to wait for one another",
                         place->local_size, place->n_cores);
    else
        zrt__finding_set(&cores, ZRT_PREFLIGHT_OK, "%d a rank", place->n_cores);
    return zrt__preflight_gather(p, "cores", &cores);
}

enum { N_VERSIONS = 5 };

typedef struct versions {
    char texts[N_VERSIONS][64];
} versions;

static void find_versions(versions *v)
{
    unsigned major = 0, minor = 0, release = 0;
    struct utsname kernel;
    memset(v, 0, sizeof *v);
    snprintf(v->texts[0], sizeof v->texts[0], "%s", zrt_version());
    mpi_version(v->texts[1], sizeof v->texts[1]);
    H5get_libversion(&major, &minor, &release);
    snprintf(v->texts[2], sizeof v->texts[2], "%u.%u.%u", major, minor, release);
    snprintf(v->texts[3], sizeof v->texts[3], "%s", gnu_get_libc_version());
    if (uname(&kernel) == 0)
        snprintf(v->texts[4], sizeof v->texts[4], "%.63s", kernel.release);
}

zrt_status zrt__preflight_versions(zrt__preflight *p)
{
    static const struct {
        const char *name;
        zrt_preflight_level level; /* of one that differs */
    } kinds[N_VERSIONS] = {{"zerort", ZRT_PREFLIGHT_ERROR},
                           {"MPI", ZRT_PREFLIGHT_ERROR},
                           {"HDF5", ZRT_PREFLIGHT_WARNING},
                           {"glibc", ZRT_PREFLIGHT_WARNING},
                           {"Linux", ZRT_PREFLIGHT_WARNING}};
    versions mine, first;
    zrt__finding finding = {0};
    find_versions(&mine);
    first = mine;
    zrt_status status = zrt__group_broadcast(p->world, &first, sizeof first, 0);
    if (status != ZRT_OK)
        return status;
    zrt__finding_set(&finding, ZRT_PREFLIGHT_OK, "zerort %s, HDF5 %s, glibc %s, Linux %s%s", mine.texts[0],
                     mine.texts[2], mine.texts[3], mine.texts[4], p->placement->size > 1 ? ", the same on all" : "");
    for (int i = N_VERSIONS; i-- > 0;) /* the gravest last */
        if (strcmp(mine.texts[i], first.texts[i]) != 0)
            zrt__finding_set(&finding, kinds[i].level, "%s is %s here and %s on rank 0: install the same on all hosts",
                             kinds[i].name, mine.texts[i], first.texts[i]);
    return zrt__preflight_gather(p, "versions", &finding);
}

/* The least difference of a few looks: what the messages took is in all of them. */
zrt_status zrt__preflight_clocks(zrt__preflight *p)
{
    enum { LOOKS = 7 };
    double best = INFINITY, worst;
    zrt__finding finding = {0};
    for (int i = 0; i < LOOKS; i++) {
        struct timespec t;
        zrt_status status = zrt__group_barrier(p->world);
        if (status != ZRT_OK)
            return status;
        clock_gettime(CLOCK_REALTIME, &t);
        double mine = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec, first = mine;
        status = zrt__group_broadcast(p->world, &first, sizeof first, 0);
        if (status != ZRT_OK)
            return status;
        if (fabs(mine - first) < fabs(best))
            best = mine - first;
    }
    worst = fabs(best);
    zrt_status status = zrt__preflight_max(p, &worst);
    if (status != ZRT_OK)
        return status;
    zrt__finding_set(&finding, ZRT_PREFLIGHT_OK, "within %.3g s of rank 0's", worst);
    if (fabs(best) > 1)
        zrt__finding_set(&finding, ZRT_PREFLIGHT_WARNING,
                         "the clock is %.1f s %s rank 0's: times of logs and files mislead; run chrony or ntpd",
                         fabs(best), best > 0 ? "ahead of" : "behind");
    return zrt__preflight_gather(p, "clocks", &finding);
}
