/* Reading manifest.json: its checksum first, then nothing in it is taken for granted all the same. */
#include "config.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "checkpoint/base64.h"
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"

/* The checksums of 16 TB, and the user's state. */
#define MAX_BYTES ((size_t)512 << 20)
#define MAX_PARAMETERS 10000000

typedef struct reader {
    zrt__manifest *manifest;
} reader;

static zrt_status bad(const char *what)
{
    return zrt__fail(ZRT_ERR_INPUT, "%s is missing or wrong; this is no manifest that zerort wrote", what);
}

static bool get_integer(const json_t *object, const char *key, int64_t low, int64_t high, int64_t *value_out)
{
    const json_t *value = json_object_get(object, key);
    *value_out = json_integer_value(value);
    return json_is_integer(value) && *value_out >= low && *value_out <= high;
}

/* A number; null is NAN. */
static bool get_real(const json_t *object, const char *key, double *value_out)
{
    const json_t *value = json_object_get(object, key);
    *value_out = json_is_number(value) ? json_number_value(value) : (double)NAN;
    return json_is_number(value) || json_is_null(value);
}

static bool get_hex(const json_t *object, const char *key, int n_digits, uint64_t *value_out)
{
    const char *text = json_string_value(json_object_get(object, key));
    *value_out = 0;
    if (text == NULL || strlen(text) != (size_t)n_digits || strspn(text, "0123456789abcdef") != (size_t)n_digits)
        return false;
    *value_out = strtoull(text, NULL, 16);
    return true;
}

static bool get_sum(const json_t *object, const char *key, uint32_t *value_out)
{
    uint64_t value;
    bool good = get_hex(object, key, 8, &value);
    *value_out = (uint32_t)value;
    return good;
}

/* A copy of a text, or of nothing where it is null. */
static zrt_status copy_text(const json_t *object, const char *key, char **text_out)
{
    const json_t *value = json_object_get(object, key);
    *text_out = NULL;
    if (json_is_null(value))
        return ZRT_OK;
    if (!json_is_string(value))
        return bad(key);
    *text_out = zrt__strdup(json_string_value(value));
    return *text_out != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
}

static bool get_state(const json_t *object, zrt__run_state *state)
{
    bool good = json_is_object(object);
#define READ_i(name) get_integer(object, #name, -1, INT64_MAX, &state->name)
#define READ_u(name) get_hex(object, #name, 16, &state->name)
#define READ_d(name) get_real(object, #name, &state->name)
#define READ(name, kind) good = good && READ_##kind(name);
    ZRT__RUN_STATE_TABLE(READ)
    return good && state->step >= 0 && state->skipped >= 0 && state->skipped <= state->step && state->unskipped >= 0 &&
           state->unskipped <= state->step && state->samples >= 0 && isfinite(state->loss_scale) &&
           state->loss_scale > 0 && state->hysteresis_left >= 0 && state->hysteresis_left <= INT32_MAX &&
           (state->scale_at_minimum == 0 || state->scale_at_minimum == 1);
}

static zrt_status read_parameter(const reader *r, const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    const json_t *shape = json_object_get(object, "shape");
    int64_t dims[ZRT_MAX_DIMS], buffer, offset;
    size_t n_dims = json_array_size(shape);
    if (name == NULL || *name == '\0' || !json_is_array(shape) || n_dims > ZRT_MAX_DIMS ||
        !get_integer(object, "buffer", 0, MAX_PARAMETERS, &buffer) ||
        !get_integer(object, "offset", 0, INT64_MAX, &offset))
        return bad("a parameter");
    for (size_t i = 0; i < n_dims; i++) {
        if (!json_is_integer(json_array_get(shape, i)))
            return bad("a shape");
        dims[i] = json_integer_value(json_array_get(shape, i));
    }
    return zrt__layout_add_parameter(&r->manifest->layout, name, (int)n_dims, dims, (int)buffer, offset);
}

static zrt_status read_layout(const reader *r, const json_t *object)
{
    zrt__layout *layout = &r->manifest->layout;
    const json_t *states = json_object_get(object, "states"), *buffers = json_object_get(object, "buffers");
    const json_t *parameters = json_object_get(object, "parameters");
    int64_t world;
    if (!get_integer(object, "world", 1, ZRT__CHECKPOINT_MAX_WORLD, &world) || !json_is_array(states) ||
        json_array_size(states) > ZRT__CHECKPOINT_MAX_STATES || !json_is_array(buffers) || !json_is_array(parameters))
        return bad("layout");
    layout->world = (int)world;
    for (size_t i = 0; i < json_array_size(states); i++) {
        const char *name = json_string_value(json_array_get(states, i));
        if (name == NULL || *name == '\0' || strlen(name) >= sizeof layout->states[0] ||
            strspn(name, "abcdefghijklmnopqrstuvwxyz_") != strlen(name))
            return bad("layout.states");
        snprintf(layout->states[layout->n_states++], sizeof layout->states[0], "%s", name);
    }
    for (size_t i = 0; i < json_array_size(buffers); i++) {
        const json_t *buffer = json_array_get(buffers, i);
        int64_t n_elements, slice;
        if (!json_is_boolean(json_object_get(buffer, "trainable")) ||
            !get_integer(buffer, "elements", 1, INT64_MAX, &n_elements) ||
            !get_integer(buffer, "slice", 1, INT64_MAX, &slice))
            return bad("layout.buffers");
        ZRT_TRY(zrt__layout_add_buffer(layout, json_is_true(json_object_get(buffer, "trainable")), n_elements, slice));
    }
    for (size_t i = 0; i < json_array_size(parameters); i++)
        ZRT_TRY(read_parameter(r, json_array_get(parameters, i)));
    return zrt__layout_finish(layout);
}

static zrt_status read_shard(const reader *r, const json_t *object, int rank)
{
    zrt__shard_sums *sums = &r->manifest->shards[rank];
    size_t n = (size_t)r->manifest->geometry.n_blocks;
    const char *blocks = json_string_value(json_object_get(object, "blocks"));
    const char *file = json_string_value(json_object_get(object, "file"));
    char name[16];
    zrt__shard_name(rank, name);
    if (file == NULL || strcmp(file, name) != 0) /* no path comes from here */
        return zrt__fail(ZRT_ERR_INPUT, "the file of rank %d is named '%.200s' instead of '%s'", rank,
                         file != NULL ? file : "", name);
    if (!get_sum(object, "crc32c", &sums->whole) || !get_sum(object, "header", &sums->header) || blocks == NULL ||
        strlen(blocks) != 8 * n || strspn(blocks, "0123456789abcdef") != 8 * n)
        return bad("the checksums of a rank's file");
    for (size_t i = 0; i < n; i++) {
        char text[9] = "";
        memcpy(text, blocks + 8 * i, 8);
        sums->blocks[i] = (uint32_t)strtoul(text, NULL, 16);
    }
    return sums->whole == zrt__shard_sum(&r->manifest->geometry, sums) ? ZRT_OK : bad("the checksum of a rank's file");
}

/* What it says of a dataset beside its size is what follows from the layout. */
static zrt_status check_dataset(const zrt__manifest *m, const json_t *object, int dataset)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    int64_t offset, wanted = m->geometry.offsets[dataset];
    if (name == NULL || strcmp(name, zrt__layout_dataset_name(&m->layout, dataset)) != 0)
        return zrt__fail(ZRT_ERR_INPUT, "dataset %d is named '%.200s' instead of '%s'", dataset,
                         name != NULL ? name : "", zrt__layout_dataset_name(&m->layout, dataset));
    return get_integer(object, "offset", wanted, wanted, &offset) ? ZRT_OK : bad("the offset of a dataset");
}

static zrt_status read_files(const reader *r, const json_t *object)
{
    zrt__manifest *m = r->manifest;
    const json_t *datasets = json_object_get(object, "datasets"), *ranks = json_object_get(object, "ranks");
    const json_t *index = json_object_get(object, "index");
    int64_t block, bytes;
    if (!get_integer(object, "header_bytes", 1, INT64_MAX, &m->geometry.header_bytes) ||
        !get_integer(object, "block_bytes", ZRT__CHECKPOINT_BLOCK, ZRT__CHECKPOINT_BLOCK, &block) ||
        !get_integer(object, "bytes", 1, INT64_MAX, &bytes) || !json_is_array(datasets) ||
        json_array_size(datasets) != (size_t)zrt__layout_n_datasets(&m->layout) || !json_is_array(ranks) ||
        json_array_size(ranks) != (size_t)m->layout.world ||
        !get_integer(index, "bytes", 0, INT64_MAX, &m->index_bytes) || !get_sum(index, "crc32c", &m->index_sum))
        return bad("files");
    m->geometry.n_datasets = zrt__layout_n_datasets(&m->layout);
    for (int i = 0; i < m->geometry.n_datasets; i++)
        if (!get_integer(json_array_get(datasets, (size_t)i), "bytes", 1, INT64_MAX, &m->geometry.bytes[i]))
            return bad("files.datasets");
    ZRT_TRY(zrt__shard_geometry_finish(&m->geometry, &m->layout));
    for (int i = 0; i < m->geometry.n_datasets; i++)
        ZRT_TRY(check_dataset(m, json_array_get(datasets, (size_t)i), i));
    if (bytes != m->geometry.file_bytes)
        return bad("files.bytes");
    /* As many checksums as the text has are allocated, not as many as its numbers say. */
    for (int i = 0; i < m->layout.world; i++)
        if (json_string_length(json_object_get(json_array_get(ranks, (size_t)i), "blocks")) !=
            8 * (size_t)m->geometry.n_blocks)
            return bad("the checksums of a rank's file");
    ZRT_TRY(zrt__manifest_allocate_shards(m));
    for (int i = 0; i < m->layout.world; i++)
        ZRT_TRY(read_shard(r, json_array_get(ranks, (size_t)i), i));
    return ZRT_OK;
}

static zrt_status read_blobs(const reader *r, json_t *object)
{
    zrt__manifest *m = r->manifest;
    const char *name;
    json_t *value;
    if (!json_is_object(object))
        return bad("user_state");
    json_object_foreach(object, name, value)
    {
        size_t bytes;
        void *data = json_is_string(value)
                         ? zrt__base64_decode(json_string_value(value), json_string_length(value), &bytes)
                         : NULL;
        if (data == NULL)
            return bad("user_state");
        zrt_status status = zrt__blobs_set(&m->blobs, &m->n_blobs, &m->blobs_capacity, name, data, bytes);
        free(data);
        ZRT_TRY(status);
    }
    return ZRT_OK;
}

static zrt_status read_root(const reader *r, const json_t *root)
{
    zrt__manifest *m = r->manifest;
    const json_t *model = json_object_get(root, "model"), *metric = json_object_get(root, "metric");
    const char *format = json_string_value(json_object_get(root, "format"));
    int64_t version, stage;
    uint64_t hash;
    if (format == NULL || strcmp(format, "zerort checkpoint") != 0 ||
        !get_integer(root, "version", 1, INT64_MAX, &version))
        return bad("format");
    if (version > ZRT__MANIFEST_VERSION)
        return zrt__fail(
            ZRT_ERR_NOT_SUPPORTED,
            "written in format %" PRId64 " by a newer zerort (%.32s); this one (" PACKAGE_VERSION ") reads up to %d",
            version,
            json_is_string(json_object_get(root, "zerort")) ? json_string_value(json_object_get(root, "zerort"))
                                                            : "unknown",
            ZRT__MANIFEST_VERSION);
    if (!get_state(json_object_get(root, "state"), &m->state))
        return bad("state");
    ZRT_TRY(copy_text(model, "name", &m->model_name));
    ZRT_TRY(copy_text(model, "config_json", &m->model_config));
    ZRT_TRY(copy_text(json_object_get(root, "configuration"), "resolved_json", &m->configuration));
    ZRT_TRY(copy_text(root, "optimizer", &m->optimizer));
    ZRT_TRY(copy_text(root, "dtype", &m->compute_dtype));
    ZRT_TRY(copy_text(metric, "name", &m->metric_name));
    if (m->model_name == NULL || m->compute_dtype == NULL || m->metric_name == NULL ||
        !get_integer(root, "stage", 0, 3, &stage) || !get_real(metric, "value", &m->metric) ||
        !get_hex(model, "hash", 16, &hash))
        return bad("model, dtype, stage or metric");
    m->greater_is_better = json_is_true(json_object_get(metric, "greater_is_better"));
    m->stage = (int)stage;
    zrt_status status = read_layout(r, json_object_get(root, "layout"));
    if (status == ZRT_OK && hash != zrt__manifest_model_hash(&m->layout))
        return bad("model.hash");
    if (status == ZRT_OK)
        status = read_files(r, json_object_get(root, "files"));
    if (status != ZRT_OK)
        return status;
    return read_blobs(r, json_object_get(root, "user_state"));
}

/* The checksum stands at the very end, in a form that has no second spelling. */
static bool sum_is_right(const char *text, size_t bytes)
{
    char tail[ZRT__MANIFEST_TAIL_BYTES + 1];
    if (bytes < ZRT__MANIFEST_TAIL_BYTES)
        return false;
    size_t length = bytes - ZRT__MANIFEST_TAIL_BYTES;
    snprintf(tail, sizeof tail, ZRT__MANIFEST_TAIL, zrt__crc32c(0, text, length));
    return memcmp(text + length, tail, ZRT__MANIFEST_TAIL_BYTES) == 0;
}

zrt_status zrt__manifest_parse(const char *path, const char *text, size_t bytes, zrt__manifest *manifest_out)
{
    reader r = {manifest_out};
    json_error_t error;
    *manifest_out = (zrt__manifest){.metric = (double)NAN};
    if (!sum_is_right(text, bytes))
        return zrt__fail(ZRT_ERR_INPUT, "%s: its checksum is wrong: the file is damaged or was changed", path);
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return zrt__fail(ZRT_ERR_INPUT, "%s:%d: %s", path, error.line, error.text);
    zrt_status status = read_root(&r, root);
    json_decref(root);
    if (status == ZRT_OK)
        return ZRT_OK;
    zrt__manifest_free(manifest_out);
    return zrt__fail_context(status, "%s: ", path);
}

zrt_status zrt__manifest_read(const char *folder, zrt__manifest *manifest_out)
{
    char *path = zrt__format("%s/" ZRT__MANIFEST_NAME, folder), *text = NULL;
    size_t bytes = 0;
    *manifest_out = (zrt__manifest){.metric = (double)NAN};
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__disk_read_whole(path, MAX_BYTES, &text, &bytes);
    if (status == ZRT_OK)
        status = zrt__manifest_parse(path, text, bytes, manifest_out);
    free(text);
    free(path);
    return status;
}
