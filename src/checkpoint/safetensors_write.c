#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "checkpoint/output_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_header.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"

struct zrt__safetensors_writer {
    char *folder;
    char *only; /* name of the one file; NULL: a model's */
    zrt__safetensors_tensor *tensors;
    size_t n_tensors;
    size_t *order;    /* tensors as they lie in their files */
    uint64_t *starts; /* by tensor, in the data of its file */
    zrt__output_file *files;
    size_t n_files;
    size_t file, tensor; /* where the next element goes */
    int64_t element;
    uint64_t total_bytes;
};

static int64_t tensor_elements(const zrt__safetensors_tensor *tensor)
{
    int64_t n = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        n *= tensor->dims[i];
    return n;
}

static uint64_t tensor_bytes(const zrt__safetensors_tensor *tensor)
{
    return (uint64_t)tensor_elements(tensor) * zrt_dtype_bytes(tensor->dtype);
}

void zrt__safetensors_writer_destroy(zrt__safetensors_writer **writer)
{
    if (writer == NULL || *writer == NULL)
        return;
    zrt__safetensors_writer *w = *writer;
    for (size_t i = 0; i < w->n_files; i++) {
        if (w->files[i].fd >= 0)
            close(w->files[i].fd);
        if (w->files[i].created && !w->files[i].renamed)
            unlink(w->files[i].temporary);
        free(w->files[i].path);
        free(w->files[i].temporary);
    }
    for (size_t i = 0; i < w->n_tensors; i++)
        free((char *)(uintptr_t)w->tensors[i].name);
    free(w->tensors);
    free(w->order);
    free(w->starts);
    free(w->files);
    free(w->folder);
    free(w->only);
    free(w);
    *writer = NULL;
}

/* The text of one file's header without its length, padded so that the data is aligned. */
static char *make_header(const zrt__safetensors_writer *writer, const zrt__output_file *file, size_t *bytes_out)
{
    json_t *header = json_object();
    bool good = json_object_set_new(header, "__metadata__", json_pack("{s:s}", "format", "pt")) == 0;
    for (size_t i = file->first; i < file->end && good; i++) {
        const zrt__safetensors_tensor *tensor = &writer->tensors[writer->order[i]];
        uint64_t start = writer->starts[writer->order[i]];
        json_t *shape = json_array();
        for (int d = 0; d < tensor->n_dims; d++)
            good = json_array_append_new(shape, json_integer(tensor->dims[d])) == 0 && good;
        json_t *object =
            json_pack("{s:s, s:o, s:[I, I]}", "dtype", zrt__safetensors_dtype_name(tensor->dtype), "shape", shape,
                      "data_offsets", (json_int_t)start, (json_int_t)(start + tensor_bytes(tensor)));
        good = json_object_set_new(header, tensor->name, object) == 0 && good;
    }
    char *text = good ? json_dumps(header, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(header);
    if (text == NULL)
        return NULL;
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    char *grown = realloc(text, padded + 1);
    if (grown == NULL) {
        free(text);
        return NULL;
    }
    memset(grown + length, ' ', padded - length);
    *bytes_out = padded;
    return grown;
}

/* Opens the file that comes next and writes its header. */
static zrt_status start_file(zrt__safetensors_writer *writer)
{
    zrt__output_file *file = &writer->files[writer->file];
    size_t length;
    char *header = make_header(writer, file, &length);
    if (header == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for the header", file->path);
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)((uint64_t)length >> 8 * i);
    zrt_status status = zrt__output_open(file);
    if (status == ZRT_OK)
        status = zrt__output_write(file, prefix, sizeof prefix, 0);
    if (status == ZRT_OK)
        status = zrt__output_write(file, header, length, sizeof prefix);
    file->data = sizeof prefix + length;
    free(header);
    return status;
}

/* Skips tensors without elements and closes files that are complete. */
static zrt_status advance(zrt__safetensors_writer *writer)
{
    while (writer->tensor < writer->n_tensors && writer->element == tensor_elements(&writer->tensors[writer->tensor])) {
        writer->tensor++;
        writer->element = 0;
        if (writer->tensor == writer->files[writer->file].end) {
            ZRT_TRY(zrt__output_close(&writer->files[writer->file]));
            if (++writer->file < writer->n_files)
                ZRT_TRY(start_file(writer));
        }
    }
    return ZRT_OK;
}

static zrt_status copy_tensors(zrt__safetensors_writer *writer, size_t n, const zrt__safetensors_tensor *tensors)
{
    writer->tensors = zrt__calloc(n, sizeof *tensors);
    if (writer->tensors == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        if (zrt__safetensors_dtype_name(tensors[i].dtype) == NULL)
            return zrt__fail(ZRT_ERR_USAGE, "tensor %s: safetensors has no %s", tensors[i].name,
                             zrt_dtype_name(tensors[i].dtype));
        writer->tensors[i] = tensors[i];
        writer->tensors[i].name = zrt__strdup(tensors[i].name);
        writer->n_tensors = i + 1;
        if (writer->tensors[i].name == NULL)
            return ZRT_ERR_MEMORY;
        writer->total_bytes += tensor_bytes(&tensors[i]);
    }
    return ZRT_OK;
}

/* Where a dtype comes in the safetensors library's own order. */
static int dtype_place(zrt_dtype dtype)
{
    static const zrt_dtype order[] = {ZRT_INT64, ZRT_FLOAT64, ZRT_FLOAT32, ZRT_INT32, ZRT_BFLOAT16, ZRT_FLOAT16};
    int place = 0;
    while (place < (int)(sizeof order / sizeof *order) && order[place] != dtype)
        place++;
    return place;
}

static int in_order(const void *a, const void *b, void *tensors)
{
    const zrt__safetensors_tensor *x = (zrt__safetensors_tensor *)tensors + *(const size_t *)a;
    const zrt__safetensors_tensor *y = (zrt__safetensors_tensor *)tensors + *(const size_t *)b;
    int difference = dtype_place(x->dtype) - dtype_place(y->dtype);
    return difference != 0 ? difference : strcmp(x->name, y->name);
}

/* Tensors lie as the safetensors library lays them, by dtype and then by name: the same tensors make the same bytes. */
static zrt_status lay_out(zrt__safetensors_writer *writer)
{
    writer->order = zrt__calloc(writer->n_tensors, sizeof *writer->order);
    writer->starts = zrt__calloc(writer->n_tensors, sizeof *writer->starts);
    if (writer->order == NULL || writer->starts == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < writer->n_tensors; i++)
        writer->order[i] = i;
    for (size_t f = 0; f < writer->n_files; f++) {
        const zrt__output_file *file = &writer->files[f];
        uint64_t start = 0;
        qsort_r(writer->order + file->first, file->end - file->first, sizeof *writer->order, in_order, writer->tensors);
        for (size_t i = file->first; i < file->end; i++) {
            writer->starts[writer->order[i]] = start;
            start += tensor_bytes(&writer->tensors[writer->order[i]]);
        }
    }
    return ZRT_OK;
}

/* A file takes tensors until the next one would make it larger than the limit, as transformers does. */
static size_t file_end(const zrt__safetensors_writer *writer, size_t first, size_t limit)
{
    uint64_t bytes = 0;
    size_t i = first;
    for (; i < writer->n_tensors; i++) {
        uint64_t more = tensor_bytes(&writer->tensors[i]);
        if (limit > 0 && i > first && more > 0 && bytes + more > limit)
            break;
        bytes += more;
    }
    return i;
}

static zrt_status make_files(zrt__safetensors_writer *writer, size_t limit)
{
    size_t n = 0;
    for (size_t i = 0; i < writer->n_tensors; n++)
        i = file_end(writer, i, limit);
    writer->files = zrt__calloc(n, sizeof *writer->files);
    if (writer->files == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0, first = 0; i < n; i++) {
        zrt__output_file *file = &writer->files[i];
        *file = (zrt__output_file){.fd = -1, .first = first, .end = file_end(writer, first, limit)};
        writer->n_files = i + 1;
        file->path = n == 1 ? zrt__format("%s/%s", writer->folder, writer->only != NULL ? writer->only : SINGLE)
                            : zrt__format("%s/model-%05zu-of-%05zu.safetensors", writer->folder, i + 1, n);
        file->temporary = file->path == NULL ? NULL : zrt__format("%s.tmp", file->path);
        if (file->temporary == NULL)
            return ZRT_ERR_MEMORY;
        file->name = strrchr(file->path, '/') + 1;
        first = file->end;
    }
    return ZRT_OK;
}

static zrt_status create(const char *folder, const char *only, size_t n_tensors, const zrt__safetensors_tensor *tensors,
                         size_t max_file_bytes, zrt__safetensors_writer **writer_out)
{
    if (n_tensors == 0)
        return zrt__fail(ZRT_ERR_USAGE, "%s: nothing to write", folder);
    zrt__safetensors_writer *writer = zrt__calloc(1, sizeof *writer);
    if (writer == NULL)
        return ZRT_ERR_MEMORY;
    writer->folder = zrt__strdup(folder);
    writer->only = only != NULL ? zrt__strdup(only) : NULL;
    bool made = writer->folder != NULL && (only == NULL || writer->only != NULL);
    zrt_status status = made ? copy_tensors(writer, n_tensors, tensors) : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = make_files(writer, max_file_bytes);
    if (status == ZRT_OK)
        status = lay_out(writer);
    if (status == ZRT_OK)
        status = start_file(writer);
    if (status == ZRT_OK)
        status = advance(writer);
    if (status != ZRT_OK) {
        zrt__safetensors_writer_destroy(&writer);
        return status;
    }
    *writer_out = writer;
    return ZRT_OK;
}

zrt_status zrt__safetensors_writer_create(const char *folder, size_t n_tensors, const zrt__safetensors_tensor *tensors,
                                          size_t max_file_bytes, zrt__safetensors_writer **writer_out)
{
    return create(folder, NULL, n_tensors, tensors, max_file_bytes, writer_out);
}

zrt_status zrt__safetensors_writer_create_file(const char *folder, const char *name, size_t n_tensors,
                                               const zrt__safetensors_tensor *tensors,
                                               zrt__safetensors_writer **writer_out)
{
    return create(folder, name, n_tensors, tensors, 0, writer_out);
}

zrt_status zrt__safetensors_writer_append(zrt__safetensors_writer *writer, const void *data, zrt_dtype dtype, int64_t n)
{
    if (n == 0)
        return ZRT_OK;
    const zrt__safetensors_tensor *tensor =
        writer->tensor < writer->n_tensors ? &writer->tensors[writer->tensor] : NULL;
    if (tensor == NULL || n < 0 || n > tensor_elements(tensor) - writer->element)
        return zrt__fail(ZRT_ERR_INTERNAL, "%s: %" PRId64 " elements are more than tensor '%s' still lacks",
                         writer->folder, n, tensor == NULL ? "(all are written)" : tensor->name);
    bool integer = tensor->dtype >= ZRT_INT32 || dtype >= ZRT_INT32;
    if (integer && tensor->dtype != dtype)
        return zrt__fail(ZRT_ERR_INTERNAL, "tensor '%s' is %s, not %s", tensor->name, zrt_dtype_name(tensor->dtype),
                         zrt_dtype_name(dtype));
    zrt__output_file *file = &writer->files[writer->file];
    uint64_t at =
        file->data + writer->starts[writer->tensor] + (uint64_t)writer->element * zrt_dtype_bytes(tensor->dtype);
    if (tensor->dtype == dtype) {
        ZRT_TRY(zrt__output_write(file, data, (size_t)n * zrt_dtype_bytes(dtype), at));
    } else {
        double converted[8192];
        size_t bytes = zrt_dtype_bytes(tensor->dtype), room = sizeof converted / bytes;
        for (size_t done = 0, part; done < (size_t)n; done += part) {
            part = (size_t)n - done < room ? (size_t)n - done : room;
            zrt__convert(converted, tensor->dtype, (const char *)data + done * zrt_dtype_bytes(dtype), dtype, part);
            ZRT_TRY(zrt__output_write(file, converted, part * bytes, at + done * bytes));
        }
    }
    writer->element += n;
    return advance(writer);
}

static zrt_status write_index(const zrt__safetensors_writer *writer, zrt__output_file *index)
{
    json_t *map = json_object();
    int64_t n_elements = 0;
    bool good = map != NULL;
    for (size_t f = 0; f < writer->n_files; f++) {
        for (size_t i = writer->files[f].first; i < writer->files[f].end && good; i++) {
            good = json_object_set_new(map, writer->tensors[i].name, json_string(writer->files[f].name)) == 0;
            n_elements += tensor_elements(&writer->tensors[i]);
        }
    }
    json_t *root = json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_parameters", (json_int_t)n_elements,
                             "total_size", (json_int_t)writer->total_bytes, "weight_map", map);
    char *text = good && root != NULL ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    if (text == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for the index", index->path);
    zrt_status status = zrt__output_open(index);
    if (status == ZRT_OK)
        status = zrt__output_write(index, text, strlen(text), 0);
    if (status == ZRT_OK)
        status = zrt__output_write(index, "\n", 1, strlen(text));
    if (status == ZRT_OK)
        status = zrt__output_close(index);
    free(text);
    return status;
}

/* Removes the shards of an earlier save; keeps those of this one. */
static void remove_old_shards(const zrt__safetensors_writer *writer)
{
    DIR *folder = opendir(writer->folder);
    if (folder == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        unsigned i, n;
        int end = 0;
        if (sscanf(entry->d_name, "model-%5u-of-%5u.safetensors%n", &i, &n, &end) < 2 || end == 0 ||
            entry->d_name[end] != '\0')
            continue;
        bool ours = false;
        for (size_t f = 0; f < writer->n_files && !ours; f++)
            ours = strcmp(entry->d_name, writer->files[f].name) == 0;
        if (!ours)
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
}

static zrt_status commit(zrt__safetensors_writer *writer, zrt__output_file *index, const char *single)
{
    if (writer->tensor < writer->n_tensors)
        return zrt__fail(ZRT_ERR_INTERNAL, "%s: tensor '%s' was not written to its end", writer->folder,
                         writer->tensors[writer->tensor].name);
    bool sharded = writer->n_files > 1;
    if (sharded) {
        ZRT_TRY(write_index(writer, index));
        /* Without its index a folder that is half old and half new does not open. */
        if (unlink(index->path) == 0)
            ZRT_TRY(zrt__output_sync_folder(writer->folder));
    }
    for (size_t i = 0; i < writer->n_files; i++)
        ZRT_TRY(zrt__output_rename(&writer->files[i]));
    if (sharded)
        ZRT_TRY(zrt__output_rename(index));
    ZRT_TRY(zrt__output_sync_folder(writer->folder));
    if (writer->only != NULL)
        return ZRT_OK;
    unlink(sharded ? single : index->path);
    remove_old_shards(writer);
    return zrt__output_sync_folder(writer->folder);
}

zrt_status zrt__safetensors_writer_commit(zrt__safetensors_writer **writer)
{
    zrt__safetensors_writer *w = *writer;
    zrt__output_file index = {
        .fd = -1, .path = zrt__format("%s/" INDEX, w->folder), .temporary = zrt__format("%s/" INDEX ".tmp", w->folder)};
    char *single = zrt__format("%s/" SINGLE, w->folder);
    zrt_status status = ZRT_ERR_MEMORY;
    if (index.path != NULL && index.temporary != NULL && single != NULL)
        status = commit(w, &index, single);
    if (index.fd >= 0)
        close(index.fd);
    if (index.created && !index.renamed)
        unlink(index.temporary);
    free(index.path);
    free(index.temporary);
    free(single);
    zrt__safetensors_writer_destroy(writer);
    return status;
}
