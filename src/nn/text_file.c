#include "config.h"

#include "nn/text_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

#define MAX_CONFIG_BYTES (16 << 20)

zrt_status zrt__text_file_read(const char *path, char **text_out, size_t *bytes_out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return zrt__fail(errno == ENOENT ? ZRT_ERR_INPUT : ZRT_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat info;
    zrt_status status = ZRT_OK;
    char *text = NULL;
    size_t bytes = 0;
    if (fstat(fileno(file), &info) != 0) {
        status = zrt__fail(ZRT_ERR_IO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode) || info.st_size > MAX_CONFIG_BYTES) {
        status = zrt__fail(ZRT_ERR_INPUT, "%s: not a regular file of at most %d MiB", path, MAX_CONFIG_BYTES >> 20);
    } else {
        text = zrt__malloc((size_t)info.st_size + 1);
        if (text == NULL)
            status = ZRT_ERR_MEMORY;
        else
            bytes = fread(text, 1, (size_t)info.st_size, file);
        if (status == ZRT_OK && ferror(file))
            status = zrt__fail(ZRT_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    }
    fclose(file);
    if (status != ZRT_OK) {
        free(text);
        return status;
    }
    text[bytes] = '\0';
    *text_out = text;
    *bytes_out = bytes;
    return ZRT_OK;
}

static zrt_status write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    bool good = fputs(text, file) >= 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int reason = errno;
    if (fclose(file) != 0 && good) {
        good = false;
        reason = errno;
    }
    return good ? ZRT_OK : zrt__fail(ZRT_ERR_IO, "%s: cannot write: %s", path, strerror(reason));
}

zrt_status zrt__text_file_write(const char *folder, const char *name, const char *text)
{
    char *path = zrt__format("%s/%s", folder, name), *temporary = zrt__format("%s/%s.tmp", folder, name);
    zrt_status status = path == NULL || temporary == NULL ? ZRT_ERR_MEMORY : write_file(temporary, text);
    if (status == ZRT_OK && rename(temporary, path) != 0)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot rename to %s: %s", temporary, path, strerror(errno));
    if (status != ZRT_OK && temporary != NULL)
        unlink(temporary);
    free(path);
    free(temporary);
    return status;
}
