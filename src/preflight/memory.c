/* Memory of the hosts, and what may be locked and shared of it. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "preflight/preflight.h"

#define GIB (double)(1 << 30)

static void free_memory(const zrt__preflight *p, zrt__device *cpu, zrt__finding *finding)
{
    size_t available = 0, total = 0;
    if (cpu->ops->memory_info(cpu, &available, &total) != ZRT_OK)
        zrt__finding_set(finding, ZRT_PREFLIGHT_WARNING, "%.*s", ZRT__PREFLIGHT_TEXT - 1, zrt_error_message());
    else if (available * 2 < total)
        zrt__finding_set(finding, ZRT_PREFLIGHT_WARNING,
                         "only %.1f of %.1f GiB are free for its %d ranks: other processes hold the rest",
                         (double)available / GIB, (double)total / GIB, p->placement->local_size);
    else
        zrt__finding_set(finding, ZRT_PREFLIGHT_OK, "%.1f of %.1f GiB free for the %d ranks of a host",
                         (double)available / GIB, (double)total / GIB, p->placement->local_size);
}

/* Pinned memory of GPUs and of networks that read memory themselves. */
static void locked_memory(const zrt__preflight *p, zrt__finding *finding)
{
    struct rlimit limit = {0};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        zrt__finding_set(finding, ZRT_PREFLIGHT_OK, "unlimited");
    else if (p->n_hosts > 1)
        zrt__finding_set(
            finding, ZRT_PREFLIGHT_WARNING,
            "at most %.1f MiB may be locked, which InfiniBand and the like need more of: ulimit -l unlimited "
            "(memlock in limits.conf, LimitMEMLOCK=infinity for slurmd)",
            (double)limit.rlim_cur / (1 << 20));
    else
        zrt__finding_set(finding, ZRT_PREFLIGHT_OK, "%.1f MiB (enough on one host)",
                         (double)limit.rlim_cur / (1 << 20));
}

/* Ranks of one host meet there. */
static void shared_memory(const zrt__preflight *p, zrt__finding *finding)
{
    enum { LEAST = 64 << 20 };
    struct statvfs info;
    double bytes;
    if (p->placement->local_size == 1)
        return;
    if (statvfs("/dev/shm", &info) != 0) {
        zrt__finding_set(
            finding, ZRT_PREFLIGHT_ERROR,
            "there is no /dev/shm, in which the ranks of a host exchange what they compute: mount a tmpfs");
        return;
    }
    bytes = (double)info.f_bavail * (double)info.f_frsize;
    if (bytes < (double)LEAST * p->placement->local_size)
        zrt__finding_set(finding, ZRT_PREFLIGHT_WARNING,
                         "/dev/shm has %.0f MiB free for %d ranks: parameters are gathered there; mount it larger "
                         "(docker run --shm-size)",
                         bytes / (1 << 20), p->placement->local_size);
    else
        zrt__finding_set(finding, ZRT_PREFLIGHT_OK, "%.1f GiB free in /dev/shm", bytes / GIB);
}

zrt_status zrt__preflight_memory(zrt__preflight *p, zrt__device *cpu)
{
    zrt__finding memory = {0}, locked = {0}, shared = {0};
    free_memory(p, cpu, &memory);
    locked_memory(p, &locked);
    shared_memory(p, &shared);
    zrt_status status = zrt__preflight_gather(p, "host memory", &memory);
    if (status == ZRT_OK)
        status = zrt__preflight_gather(p, "locked memory", &locked);
    if (status == ZRT_OK)
        status = zrt__preflight_gather(p, "shared memory", &shared);
    return status;
}
