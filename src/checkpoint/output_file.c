#include "config.h"

#include "checkpoint/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

zrt_status zrt__output_write(zrt__output_file *file, const void *data, size_t bytes, uint64_t offset)
{
    const char *next = data;
    while (bytes > 0) {
        ssize_t n = pwrite(file->fd, next, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return zrt__fail(ZRT_ERR_IO, "%s: cannot write: %s", file->temporary, strerror(errno));
        next += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return ZRT_OK;
}

zrt_status zrt__output_open(zrt__output_file *file)
{
    file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot create: %s", file->temporary, strerror(errno));
    file->created = true;
    return ZRT_OK;
}

zrt_status zrt__output_close(zrt__output_file *file)
{
    int fd = file->fd;
    file->fd = -1;
    int failed = fsync(fd) != 0 ? errno : 0;
    if (close(fd) != 0 && failed == 0)
        failed = errno;
    return failed == 0 ? ZRT_OK : zrt__fail(ZRT_ERR_IO, "%s: cannot write: %s", file->temporary, strerror(failed));
}

zrt_status zrt__output_rename(zrt__output_file *file)
{
    if (rename(file->temporary, file->path) != 0)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot rename to %s: %s", file->temporary, file->path, strerror(errno));
    file->renamed = true;
    return ZRT_OK;
}

zrt_status zrt__output_sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return zrt__fail(ZRT_ERR_IO, "%s: %s", folder, strerror(errno));
    int failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    /* Some network file systems refuse to sync a folder. */
    if (failed != 0 && failed != EINVAL && failed != ENOSYS)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot sync: %s", folder, strerror(failed));
    return ZRT_OK;
}
