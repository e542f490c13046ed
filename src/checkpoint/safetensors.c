#include "config.h"

#include "checkpoint/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "checkpoint/safetensors_header.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is little-endian and is used as it lies in the file"
#endif

typedef struct map {
    char *path;
    void *data; /* NULL: not mapped */
    size_t bytes;
} map;

struct zrt__safetensors {
    char *path;
    map *maps;
    size_t n_maps, maps_capacity;
    zrt__safetensors_entry *entries; /* sorted by name */
    size_t n_entries, entries_capacity;
    bool *used;
};

void zrt__safetensors_close(zrt__safetensors **file)
{
    if (file == NULL || *file == NULL)
        return;
    zrt__safetensors *f = *file;
    for (size_t i = 0; i < f->n_entries; i++)
        free((char *)(uintptr_t)f->entries[i].name);
    for (size_t i = 0; i < f->n_maps; i++) {
        if (f->maps[i].data != NULL)
            munmap(f->maps[i].data, f->maps[i].bytes);
        free(f->maps[i].path);
    }
    free(f->entries);
    free(f->maps);
    free(f->used);
    free(f->path);
    free(f);
    *file = NULL;
}

/* Maps one file and appends its tensors. Takes path. */
static zrt_status add_file(zrt__safetensors *file, char *path)
{
    zrt_status status = zrt__grow(&file->maps, &file->maps_capacity, file->n_maps, sizeof *file->maps);
    if (status != ZRT_OK) {
        free(path);
        return status;
    }
    map *m = &file->maps[file->n_maps++];
    *m = (map){.path = path};
    /* O_NONBLOCK: a FIFO must not hang us before we see that it is none of ours. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return zrt__fail(errno == ENOENT ? ZRT_ERR_INPUT : ZRT_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat info;
    if (fstat(fd, &info) != 0)
        status = zrt__fail(ZRT_ERR_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = zrt__fail(ZRT_ERR_INPUT, "%s: not a regular file", path);
    else if (info.st_size < 8)
        status =
            zrt__fail(ZRT_ERR_INPUT, "%s: %jd bytes are too few for a safetensors file", path, (intmax_t)info.st_size);
    if (status == ZRT_OK) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = zrt__fail(ZRT_ERR_IO, "%s: cannot map: %s", path, strerror(errno));
        } else {
            m->data = data;
            m->bytes = (size_t)info.st_size;
        }
    }
    close(fd);
    if (status == ZRT_OK)
        status =
            zrt__safetensors_parse(path, m->data, m->bytes, &file->entries, &file->n_entries, &file->entries_capacity);
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    const zrt__safetensors_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static zrt_status sort_entries(zrt__safetensors *file)
{
    if (file->n_entries > 0)
        qsort(file->entries, file->n_entries, sizeof *file->entries, compare_entries);
    for (size_t i = 1; i < file->n_entries; i++) {
        const zrt__safetensors_entry *a = &file->entries[i - 1], *b = &file->entries[i];
        if (strcmp(a->name, b->name) == 0)
            return zrt__fail(ZRT_ERR_INPUT, "tensor '%.200s' is in %s and in %s; only one of them can be meant",
                             a->name, a->file, b->file);
    }
    file->used = zrt__calloc(file->n_entries + 1, sizeof *file->used);
    return file->used == NULL ? ZRT_ERR_MEMORY : ZRT_OK;
}

/* A name in an index stays in the folder. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strlen(name) <= NAME_MAX;
}

static zrt_status add_shards(zrt__safetensors *file, const char *index, json_t *weight_map)
{
    const char *name;
    json_t *value;
    json_object_foreach(weight_map, name, value)
    {
        const char *shard = json_string_value(value);
        if (shard == NULL || !is_plain_name(shard))
            return zrt__fail(ZRT_ERR_INPUT,
                             "%s: tensor '%.200s' is in '%.200s', which is not the name of a file in the folder", index,
                             name, shard == NULL ? "(not a string)" : shard);
        char *path = zrt__format("%s/%s", file->path, shard);
        if (path == NULL)
            return ZRT_ERR_MEMORY;
        bool known = false;
        for (size_t i = 0; i < file->n_maps && !known; i++)
            known = strcmp(file->maps[i].path, path) == 0;
        if (known)
            free(path);
        else
            ZRT_TRY(add_file(file, path));
    }
    ZRT_TRY(sort_entries(file));
    json_object_foreach(weight_map, name, value)
    {
        const zrt__safetensors_entry *entry = zrt__safetensors_find(file, name);
        const char *shard = json_string_value(value);
        if (entry == NULL || strcmp(strrchr(entry->file, '/') + 1, shard) != 0)
            return zrt__fail(ZRT_ERR_INPUT,
                             "%s: tensor '%.200s' is not in %s/%s; a shard is missing or of another model", index, name,
                             file->path, shard);
    }
    return ZRT_OK;
}

static zrt_status add_index(zrt__safetensors *file, const char *index)
{
    json_error_t error;
    json_t *root = json_load_file(index, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return zrt__fail(ZRT_ERR_MEMORY, "%s: no memory for the index", index);
        return zrt__fail(ZRT_ERR_INPUT, "%s:%d: %s", index, error.line, error.text);
    }
    json_t *weight_map = json_object_get(root, "weight_map");
    zrt_status status;
    if (!json_is_object(weight_map))
        status = zrt__fail(ZRT_ERR_INPUT, "%s: no \"weight_map\" object", index);
    else
        status = add_shards(file, index, weight_map);
    json_decref(root);
    return status;
}

static zrt_status add_folder(zrt__safetensors *file)
{
    char *single = zrt__format("%s/model.safetensors", file->path);
    char *index = zrt__format("%s/model.safetensors.index.json", file->path);
    char *pickle = zrt__format("%s/pytorch_model.bin", file->path);
    zrt_status status = ZRT_ERR_MEMORY;
    if (single != NULL && index != NULL && pickle != NULL) {
        /* One file comes first where both are there, as in transformers. */
        if (access(single, F_OK) == 0) {
            status = add_file(file, single);
            single = NULL;
            if (status == ZRT_OK)
                status = sort_entries(file);
        } else if (access(index, F_OK) == 0) {
            status = add_index(file, index);
        } else {
            status = zrt__fail(
                ZRT_ERR_INPUT, "%s: neither model.safetensors nor model.safetensors.index.json in this folder%s",
                file->path,
                access(pickle, F_OK) != 0
                    ? ""
                    : "; pytorch_model.bin can run code when it is read and is not: save the model with safetensors");
        }
    }
    free(single);
    free(index);
    free(pickle);
    return status;
}

zrt_status zrt__safetensors_open(const char *path, zrt__safetensors **file_out)
{
    zrt__safetensors *file = zrt__calloc(1, sizeof *file);
    if (file == NULL)
        return ZRT_ERR_MEMORY;
    struct stat info;
    zrt_status status = ZRT_OK;
    file->path = zrt__strdup(path);
    if (file->path == NULL) {
        status = ZRT_ERR_MEMORY;
    } else if (stat(path, &info) != 0) {
        status = zrt__fail(errno == ENOENT || errno == ENOTDIR ? ZRT_ERR_INPUT : ZRT_ERR_IO, "%s: %s", path,
                           strerror(errno));
    } else if (S_ISDIR(info.st_mode)) {
        status = add_folder(file);
    } else {
        char *copy = zrt__strdup(path);
        status = copy == NULL ? ZRT_ERR_MEMORY : add_file(file, copy);
        if (status == ZRT_OK)
            status = sort_entries(file);
    }
    if (status != ZRT_OK) {
        zrt__safetensors_close(&file);
        return status;
    }
    *file_out = file;
    return ZRT_OK;
}

size_t zrt__safetensors_count(const zrt__safetensors *file)
{
    return file->n_entries;
}

const zrt__safetensors_entry *zrt__safetensors_get(const zrt__safetensors *file, size_t index)
{
    return index < file->n_entries ? &file->entries[index] : NULL;
}

const zrt__safetensors_entry *zrt__safetensors_find(const zrt__safetensors *file, const char *name)
{
    if (file->n_entries == 0)
        return NULL;
    zrt__safetensors_entry key = {.name = name};
    return bsearch(&key, file->entries, file->n_entries, sizeof key, compare_entries);
}

/* Folders saved from the model without its head leave the first part of the names out. */
static const zrt__safetensors_entry *find_spelling(const zrt__safetensors *file, const char *name)
{
    static const char *const prefixes[] = {"transformer.", "model.", "bert."};
    const zrt__safetensors_entry *entry = zrt__safetensors_find(file, name);
    char longer[512];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && entry == NULL; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], n) == 0) {
            entry = zrt__safetensors_find(file, name + n);
        } else {
            int length = snprintf(longer, sizeof longer, "%s%s", prefixes[i], name);
            if (length > 0 && (size_t)length < sizeof longer)
                entry = zrt__safetensors_find(file, longer);
        }
    }
    return entry;
}

/* The published BERTs still have TensorFlow's names of a LayerNorm's parameters. */
static const zrt__safetensors_entry *find_old_spelling(const zrt__safetensors *file, const char *name)
{
    static const char *const names[][2] = {{"LayerNorm.weight", "LayerNorm.gamma"},
                                           {"LayerNorm.bias", "LayerNorm.beta"}};
    const zrt__safetensors_entry *entry = find_spelling(file, name);
    char old[512];
    for (size_t i = 0; i < 2 && entry == NULL; i++) {
        size_t n = strlen(name), m = strlen(names[i][0]);
        if (n < m || strcmp(name + n - m, names[i][0]) != 0 || n >= sizeof old)
            continue;
        snprintf(old, sizeof old, "%.*s%s", (int)(n - m), name, names[i][1]);
        entry = find_spelling(file, old);
    }
    return entry;
}

bool zrt__safetensors_lacks(const zrt__safetensors *file, const char *name)
{
    return find_old_spelling(file, name) == NULL;
}

static bool is_floating(const zrt__safetensors_entry *entry)
{
    return entry->readable && (entry->dtype == ZRT_FLOAT32 || entry->dtype == ZRT_FLOAT16 ||
                               entry->dtype == ZRT_BFLOAT16 || entry->dtype == ZRT_FLOAT64);
}

/* "[3, 4]" */
static void format_dims(char *text, size_t capacity, int n_dims, const int64_t *dims)
{
    size_t n = 0;
    text[n++] = '[';
    for (int i = 0; i < n_dims && n < capacity; i++)
        n += (size_t)snprintf(text + n, capacity - n, "%s%" PRId64, i > 0 ? ", " : "", dims[i]);
    if (n < capacity)
        snprintf(text + n, capacity - n, "]");
}

zrt_status zrt__safetensors_find_parameter(zrt__safetensors *file, const char *name, int n_dims, const int64_t *dims,
                                           const zrt__safetensors_entry **entry_out)
{
    const zrt__safetensors_entry *entry = find_old_spelling(file, name);
    if (entry == NULL)
        return zrt__fail(ZRT_ERR_INPUT, "%s: no tensor '%s'; the weights are of another model or incomplete",
                         file->path, name);
    if (!is_floating(entry))
        return zrt__fail(ZRT_ERR_INPUT, "%s: parameter '%s' is stored as %s; convert it to F32, F16 or BF16",
                         entry->file, entry->name, entry->dtype_name);
    if (entry->n_dims != n_dims || (n_dims > 0 && memcmp(entry->dims, dims, (size_t)n_dims * sizeof *dims) != 0)) {
        char have[160], want[160];
        format_dims(have, sizeof have, entry->n_dims, entry->dims);
        format_dims(want, sizeof want, n_dims, dims);
        return zrt__fail(ZRT_ERR_INPUT,
                         "%s: tensor '%s' has shape %s, the model wants %s; config.json and weights differ",
                         entry->file, entry->name, have, want);
    }
    if (!file->used[entry - file->entries]) /* threads may find what one of them has found before */
        file->used[entry - file->entries] = true;
    *entry_out = entry;
    return ZRT_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

const zrt__safetensors_entry *zrt__safetensors_next_unused(const zrt__safetensors *file, size_t *index)
{
    while (*index < file->n_entries) {
        const zrt__safetensors_entry *entry = &file->entries[*index];
        bool expected = file->used[*index] || ends_with(entry->name, ".attn.bias") ||
                        ends_with(entry->name, ".attn.masked_bias") || ends_with(entry->name, ".rotary_emb.inv_freq") ||
                        strcmp(entry->name, "lm_head.weight") == 0 || ends_with(entry->name, "embeddings.position_ids");
        ++*index;
        if (!expected)
            return entry;
    }
    return NULL;
}

static zrt_status check_range(const zrt__safetensors_entry *entry, int64_t first, int64_t n)
{
    if (first < 0 || n < 0 || first > entry->n_elements || n > entry->n_elements - first)
        return zrt__fail(ZRT_ERR_INTERNAL,
                         "%s: elements %" PRId64 " and %" PRId64 " more of tensor '%s', which has %" PRId64,
                         entry->file, first, n, entry->name, entry->n_elements);
    return ZRT_OK;
}

zrt_status zrt__safetensors_read_raw(const zrt__safetensors_entry *entry, int64_t first, int64_t n, void *out)
{
    ZRT_TRY(check_range(entry, first, n));
    if (!entry->readable)
        return zrt__fail(ZRT_ERR_INPUT, "%s: tensor '%s' is stored as %s, which is not read", entry->file, entry->name,
                         entry->dtype_name);
    size_t bytes = zrt_dtype_bytes(entry->dtype);
    if (n > 0)
        memcpy(out, (const char *)entry->data + (size_t)first * bytes, (size_t)n * bytes);
    return ZRT_OK;
}

zrt_status zrt__safetensors_read_entry(const zrt__safetensors_entry *entry, int64_t first, int64_t n, float *out)
{
    ZRT_TRY(check_range(entry, first, n));
    if (!is_floating(entry))
        return zrt__fail(ZRT_ERR_INPUT, "%s: tensor '%s' is stored as %s, not as floating numbers", entry->file,
                         entry->name, entry->dtype_name);
    if (entry->dtype == ZRT_FLOAT32)
        return zrt__safetensors_read_raw(entry, first, n, out);
    size_t bytes = zrt_dtype_bytes(entry->dtype);
    const char *source = (const char *)entry->data + (size_t)first * bytes;
    if ((uintptr_t)source % bytes == 0) {
        zrt__convert(out, ZRT_FLOAT32, source, entry->dtype, (size_t)n);
        return ZRT_OK;
    }
    /* The header's length sets the alignment, and old writers did not pad it. */
    double aligned[256];
    size_t room = sizeof aligned / bytes;
    for (size_t done = 0, part; done < (size_t)n; done += part) {
        part = (size_t)n - done < room ? (size_t)n - done : room;
        memcpy(aligned, source + done * bytes, part * bytes);
        zrt__convert(out + done, ZRT_FLOAT32, aligned, entry->dtype, part);
    }
    return ZRT_OK;
}

zrt_status zrt__safetensors_read(const zrt__safetensors *file, const char *name, int64_t first, int64_t n, float *out)
{
    const zrt__safetensors_entry *entry = find_old_spelling(file, name);
    if (entry == NULL)
        return zrt__fail(ZRT_ERR_INPUT, "%s: no tensor '%s'", file->path, name);
    return zrt__safetensors_read_entry(entry, first, n, out);
}
