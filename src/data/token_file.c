#include "config.h"

#include "data/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/token_format.h"

/* A run over thousands of shards must not meet the limit of open files (often 1024). */
enum { MAX_OPEN = 64, CHUNK_BYTES = 32768 };

struct zrt__descriptors {
    pthread_mutex_t lock;
    int n_open;
    uint64_t clock;
    struct {
        const zrt__token_file *file;
        int fd;
        uint64_t last_use;
    } open[MAX_OPEN];
};

bool zrt__read_exactly(int fd, void *data, size_t n, int64_t offset, bool *io_error)
{
    unsigned char *bytes = data;

    *io_error = false;
    while (n > 0) {
        ssize_t got = pread(fd, bytes, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            *io_error = got < 0;
            return false;
        }
        bytes += got;
        offset += got;
        n -= (size_t)got;
    }
    return true;
}

static bool ends_with(const char *text, size_t length, const char *ending)
{
    size_t n = strlen(ending);

    return length > n && strncasecmp(text + length - n, ending, n) == 0;
}

bool zrt__token_file_is_hdf5(const char *path, size_t length)
{
    return ends_with(path, length, ".h5") || ends_with(path, length, ".hdf5");
}

bool zrt__token_file_is_empty_text(const char *path)
{
    size_t length = strlen(path);
    struct stat info;

    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0 &&
           !zrt__token_file_is_hdf5(path, length) && !ends_with(path, length, ".npy") &&
           !ends_with(path, length, ".bin");
}

/* The status of a file that could not be opened: a name that is not there is a mistake in the input. */
static zrt_status fail_open(const char *path, int error)
{
    if (error == ENOENT || error == ENOTDIR)
        return zrt__fail(ZRT_ERR_INPUT, "%s: no such file; check the path", path);
    return zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", path, strerror(error));
}

static zrt_status open_regular(const char *path, int *fd_out, struct stat *stat_out)
{
    /* Not to hang on a pipe that nobody writes to. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    zrt_status status = ZRT_OK;

    if (fd < 0)
        return fail_open(path, errno);
    if (fstat(fd, stat_out) != 0)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    else if (S_ISDIR(stat_out->st_mode))
        status = zrt__fail(ZRT_ERR_INPUT, "%s: is a directory; name the files in it, for example '%s%s*.txt'", path,
                           path, path[strlen(path) - 1] == '/' ? "" : "/");
    else if (!S_ISREG(stat_out->st_mode))
        status = zrt__fail(ZRT_ERR_INPUT, "%s: is not a regular file; write its content to a file first", path);
    if (status != ZRT_OK) {
        close(fd);
        return status;
    }
    *fd_out = fd;
    return ZRT_OK;
}

static zrt_status format_text(zrt__token_file *file)
{
    file->is_text = true;
    file->n_dims = 1;
    file->n_tokens = file->file_bytes;
    file->data_offset = 0;
    file->element_bytes = 1;
    file->is_signed = false;
    return ZRT_OK;
}

zrt_status zrt__token_file_open(const char *path, const char *object, zrt__token_file *file_out)
{
    zrt__token_file file = {0};
    size_t length = strlen(path);
    struct stat info;
    int fd = -1;
    zrt_status status;

    if (length == 0)
        return zrt__fail(ZRT_ERR_INPUT, "the name of a data file is empty; give a path");
    ZRT_TRY(open_regular(path, &fd, &info));
    file.file_bytes = info.st_size;
    file.file_modified = info.st_mtim;
    file.path = zrt__strdup(path);
    file.name = zrt__strdup(path);
    if (file.path == NULL || file.name == NULL)
        status = ZRT_ERR_MEMORY;
    else if (info.st_size == 0)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: is empty; give a file with tokens or text, or leave it out", path);
    else if (zrt__token_file_is_hdf5(path, length))
        status = zrt__token_format_hdf5(object, &file);
    else if (ends_with(path, length, ".npy"))
        status = zrt__token_format_npy(fd, &file);
    else if (ends_with(path, length, ".bin"))
        status = zrt__token_format_bin(fd, &file);
    else
        status = format_text(&file);
    close(fd);
    if (status != ZRT_OK) {
        zrt__token_file_close(&file);
        return status;
    }
    *file_out = file;
    return ZRT_OK;
}

void zrt__token_file_close(zrt__token_file *file)
{
    zrt__token_hdf5_close(&file->hdf5);
    free(file->name);
    free(file->path);
    file->name = file->path = NULL;
}

zrt_status zrt__descriptors_create(zrt__descriptors **descriptors_out)
{
    zrt__descriptors *descriptors = zrt__calloc(1, sizeof *descriptors);

    if (descriptors == NULL)
        return ZRT_ERR_MEMORY;
    pthread_mutex_init(&descriptors->lock, NULL);
    *descriptors_out = descriptors;
    return ZRT_OK;
}

void zrt__descriptors_destroy(zrt__descriptors **descriptors)
{
    if (*descriptors == NULL)
        return;
    for (int i = 0; i < (*descriptors)->n_open; i++)
        close((*descriptors)->open[i].fd);
    pthread_mutex_destroy(&(*descriptors)->lock);
    free(*descriptors);
    *descriptors = NULL;
}

/* The descriptor of a file, opened again where it was not kept. Under the lock. */
static zrt_status descriptor_of(zrt__descriptors *descriptors, const zrt__token_file *file, int *fd_out)
{
    int slot = 0, fd = -1;
    struct stat info;

    for (int i = 0; i < descriptors->n_open; i++) {
        if (descriptors->open[i].file == file) {
            descriptors->open[i].last_use = ++descriptors->clock;
            *fd_out = descriptors->open[i].fd;
            return ZRT_OK;
        }
        if (descriptors->open[i].last_use < descriptors->open[slot].last_use)
            slot = i;
    }
    ZRT_TRY(open_regular(file->path, &fd, &info));
    if (info.st_size != file->file_bytes || info.st_mtim.tv_sec != file->file_modified.tv_sec ||
        info.st_mtim.tv_nsec != file->file_modified.tv_nsec) {
        close(fd);
        return zrt__fail(ZRT_ERR_INPUT, "%s: changed since the run started; start again with the new file", file->path);
    }
    if (descriptors->n_open < MAX_OPEN)
        slot = descriptors->n_open++;
    else
        close(descriptors->open[slot].fd);
    descriptors->open[slot].file = file;
    descriptors->open[slot].fd = fd;
    descriptors->open[slot].last_use = ++descriptors->clock;
    *fd_out = fd;
    return ZRT_OK;
}

static int64_t element(const zrt__token_file *file, const unsigned char *at)
{
    uint64_t value = 0;

    memcpy(&value, at, (size_t)file->element_bytes); /* little-endian, as the machine */
    if (file->is_signed && file->element_bytes < 8 && (value >> (file->element_bytes * 8 - 1)) != 0)
        value |= UINT64_MAX << (file->element_bytes * 8);
    return (int64_t)value;
}

/* The common widths get loops of their own, which vectorise. */
static void widen(const zrt__token_file *file, const unsigned char *bytes, size_t n, int64_t *tokens)
{
    if (file->element_bytes == 1 && !file->is_signed) {
        for (size_t i = 0; i < n; i++)
            tokens[i] = bytes[i];
    } else if (file->element_bytes == 2 && !file->is_signed) {
        for (size_t i = 0; i < n; i++) {
            uint16_t value;
            memcpy(&value, bytes + 2 * i, sizeof value);
            tokens[i] = value;
        }
    } else {
        for (size_t i = 0; i < n; i++)
            tokens[i] = element(file, bytes + i * (size_t)file->element_bytes);
    }
}

static zrt_status read_raw(const zrt__token_file *file, zrt__descriptors *descriptors, int64_t first, int64_t n,
                           int64_t *tokens)
{
    unsigned char bytes[CHUNK_BYTES];
    int64_t per_chunk = CHUNK_BYTES / file->element_bytes;
    int fd = -1;

    ZRT_TRY(descriptor_of(descriptors, file, &fd));
    while (n > 0) {
        int64_t part = n < per_chunk ? n : per_chunk;
        bool io_error;

        if (!zrt__read_exactly(fd, bytes, (size_t)(part * file->element_bytes),
                               file->data_offset + first * file->element_bytes, &io_error)) {
            if (io_error)
                return zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", file->path, strerror(errno));
            return zrt__fail(ZRT_ERR_INPUT, "%s: became shorter since the run started; start again with the new file",
                             file->path);
        }
        widen(file, bytes, (size_t)part, tokens);
        first += part;
        tokens += part;
        n -= part;
    }
    return ZRT_OK;
}

zrt_status zrt__token_file_read(const zrt__token_file *file, zrt__descriptors *descriptors, int64_t first, int64_t n,
                                int64_t *tokens)
{
    zrt_status status;

    if (file->hdf5 != NULL)
        return zrt__token_hdf5_read(file, first, n, tokens);
    /* Held while reading, so that no other thread closes the descriptor. */
    pthread_mutex_lock(&descriptors->lock);
    status = read_raw(file, descriptors, first, n, tokens);
    pthread_mutex_unlock(&descriptors->lock);
    return status;
}
