#include "config.h"

#include "comm/mpi/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/mpi_group.h"

enum { PAGE = 4096 };

/* ---- processes ---- */

static int open_pidfd(int pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    (void)pid;
    return -1;
#endif
}

int zrt__host_dead_rank(const zrt__host *host)
{
    for (int i = 0; i < host->size; i++) {
        if (i == host->rank)
            continue;
        struct pollfd ended = {.fd = host->pidfds[i], .events = POLLIN};
        if (host->pidfds[i] >= 0 ? poll(&ended, 1, 0) == 1 : kill(host->pids[i], 0) != 0 && errno == ESRCH)
            return i;
    }
    return -1;
}

static void host_free(zrt__host *host)
{
    if (host == NULL)
        return;
    for (int i = 0; host->pidfds != NULL && i < host->size; i++)
        if (host->pidfds[i] >= 0)
            close(host->pidfds[i]);
    pthread_rwlock_destroy(&host->lock);
    free(host->segments);
    free(host->pidfds);
    free(host->pids);
    free(host);
}

static zrt__host *host_new(int rank, int size)
{
    zrt__host *host = zrt__calloc(1, sizeof *host);
    if (host == NULL)
        return NULL;
    pthread_rwlock_init(&host->lock, NULL);
    host->rank = rank;
    host->size = size;
    host->crowded = size > (int)sysconf(_SC_NPROCESSORS_ONLN);
    host->pids = zrt__calloc((size_t)size, sizeof *host->pids);
    host->pidfds = zrt__malloc((size_t)size * sizeof *host->pidfds);
    for (int i = 0; host->pidfds != NULL && i < size; i++)
        host->pidfds[i] = -1;
    if (host->pids == NULL || host->pidfds == NULL) {
        host_free(host);
        return NULL;
    }
    return host;
}

static void host_destroy(void *host)
{
    host_free(host);
}

zrt_status zrt__host_of(const zrt__group *group, zrt__host **host_out)
{
    zrt__host *host = zrt__group_attachment(group);
    *host_out = host;
    if (host != NULL)
        return ZRT_OK;
    host = host_new(zrt__group_rank(group), zrt__group_size(group));
    zrt_status status = zrt__group_agree(group, host != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    int pid = (int)getpid();
    if (status == ZRT_OK)
        status = zrt__group_all_gather(group, &pid, host->pids, sizeof pid);
    if (status != ZRT_OK) {
        host_free(host);
        return status;
    }
    for (int i = 0; i < host->size; i++)
        host->pidfds[i] = i != host->rank ? open_pidfd(host->pids[i]) : -1;
    zrt__group_attach(group, host, host_destroy);
    *host_out = host;
    return ZRT_OK;
}

/* ---- memory ---- */

zrt_status zrt__memory_is_there(size_t bytes)
{
    char line[128];
    unsigned long long available = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    bool known = false;
    while (file != NULL && !known && fgets(line, sizeof line, file) != NULL)
        known = sscanf(line, "MemAvailable: %llu kB", &available) == 1;
    if (file != NULL)
        fclose(file);
    if (!known || bytes / 1024 <= available)
        return ZRT_OK;
    return zrt__fail(ZRT_ERR_MEMORY, "%zu MiB asked for, the machine has %llu MiB left", bytes >> 20, available >> 10);
}

static void segment_free(zrt__host *host, zrt__segment *segment)
{
    if (segment == NULL)
        return;
    for (int i = 0; segment->parts != NULL && i < host->size; i++)
        if (segment->parts[i] != NULL)
            munmap(segment->parts[i], segment->bytes);
    free(segment->parts);
    free(segment);
}

/* What a rank tells the others about its part. */
typedef struct offer {
    uint64_t device, inode;
    int32_t fd, pad;
} offer;

static zrt_status make_part(zrt__host *host, zrt__segment *segment, size_t reserved_bytes, offer *offer_out)
{
    struct stat file;
    if (reserved_bytes > SIZE_MAX / (size_t)host->size)
        reserved_bytes = SIZE_MAX / (size_t)host->size;
    ZRT_TRY(zrt__memory_is_there(reserved_bytes * (size_t)host->size));
    int fd = memfd_create("zerort", MFD_CLOEXEC);
    if (fd < 0)
        return zrt__fail(ZRT_ERR_COMM, "memfd_create: %s", strerror(errno));
    offer_out->fd = fd;
    if (ftruncate(fd, (off_t)segment->bytes) != 0 ||
        (reserved_bytes > 0 && fallocate(fd, 0, 0, (off_t)reserved_bytes) != 0) || fstat(fd, &file) != 0)
        return zrt__fail(ZRT_ERR_MEMORY, "%zu bytes of memory shared by the ranks of this host: %s", segment->bytes,
                         strerror(errno));
    offer_out->device = (uint64_t)file.st_dev;
    offer_out->inode = (uint64_t)file.st_ino;
    char *part = mmap(NULL, segment->bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | (reserved_bytes == segment->bytes ? MAP_POPULATE : 0), fd, 0);
    if (part == MAP_FAILED)
        return zrt__fail(ZRT_ERR_MEMORY, "mapping %zu bytes: %s", segment->bytes, strerror(errno));
    segment->parts[host->rank] = part;
    return ZRT_OK;
}

/* The file behind a peer's descriptor is compared with what it told: another name space of processes gives the same number to a stranger. */
static zrt_status map_part(zrt__host *host, zrt__segment *segment, int rank, const offer *from, bool writable)
{
    char path[64];
    struct stat file;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", host->pids[rank], from->fd);
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return zrt__fail(ZRT_ERR_COMM, "the memory of rank %d, %s: %s", rank, path, strerror(errno));
    bool same = fstat(fd, &file) == 0 && (uint64_t)file.st_dev == from->device && (uint64_t)file.st_ino == from->inode;
    char *part =
        same ? mmap(NULL, segment->bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0) : MAP_FAILED;
    int error = errno;
    close(fd);
    if (!same)
        return zrt__fail(ZRT_ERR_COMM, "%s is not the memory of rank %d", path, rank);
    if (part == MAP_FAILED)
        return zrt__fail(ZRT_ERR_MEMORY, "mapping %zu bytes of rank %d: %s", segment->bytes, rank, strerror(error));
    segment->parts[rank] = part;
    return ZRT_OK;
}

static zrt_status list_segment(zrt__host *host, zrt__segment *segment)
{
    pthread_rwlock_wrlock(&host->lock);
    zrt_status status = zrt__grow(&host->segments, &host->capacity, host->n_segments, sizeof(zrt__segment *));
    if (status == ZRT_OK)
        host->segments[host->n_segments++] = segment;
    pthread_rwlock_unlock(&host->lock);
    return status;
}

static void unlist_segment(zrt__host *host, const zrt__segment *segment)
{
    pthread_rwlock_wrlock(&host->lock);
    for (size_t i = 0; i < host->n_segments; i++)
        if (host->segments[i] == segment)
            host->segments[i--] = host->segments[--host->n_segments];
    pthread_rwlock_unlock(&host->lock);
}

zrt_status zrt__segment_create(const zrt__group *group, zrt__host *host, size_t bytes, size_t reserved_bytes,
                               bool writable, bool listed, zrt__segment **segment_out)
{
    uint32_t id = host->next_id++;
    offer mine = {.fd = -1};
    offer *offers = zrt__calloc((size_t)host->size, sizeof *offers);
    zrt__segment *segment = zrt__calloc(1, sizeof *segment);
    char **parts = zrt__calloc((size_t)host->size, sizeof *parts);
    zrt_status status = offers != NULL && segment != NULL && parts != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (segment != NULL)
        segment->parts = parts;
    else
        free(parts);
    if (status == ZRT_OK && bytes > SIZE_MAX / 2)
        status = zrt__fail(ZRT_ERR_MEMORY, "%zu bytes of shared memory", bytes);
    if (status == ZRT_OK) {
        segment->id = id;
        segment->bytes = bytes == 0 ? PAGE : (bytes + PAGE - 1) / PAGE * PAGE;
        if (reserved_bytes >= bytes)
            reserved_bytes = segment->bytes;
        status = make_part(host, segment, reserved_bytes, &mine);
    }
    status = zrt__group_agree(group, status);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(group, &mine, offers, sizeof mine);
    for (int i = 0; status == ZRT_OK && i < host->size; i++)
        if (i != host->rank)
            status = map_part(host, segment, i, &offers[i], writable);
    if (status == ZRT_OK && listed)
        status = list_segment(host, segment);
    status = zrt__group_agree(group, status); /* and from here on no rank opens a descriptor of another */
    if (mine.fd >= 0)
        close(mine.fd);
    free(offers);
    if (status != ZRT_OK) {
        if (segment != NULL)
            unlist_segment(host, segment);
        segment_free(host, segment);
        return status;
    }
    *segment_out = segment;
    return ZRT_OK;
}

void zrt__segment_destroy(zrt__host *host, zrt__segment **segment)
{
    if (segment == NULL || *segment == NULL)
        return;
    unlist_segment(host, *segment);
    segment_free(host, *segment);
    *segment = NULL;
}

bool zrt__host_find(zrt__host *host, const void *data, size_t bytes, uint32_t *id_out, uint64_t *offset_out)
{
    uintptr_t address = (uintptr_t)data;
    bool found = false;
    pthread_rwlock_rdlock(&host->lock);
    for (size_t i = 0; i < host->n_segments && !found; i++) {
        uintptr_t start = (uintptr_t)host->segments[i]->parts[host->rank];
        size_t size = host->segments[i]->bytes;
        if (address >= start && address - start <= size && bytes <= size - (address - start)) {
            *id_out = host->segments[i]->id;
            *offset_out = address - start;
            found = true;
        }
    }
    pthread_rwlock_unlock(&host->lock);
    return found;
}

char *zrt__host_at(zrt__host *host, int rank, uint32_t id, uint64_t offset)
{
    char *at = NULL;
    pthread_rwlock_rdlock(&host->lock);
    for (size_t i = 0; i < host->n_segments && at == NULL; i++)
        if (host->segments[i]->id == id && offset <= host->segments[i]->bytes)
            at = host->segments[i]->parts[rank] + offset;
    pthread_rwlock_unlock(&host->lock);
    return at;
}
