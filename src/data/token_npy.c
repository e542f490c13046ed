#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/token_format.h"

/* numpy/lib/format.py: "\x93NUMPY", two bytes of version, the length of the header (uint16 in version 1, uint32 after),
 * and the header, a Python dictionary: {'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }. */
enum { MAGIC_BYTES = 6, MAX_HEADER_BYTES = 65536, MAX_SHAPE = 3 };

typedef struct npy_header {
    char descr[32];
    bool fortran_order;
    int n_dims; /* MAX_SHAPE: that many or more */
    int64_t shape[MAX_SHAPE];
} npy_header;

static const char *skip_spaces(const char *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\t')
        at++;
    return at;
}

/* 'text' or "text"; NULL where there is none that fits. */
static const char *parse_string(const char *at, char *text, size_t capacity)
{
    char quote = *at;
    size_t n = 0;

    if (quote != '\'' && quote != '"')
        return NULL;
    for (at++; *at != '\0' && *at != quote; at++) {
        if (n + 1 < capacity)
            text[n++] = *at;
    }
    text[n] = '\0';
    return *at == quote ? at + 1 : NULL;
}

/* Anything up to the comma of the dictionary: a structured type is a list in brackets. */
static const char *parse_descr(const char *at, npy_header *header)
{
    int depth = 0;
    size_t n = 0;

    if (*at == '\'' || *at == '"')
        return parse_string(at, header->descr, sizeof header->descr);
    for (; *at != '\0' && (depth > 0 || (*at != ',' && *at != '}')); at++) {
        depth += *at == '[' || *at == '(';
        depth -= *at == ']' || *at == ')';
        if (n + 1 < sizeof header->descr)
            header->descr[n++] = *at;
    }
    header->descr[n] = '\0';
    return at;
}

static const char *parse_shape(const char *at, npy_header *header)
{
    if (*at++ != '(')
        return NULL;
    for (header->n_dims = 0;;) {
        char *end;
        long long dim;

        at = skip_spaces(at);
        if (*at == ')')
            return at + 1;
        if (!isdigit((unsigned char)*at))
            return NULL;
        errno = 0;
        dim = strtoll(at, &end, 10);
        if (errno != 0)
            return NULL;
        if (header->n_dims < MAX_SHAPE)
            header->shape[header->n_dims++] = dim;
        at = skip_spaces(*end == 'L' ? end + 1 : end); /* Python 2 wrote long integers as 3L */
        if (*at == ',')
            at++;
        else if (*at != ')')
            return NULL;
    }
}

static bool parse_header(const char *at, npy_header *header)
{
    bool has_descr = false, has_order = false, has_shape = false;

    at = skip_spaces(at);
    if (*at++ != '{')
        return false;
    for (;;) {
        char key[32];

        at = skip_spaces(at);
        if (*at == '}')
            return has_descr && has_order && has_shape;
        at = parse_string(at, key, sizeof key);
        if (at == NULL)
            return false;
        at = skip_spaces(at);
        if (*at++ != ':')
            return false;
        at = skip_spaces(at);
        if (strcmp(key, "descr") == 0) {
            has_descr = true;
            at = parse_descr(at, header);
        } else if (strcmp(key, "fortran_order") == 0) {
            has_order = true;
            header->fortran_order = strncmp(at, "True", 4) == 0;
            at = header->fortran_order ? at + 4 : strncmp(at, "False", 5) == 0 ? at + 5 : NULL;
        } else if (strcmp(key, "shape") == 0) {
            has_shape = true;
            at = parse_shape(at, header);
        } else {
            return false;
        }
        if (at == NULL)
            return false;
        at = skip_spaces(at);
        if (*at == ',')
            at++;
        else if (*at != '}')
            return false;
    }
}

/* Reads the header as text; gives a string that the caller frees. */
static zrt_status read_header(int fd, const zrt__token_file *file, char **text_out, int64_t *data_offset_out)
{
    unsigned char start[MAGIC_BYTES + 2 + 4] = {0};
    uint32_t length;
    size_t before;
    char *text;
    bool io_error;

    if (!zrt__read_exactly(fd, start, sizeof start, 0, &io_error) && io_error)
        return zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", file->path, strerror(errno));
    if (memcmp(start, "\x93NUMPY", MAGIC_BYTES) != 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: is no NumPy file (its first bytes are wrong); write it with numpy.save",
                         file->path);
    if (start[MAGIC_BYTES] < 1 || start[MAGIC_BYTES] > 3)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: version %d of the NumPy format is not known (1 to 3 are); write it with numpy.save",
                         file->path, start[MAGIC_BYTES]);
    if (start[MAGIC_BYTES] == 1) {
        length = (uint32_t)start[8] | (uint32_t)start[9] << 8;
        before = 10;
    } else {
        length = (uint32_t)start[8] | (uint32_t)start[9] << 8 | (uint32_t)start[10] << 16 | (uint32_t)start[11] << 24;
        before = 12;
    }
    if (length > MAX_HEADER_BYTES)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: its NumPy header claims %" PRIu32 " bytes, so it is damaged; write it again", file->path,
                         length);
    text = zrt__calloc(1, (size_t)length + 1);
    if (text == NULL)
        return ZRT_ERR_MEMORY;
    if (!zrt__read_exactly(fd, text, length, (int64_t)before, &io_error)) {
        free(text);
        if (io_error)
            return zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", file->path, strerror(errno));
        return zrt__fail(ZRT_ERR_INPUT, "%s: is truncated within its header; write or copy it again", file->path);
    }
    *text_out = text;
    *data_offset_out = (int64_t)(before + length);
    return ZRT_OK;
}

static zrt_status check_dtype(const npy_header *header, zrt__token_file *file)
{
    const char *descr = header->descr;
    size_t n = strlen(descr);

    if (n == 3 && (descr[1] == 'i' || descr[1] == 'u') && strchr("1248", descr[2]) != NULL) {
        file->element_bytes = descr[2] - '0';
        file->is_signed = descr[1] == 'i';
        if (descr[0] == '<' || file->element_bytes == 1)
            return ZRT_OK;
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: its integers are big-endian ('%s'); write it again with array.astype('<%c%c')",
                         file->path, descr, descr[1], descr[2]);
    }
    return zrt__fail(ZRT_ERR_INPUT,
                     "%s: tokens must be integers, its elements are '%s'; write it again with "
                     "array.astype('<i4')",
                     file->path, descr);
}

static zrt_status check_shape(const npy_header *header, zrt__token_file *file)
{
    int64_t count, bytes, expected;

    if (header->n_dims != 1 && header->n_dims != 2)
        return zrt__fail(ZRT_ERR_INPUT, "%s: has %s dimensions; tokens come as a stream of one or as rows of two",
                         file->path, header->n_dims == 0 ? "no" : "more than two");
    count = header->shape[0];
    if ((header->n_dims == 2 && __builtin_mul_overflow(count, header->shape[1], &count)) ||
        __builtin_mul_overflow(count, (int64_t)file->element_bytes, &bytes) ||
        __builtin_add_overflow(bytes, file->data_offset, &expected))
        return zrt__fail(ZRT_ERR_INPUT, "%s: its shape is larger than any file, so it is damaged; write it again",
                         file->path);
    if (header->fortran_order && header->n_dims == 2 && header->shape[0] > 1 && header->shape[1] > 1)
        return zrt__fail(
            ZRT_ERR_INPUT,
            "%s: its columns lie end to end (Fortran order); write it again with numpy.ascontiguousarray(array)",
            file->path);
    if (count == 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: holds no tokens; leave it out", file->path);
    if (file->file_bytes != expected)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: %s: its shape needs %" PRId64 " bytes and it has %" PRId64 "; write or copy it again",
                         file->path, file->file_bytes < expected ? "is truncated" : "has more than one array", expected,
                         (int64_t)file->file_bytes);
    file->n_dims = header->n_dims;
    file->n_tokens = count;
    file->n_rows = header->n_dims == 2 ? header->shape[0] : 0;
    file->width = header->n_dims == 2 ? header->shape[1] : 0;
    return ZRT_OK;
}

zrt_status zrt__token_format_npy(int fd, zrt__token_file *file)
{
    npy_header header = {0};
    char *text = NULL;
    zrt_status status;

    ZRT_TRY(read_header(fd, file, &text, &file->data_offset));
    if (!parse_header(text, &header))
        status = zrt__fail(ZRT_ERR_INPUT,
                           "%s: its NumPy header cannot be understood, so it is damaged; write it again with "
                           "numpy.save",
                           file->path);
    else
        status = check_dtype(&header, file);
    free(text);
    if (status != ZRT_OK)
        return status;
    return check_shape(&header, file);
}
