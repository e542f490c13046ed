#include "config.h"

#include "checkpoint/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

enum { DIRECT_ALIGNMENT = 4096 };

static zrt_status fail(const char *path, const char *what, int error)
{
    return zrt__fail(ZRT_ERR_IO, "%s: cannot %s: %s", path, what, strerror(error));
}

/* ---- writing ---- */

static int reserve(int fd, int64_t bytes)
{
    int error;
    do
        error = posix_fallocate(fd, 0, bytes);
    while (error == EINTR);
    return error == EOPNOTSUPP || error == EINVAL ? 0 : error;
}

zrt_status zrt__disk_create(const char *path, int64_t bytes, zrt__disk_file *file_out)
{
    zrt__disk_file file = {.path = zrt__strdup(path), .fd = -1, .direct = -1};
    *file_out = (zrt__disk_file){.fd = -1, .direct = -1};
    if (file.path == NULL)
        return ZRT_ERR_MEMORY;
    file.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file.fd < 0) {
        zrt_status status = fail(path, "create", errno);
        zrt__disk_close(&file);
        return status;
    }
    int error = bytes > 0 ? reserve(file.fd, bytes) : 0;
    if (error != 0) {
        zrt_status status = fail(path, "reserve its size", error);
        zrt__disk_close(&file);
        return status;
    }
    /* What the page cache saves is not worth its price here; file systems without it are written through the cache. */
    if (bytes >= DIRECT_ALIGNMENT)
        file.direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    *file_out = file;
    return ZRT_OK;
}

static bool is_aligned(const void *data, size_t bytes, int64_t offset)
{
    return ((uintptr_t)data | bytes | (uint64_t)offset) % DIRECT_ALIGNMENT == 0;
}

zrt_status zrt__disk_write(zrt__disk_file *file, const void *data, size_t bytes, int64_t offset)
{
    const char *next = data;
    bool direct = file->direct >= 0;
    while (bytes > 0) {
        bool past_cache = direct && is_aligned(next, bytes, offset);
        ssize_t n = pwrite(past_cache ? file->direct : file->fd, next, bytes, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && past_cache && errno == EINVAL) {
            direct = false;
            continue;
        }
        if (n <= 0)
            return fail(file->path, "write", n < 0 ? errno : ENOSPC);
        next += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return ZRT_OK;
}

void zrt__disk_close(zrt__disk_file *file)
{
    if (file->path == NULL)
        return;
    if (file->direct >= 0)
        close(file->direct);
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    *file = (zrt__disk_file){.fd = -1, .direct = -1};
}

zrt_status zrt__disk_finish(zrt__disk_file *file)
{
    int error = fsync(file->fd) != 0 ? errno : 0, fd = file->fd;
    file->fd = -1;
    /* Some network file systems say only now that a write failed. */
    if (close(fd) != 0 && error == 0)
        error = errno;
    zrt_status status = error == 0 ? ZRT_OK : fail(file->path, "write to the disk", error);
    zrt__disk_close(file);
    return status;
}

zrt_status zrt__disk_write_whole(const char *path, const void *data, size_t bytes)
{
    zrt__disk_file file;
    ZRT_TRY(zrt__disk_create(path, 0, &file));
    zrt_status status = zrt__disk_write(&file, data, bytes, 0);
    if (status == ZRT_OK)
        return zrt__disk_finish(&file);
    zrt__disk_close(&file);
    return status;
}

zrt_status zrt__disk_replace(const char *folder, const char *name, const void *data, size_t bytes)
{
    char *from = zrt__format("%s/.%s.tmp", folder, name), *to = zrt__format("%s/%s", folder, name);
    zrt_status status = from != NULL && to != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (status == ZRT_OK) {
        unlink(from);
        status = zrt__disk_write_whole(from, data, bytes);
        if (status == ZRT_OK)
            status = zrt__disk_rename(from, to);
        if (status != ZRT_OK)
            unlink(from);
    }
    if (status == ZRT_OK)
        status = zrt__disk_sync_folder(folder);
    free(from);
    free(to);
    return status;
}

/* ---- folders ---- */

zrt_status zrt__disk_make_folder(const char *path)
{
    return mkdir(path, 0777) == 0 ? ZRT_OK : fail(path, "make the folder", errno);
}

zrt_status zrt__disk_sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(path, "open the folder", errno);
    int error = fsync(fd) != 0 ? errno : 0;
    close(fd);
    /* Some network file systems refuse to sync a folder. */
    return error == 0 || error == EINVAL || error == ENOSYS ? ZRT_OK
                                                            : fail(path, "write the folder to the disk", error);
}

zrt_status zrt__disk_rename(const char *from, const char *to)
{
    return rename(from, to) == 0 ? ZRT_OK
                                 : zrt__fail(ZRT_ERR_IO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
}

void zrt__disk_remove_folder(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (folder < 0)
        return;
    DIR *listing = fdopendir(folder);
    if (listing == NULL) {
        close(folder);
        return;
    }
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(folder, entry->d_name, 0);
    closedir(listing);
    rmdir(path);
}

/* ---- reading ---- */

zrt_status zrt__disk_open_read(const char *path, int *fd_out, int64_t *bytes_out)
{
    struct stat info;
    /* Not waiting for a writer where somebody put a pipe. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    *fd_out = -1;
    if (fd < 0)
        return zrt__fail(errno == ENOENT || errno == ELOOP || errno == ENOTDIR ? ZRT_ERR_INPUT : ZRT_ERR_IO, "%s: %s",
                         path, errno == ELOOP ? "is a link, which a checkpoint has none of" : strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return zrt__fail(ZRT_ERR_INPUT, "%s: is no regular file", path);
    }
    *fd_out = fd;
    *bytes_out = info.st_size;
    return ZRT_OK;
}

zrt_status zrt__disk_read(int fd, const char *path, void *data, size_t bytes, int64_t offset)
{
    char *next = data;
    while (bytes > 0) {
        ssize_t n = pread(fd, next, bytes, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(path, "read", errno);
        if (n == 0)
            return zrt__fail(ZRT_ERR_INPUT, "%s: ends at byte %" PRId64, path, offset);
        next += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return ZRT_OK;
}

zrt_status zrt__disk_read_whole(const char *path, size_t most, char **data_out, size_t *bytes_out)
{
    int fd;
    int64_t bytes;
    *data_out = NULL;
    ZRT_TRY(zrt__disk_open_read(path, &fd, &bytes));
    char *data = NULL;
    zrt_status status = ZRT_OK;
    if ((uint64_t)bytes > most)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: %" PRId64 " bytes are more than such a file has", path, bytes);
    else if ((data = zrt__malloc((size_t)bytes + 1)) == NULL)
        status = ZRT_ERR_MEMORY;
    else
        status = zrt__disk_read(fd, path, data, (size_t)bytes, 0);
    close(fd);
    if (status != ZRT_OK) {
        free(data);
        return status;
    }
    data[bytes] = '\0';
    *data_out = data;
    *bytes_out = (size_t)bytes;
    return ZRT_OK;
}
