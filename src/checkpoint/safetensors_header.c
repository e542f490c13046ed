#include "config.h"

#include "checkpoint/safetensors_header.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

/* The bound of the reference implementation. */
#define MAX_HEADER_BYTES 100000000u

static const struct {
    const char *name;
    unsigned bytes;
    int dtype; /* -1: known, but not an element type that is read here */
} dtypes[] = {
    {"F32", 4, ZRT_FLOAT32}, {"F16", 2, ZRT_FLOAT16}, {"BF16", 2, ZRT_BFLOAT16},
    {"F64", 8, ZRT_FLOAT64}, {"I32", 4, ZRT_INT32},   {"I64", 8, ZRT_INT64},
    {"U8", 1, ZRT_UINT8},    {"BOOL", 1, -1},         {"I8", 1, -1},
    {"I16", 2, -1},          {"U16", 2, -1},          {"U32", 4, -1},
    {"U64", 8, -1},          {"F8_E4M3", 1, -1},      {"F8_E5M2", 1, -1},
    {"F8_E8M0", 1, -1},
};

#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

const char *zrt__safetensors_dtype_name(zrt_dtype dtype)
{
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (dtypes[i].dtype == (int)dtype)
            return dtypes[i].name;
    }
    return NULL;
}

static zrt_status bad(const char *path, const char *tensor, const char *what)
{
    return zrt__fail(ZRT_ERR_INPUT, "%s: tensor '%.200s': %s; the file is damaged or not a safetensors file", path,
                     tensor, what);
}

/* Shape, element count and the byte count that follow from it. */
static zrt_status parse_shape(const char *path, const char *name, const json_t *shape, size_t element_bytes,
                              zrt__safetensors_entry *entry, uint64_t *bytes_out)
{
    if (!json_is_array(shape))
        return bad(path, name, "\"shape\" is not an array");
    if (json_array_size(shape) > ZRT_MAX_DIMS)
        return zrt__fail(ZRT_ERR_INPUT, "%s: tensor '%.200s' has %zu dimensions; at most %d are supported", path, name,
                         json_array_size(shape), ZRT_MAX_DIMS);
    entry->n_dims = (int)json_array_size(shape);
    uint64_t n = 1;
    for (int i = 0; i < entry->n_dims; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return bad(path, name, "a dimension in \"shape\" is not a non-negative integer");
        entry->dims[i] = json_integer_value(dim);
        if (__builtin_mul_overflow(n, (uint64_t)entry->dims[i], &n))
            return bad(path, name, "the number of elements overflows");
    }
    if (__builtin_mul_overflow(n, (uint64_t)element_bytes, bytes_out) || *bytes_out > INT64_MAX)
        return bad(path, name, "the number of bytes overflows");
    entry->n_elements = (int64_t)n;
    return ZRT_OK;
}

static zrt_status parse_tensor(const char *path, const char *name, const json_t *object, const char *data,
                               uint64_t data_bytes, zrt__safetensors_entry *entry)
{
    if (!json_is_object(object))
        return bad(path, name, "its description is not an object");
    const char *dtype = json_string_value(json_object_get(object, "dtype"));
    if (dtype == NULL)
        return bad(path, name, "\"dtype\" is missing or not a string");
    size_t d = 0;
    while (d < N_DTYPES && strcmp(dtypes[d].name, dtype) != 0)
        d++;
    if (d == N_DTYPES)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: tensor '%.200s' has the unknown dtype '%.32s'; convert it to F32, F16 or BF16", path,
                         name, dtype);
    entry->dtype_name = dtypes[d].name;
    entry->readable = dtypes[d].dtype >= 0;
    entry->dtype = entry->readable ? (zrt_dtype)dtypes[d].dtype : ZRT_UINT8;
    uint64_t bytes = 0;
    ZRT_TRY(parse_shape(path, name, json_object_get(object, "shape"), dtypes[d].bytes, entry, &bytes));

    const json_t *offsets = json_object_get(object, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return bad(path, name, "\"data_offsets\" is not [begin, end] with 0 <= begin <= end");
    uint64_t first = (uint64_t)json_integer_value(begin), last = (uint64_t)json_integer_value(end);
    if (last > data_bytes)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: tensor '%.200s' ends at byte %" PRIu64 " of the data, which has %" PRIu64
                         "; the file is truncated or damaged",
                         path, name, last, data_bytes);
    if (last - first != bytes)
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: tensor '%.200s': %s and its shape take %" PRIu64 " bytes, \"data_offsets\" gives %" PRIu64
                         "; the file is damaged",
                         path, name, dtype, bytes, last - first);
    entry->bytes = (size_t)bytes;
    entry->data = data + first;
    entry->file = path;
    return ZRT_OK;
}

static int by_position(const void *a, const void *b)
{
    const zrt__safetensors_entry *x = *(const zrt__safetensors_entry *const *)a;
    const zrt__safetensors_entry *y = *(const zrt__safetensors_entry *const *)b;
    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The tensors must cover the data exactly: an overlap or a hole can hide another file's content (polyglot files). */
static zrt_status check_cover(const char *path, const zrt__safetensors_entry *entries, size_t n, const char *data,
                              uint64_t data_bytes)
{
    const zrt__safetensors_entry **order = zrt__malloc((n + 1) * sizeof *order);
    if (order == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < n; i++)
        order[i] = &entries[i];
    qsort(order, n, sizeof *order, by_position);
    zrt_status status = ZRT_OK;
    uint64_t covered = 0;
    for (size_t i = 0; i < n && status == ZRT_OK; i++) {
        uint64_t first = (uint64_t)((const char *)order[i]->data - data);
        if (first < covered)
            status = zrt__fail(ZRT_ERR_INPUT, "%s: tensor '%.200s' overlaps '%.200s'; the file is damaged", path,
                               order[i]->name, order[i - 1]->name);
        else if (first > covered)
            status =
                zrt__fail(ZRT_ERR_INPUT, "%s: a hole of %" PRIu64 " bytes before tensor '%.200s'; the file is damaged",
                          path, first - covered, order[i]->name);
        covered = first + order[i]->bytes;
    }
    if (status == ZRT_OK && covered != data_bytes)
        status =
            zrt__fail(ZRT_ERR_INPUT, "%s: %" PRIu64 " bytes after the last tensor belong to none; the file is damaged",
                      path, data_bytes - covered);
    free(order);
    return status;
}

zrt_status zrt__safetensors_parse(const char *path, const void *data, size_t bytes, zrt__safetensors_entry **entries,
                                  size_t *n_entries, size_t *capacity)
{
    const unsigned char *start = data;
    if (bytes < 8)
        return zrt__fail(ZRT_ERR_INPUT, "%s: %zu bytes are too few for a safetensors file", path, bytes);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | start[i];
    if (length > bytes - 8 || length > MAX_HEADER_BYTES)
        return zrt__fail(
            ZRT_ERR_INPUT, "%s: a header of %" PRIu64 " bytes %s; the file is truncated or not a safetensors file",
            path, length,
            length > MAX_HEADER_BYTES ? "is beyond the 100 MB that the format allows" : "does not fit in the file");
    if (length == 0 || start[8] != '{')
        return zrt__fail(ZRT_ERR_INPUT, "%s: the header does not start with '{'; not a safetensors file", path);

    json_error_t error;
    json_t *header = json_loadb((const char *)start + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (header == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for the header", path);
        return zrt__fail(ZRT_ERR_INPUT, "%s: the header is not valid JSON: %s", path, error.text);
    }
    const char *tensors = (const char *)start + 8 + length;
    uint64_t data_bytes = bytes - 8 - length;
    size_t first = *n_entries;
    zrt_status status = ZRT_OK;
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            if (!json_is_object(value))
                status = zrt__fail(ZRT_ERR_INPUT, "%s: \"__metadata__\" is not an object", path);
        } else {
            status = zrt__grow(entries, capacity, *n_entries, sizeof **entries);
            if (status == ZRT_OK) {
                zrt__safetensors_entry *entry = &(*entries)[*n_entries];
                memset(entry, 0, sizeof *entry);
                status = parse_tensor(path, name, value, tensors, data_bytes, entry);
                if (status == ZRT_OK) {
                    entry->name = zrt__strdup(name);
                    if (entry->name == NULL)
                        status = ZRT_ERR_MEMORY;
                    else
                        ++*n_entries;
                }
            }
        }
        if (status != ZRT_OK)
            break;
    }
    json_decref(header);
    if (status == ZRT_OK)
        status = check_cover(path, *entries + first, *n_entries - first, tensors, data_bytes);
    return status;
}
