#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "data/token_format.h"

zrt_status zrt__token_format_bin(int fd, zrt__token_file *file)
{
    int32_t header[ZRT__BIN_HEADER_INTS];
    int64_t count, expected;
    bool io_error;

    memset(header, 0, sizeof header);
    if (!zrt__read_exactly(fd, header, sizeof header, 0, &io_error) && io_error)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", file->path, strerror(errno));
    if (header[0] == ZRT__BIN_MAGIC_GPT2 && header[1] == ZRT__BIN_VERSION_GPT2)
        file->element_bytes = 2;
    else if (header[0] == ZRT__BIN_MAGIC_LLAMA3 && header[1] == ZRT__BIN_VERSION_LLAMA3)
        file->element_bytes = 4;
    else if (header[0] == ZRT__BIN_MAGIC_GPT2 || header[0] == ZRT__BIN_MAGIC_LLAMA3)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: version %" PRId32
                         " of llm.c's token files is not known (known: magic %d version %d, magic %d "
                         "version %d); write it again with llm.c's scripts",
                         file->path, header[1], ZRT__BIN_MAGIC_GPT2, ZRT__BIN_VERSION_GPT2, ZRT__BIN_MAGIC_LLAMA3,
                         ZRT__BIN_VERSION_LLAMA3);
    else
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: is no token file of llm.c (magic %" PRId32
                         " instead of %d); tokens without a header become a "
                         ".npy by numpy.save('tokens.npy', numpy.fromfile('%s', dtype='uint16')); text files need "
                         "another extension than .bin",
                         file->path, header[0], ZRT__BIN_MAGIC_GPT2, file->path);

    count = (int64_t)(uint32_t)header[2];
    expected = (int64_t)sizeof header + count * file->element_bytes;
    if (file->file_bytes < expected)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: is truncated: its header says %" PRId64 " tokens, which take %" PRId64
                         " bytes, and it has %" PRId64 "; write or download it again",
                         file->path, count, expected, (int64_t)file->file_bytes);
    if (file->file_bytes > expected)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: its header says %" PRId64 " tokens, which take %" PRId64 " bytes, but it has %" PRId64
                         "; write it again, in several files where the count is beyond 32 bits",
                         file->path, count, expected, (int64_t)file->file_bytes);
    if (count == 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: holds no tokens; leave it out", file->path);
    file->n_dims = 1;
    file->n_tokens = count;
    file->data_offset = (int64_t)sizeof header;
    file->is_signed = false;
    return ZRT_OK;
}
