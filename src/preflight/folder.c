/* The folder that checkpoints would go to. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "checkpoint/disk.h"
#include "preflight/preflight.h"

enum { FILE_BYTES = 64 << 20, WRITE_BYTES = 8 << 20, ALIGNMENT = 4096 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A file as a rank saves its shard, on the disk at the end; removed again. */
static zrt_status write_file(const char *path, double *seconds_out)
{
    zrt__disk_file file;
    void *data = NULL;
    if (posix_memalign(&data, ALIGNMENT, WRITE_BYTES) != 0)
        return ZRT_ERR_MEMORY;
    memset(data, 1, WRITE_BYTES);
    double begin = now();
    zrt_status status = zrt__disk_create(path, FILE_BYTES, &file);
    for (int64_t at = 0; at < FILE_BYTES && status == ZRT_OK; at += WRITE_BYTES)
        status = zrt__disk_write(&file, data, WRITE_BYTES, at);
    if (status == ZRT_OK)
        status = zrt__disk_finish(&file);
    else
        zrt__disk_close(&file);
    *seconds_out = now() - begin;
    unlink(path);
    free(data);
    return status;
}

static void write_here(const zrt__preflight *p, const char *name, zrt__finding *finding)
{
    char path[4096];
    double seconds = 0;
    struct statvfs info;
    snprintf(path, sizeof path, "%s/%s-%d", p->output_dir, name, p->placement->rank);
    if (write_file(path, &seconds) != ZRT_OK)
        zrt__finding_set(finding, ZRT_PREFLIGHT_ERROR, "%.300s: no checkpoint can be saved there", zrt_error_message());
    else if (statvfs(p->output_dir, &info) == 0)
        zrt__finding_set(finding, ZRT_PREFLIGHT_OK, "%.200s: %.0f MB/s from a rank while all hosts write, %.1f GB free",
                         p->output_dir, FILE_BYTES / seconds * 1e-6,
                         (double)info.f_bavail * (double)info.f_frsize * 1e-9);
}

/* What rank 0 has put there is there for all. */
static zrt_status check_shared(zrt__preflight *p, const char *name, zrt__finding *finding)
{
    char path[4096];
    struct stat info;
    int32_t made = 0;
    snprintf(path, sizeof path, "%s/%s", p->output_dir, name);
    if (p->placement->rank == 0)
        made = zrt__disk_write_whole(path, name, strlen(name)) == ZRT_OK;
    zrt_status status = zrt__group_broadcast(p->world, &made, sizeof made, 0);
    if (status == ZRT_OK && made && stat(path, &info) != 0)
        zrt__finding_set(finding, ZRT_PREFLIGHT_ERROR,
                         "%.200s is not the folder that rank 0 sees: checkpoints need a file system of all hosts",
                         p->output_dir);
    if (status == ZRT_OK)
        status = zrt__group_barrier(p->world);
    if (made && p->placement->rank == 0)
        unlink(path);
    return status;
}

zrt_status zrt__preflight_folder(zrt__preflight *p)
{
    char name[64];
    zrt__finding finding = {0};
    struct stat info;
    int64_t seed = (int64_t)getpid() ^ (int64_t)(now() * 1e6);
    zrt_status status = zrt__group_broadcast(p->world, &seed, sizeof seed, 0);
    if (status != ZRT_OK)
        return status;
    snprintf(name, sizeof name, ".zerort-check-%" PRIx64, (uint64_t)seed);
    if (stat(p->output_dir, &info) != 0)
        zrt__finding_set(&finding, ZRT_PREFLIGHT_ERROR, "%.200s: %s", p->output_dir, strerror(errno));
    else if (!S_ISDIR(info.st_mode))
        zrt__finding_set(&finding, ZRT_PREFLIGHT_ERROR, "%.200s is no folder", p->output_dir);
    else if (p->first_of_host)
        write_here(p, name, &finding);
    status = zrt__preflight_gather(p, "output folder", &finding);
    zrt__finding shared = {0};
    if (status == ZRT_OK && p->placement->size > 1)
        status = check_shared(p, name, &shared);
    return status == ZRT_OK ? zrt__preflight_gather(p, "output folder", &shared) : status;
}
