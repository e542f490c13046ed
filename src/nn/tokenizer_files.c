/* What lies beside a model's weights in a Hugging Face folder and goes along with them. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zerort/tokenizer.h>

#include "base/alloc.h"
#include "base/error.h"
#include "nn/text_file.h"

static zrt_status copy_stream(FILE *in, const char *in_path, FILE *out, const char *out_path)
{
    char buffer[16384];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, in)) > 0)
        if (fwrite(buffer, 1, n, out) != n)
            return zrt__fail(ZRT_ERR_IO, "%s: cannot write: %s", out_path, strerror(errno));
    if (ferror(in))
        return zrt__fail(ZRT_ERR_IO, "%s: cannot read: %s", in_path, strerror(errno));
    if (fflush(out) != 0 || fsync(fileno(out)) != 0)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot write: %s", out_path, strerror(errno));
    return ZRT_OK;
}

static zrt_status copy(const char *in_path, const char *temporary, const char *path)
{
    FILE *in = fopen(in_path, "rb");
    if (in == NULL)
        return errno == ENOENT || errno == ENOTDIR
                   ? ZRT_OK
                   : zrt__fail(ZRT_ERR_IO, "%s: cannot open: %s", in_path, strerror(errno));
    FILE *out = fopen(temporary, "wb");
    zrt_status status =
        out == NULL ? zrt__fail(ZRT_ERR_IO, "%s: cannot create: %s", temporary, strerror(errno)) : ZRT_OK;
    if (status == ZRT_OK)
        status = copy_stream(in, in_path, out, temporary);
    fclose(in);
    if (out != NULL && fclose(out) != 0 && status == ZRT_OK)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot write: %s", temporary, strerror(errno));
    if (status == ZRT_OK && rename(temporary, path) != 0)
        status = zrt__fail(ZRT_ERR_IO, "%s: cannot rename to %s: %s", temporary, path, strerror(errno));
    if (status != ZRT_OK && out != NULL)
        unlink(temporary);
    return status;
}

zrt_status zrt_tokenizer_copy_files(const char *from, const char *to)
{
    static const char *const names[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "vocab.txt",
                                        "merges.txt",
                                        "tokenizer.model",
                                        "chat_template.jinja",
                                        "generation_config.json"};
    struct stat a, b;
    zrt_status status = ZRT_OK;
    if (stat(from, &a) == 0 && stat(to, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return ZRT_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == ZRT_OK; i++) {
        char *in = zrt__format("%s/%s", from, names[i]), *path = zrt__format("%s/%s", to, names[i]);
        char *temporary = zrt__format("%s/%s.tmp", to, names[i]);
        status = in != NULL && path != NULL && temporary != NULL ? copy(in, temporary, path) : ZRT_ERR_MEMORY;
        free(in);
        free(path);
        free(temporary);
    }
    return status;
}
