#include "config.h"

#include "data/text_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zlib.h>

#include "base/alloc.h"
#include "base/error.h"

enum { BLOCK_BYTES = 128 << 10, READ_BYTES = 1 << 20 };

struct zrt__text_reader {
    char *path;
    gzFile file;
    zrt__block_end end;
    zrt__bytes ahead; /* read, but behind the end of the last block */
    size_t at;        /* of `ahead` that is still to come */
    int64_t line, bytes;
    bool at_end;
};

zrt_status zrt__text_reader_open(const char *path, zrt__block_end end, zrt__text_reader **reader_out)
{
    struct stat about;
    zrt__text_reader *reader;

    *reader_out = NULL;
    if (stat(path, &about) != 0)
        return zrt__fail(errno == ENOENT || errno == ENOTDIR ? ZRT_ERR_INPUT : ZRT_ERR_IO, "%s: %s", path,
                         strerror(errno));
    if (S_ISDIR(about.st_mode))
        return zrt__fail(ZRT_ERR_INPUT, "%s: is a folder; name a file", path);
    reader = zrt__calloc(1, sizeof *reader);
    if (reader == NULL)
        return ZRT_ERR_MEMORY;
    reader->end = end;
    reader->line = 1;
    reader->bytes = (int64_t)about.st_size;
    reader->path = zrt__strdup(path);
    if (reader->path == NULL) {
        zrt__text_reader_close(&reader);
        return ZRT_ERR_MEMORY;
    }
    errno = 0;
    reader->file = gzopen(path, "rb");
    if (reader->file == NULL) {
        zrt_status status = zrt__fail(errno != 0 ? ZRT_ERR_IO : ZRT_ERR_MEMORY, "%s: cannot be read: %s", path,
                                      errno != 0 ? strerror(errno) : "out of memory");
        zrt__text_reader_close(&reader);
        return status;
    }
    gzbuffer(reader->file, 256 << 10);
    *reader_out = reader;
    return ZRT_OK;
}

void zrt__text_reader_close(zrt__text_reader **reader)
{
    zrt__text_reader *old = *reader;

    if (old == NULL)
        return;
    if (old->file != NULL)
        gzclose_r(old->file);
    zrt__bytes_release(&old->ahead);
    free(old->path);
    free(old);
    *reader = NULL;
}

static zrt_status read_more(zrt__text_reader *reader)
{
    int n;

    memmove(reader->ahead.data, reader->ahead.data + reader->at, reader->ahead.n - reader->at);
    reader->ahead.n -= reader->at;
    reader->at = 0;
    ZRT_TRY(zrt__bytes_reserve(&reader->ahead, READ_BYTES));
    n = gzread(reader->file, reader->ahead.data + reader->ahead.n, READ_BYTES);
    if (n < 0 || (n == 0 && !gzeof(reader->file))) {
        int error = Z_OK;
        const char *text = gzerror(reader->file, &error);
        if (error == Z_ERRNO)
            return zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", reader->path, strerror(errno));
        return zrt__fail(ZRT_ERR_INPUT, "%s: is damaged gzip: %s; write or download it again", reader->path, text);
    }
    if (n == 0) {
        int error = Z_OK;
        gzerror(reader->file, &error);
        if (error == Z_BUF_ERROR)
            return zrt__fail(ZRT_ERR_INPUT, "%s: is gzip that ends too early; write or download it again",
                             reader->path);
        reader->at_end = true;
    }
    reader->ahead.n += (size_t)n;
    return ZRT_OK;
}

/* Bytes of a block within text[0, n): 0 where it is not known yet. */
static size_t block_length(const zrt__text_reader *reader, const char *text, size_t n)
{
    const char *found;

    if (reader->end == ZRT__BLOCK_FILE)
        return 0;
    for (size_t from = n < BLOCK_BYTES ? n : BLOCK_BYTES; from < n; from = (size_t)(found - text) + 1) {
        found = memchr(text + from, '\n', n - from);
        if (found == NULL || found + 1 >= text + n)
            return 0;
        if (reader->end == ZRT__BLOCK_LINE)
            return (size_t)(found - text) + 1;
        /* Behind the line feeds that end a paragraph. */
        if (found[1] != '\n' && found > text && found[-1] == '\n')
            return (size_t)(found - text) + 1;
    }
    return 0;
}

zrt_status zrt__text_reader_next(zrt__text_reader *reader, zrt__text_block *block, bool *has_out)
{
    size_t length;

    *has_out = false;
    block->text.n = 0;
    ZRT_TRY(zrt__bytes_reserve(&reader->ahead, 1));
    for (;;) {
        length = block_length(reader, reader->ahead.data + reader->at, reader->ahead.n - reader->at);
        if (length > 0 || reader->at_end)
            break;
        ZRT_TRY(read_more(reader));
    }
    if (length == 0)
        length = reader->ahead.n - reader->at;
    if (length == 0)
        return ZRT_OK;
    ZRT_TRY(zrt__bytes_append(&block->text, reader->ahead.data + reader->at, length));
    reader->at += length;
    block->first_line = reader->line;
    for (const char *at = block->text.data, *end = at + length; at < end; at++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at == NULL)
            break;
        reader->line++;
    }
    *has_out = true;
    return ZRT_OK;
}

int64_t zrt__text_reader_size(const zrt__text_reader *reader)
{
    return reader->bytes;
}

int64_t zrt__text_reader_position(zrt__text_reader *reader)
{
    int64_t position = (int64_t)gzoffset(reader->file);

    return position < 0 ? 0 : position;
}
