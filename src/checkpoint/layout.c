#include "config.h"

#include "checkpoint/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { SLICE_ALIGNMENT = 64, DATASET_ALIGNMENT = 1024 };
/* Slices of at least so many elements begin with a page of the file, and are whole pages where they may be: the disk takes them from
 * the memory that they are in. */
enum { LARGE_SLICE = 16384, PAGE_ELEMENTS = 1024 };
/* A file of a rank has less than this many elements of each kind: no sum of offsets overflows. */
#define MAX_ELEMENTS (INT64_C(1) << 50)

static int64_t align_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

void zrt__layout_free(zrt__layout *layout)
{
    for (size_t i = 0; i < layout->n_parameters; i++)
        free(layout->parameters[i].name);
    free(layout->parameters);
    free(layout->buffers);
    *layout = (zrt__layout){0};
}

zrt_status zrt__layout_add_buffer(zrt__layout *layout, bool trainable, int64_t n_elements, int64_t slice)
{
    ZRT_TRY(zrt__grow(&layout->buffers, &layout->buffers_capacity, layout->n_buffers, sizeof *layout->buffers));
    if (slice == 0 && layout->world > 0 && n_elements > 0 && n_elements < MAX_ELEMENTS) {
        slice = (n_elements + layout->world - 1) / layout->world;
        slice = align_up(slice, slice >= LARGE_SLICE ? PAGE_ELEMENTS : SLICE_ALIGNMENT);
    }
    layout->buffers[layout->n_buffers++] =
        (zrt__layout_buffer){.trainable = trainable, .n_elements = n_elements, .slice = slice};
    return ZRT_OK;
}

/* Tools of HDF5 read a slash as a group, and dots as places beside it. */
static bool is_good_name(const char *name)
{
    bool good = *name != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    for (const char *c = name; *c != '\0' && good; c++)
        good = (unsigned char)*c >= ' ' && *c != '/' && *c != 127;
    return good;
}

zrt_status zrt__layout_add_parameter(zrt__layout *layout, const char *name, int n_dims, const int64_t *dims, int buffer,
                                     int64_t offset)
{
    ZRT_TRY(
        zrt__grow(&layout->parameters, &layout->parameters_capacity, layout->n_parameters, sizeof *layout->parameters));
    zrt__layout_parameter *parameter = &layout->parameters[layout->n_parameters];
    *parameter = (zrt__layout_parameter){
        .name = zrt__strdup(name), .n_dims = n_dims, .n_elements = 1, .buffer = buffer, .offset = offset};
    if (parameter->name == NULL)
        return ZRT_ERR_MEMORY;
    layout->n_parameters++;
    if (!is_good_name(name))
        return zrt__fail(ZRT_ERR_INPUT,
                         "a parameter is named '%.200s'; names in checkpoints have no slash and no control "
                         "character",
                         name);
    if (n_dims < 0 || n_dims > ZRT_MAX_DIMS)
        return zrt__fail(ZRT_ERR_INPUT, "parameter %.200s has %d dimensions; at most %d are possible", name, n_dims,
                         ZRT_MAX_DIMS);
    for (int i = 0; i < n_dims; i++) {
        parameter->dims[i] = dims[i];
        if (dims[i] < 1 || __builtin_mul_overflow(parameter->n_elements, dims[i], &parameter->n_elements) ||
            parameter->n_elements > MAX_ELEMENTS)
            return zrt__fail(ZRT_ERR_INPUT, "parameter %.200s has an impossible dimension, %" PRId64, name, dims[i]);
    }
    return ZRT_OK;
}

static int by_place(const void *a, const void *b)
{
    const zrt__layout_parameter *const *x = a, *const *y = b;
    if ((*x)->buffer != (*y)->buffer)
        return (*x)->buffer < (*y)->buffer ? -1 : 1;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

static int by_name(const void *a, const void *b)
{
    const zrt__layout_parameter *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static zrt_status check_parameters(const zrt__layout *layout)
{
    const zrt__layout_parameter **sorted = zrt__malloc((layout->n_parameters + 1) * sizeof *sorted);
    if (sorted == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = ZRT_OK;
    for (size_t i = 0; i < layout->n_parameters && status == ZRT_OK; i++) {
        const zrt__layout_parameter *p = sorted[i] = &layout->parameters[i];
        if (p->buffer < 0 || (size_t)p->buffer >= layout->n_buffers || p->offset < 0 ||
            p->offset > layout->buffers[p->buffer].n_elements ||
            p->n_elements > layout->buffers[p->buffer].n_elements - p->offset)
            status = zrt__fail(ZRT_ERR_INPUT, "parameter %.200s lies outside its buffer", p->name);
    }
    if (status == ZRT_OK)
        qsort(sorted, layout->n_parameters, sizeof *sorted, by_place);
    for (size_t i = 1; i < layout->n_parameters && status == ZRT_OK; i++)
        if (sorted[i]->buffer == sorted[i - 1]->buffer &&
            sorted[i]->offset < sorted[i - 1]->offset + sorted[i - 1]->n_elements)
            status =
                zrt__fail(ZRT_ERR_INPUT, "parameters %.200s and %.200s overlap", sorted[i - 1]->name, sorted[i]->name);
    if (status == ZRT_OK)
        qsort(sorted, layout->n_parameters, sizeof *sorted, by_name);
    for (size_t i = 1; i < layout->n_parameters && status == ZRT_OK; i++)
        if (strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            status = zrt__fail(ZRT_ERR_INPUT, "parameter %.200s is there twice", sorted[i]->name);
    free(sorted);
    return status;
}

zrt_status zrt__layout_finish(zrt__layout *layout)
{
    if (layout->world < 1 || layout->world > ZRT__CHECKPOINT_MAX_WORLD || layout->n_parameters == 0)
        return zrt__fail(ZRT_ERR_INPUT, "%zu parameters of %d ranks", layout->n_parameters, layout->world);
    layout->rank_elements[0] = layout->rank_elements[1] = 0;
    for (size_t i = 0; i < layout->n_buffers; i++) {
        zrt__layout_buffer *b = &layout->buffers[i];
        if (b->n_elements < 1 || b->n_elements > MAX_ELEMENTS || b->slice < 1 || b->slice > MAX_ELEMENTS ||
            b->slice * layout->world < b->n_elements)
            return zrt__fail(ZRT_ERR_INPUT, "a buffer of %" PRId64 " elements in slices of %" PRId64 " for %d ranks",
                             b->n_elements, b->slice, layout->world);
        if (i > 0 && b->trainable && !b[-1].trainable)
            return zrt__fail(ZRT_ERR_INPUT, "a trainable buffer follows a frozen one");
        b->start = align_up(layout->rank_elements[0], b->slice >= LARGE_SLICE ? PAGE_ELEMENTS : 1);
        layout->rank_elements[0] = b->start + b->slice;
        if (b->trainable)
            layout->rank_elements[1] = layout->rank_elements[0];
        if (layout->rank_elements[0] > MAX_ELEMENTS)
            return zrt__fail(ZRT_ERR_INPUT, "more elements than a file can have");
    }
    if (layout->rank_elements[1] == 0)
        layout->n_states = 0;
    return check_parameters(layout);
}

int zrt__layout_n_datasets(const zrt__layout *layout)
{
    return 1 + layout->n_states;
}

const char *zrt__layout_dataset_name(const zrt__layout *layout, int dataset)
{
    return dataset == 0 ? "parameters" : layout->states[dataset - 1];
}

int64_t zrt__layout_dataset_elements(const zrt__layout *layout, int dataset)
{
    return align_up(layout->rank_elements[dataset > 0], DATASET_ALIGNMENT);
}

zrt__layout_piece zrt__layout_find(const zrt__layout *layout, const zrt__layout_parameter *parameter, int64_t first)
{
    const zrt__layout_buffer *buffer = &layout->buffers[parameter->buffer];
    int64_t in_buffer = parameter->offset + first, rank = in_buffer / buffer->slice, within = in_buffer % buffer->slice;
    int64_t left = parameter->n_elements - first, in_slice = buffer->slice - within;
    return (zrt__layout_piece){
        .first = first, .n = left < in_slice ? left : in_slice, .rank = (int)rank, .at = buffer->start + within};
}

const zrt__layout_parameter *zrt__layout_parameter_find(const zrt__layout *layout, const char *name)
{
    for (size_t i = 0; i < layout->n_parameters; i++)
        if (strcmp(layout->parameters[i].name, name) == 0)
            return &layout->parameters[i];
    return NULL;
}
