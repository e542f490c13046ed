/* index.h5: each parameter and state as one tensor, a virtual dataset over the ranks' files. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hdf5_lock.h"
#include "checkpoint/hdf5_image.h"
#include "checkpoint/shard_file.h"

typedef struct mapping {
    hid_t creation; /* of the dataset that is being made */
    const char *file, *dataset;
    hsize_t source_elements;
    const zrt__layout_parameter *parameter;
    hid_t space; /* of the tensor */
} mapping;

static zrt_status map_box(const mapping *m, const hsize_t *start, const hsize_t *count, hsize_t n, hsize_t at)
{
    hid_t source = H5Screate_simple(1, &m->source_elements, NULL);
    zrt_status status = ZRT_OK;
    bool good = source >= 0 && H5Sselect_hyperslab(source, H5S_SELECT_SET, &at, NULL, &n, NULL) >= 0;
    if (good && m->parameter->n_dims > 0)
        good = H5Sselect_hyperslab(m->space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0;
    else if (good)
        good = H5Sselect_all(m->space) >= 0;
    if (!good || H5Pset_virtual(m->creation, m->space, m->file, m->dataset, source) < 0)
        status = zrt__hdf5_fail("map a shard");
    if (source >= 0)
        H5Sclose(source);
    return status;
}

/* Elements [first, first + n) of the sub-tensor from dimension `dim` on, at `start` of those before it, as boxes: the rest of the
 * first row, whole rows, the beginning of the last one. */
static zrt_status map_range(const mapping *m, int dim, hsize_t *start, int64_t first, int64_t n, int64_t at)
{
    const zrt__layout_parameter *p = m->parameter;
    int n_dims = p->n_dims < ZRT_MAX_DIMS ? p->n_dims : ZRT_MAX_DIMS;
    int64_t row = 1;
    for (int i = dim + 1; i < n_dims; i++)
        row *= p->dims[i];
    while (n > 0) {
        int64_t index = first / row, within = first % row, done;
        start[dim] = (hsize_t)index;
        if (dim + 1 < ZRT_MAX_DIMS && (within != 0 || n < row)) {
            done = row - within < n ? row - within : n;
            ZRT_TRY(map_range(m, dim + 1, start, within, done, at));
        } else {
            hsize_t count[ZRT_MAX_DIMS];
            done = n / row * row;
            for (int i = 0; i < n_dims; i++)
                count[i] = i < dim ? 1 : i == dim ? (hsize_t)(n / row) : (hsize_t)p->dims[i];
            for (int i = dim + 1; i < n_dims; i++)
                start[i] = 0;
            ZRT_TRY(map_box(m, start, count, (hsize_t)done, (hsize_t)at));
        }
        first += done;
        n -= done;
        at += done;
    }
    return ZRT_OK;
}

static zrt_status map_parameter(const zrt__layout *layout, int dataset, mapping *m)
{
    hsize_t start[ZRT_MAX_DIMS] = {0};
    for (int64_t first = 0; first < m->parameter->n_elements;) {
        char file[16];
        zrt__layout_piece piece = zrt__layout_find(layout, m->parameter, first);
        zrt__shard_name(piece.rank, file);
        m->file = file;
        m->dataset = zrt__layout_dataset_name(layout, dataset);
        if (m->parameter->n_dims == 0)
            ZRT_TRY(map_box(m, start, start, 1, (hsize_t)piece.at));
        else
            ZRT_TRY(map_range(m, 0, start, piece.first, piece.n, piece.at));
        first += piece.n;
    }
    return ZRT_OK;
}

/* What a missing shard reads as. */
static bool fill_with_nan(hid_t creation)
{
    const float missing = NAN;
    return H5Pset_layout(creation, H5D_VIRTUAL) >= 0 && H5Pset_fill_value(creation, H5T_NATIVE_FLOAT, &missing) >= 0;
}

static zrt_status add_tensor(hid_t group, const zrt__layout *layout, int dataset,
                             const zrt__layout_parameter *parameter)
{
    hsize_t dims[ZRT_MAX_DIMS];
    for (int i = 0; i < parameter->n_dims; i++)
        dims[i] = (hsize_t)parameter->dims[i];
    mapping m = {.parameter = parameter,
                 .source_elements = (hsize_t)zrt__layout_dataset_elements(layout, dataset),
                 .creation = H5Pcreate(H5P_DATASET_CREATE),
                 .space =
                     parameter->n_dims > 0 ? H5Screate_simple(parameter->n_dims, dims, NULL) : H5Screate(H5S_SCALAR)};
    hid_t links = H5Pcreate(H5P_LINK_CREATE), tensor = -1;
    bool good = m.creation >= 0 && m.space >= 0 && links >= 0 && H5Pset_create_intermediate_group(links, 1) >= 0 &&
                fill_with_nan(m.creation);
    zrt_status status = good ? map_parameter(layout, dataset, &m) : zrt__hdf5_fail("describe a tensor");
    if (status == ZRT_OK) {
        H5Sselect_all(m.space);
        tensor = H5Dcreate2(group, parameter->name, H5T_IEEE_F32LE, m.space, links, m.creation, H5P_DEFAULT);
        if (tensor < 0)
            status = zrt__hdf5_fail("make a virtual dataset");
    }
    if (tensor >= 0)
        H5Dclose(tensor);
    if (links >= 0)
        H5Pclose(links);
    if (m.space >= 0)
        H5Sclose(m.space);
    if (m.creation >= 0)
        H5Pclose(m.creation);
    return status;
}

static zrt_status add_attribute(hid_t file, const zrt__index_attribute *attribute)
{
    hid_t space = H5Screate(H5S_SCALAR), type = -1, made = -1;
    if (attribute->text == NULL) {
        type = H5Tcopy(H5T_IEEE_F64LE);
    } else {
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, strlen(attribute->text) + 1);
    }
    if (space >= 0 && type >= 0)
        made = H5Acreate2(file, attribute->name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    zrt_status status = ZRT_OK;
    if (made < 0 ||
        H5Awrite(made, attribute->text != NULL ? type : H5T_NATIVE_DOUBLE,
                 attribute->text != NULL ? (const void *)attribute->text : (const void *)&attribute->number) < 0)
        status = zrt__hdf5_fail("write an attribute");
    if (made >= 0)
        H5Aclose(made);
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    return status;
}

static zrt_status add_all(hid_t file, const zrt__layout *layout, const zrt__index_attribute *attributes,
                          int n_attributes)
{
    for (int i = 0; i < n_attributes; i++)
        ZRT_TRY(add_attribute(file, &attributes[i]));
    for (int d = 0; d < zrt__layout_n_datasets(layout); d++) {
        hid_t group = H5Gcreate2(file, zrt__layout_dataset_name(layout, d), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        zrt_status status = group >= 0 ? ZRT_OK : zrt__hdf5_fail("make a group");
        for (size_t i = 0; i < layout->n_parameters && status == ZRT_OK; i++)
            if (d == 0 || layout->buffers[layout->parameters[i].buffer].trainable)
                status = add_tensor(group, layout, d, &layout->parameters[i]);
        if (group >= 0)
            H5Gclose(group);
        ZRT_TRY(status);
    }
    return ZRT_OK;
}

zrt_status zrt__index_image(const zrt__layout *layout, const zrt__index_attribute *attributes, int n_attributes,
                            void **image_out, size_t *bytes_out)
{
    zrt__hdf5_image image;
    *image_out = NULL;
    zrt__hdf5_lock();
    zrt_status status = zrt__hdf5_image_begin(&image);
    if (status == ZRT_OK)
        status = zrt__hdf5_image_end(&image, add_all(image.file, layout, attributes, n_attributes));
    zrt__hdf5_unlock();
    if (status == ZRT_OK) {
        *image_out = image.data;
        *bytes_out = image.bytes;
    }
    return status;
}
