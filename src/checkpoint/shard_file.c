#include "config.h"

#include "checkpoint/shard_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hdf5_lock.h"
#include "checkpoint/hdf5_image.h"

enum { ALIGNMENT = 4096 };

/* A contiguous dataset that nothing is written to; where its data lies in the file. */
static zrt_status add_dataset(hid_t file, const char *name, hsize_t n, int64_t *offset_out)
{
    hid_t space = H5Screate_simple(1, &n, NULL), creation = H5Pcreate(H5P_DATASET_CREATE), dataset = -1;
    zrt_status status = ZRT_OK;
    if (space >= 0 && creation >= 0 && H5Pset_layout(creation, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0 && H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0)
        dataset = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    haddr_t offset = dataset >= 0 ? H5Dget_offset(dataset) : HADDR_UNDEF;
    if (offset == HADDR_UNDEF)
        status = zrt__hdf5_fail("make a dataset");
    *offset_out = (int64_t)offset;
    if (dataset >= 0)
        H5Dclose(dataset);
    if (creation >= 0)
        H5Pclose(creation);
    if (space >= 0)
        H5Sclose(space);
    return status;
}

/* What is not data must lie before it, and the data without gaps. */
static zrt_status check_image(const zrt__shard_geometry *geometry, const int64_t *offsets)
{
    for (int i = 0; i < geometry->n_datasets; i++)
        if (offsets[i] != geometry->offsets[i])
            return zrt__fail(ZRT_ERR_INTERNAL,
                             "this HDF5 lays dataset %d at byte %" PRId64 " instead of %" PRId64
                             "; build zerort with HDF5 1.10 or 1.12",
                             i, offsets[i], geometry->offsets[i]);
    return ZRT_OK;
}

zrt_status zrt__shard_header(const zrt__layout *layout, zrt__shard_geometry *geometry_out, void **header_out)
{
    zrt__hdf5_image image;
    zrt__shard_geometry g = {.n_datasets = zrt__layout_n_datasets(layout)};
    int64_t offsets[ZRT__CHECKPOINT_MAX_DATASETS] = {0};
    *header_out = NULL;
    zrt__hdf5_lock();
    zrt_status status = zrt__hdf5_image_begin(&image);
    if (status == ZRT_OK) {
        for (int i = 0; i < g.n_datasets && status == ZRT_OK; i++) {
            int64_t n = zrt__layout_dataset_elements(layout, i);
            g.bytes[i] = n * (int64_t)sizeof(float);
            status = add_dataset(image.file, zrt__layout_dataset_name(layout, i), (hsize_t)n, &offsets[i]);
        }
        status = zrt__hdf5_image_end(&image, status);
    }
    zrt__hdf5_unlock();
    if (status != ZRT_OK)
        return status;
    g.header_bytes = offsets[0];
    status = zrt__shard_geometry_finish(&g, layout);
    if (status == ZRT_OK)
        status = check_image(&g, offsets);
    void *header = NULL;
    if (status == ZRT_OK && posix_memalign(&header, ALIGNMENT, (size_t)g.header_bytes) != 0)
        status = zrt__fail(ZRT_ERR_MEMORY, "out of memory for a checkpoint's metadata");
    if (status == ZRT_OK) {
        size_t n = image.bytes < (size_t)g.header_bytes ? image.bytes : (size_t)g.header_bytes;
        memset(header, 0, (size_t)g.header_bytes);
        memcpy(header, image.data, n);
        *header_out = header;
        *geometry_out = g;
    }
    free(image.data);
    return status;
}
