#include "config.h"

#include "offload/tier.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "offload/channel.h"

/* Where what is not aligned passes through. */
enum { BOUNCE_BYTES = 1 << 20 };

struct zrt__tier {
    zrt__tier_options options;
    char *folder;
    int fd;
    bool direct;
    const char *no_uring;
    zrt__channel *channels; /* n_channels, and one for what is at once */
    int n_channels;
    pthread_mutex_t lock; /* of the last channel, the bounce buffer and the failure */
    bool has_lock;
    char *bounce_base, *bounce;
    zrt_status status;
    char message[1024];
    atomic_llong n_requests;
};

static int64_t align_up(int64_t n)
{
    return (n + ZRT__TIER_ALIGNMENT - 1) / ZRT__TIER_ALIGNMENT * ZRT__TIER_ALIGNMENT;
}

size_t zrt__tier_host_bytes(const zrt__aio_options *aio, int n_channels)
{
    enum { RING_ENTRY = 256 }; /* its two queues and the request */
    return BOUNCE_BYTES + ZRT__TIER_ALIGNMENT +
           (size_t)(n_channels + 1) * (size_t)aio->n_threads * (size_t)aio->queue_depth * RING_ENTRY;
}

/* ---- the file ---- */

static zrt_status refuse(const zrt__tier *tier, int error)
{
    const char *what = error == ENOENT    ? "there is no such folder: make it, or name one on a local disk"
                       : error == ENOTDIR ? "is not a folder"
                       : error == EACCES || error == EPERM || error == EROFS
                           ? "files cannot be made there; give this user the right to write"
                           : "no file can be made there";
    return zrt__fail(ZRT_ERR_IO, "%s %s: %s (%s)", tier->options.key, tier->folder, what, strerror(error));
}

/* A file without a name. */
static zrt_status make_file(zrt__tier *tier)
{
    struct stat info;
    if (stat(tier->folder, &info) != 0)
        return refuse(tier, errno);
    if (!S_ISDIR(info.st_mode))
        return refuse(tier, ENOTDIR);
    tier->fd = open(tier->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (tier->fd >= 0)
        return ZRT_OK;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
        return refuse(tier, errno);
    /* The file system has none; it has one with a name for a moment. */
    char *path = zrt__format("%s/zerort-XXXXXX", tier->folder);
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    tier->fd = mkostemp(path, O_CLOEXEC);
    int error = tier->fd < 0 ? errno : unlink(path) != 0 ? errno : 0;
    free(path);
    return error == 0 ? ZRT_OK : refuse(tier, error);
}

static zrt_status reserve(const zrt__tier *tier)
{
    int64_t bytes = tier->options.bytes;
    struct statvfs info;
    uint64_t room = fstatvfs(tier->fd, &info) == 0 ? (uint64_t)info.f_bavail * info.f_frsize : UINT64_MAX;
    int error = room < (uint64_t)bytes ? ENOSPC : EINTR; /* others need the disk: it is not filled to find out */
    while (error == EINTR)
        error = posix_fallocate(tier->fd, 0, bytes);
    if (error == 0)
        return ZRT_OK;
    if (error != ENOSPC && error != EDQUOT && error != EFBIG)
        return refuse(tier, error);
    return zrt__fail(ZRT_ERR_IO,
                     "%s %s: the %" PRId64 " bytes of this rank's %s have no room there (%s; %" PRIu64
                     " bytes are free for all ranks of the host): name a larger disk, or use more hosts",
                     tier->options.key, tier->folder, bytes, tier->options.what, strerror(error), room);
}

/* Past the page cache, where one block can be written and read that way. */
static bool make_direct(const zrt__tier *tier)
{
    int flags = fcntl(tier->fd, F_GETFL);
    if (flags < 0 || fcntl(tier->fd, F_SETFL, flags | O_DIRECT) != 0)
        return false;
    memset(tier->bounce, 0, ZRT__TIER_ALIGNMENT);
    if (pwrite(tier->fd, tier->bounce, ZRT__TIER_ALIGNMENT, 0) == ZRT__TIER_ALIGNMENT &&
        pread(tier->fd, tier->bounce, ZRT__TIER_ALIGNMENT, 0) == ZRT__TIER_ALIGNMENT)
        return true;
    fcntl(tier->fd, F_SETFL, flags);
    return false;
}

/* ---- opening and closing ---- */

static zrt_status open_channels(zrt__tier *tier)
{
    const char *text = getenv("ZERORT_FAIL_TRANSFER");
    int64_t fail_at = text != NULL ? strtoll(text, NULL, 10) : 0;
    int n = tier->options.n_channels + 1;
    tier->channels = zrt__calloc((size_t)n, sizeof *tier->channels);
    if (tier->channels == NULL)
        return ZRT_ERR_MEMORY;
    for (; tier->n_channels < n; tier->n_channels++) {
        zrt__channel *channel = &tier->channels[tier->n_channels];
        ZRT_TRY(zrt__channel_open(channel, &tier->options.aio, tier->options.no_uring || tier->no_uring != NULL,
                                  &tier->no_uring));
        zrt__channel_fail(channel, fail_at, &tier->n_requests);
    }
    return ZRT_OK;
}

static zrt_status write_zeros(zrt__tier *tier)
{
    memset(tier->bounce, 0, BOUNCE_BYTES);
    for (int64_t at = 0; at < tier->options.bytes; at += BOUNCE_BYTES) {
        int64_t left = tier->options.bytes - at;
        zrt__transfer transfer = {tier, 0, true, at, left < BOUNCE_BYTES ? left : BOUNCE_BYTES, tier->bounce};
        ZRT_TRY(zrt__transfer_run(NULL, &transfer));
    }
    return ZRT_OK;
}

static zrt_status open_tier(zrt__tier *tier)
{
    tier->folder = zrt__strdup(tier->options.folder);
    tier->bounce_base = zrt__malloc(BOUNCE_BYTES + ZRT__TIER_ALIGNMENT);
    if (tier->folder == NULL || tier->bounce_base == NULL)
        return ZRT_ERR_MEMORY;
    tier->bounce = (char *)(uintptr_t)align_up((int64_t)(uintptr_t)tier->bounce_base);
    if (pthread_mutex_init(&tier->lock, NULL) != 0)
        return zrt__fail(ZRT_ERR_INTERNAL, "no mutex for a file of %s", tier->options.what);
    tier->has_lock = true;
    ZRT_TRY(make_file(tier));
    ZRT_TRY(reserve(tier));
    tier->direct = make_direct(tier);
    ZRT_TRY(open_channels(tier));
    return tier->options.write_zeros ? write_zeros(tier) : ZRT_OK;
}

zrt_status zrt__tier_open(const zrt__tier_options *options, zrt__tier **tier_out)
{
    zrt__tier *tier = zrt__calloc(1, sizeof *tier);
    if (tier == NULL)
        return ZRT_ERR_MEMORY;
    tier->fd = -1;
    tier->options = *options;
    tier->options.bytes = align_up(options->bytes > 0 ? options->bytes : 1);
    tier->options.aio.block_bytes = align_up(options->aio.block_bytes);
    zrt_status status = open_tier(tier);
    if (status != ZRT_OK) {
        zrt__tier_close(&tier);
        return status;
    }
    *tier_out = tier;
    return ZRT_OK;
}

void zrt__tier_close(zrt__tier **tier)
{
    if (tier == NULL || *tier == NULL)
        return;
    zrt__tier *t = *tier;
    for (int i = 0; i < t->n_channels; i++)
        zrt__channel_close(&t->channels[i]);
    free(t->channels);
    if (t->fd >= 0)
        close(t->fd);
    if (t->has_lock)
        pthread_mutex_destroy(&t->lock);
    free(t->bounce_base);
    free(t->folder);
    free(t);
    *tier = NULL;
}

bool zrt__tier_is_direct(const zrt__tier *tier)
{
    return tier->direct;
}

const char *zrt__tier_no_uring(const zrt__tier *tier)
{
    return tier->no_uring;
}

/* ---- transfers ---- */

zrt_status zrt__tier_status(zrt__tier *tier)
{
    pthread_mutex_lock(&tier->lock);
    zrt_status status = tier->status == ZRT_OK ? ZRT_OK : zrt__fail_with(tier->status, tier->message);
    pthread_mutex_unlock(&tier->lock);
    return status;
}

static zrt_status fail(zrt__tier *tier, const char *verb, int64_t bytes, int64_t offset, int error)
{
    zrt_status status =
        zrt__fail(ZRT_ERR_IO,
                  "%s %s: cannot %s %" PRId64 " bytes at %" PRId64
                  " of this rank's %s: %s; look at the disk, and resume from the last checkpoint",
                  tier->options.key, tier->folder, verb, bytes, offset, tier->options.what, strerror(error));
    if (tier->status == ZRT_OK) {
        tier->status = status;
        snprintf(tier->message, sizeof tier->message, "%s", zrt_error_message());
    }
    return status;
}

zrt_status zrt__transfer_run(zrt__stream *stream, const void *arg)
{
    const zrt__transfer *transfer = arg;
    zrt__tier *tier = transfer->tier;
    (void)stream;
    /* What is read after a failure would be taken for states. */
    ZRT_TRY(zrt__tier_status(tier));
    int error = zrt__channel_run(&tier->channels[transfer->channel], tier->fd, transfer->write, transfer->offset,
                                 transfer->data, transfer->bytes);
    if (error == 0)
        return ZRT_OK;
    pthread_mutex_lock(&tier->lock);
    zrt_status status = fail(tier, transfer->write ? "write" : "read", transfer->bytes, transfer->offset, error);
    pthread_mutex_unlock(&tier->lock);
    return status;
}

/* By the last channel; the lock is held. */
static zrt_status run_at_once(zrt__tier *tier, bool write, int64_t offset, char *data, int64_t bytes)
{
    int error = zrt__channel_run(&tier->channels[tier->n_channels - 1], tier->fd, write, offset, data, bytes);
    return error == 0 ? ZRT_OK : fail(tier, write ? "write" : "read", bytes, offset, error);
}

/* Blocks around [offset, offset + bytes), which fit in the bounce buffer. */
static zrt_status bounce(zrt__tier *tier, bool write, int64_t offset, char *data, int64_t bytes)
{
    int64_t first = offset / ZRT__TIER_ALIGNMENT * ZRT__TIER_ALIGNMENT, length = align_up(offset + bytes - first);
    bool whole = first == offset && length == bytes;
    if (!write || !whole)
        ZRT_TRY(run_at_once(tier, false, first, tier->bounce, length));
    if (!write) {
        memcpy(data, tier->bounce + (offset - first), (size_t)bytes);
        return ZRT_OK;
    }
    memcpy(tier->bounce + (offset - first), data, (size_t)bytes);
    return run_at_once(tier, true, first, tier->bounce, length);
}

static zrt_status run_any(zrt__tier *tier, bool write, int64_t offset, char *data, int64_t bytes)
{
    zrt_status status = ZRT_OK;
    pthread_mutex_lock(&tier->lock);
    if (tier->status != ZRT_OK)
        status = zrt__fail_with(tier->status, tier->message);
    while (bytes > 0 && status == ZRT_OK) {
        bool aligned = ((uint64_t)offset | (uintptr_t)data) % ZRT__TIER_ALIGNMENT == 0 && bytes >= ZRT__TIER_ALIGNMENT;
        int64_t n = bytes;
        if (aligned) {
            n = bytes / ZRT__TIER_ALIGNMENT * ZRT__TIER_ALIGNMENT;
            status = run_at_once(tier, write, offset, data, n);
        } else {
            int64_t room = BOUNCE_BYTES - offset % ZRT__TIER_ALIGNMENT;
            n = bytes < room ? bytes : room;
            status = bounce(tier, write, offset, data, n);
        }
        offset += n;
        data += n;
        bytes -= n;
    }
    pthread_mutex_unlock(&tier->lock);
    return status;
}

zrt_status zrt__tier_read(zrt__tier *tier, int64_t offset, void *data, int64_t bytes)
{
    return run_any(tier, false, offset, data, bytes);
}

zrt_status zrt__tier_write(zrt__tier *tier, int64_t offset, const void *data, int64_t bytes)
{
    return run_any(tier, true, offset, (char *)(uintptr_t)data, bytes);
}
