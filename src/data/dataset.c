#include "config.h"

#include "data/dataset.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/dataset_paths.h"

static zrt_status check_options(int n_paths, const zrt_dataset_options *options)
{
    if (n_paths < 1)
        return zrt__fail(ZRT_ERR_INPUT, "no data file is named; give one or more");
    if (options->length < 1 || options->length >= INT32_MAX)
        return zrt__fail(ZRT_ERR_USAGE,
                         "a row of %" PRId64 " tokens is not possible; the sequence length must be 1 or more",
                         options->length);
    if (options->vocab_size < 0)
        return zrt__fail(ZRT_ERR_USAGE, "a vocabulary of %" PRId64 " tokens is not possible", options->vocab_size);
    if (!(options->held_out_fraction >= 0.0 && options->held_out_fraction < 1.0))
        return zrt__fail(ZRT_ERR_USAGE, "a held-out fraction of %g is not possible; it must be 0 or more and below 1",
                         options->held_out_fraction);
    if (options->split == ZRT_SPLIT_EVALUATION && options->held_out_fraction == 0.0)
        return zrt__fail(ZRT_ERR_USAGE,
                         "nothing is held out for evaluation; give a held-out fraction or a file for evaluation");
    return ZRT_OK;
}

static zrt_status open_files(zrt_dataset *dataset, const zrt__data_path *paths, size_t n_paths)
{
    dataset->files = zrt__calloc(n_paths, sizeof *dataset->files);
    dataset->extents = zrt__calloc(n_paths, sizeof *dataset->extents);
    if (dataset->files == NULL || dataset->extents == NULL)
        return ZRT_ERR_MEMORY;
    dataset->is_text = true;
    for (size_t i = 0; i < n_paths; i++) {
        zrt__token_file *file = &dataset->files[dataset->n_files];
        if (paths[i].from_wildcard && zrt__token_file_is_empty_text(paths[i].path))
            continue;
        ZRT_TRY(zrt__token_file_open(paths[i].path, paths[i].object, file));
        dataset->n_files++;
        dataset->is_text = dataset->is_text && file->is_text;
    }
    if (dataset->n_files == 0)
        return zrt__fail(ZRT_ERR_INPUT, "%s: is empty, and so is every file that matches; give files with text",
                         paths[0].path);
    return ZRT_OK;
}

static zrt_status check_shapes(const zrt_dataset *dataset)
{
    for (size_t i = 0; i < dataset->n_files; i++) {
        const zrt__token_file *file = &dataset->files[i];
        if (file->n_dims != dataset->files[0].n_dims)
            return zrt__fail(ZRT_ERR_INPUT, "%s has %d dimension%s and %s %d; give files of one kind",
                             dataset->files[0].name, dataset->files[0].n_dims, dataset->files[0].n_dims == 1 ? "" : "s",
                             file->name, file->n_dims);
        if (file->n_dims == 2 && file->width > dataset->length + 1)
            return zrt__fail(ZRT_ERR_INPUT,
                             "%s: its rows have %" PRId64 " tokens, more than a sequence of %" PRId64
                             " and one to predict; give "
                             "a sequence length of %" PRId64 ", or write the tokens as one dimension to have them cut",
                             file->name, file->width, dataset->length, file->width - 1);
        if (file->n_dims == 2 && file->width < 2)
            return zrt__fail(ZRT_ERR_INPUT,
                             "%s: its rows have one token, after which there is nothing to predict; write rows "
                             "of two or more",
                             file->name);
    }
    return ZRT_OK;
}

/* The part of each file that belongs to the split; `start` runs over all of them. */
static void make_extents(zrt_dataset *dataset, const zrt_dataset_options *options)
{
    int64_t start = 0;

    dataset->in_rows = dataset->files[0].n_dims == 2;
    for (size_t i = 0; i < dataset->n_files; i++) {
        const zrt__token_file *file = &dataset->files[i];
        int64_t total = dataset->in_rows ? file->n_rows : file->n_tokens, held_out = 0;
        zrt__extent extent = {.file = file, .first = 0, .start = start, .n = total};

        if (options->split != ZRT_SPLIT_ALL)
            held_out = (int64_t)llrint((double)total * options->held_out_fraction);
        if (options->split == ZRT_SPLIT_TRAIN) {
            extent.n = total - held_out;
        } else if (options->split == ZRT_SPLIT_EVALUATION) {
            extent.first = total - held_out;
            extent.n = held_out;
        }
        if (extent.n == 0)
            continue;
        dataset->extents[dataset->n_extents++] = extent;
        start += extent.n;
        dataset->n_tokens += dataset->in_rows ? extent.n * file->width : extent.n;
        if (dataset->in_rows && file->width - 1 > dataset->label_positions)
            dataset->label_positions = file->width - 1;
    }
    if (dataset->in_rows) {
        dataset->n_rows = start;
    } else {
        dataset->n_rows = start > 0 ? (start - 1) / dataset->length : 0;
        dataset->label_positions = dataset->length;
    }
}

static zrt_status fail_too_short(const zrt_dataset *dataset, const zrt_dataset_options *options)
{
    const char *part = options->split == ZRT_SPLIT_TRAIN        ? "what is left for training has"
                       : options->split == ZRT_SPLIT_EVALUATION ? "what is held out for evaluation has"
                                                                : "has";
    char others[64] = "";

    if (dataset->n_files > 1)
        snprintf(others, sizeof others, " and %zu more files", dataset->n_files - 1);
    if (dataset->in_rows)
        return zrt__fail(ZRT_ERR_INPUT, "%s%s: %s no row; give more data%s", dataset->files[0].name, others, part,
                         options->split == ZRT_SPLIT_ALL ? "" : ", another held-out fraction or a file for evaluation");
    return zrt__fail(ZRT_ERR_INPUT,
                     "%s%s: %s %" PRId64 " tokens, too few for one row of %" PRId64
                     " and the token after it; give more data or a "
                     "shorter sequence length%s",
                     dataset->files[0].name, others, part, dataset->n_tokens, dataset->length,
                     options->split == ZRT_SPLIT_ALL ? "" : ", another held-out fraction or a file for evaluation");
}

static zrt_status add_token_fields(zrt_dataset *dataset)
{
    static const char *const names[] = {"input_ids", "labels"};

    for (int i = 0; i < 2; i++) {
        dataset->names[i] = zrt__strdup(names[i]);
        if (dataset->names[i] == NULL)
            return ZRT_ERR_MEMORY;
        dataset->n_fields++;
        dataset->fields[i] = (zrt_view){.dtype = ZRT_INT32, .n_dims = 1, .dims = {dataset->length}};
        dataset->row_bytes[i] = (size_t)dataset->length * sizeof(int32_t);
    }
    return ZRT_OK;
}

static zrt_status fill(zrt_dataset *dataset, const zrt__data_path *paths, size_t n_paths,
                       const zrt_dataset_options *options)
{
    dataset->is_files = true;
    dataset->length = options->length;
    dataset->vocab_size = options->vocab_size;
    ZRT_TRY(zrt__descriptors_create(&dataset->descriptors));
    ZRT_TRY(open_files(dataset, paths, n_paths));
    ZRT_TRY(check_shapes(dataset));
    make_extents(dataset, options);
    if (dataset->n_rows == 0)
        return fail_too_short(dataset, options);
    return add_token_fields(dataset);
}

zrt_status zrt_dataset_open(const char *const *paths, int n_paths, const zrt_dataset_options *options,
                            zrt_dataset **dataset_out)
{
    zrt__data_path *expanded = NULL;
    zrt_dataset *dataset = NULL;
    size_t n = 0;
    zrt_status status;

    *dataset_out = NULL;
    ZRT_TRY(check_options(n_paths, options));
    ZRT_TRY(zrt__data_paths_expand(paths, n_paths, &expanded, &n));
    dataset = zrt__calloc(1, sizeof *dataset);
    status = dataset == NULL ? ZRT_ERR_MEMORY : fill(dataset, expanded, n, options);
    zrt__data_paths_destroy(&expanded, n);
    if (status != ZRT_OK) {
        zrt_dataset_destroy(&dataset);
        return status;
    }
    *dataset_out = dataset;
    return ZRT_OK;
}

static zrt_status add_arrays(zrt_dataset *dataset, int n_fields, const char *const *names, const zrt_view *fields)
{
    int64_t length_of_labels = 0;

    for (int i = 0; i < n_fields; i++) {
        zrt_view row = fields[i];
        if (row.n_dims < 1 || row.dims[0] != dataset->n_rows || row.data == NULL)
            return zrt__fail(ZRT_ERR_USAGE, "the array '%s' must have data and %" PRId64 " rows as its first dimension",
                             names[i], dataset->n_rows);
        row.n_dims--;
        memmove(row.dims, row.dims + 1, (size_t)row.n_dims * sizeof *row.dims);
        dataset->names[i] = zrt__strdup(names[i]);
        if (dataset->names[i] == NULL)
            return ZRT_ERR_MEMORY;
        dataset->n_fields++;
        dataset->fields[i] = row;
        dataset->row_bytes[i] = (size_t)(zrt_view_elements(&fields[i]) / dataset->n_rows) * zrt_dtype_bytes(row.dtype);
        if (strcmp(names[i], "input_ids") == 0 && row.n_dims >= 1)
            dataset->length = row.dims[0];
        else if (strcmp(names[i], "labels") == 0 && row.n_dims >= 1)
            length_of_labels = row.dims[0];
    }
    if (dataset->length == 0)
        dataset->length = length_of_labels > 0 ? length_of_labels : 1;
    return ZRT_OK;
}

zrt_status zrt_dataset_from_arrays(int64_t n_rows, int n_fields, const char *const *names, const zrt_view *fields,
                                   zrt_dataset **dataset_out)
{
    zrt_dataset *dataset;
    zrt_status status;

    *dataset_out = NULL;
    if (n_rows < 1 || n_fields < 1 || n_fields > ZRT_BATCH_MAX_FIELDS)
        return zrt__fail(ZRT_ERR_USAGE,
                         "a dataset has one row or more and 1 to %d fields, not %" PRId64 " rows and %d fields",
                         ZRT_BATCH_MAX_FIELDS, n_rows, n_fields);
    dataset = zrt__calloc(1, sizeof *dataset);
    if (dataset == NULL)
        return ZRT_ERR_MEMORY;
    dataset->n_rows = n_rows;
    status = add_arrays(dataset, n_fields, names, fields);
    if (status != ZRT_OK) {
        zrt_dataset_destroy(&dataset);
        return status;
    }
    *dataset_out = dataset;
    return ZRT_OK;
}

void zrt_dataset_destroy(zrt_dataset **dataset)
{
    if (dataset == NULL || *dataset == NULL)
        return;
    for (int i = 0; i < (*dataset)->n_fields; i++)
        free((*dataset)->names[i]);
    zrt__descriptors_destroy(&(*dataset)->descriptors);
    for (size_t i = 0; i < (*dataset)->n_files; i++)
        zrt__token_file_close(&(*dataset)->files[i]);
    if ((*dataset)->samples != NULL)
        zrt__samples_release((*dataset)->samples);
    free((*dataset)->samples);
    free((*dataset)->files);
    free((*dataset)->extents);
    free(*dataset);
    *dataset = NULL;
}

int64_t zrt_dataset_n_rows(const zrt_dataset *dataset)
{
    return dataset->n_rows;
}

int64_t zrt_dataset_n_tokens(const zrt_dataset *dataset)
{
    return dataset->n_tokens;
}

bool zrt_dataset_is_text(const zrt_dataset *dataset)
{
    return dataset->is_text;
}
