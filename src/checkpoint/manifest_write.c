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
#include "base/random.h"
#include "checkpoint/base64.h"
#include "checkpoint/manifest.h"

void zrt__blobs_free(zrt__user_blob *blobs, size_t n_blobs)
{
    for (size_t i = 0; i < n_blobs; i++) {
        free(blobs[i].name);
        free(blobs[i].data);
    }
    free(blobs);
}

const zrt__user_blob *zrt__blobs_find(const zrt__user_blob *blobs, size_t n_blobs, const char *name)
{
    for (size_t i = 0; i < n_blobs; i++)
        if (strcmp(blobs[i].name, name) == 0)
            return &blobs[i];
    return NULL;
}

zrt_status zrt__blobs_set(zrt__user_blob **blobs, size_t *n_blobs, size_t *capacity, const char *name, const void *data,
                          size_t bytes)
{
    size_t i = 0;
    void *copy = NULL;
    while (i < *n_blobs && strcmp((*blobs)[i].name, name) != 0)
        i++;
    if (data != NULL) {
        copy = zrt__malloc(bytes + 1);
        if (copy == NULL)
            return ZRT_ERR_MEMORY;
        memcpy(copy, data, bytes);
    }
    if (i < *n_blobs && copy == NULL) {
        free((*blobs)[i].name);
        free((*blobs)[i].data);
        (*blobs)[i] = (*blobs)[--*n_blobs];
        return ZRT_OK;
    }
    if (copy == NULL)
        return ZRT_OK;
    if (i == *n_blobs) {
        zrt_status status = zrt__grow(blobs, capacity, *n_blobs, sizeof **blobs);
        char *kept = status == ZRT_OK ? zrt__strdup(name) : NULL;
        if (kept == NULL) {
            free(copy);
            return ZRT_ERR_MEMORY;
        }
        (*blobs)[(*n_blobs)++] = (zrt__user_blob){.name = kept};
    }
    free((*blobs)[i].data);
    (*blobs)[i].data = copy;
    (*blobs)[i].bytes = bytes;
    return ZRT_OK;
}

void zrt__manifest_free(zrt__manifest *m)
{
    for (int r = 0; m->shards != NULL && r < m->layout.world; r++)
        free(m->shards[r].blocks);
    free(m->shards);
    zrt__blobs_free(m->blobs, m->n_blobs);
    zrt__layout_free(&m->layout);
    free(m->model_name);
    free(m->model_config);
    free(m->configuration);
    free(m->optimizer);
    free(m->compute_dtype);
    free(m->metric_name);
    *m = (zrt__manifest){0};
}

zrt_status zrt__manifest_allocate_shards(zrt__manifest *m)
{
    m->shards = zrt__calloc((size_t)m->layout.world, sizeof *m->shards);
    if (m->shards == NULL)
        return ZRT_ERR_MEMORY;
    for (int r = 0; r < m->layout.world; r++) {
        m->shards[r].blocks = zrt__calloc((size_t)m->geometry.n_blocks, sizeof *m->shards[r].blocks);
        if (m->shards[r].blocks == NULL)
            return ZRT_ERR_MEMORY;
    }
    return ZRT_OK;
}

uint32_t zrt__shard_sum(const zrt__shard_geometry *geometry, const zrt__shard_sums *sums)
{
    uint32_t sum = sums->header;
    const uint32_t *block = sums->blocks;
    for (int d = 0; d < geometry->n_datasets; d++)
        for (int64_t left = geometry->bytes[d]; left > 0; left -= ZRT__CHECKPOINT_BLOCK)
            sum = zrt__crc32c_combine(sum, *block++,
                                      (size_t)(left < ZRT__CHECKPOINT_BLOCK ? left : ZRT__CHECKPOINT_BLOCK));
    return sum;
}

double zrt__manifest_score(const zrt__manifest *manifest, uint64_t *kind_out)
{
    const char *name = manifest->metric_name != NULL ? manifest->metric_name : "";
    *kind_out = zrt__hash_bytes(manifest->greater_is_better ? 2 : 1, name, strlen(name));
    return manifest->greater_is_better ? -manifest->metric : manifest->metric;
}

uint64_t zrt__manifest_model_hash(const zrt__layout *layout)
{
    uint64_t hash = 1;
    for (size_t i = 0; i < layout->n_parameters; i++) {
        const zrt__layout_parameter *p = &layout->parameters[i];
        hash = zrt__hash_bytes(hash, p->name, strlen(p->name) + 1);
        hash = zrt__hash_bytes(hash, p->dims, (size_t)p->n_dims * sizeof *p->dims);
    }
    return hash;
}

static json_t *hex32(uint32_t value)
{
    return json_sprintf("%08x", value);
}

static json_t *hex64(uint64_t value)
{
    return json_sprintf("%016" PRIx64, value);
}

/* A number, or null where it is not finite. */
static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static json_t *print_state(const zrt__run_state *state)
{
    json_t *object = json_object();
#define MAKE_i(value) json_integer(value)
#define MAKE_u(value) hex64(value)
#define MAKE_d(value) real(value)
#define PRINT(name, kind) json_object_set_new(object, #name, MAKE_##kind(state->name));
    ZRT__RUN_STATE_TABLE(PRINT)
    return object;
}

static json_t *print_parameters(const zrt__layout *layout)
{
    json_t *list = json_array();
    for (size_t i = 0; i < layout->n_parameters; i++) {
        const zrt__layout_parameter *p = &layout->parameters[i];
        json_t *shape = json_array();
        for (int d = 0; d < p->n_dims; d++)
            json_array_append_new(shape, json_integer(p->dims[d]));
        json_array_append_new(list, json_pack("{s:s, s:o, s:i, s:I}", "name", p->name, "shape", shape, "buffer",
                                              p->buffer, "offset", (json_int_t)p->offset));
    }
    return list;
}

static json_t *print_layout(const zrt__layout *layout)
{
    json_t *buffers = json_array(), *states = json_array();
    for (size_t i = 0; i < layout->n_buffers; i++)
        json_array_append_new(buffers, json_pack("{s:b, s:I, s:I}", "trainable", (int)layout->buffers[i].trainable,
                                                 "elements", (json_int_t)layout->buffers[i].n_elements, "slice",
                                                 (json_int_t)layout->buffers[i].slice));
    for (int i = 0; i < layout->n_states; i++)
        json_array_append_new(states, json_string(layout->states[i]));
    return json_pack("{s:i, s:o, s:o, s:o}", "world", layout->world, "states", states, "buffers", buffers, "parameters",
                     print_parameters(layout));
}

static json_t *print_shards(const zrt__manifest *m)
{
    json_t *list = json_array();
    size_t n = (size_t)m->geometry.n_blocks;
    char *text = zrt__malloc(8 * n + 1);
    for (int r = 0; r < m->layout.world && text != NULL; r++) {
        char name[16];
        zrt__shard_name(r, name);
        text[0] = '\0';
        for (size_t i = 0; i < n; i++)
            snprintf(text + 8 * i, 9, "%08x", m->shards[r].blocks[i]);
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:s}", "file", name, "crc32c", hex32(m->shards[r].whole),
                                              "header", hex32(m->shards[r].header), "blocks", text));
    }
    free(text);
    if (text == NULL) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *print_files(const zrt__manifest *m)
{
    json_t *datasets = json_array();
    for (int i = 0; i < m->geometry.n_datasets; i++)
        json_array_append_new(datasets,
                              json_pack("{s:s, s:I, s:I}", "name", zrt__layout_dataset_name(&m->layout, i), "offset",
                                        (json_int_t)m->geometry.offsets[i], "bytes", (json_int_t)m->geometry.bytes[i]));
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:{s:I, s:o}}", "bytes", (json_int_t)m->geometry.file_bytes,
                     "header_bytes", (json_int_t)m->geometry.header_bytes, "block_bytes",
                     (json_int_t)ZRT__CHECKPOINT_BLOCK, "datasets", datasets, "ranks", print_shards(m), "index",
                     "bytes", (json_int_t)m->index_bytes, "crc32c", hex32(m->index_sum));
}

static json_t *print_blobs(const zrt__manifest *m)
{
    json_t *object = json_object();
    for (size_t i = 0; i < m->n_blobs; i++) {
        char *text = zrt__base64_encode(m->blobs[i].data, m->blobs[i].bytes);
        json_t *value = text != NULL ? json_string(text) : NULL;
        free(text);
        if (value == NULL || json_object_set_new(object, m->blobs[i].name, value) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

zrt_status zrt__manifest_print(const zrt__manifest *m, char **text_out, size_t *bytes_out)
{
    uint64_t configuration_hash =
        m->configuration != NULL ? zrt__hash_bytes(1, m->configuration, strlen(m->configuration)) : 0;
    *text_out = NULL;
    json_t *root = json_pack(
        "{s:s, s:i, s:s, s:o, s:{s:s, s:o, s:o}, s:{s:o, s:o}, s:o, s:s, s:i, s:{s:s, s:o, s:b}, s:o, s:o, s:o}",
        "format", "zerort checkpoint", "version", ZRT__MANIFEST_VERSION, "zerort", PACKAGE_VERSION, "state",
        print_state(&m->state), "model", "name", m->model_name != NULL ? m->model_name : "", "hash",
        hex64(zrt__manifest_model_hash(&m->layout)), "config_json", text_or_null(m->model_config), "configuration",
        "hash", hex64(configuration_hash), "resolved_json", text_or_null(m->configuration), "optimizer",
        text_or_null(m->optimizer), "dtype", m->compute_dtype != NULL ? m->compute_dtype : "fp32", "stage", m->stage,
        "metric", "name", m->metric_name != NULL ? m->metric_name : "", "value", real(m->metric), "greater_is_better",
        m->greater_is_better, "layout", print_layout(&m->layout), "files", print_files(m), "user_state",
        print_blobs(m));
    char *body = root != NULL ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(root);
    if (body == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "out of memory for a checkpoint's manifest");
    size_t length = strlen(body) - 2; /* without "\n}" */
    body[length] = '\0';
    char tail[ZRT__MANIFEST_TAIL_BYTES + 1];
    snprintf(tail, sizeof tail, ZRT__MANIFEST_TAIL, zrt__crc32c(0, body, length));
    char *text = zrt__format("%s%s", body, tail);
    free(body);
    if (text == NULL)
        return ZRT_ERR_MEMORY;
    *text_out = text;
    *bytes_out = length + ZRT__MANIFEST_TAIL_BYTES;
    return ZRT_OK;
}
