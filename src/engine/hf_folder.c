/* Hugging Face folders out of checkpoints and into them, a piece at a time, without an engine. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zerort/checkpoint.h>
#include <zerort/models.h>
#include <zerort/tokenizer.h>

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint/disk.h"
#include "checkpoint/restore.h"
#include "checkpoint/run_checkpoints.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/saver.h"
#include "graph/graph.h"
#include "nn/hf_config.h"

/* Shards of 5 GB, as transformers saves; elements that are in memory at once. */
#define MAX_FILE_BYTES ((size_t)5000000000)
#define CHUNK 262144
enum { N_SLOTS = 4 };

/* ---- export ---- */

/* FOLDER, or the checkpoint that a run folder's `latest` names. Gives. */
static zrt_status find_checkpoint(const char *folder, char **path_out)
{
    int64_t *steps = NULL;
    size_t n = 0;
    *path_out = NULL;
    if (zrt__is_checkpoint(folder)) {
        *path_out = zrt__strdup(folder);
        return *path_out != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    }
    ZRT_TRY(zrt__checkpoint_list(folder, &steps, &n));
    zrt_status status = ZRT_OK;
    if (n == 0)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: is no checkpoint and has none", folder);
    else if ((*path_out = zrt__checkpoint_path(folder, ZRT__CHECKPOINT_PREFIX, steps[0])) == NULL)
        status = ZRT_ERR_MEMORY;
    free(steps);
    return status;
}

static zrt_status choose_dtype(const zrt__manifest *manifest, const char *name, zrt_dtype *dtype_out)
{
    static const zrt_dtype dtypes[] = {ZRT_FLOAT32, ZRT_FLOAT16, ZRT_BFLOAT16};
    if (name == NULL)
        return zrt__hf_config_dtype(manifest->model_config, dtype_out);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(name, zrt_dtype_name(dtypes[i])) == 0) {
            *dtype_out = dtypes[i];
            return ZRT_OK;
        }
    return zrt__fail(ZRT_ERR_USAGE, "dtype '%s'; there are fp32, fp16 and bf16", name);
}

static zrt_status open_writer(const zrt__layout *layout, const char *out, zrt_dtype dtype,
                              zrt__safetensors_writer **writer_out)
{
    zrt__safetensors_tensor *tensors = zrt__calloc(layout->n_parameters, sizeof *tensors);
    if (tensors == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < layout->n_parameters; i++) {
        const zrt__layout_parameter *p = &layout->parameters[i];
        tensors[i] = (zrt__safetensors_tensor){.name = p->name, .dtype = dtype, .n_dims = p->n_dims};
        memcpy(tensors[i].dims, p->dims, sizeof tensors[i].dims);
    }
    zrt_status status = zrt__safetensors_writer_create(out, layout->n_parameters, tensors, MAX_FILE_BYTES, writer_out);
    free(tensors);
    return status;
}

static zrt_status write_tensors(zrt__restore *restore, zrt__safetensors_writer *writer)
{
    const zrt__layout *layout = &zrt__restore_manifest(restore)->layout;
    float *chunk = zrt__malloc(CHUNK * sizeof *chunk);
    zrt_status status = chunk != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    for (size_t i = 0; i < layout->n_parameters && status == ZRT_OK; i++) {
        const zrt__layout_parameter *p = &layout->parameters[i];
        for (int64_t first = 0; first < p->n_elements && status == ZRT_OK; first += CHUNK) {
            int64_t n = p->n_elements - first < CHUNK ? p->n_elements - first : CHUNK;
            status = zrt__restore_read(restore, 0, p, first, n, chunk);
            if (status == ZRT_OK)
                status = zrt__safetensors_writer_append(writer, chunk, ZRT_FLOAT32, n);
        }
    }
    free(chunk);
    return status;
}

static zrt_status write_config(const zrt__manifest *manifest, zrt_dtype dtype, const char *out)
{
    char *text = NULL;
    ZRT_TRY(zrt__hf_config_with_dtype(manifest->model_config, dtype, &text));
    zrt_status status = zrt__disk_replace(out, "config.json", text, strlen(text));
    free(text);
    return status;
}

/* A run with LoRA has its adapter in the run folder. */
static zrt_status refuse_adapters(const zrt__layout *layout)
{
    for (size_t i = 0; i < layout->n_parameters; i++)
        if (strstr(layout->parameters[i].name, ".lora_A.") != NULL)
            return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                             "the checkpoint is of a run with LoRA (%s), whose adapter is in the run folder: zerort "
                             "merge makes a model of it",
                             layout->parameters[i].name);
    return ZRT_OK;
}

static zrt_status export(zrt__restore *restore, const char *out, const char *dtype_name)
{
    const zrt__manifest *manifest = zrt__restore_manifest(restore);
    zrt__safetensors_writer *writer = NULL;
    zrt_dtype dtype;
    if (manifest->model_config == NULL)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "model %s has no config.json: transformers has no such model",
                         manifest->model_name);
    ZRT_TRY(refuse_adapters(&manifest->layout));
    ZRT_TRY(choose_dtype(manifest, dtype_name, &dtype));
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return zrt__fail(ZRT_ERR_IO, "folder %s: %s; name one that can be written", out, strerror(errno));
    zrt_status status = open_writer(&manifest->layout, out, dtype, &writer);
    if (status == ZRT_OK)
        status = write_tensors(restore, writer);
    if (status == ZRT_OK)
        status = write_config(manifest, dtype, out);
    if (status == ZRT_OK)
        status = zrt__safetensors_writer_commit(&writer);
    zrt__safetensors_writer_destroy(&writer);
    return status;
}

/* The run folder has the tokenizer's files. */
static zrt_status copy_tokenizer(const char *folder, const char *out)
{
    char *run = zrt__is_checkpoint(folder) ? zrt__format("%s/..", folder) : zrt__strdup(folder);
    zrt_status status = run != NULL ? zrt_tokenizer_copy_files(run, out) : ZRT_ERR_MEMORY;
    free(run);
    return status;
}

zrt_status zrt_checkpoint_export(const char *folder, const char *out, const char *dtype)
{
    char *path = NULL;
    zrt__restore *restore = NULL;
    ZRT_TRY(find_checkpoint(folder, &path));
    zrt_status status = zrt__restore_open(path, NULL, &restore);
    if (status == ZRT_OK)
        status = export(restore, out, dtype);
    if (status == ZRT_OK)
        status = copy_tokenizer(folder, out);
    zrt__restore_close(&restore);
    free(path);
    return status;
}

/* ---- import ---- */

typedef struct importing {
    zrt__safetensors *file;
    const zrt__safetensors_entry **entries; /* by parameter */
    zrt__layout layout;                     /* a second one, which stays while the saver has its own */
} importing;

static zrt_status copy_values(void *user, zrt__stream *stream, int dataset, int64_t first, int64_t n, float *out)
{
    const importing *import = user;
    (void)stream;
    (void)dataset;
    memset(out, 0, (size_t)n * sizeof *out);
    for (size_t i = 0; i < import->layout.n_parameters; i++) {
        const zrt__layout_parameter *p = &import->layout.parameters[i];
        int64_t from = first > p->offset ? first : p->offset, end = p->offset + p->n_elements;
        int64_t to = first + n < end ? first + n : end;
        if (from < to)
            ZRT_TRY(zrt__safetensors_read_entry(import->entries[i], from - p->offset, to - from, out + (from - first)));
    }
    return ZRT_OK;
}

static void keep_values(void *user, int dataset, int64_t first, int64_t n, float *out)
{
    (void)user;
    (void)dataset;
    (void)first;
    (void)n;
    (void)out;
}

/* All parameters end to end, of one rank, without states. */
static zrt_status lay_out(const zrt_model *model, zrt__layout *layout)
{
    int64_t offset = 0;
    *layout = (zrt__layout){.world = 1};
    for (size_t i = 0; i < model->n_parameters; i++) {
        const zrt__parameter *p = &model->parameters[i];
        ZRT_TRY(zrt__layout_add_parameter(layout, p->name, p->n_dims, p->dims, 0, offset));
        offset += p->n_elements;
    }
    ZRT_TRY(zrt__layout_add_buffer(layout, true, offset, 0));
    return zrt__layout_finish(layout);
}

static zrt_status fill(const zrt_model *model, zrt__manifest *m)
{
    *m = (zrt__manifest){.state = {.loss_scale = 1, .last_overflow = -1, .hysteresis_left = 1},
                         .metric = (double)NAN,
                         .model_name = zrt__strdup(model->name),
                         .compute_dtype = zrt__strdup(zrt_dtype_name(ZRT_FLOAT32))};
    if (m->model_name == NULL || m->compute_dtype == NULL)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(zrt__hf_config_text(model, ZRT_FLOAT32, &m->model_config));
    return lay_out(model, &m->layout);
}

/* Every parameter is there with its shape, and nothing else is. */
static zrt_status find_entries(const zrt_model *model, const char *folder, importing *import)
{
    zrt__safetensors *file = import->file;
    import->entries = zrt__calloc(model->n_parameters + 1, sizeof(void *));
    if (import->entries == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < model->n_parameters; i++) {
        const zrt__parameter *p = &model->parameters[i];
        ZRT_TRY(zrt__safetensors_find_parameter(file, p->name, p->n_dims, p->dims, &import->entries[i]));
    }
    size_t index = 0;
    const zrt__safetensors_entry *unused = zrt__safetensors_next_unused(file, &index);
    return unused == NULL
               ? ZRT_OK
               : zrt__fail(ZRT_ERR_INPUT, "%s: tensor %s belongs to no parameter of the model", folder, unused->name);
}

static zrt_status import_into(importing *import, const zrt_model *model, const char *out)
{
    zrt__manifest manifest = {0};
    zrt__saver *saver = NULL;
    int lock = -1;
    void *ring = NULL;
    zrt_status status = lay_out(model, &import->layout);
    int64_t tile = status == ZRT_OK ? zrt__saver_tile_bytes(&import->layout) : 0;
    if (status == ZRT_OK)
        status = fill(model, &manifest);
    if (status == ZRT_OK && posix_memalign(&ring, 4096, (size_t)tile * N_SLOTS) != 0)
        status = zrt__fail(ZRT_ERR_MEMORY, "out of memory for the values in flight");
    if (status == ZRT_OK)
        status = zrt__run_folder_claim(out, &lock);
    const zrt__saver_options options = {.ring = ring, .tile_bytes = tile, .n_slots = N_SLOTS};
    if (status == ZRT_OK)
        status = zrt__saver_create(&options, &saver);
    const zrt__save_request request = {
        .folder = out, .manifest = &manifest, .source = {import, copy_values, keep_values, NULL}};
    if (status == ZRT_OK)
        status = zrt__saver_start(saver, &request);
    if (status == ZRT_OK)
        status = zrt__saver_wait(saver);
    zrt__saver_destroy(&saver);
    zrt__run_folder_release(&lock);
    free(ring);
    zrt__manifest_free(&manifest);
    zrt__layout_free(&import->layout);
    return status;
}

zrt_status zrt_checkpoint_import(const char *hf_folder, const char *out)
{
    importing import = {0};
    zrt_model *model = NULL;
    int64_t *steps = NULL;
    size_t n = 0;
    ZRT_TRY(zrt__checkpoint_list(out, &steps, &n));
    free(steps);
    if (n > 0)
        return zrt__fail(ZRT_ERR_USAGE, "%s: has checkpoints already; name a new folder", out);
    zrt_status status = zrt_model_open(hf_folder, &model);
    if (status == ZRT_OK)
        status = zrt__safetensors_open(hf_folder, &import.file);
    if (status == ZRT_OK)
        status = find_entries(model, hf_folder, &import);
    if (status == ZRT_OK)
        status = import_into(&import, model, out);
    free(import.entries);
    zrt__safetensors_close(&import.file);
    zrt_model_destroy(&model);
    return status;
}
