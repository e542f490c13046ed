#include "config.h"

#include "monitor/append_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"

static zrt_status fail_write(const zrt__append_file *file)
{
    return zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s", file->path, strerror(errno));
}

/* Cuts off what follows the last newline. */
static zrt_status cut_unfinished_line(zrt__append_file *file)
{
    char block[4096];
    off_t size = zrt__append_file_size(file), end = size;

    while (end > 0) {
        size_t n = end < (off_t)sizeof block ? (size_t)end : sizeof block;
        ssize_t got = pread(file->fd, block, n, end - (off_t)n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)n)
            return zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", file->path,
                             got < 0 ? strerror(errno) : "it became shorter");
        for (; n > 0; n--, end--) {
            if (block[n - 1] == '\n')
                goto found;
        }
    }
found:
    if (end == size)
        return ZRT_OK;
    zrt__log(ZRT_LOG_WARNING, "%s: its last line was unfinished and is cut off", file->path);
    return ftruncate(file->fd, end) == 0 ? ZRT_OK : fail_write(file);
}

zrt_status zrt__append_file_open(const char *path, bool is_lines, zrt__append_file *file_out)
{
    zrt__append_file file = {.fd = -1};
    struct stat info;
    zrt_status status = ZRT_OK;

    file_out->fd = -1;
    file_out->path = NULL;
    file.path = zrt__strdup(path);
    if (file.path == NULL)
        return ZRT_ERR_MEMORY;
    file.fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file.fd < 0)
        status = fail_write(&file);
    else if (is_lines && fstat(file.fd, &info) == 0 && S_ISREG(info.st_mode))
        status = cut_unfinished_line(&file);
    if (status != ZRT_OK) {
        zrt__append_file_close(&file);
        return status;
    }
    *file_out = file;
    return ZRT_OK;
}

off_t zrt__append_file_size(const zrt__append_file *file)
{
    struct stat info;

    return fstat(file->fd, &info) == 0 && S_ISREG(info.st_mode) ? info.st_size : 0;
}

zrt_status zrt__append_file_write(zrt__append_file *file, const void *data, size_t n)
{
    off_t before = zrt__append_file_size(file);
    ssize_t written;

    do
        written = write(file->fd, data, n);
    while (written < 0 && errno == EINTR);
    if (written == (ssize_t)n)
        return ZRT_OK;
    if (written >= 0) {
        errno = ENOSPC; /* only a full disk or a quota ends a write to a file early */
        if (ftruncate(file->fd, before) != 0)
            return zrt__fail(ZRT_ERR_IO, "%s: its last record is unfinished: %s", file->path, strerror(errno));
    }
    return fail_write(file);
}

void zrt__append_file_close(zrt__append_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    file->fd = -1;
    file->path = NULL;
}

zrt_status zrt__make_folders(const char *path)
{
    char *part = zrt__strdup(path);
    zrt_status status = ZRT_OK;

    if (part == NULL)
        return ZRT_ERR_MEMORY;
    for (char *at = part + 1; status == ZRT_OK && part[0] != '\0'; at++) {
        char here = *at;

        if (here != '/' && here != '\0')
            continue;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            status = zrt__fail(ZRT_ERR_IO, "%s: the folder cannot be made: %s", part, strerror(errno));
        if (here == '\0')
            break;
        *at = here;
    }
    free(part);
    return status;
}
