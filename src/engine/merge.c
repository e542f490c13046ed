/* An adapter merged into its base model, folder to folder. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zerort/tokenizer.h>

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "engine/engine.h"
#include "nn/hf_config.h"
#include "nn/lora_config.h"
#include "nn/text_file.h"

#define MAX_FILE_BYTES ((size_t)5000000000)
/* Elements of the base model in memory at a time, at least a row. */
#define CHUNK 4194304

typedef struct merge {
    zrt_model *model;
    zrt__safetensors *base, *adapter;
    zrt__safetensors_writer *writer;
    float *values, *a, *b; /* rows of a weight, and both matrices of its module */
} merge;

static zrt_status find_adapter(const merge *m, const char *name, const zrt__parameter *parameter,
                               const zrt__safetensors_entry **entry_out)
{
    char *full = zrt__format(ZRT__ADAPTER_PREFIX "%s", name);
    if (full == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status =
        zrt__safetensors_find_parameter(m->adapter, full, parameter->n_dims, parameter->dims, entry_out);
    free(full);
    return status;
}

/* The parameters of the module's adapter, NULL where it has none. */
static zrt_status find_matrices(const merge *m, const zrt__parameter *parameter, const zrt__parameter *pair[2])
{
    static const char *const parts[] = {"lora_A.weight", "lora_B.weight"};
    const char *dot = strrchr(parameter->name, '.');
    pair[0] = pair[1] = NULL;
    if (dot == NULL || strcmp(dot, ".weight") != 0 || parameter->adapter)
        return ZRT_OK;
    for (int i = 0; i < 2; i++) {
        char *name = zrt__format("%.*s.%s", (int)(dot - parameter->name), parameter->name, parts[i]);
        if (name == NULL)
            return ZRT_ERR_MEMORY;
        int index = zrt__model_find_parameter(m->model, name);
        free(name);
        if (index >= 0)
            pair[i] = &m->model->parameters[index];
    }
    return ZRT_OK;
}

static zrt_status read_matrix(const merge *m, const zrt__parameter *parameter, float **values_out)
{
    const zrt__safetensors_entry *entry = NULL;
    ZRT_TRY(find_adapter(m, parameter->name, parameter, &entry));
    free(*values_out);
    *values_out = zrt__malloc((size_t)parameter->n_elements * sizeof **values_out);
    if (*values_out == NULL)
        return ZRT_ERR_MEMORY;
    return zrt__safetensors_read_entry(entry, 0, parameter->n_elements, *values_out);
}

/* [rows, columns] to [columns, rows] */
static float *transposed(const float *values, int64_t rows, int64_t columns)
{
    float *out = zrt__malloc((size_t)(rows * columns) * sizeof *out);
    for (int64_t i = 0; out != NULL && i < rows; i++)
        for (int64_t k = 0; k < columns; k++)
            out[k * rows + i] = values[i * columns + k];
    return out;
}

/* Left [rows, r] and right [r, columns], whose product times the factor is added to the weight: B and A, or, of GPT-2's weights
 * [in, out], their transposes. */
static zrt_status read_product(merge *m, const zrt__parameter *const pair[2])
{
    int64_t r = pair[0]->dims[0], n_in = pair[0]->dims[1], n_out = pair[1]->dims[0];
    ZRT_TRY(read_matrix(m, pair[0], &m->a));
    ZRT_TRY(read_matrix(m, pair[1], &m->b));
    if (!pair[0]->in_out)
        return ZRT_OK;
    float *left = transposed(m->a, r, n_in), *right = transposed(m->b, n_out, r);
    free(m->a);
    free(m->b);
    m->a = right;
    m->b = left;
    return left != NULL && right != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
}

static void add_rows(const merge *m, int64_t first, int64_t n, int64_t n_columns, int64_t r)
{
    const double factor = (double)m->model->lora->factor;
    for (int64_t row = 0; row < n; row++) {
        float *w = m->values + row * n_columns;
        for (int64_t k = 0; k < r; k++) {
            const float left = (float)(factor * (double)m->b[(first + row) * r + k]), *right = m->a + k * n_columns;
            for (int64_t i = 0; i < n_columns; i++)
                w[i] += left * right[i];
        }
    }
}

static zrt_status merge_parameter(merge *m, const zrt__parameter *parameter)
{
    const zrt__parameter *pair[2];
    const zrt__safetensors_entry *entry = NULL;
    ZRT_TRY(find_matrices(m, parameter, pair));
    if (parameter->saved)
        ZRT_TRY(find_adapter(m, parameter->name, parameter, &entry));
    else
        ZRT_TRY(zrt__safetensors_find_parameter(m->base, parameter->name, parameter->n_dims, parameter->dims, &entry));
    if (pair[0] != NULL)
        ZRT_TRY(read_product(m, pair));
    int64_t columns = parameter->n_elements / parameter->dims[0], rows = columns < CHUNK ? CHUNK / columns : 1;
    for (int64_t row = 0; row < parameter->dims[0]; row += rows) {
        int64_t n = parameter->dims[0] - row < rows ? parameter->dims[0] - row : rows;
        ZRT_TRY(zrt__safetensors_read_entry(entry, row * columns, n * columns, m->values));
        if (pair[0] != NULL)
            add_rows(m, row, n, columns, pair[0]->dims[0]);
        ZRT_TRY(zrt__safetensors_writer_append(m->writer, m->values, ZRT_FLOAT32, n * columns));
    }
    return ZRT_OK;
}

/* All that can be wrong is found before anything is written. Gives the tensors of the result, their names lent by the model. */
static zrt_status check(merge *m, const char *base, const char *adapter, zrt__safetensors_tensor *tensors,
                        size_t *n_out, size_t *chunk_out)
{
    *n_out = 0;
    *chunk_out = CHUNK;
    for (size_t i = 0; i < m->model->n_parameters; i++) {
        const zrt__parameter *parameter = &m->model->parameters[i];
        const zrt__safetensors_entry *entry = NULL, *unused = NULL;
        zrt_status status = ZRT_OK;
        if (parameter->adapter || parameter->saved)
            status = find_adapter(m, parameter->name, parameter, &unused);
        if (status != ZRT_OK)
            return zrt__fail_context(status, "adapter %s does not fit the model %s: ", adapter, base);
        if (parameter->adapter)
            continue;
        int64_t dims[ZRT_MAX_DIMS];
        memcpy(dims, parameter->dims, sizeof dims);
        if (m->model->stored_vocab > 0 && parameter->saved && zrt__parameter_is_vocabulary(m->model, parameter))
            dims[0] = m->model->stored_vocab;
        ZRT_TRY(zrt__safetensors_find_parameter(m->base, parameter->name, parameter->n_dims, dims, &entry));
        tensors[*n_out] =
            (zrt__safetensors_tensor){.name = parameter->name, .dtype = entry->dtype, .n_dims = parameter->n_dims};
        memcpy(tensors[(*n_out)++].dims, parameter->dims, sizeof parameter->dims);
        size_t columns = (size_t)(parameter->n_elements / parameter->dims[0]);
        if (columns > *chunk_out)
            *chunk_out = columns;
    }
    size_t index = 0;
    const zrt__safetensors_entry *other = zrt__safetensors_next_unused(m->adapter, &index);
    if (other != NULL)
        return zrt__fail(ZRT_ERR_INPUT, "adapter %s does not fit the model %s: tensor %s belongs to no module of it",
                         adapter, base, other->name);
    return ZRT_OK;
}

static zrt_status open_both(merge *m, const char *base, const char *adapter)
{
    char *config = zrt__format("%s/adapter_config.json", adapter);
    char *weights = zrt__format("%s/adapter_model.safetensors", adapter);
    zrt_status status = config != NULL && weights != NULL ? ZRT_OK : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = zrt__adapter_open_base(adapter, base, &m->model);
    if (status == ZRT_OK)
        status = zrt_model_read_lora(m->model, config);
    if (status == ZRT_OK)
        status = zrt__safetensors_open(base, &m->base);
    if (status == ZRT_OK)
        status = zrt__safetensors_open(weights, &m->adapter);
    free(config);
    free(weights);
    return status;
}

static zrt_status write_all(merge *m, const char *base, const char *adapter, const char *out, size_t n,
                            const zrt__safetensors_tensor *tensors)
{
    struct stat from, to;
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return zrt__fail(ZRT_ERR_IO, "folder %s: %s; name one that can be written", out, strerror(errno));
    if (stat(base, &from) == 0 && stat(out, &to) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return zrt__fail(ZRT_ERR_CONFIG, "%s is the base model's folder; name another for the merged model", out);
    ZRT_TRY(zrt__safetensors_writer_create(out, n, tensors, MAX_FILE_BYTES, &m->writer));
    for (size_t i = 0; i < m->model->n_parameters; i++)
        if (!m->model->parameters[i].adapter)
            ZRT_TRY(merge_parameter(m, &m->model->parameters[i]));
    ZRT_TRY(zrt__safetensors_writer_commit(&m->writer));
    ZRT_TRY(zrt_tokenizer_copy_files(base, out));
    ZRT_TRY(zrt_tokenizer_copy_files(adapter, out)); /* with the tokens that were added */
    return zrt__hf_config_write(m->model, tensors[0].dtype, out);
}

zrt_status zrt_adapter_merge(const char *base, const char *adapter, const char *out)
{
    merge m = {0};
    zrt__safetensors_tensor *tensors = NULL;
    size_t n = 0, chunk = 0;
    zrt_status status = open_both(&m, base, adapter);
    if (status == ZRT_OK) {
        tensors = zrt__calloc(m.model->n_parameters + 1, sizeof *tensors);
        status = tensors != NULL ? check(&m, base, adapter, tensors, &n, &chunk) : ZRT_ERR_MEMORY;
    }
    if (status == ZRT_OK && (m.values = zrt__malloc(chunk * sizeof *m.values)) == NULL)
        status = ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = write_all(&m, base, adapter, out, n, tensors);
    zrt__safetensors_writer_destroy(&m.writer);
    zrt__safetensors_close(&m.adapter);
    zrt__safetensors_close(&m.base);
    zrt_model_destroy(&m.model);
    free(m.values);
    free(m.a);
    free(m.b);
    free(tensors);
    return status;
}
