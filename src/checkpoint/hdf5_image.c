#include "config.h"

#include "checkpoint/hdf5_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Metadata comes in blocks of this size, so that it lies before the data. */
enum { METADATA_BLOCK = 65536 };

static herr_t keep_description(unsigned n, const H5E_error2_t *error, void *user)
{
    (void)n;
    if (error->desc != NULL)
        snprintf(user, 256, "%s", error->desc);
    return 0;
}

zrt_status zrt__hdf5_fail(const char *what)
{
    char cause[256] = "unknown cause";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_description, cause);
    return zrt__fail(ZRT_ERR_MEMORY, "HDF5 cannot %s: %s", what, cause);
}

/* The driver for files in memory asks for its memory here, which is how the file is got hold of when it closes. */
static void *image_malloc(size_t bytes, H5FD_file_image_op_t operation, void *user)
{
    (void)operation;
    zrt__hdf5_image *image = user;
    image->held = bytes;
    return malloc(bytes);
}

static void *image_realloc(void *data, size_t bytes, H5FD_file_image_op_t operation, void *user)
{
    (void)operation;
    zrt__hdf5_image *image = user;
    void *grown = realloc(data, bytes);
    if (grown != NULL)
        image->held = bytes;
    return grown;
}

static void *image_memcpy(void *to, const void *from, size_t bytes, H5FD_file_image_op_t operation, void *user)
{
    (void)operation;
    (void)user;
    return memcpy(to, from, bytes);
}

static herr_t image_free(void *data, H5FD_file_image_op_t operation, void *user)
{
    zrt__hdf5_image *image = user;
    if (operation != H5FD_FILE_IMAGE_OP_FILE_CLOSE) {
        free(data);
        return 0;
    }
    image->data = data;
    image->bytes = image->held;
    return 0;
}

static void *lend(void *user)
{
    return user;
}

static herr_t keep(void *user)
{
    (void)user;
    return 0;
}

zrt_status zrt__hdf5_image_begin(zrt__hdf5_image *image)
{
    *image = (zrt__hdf5_image){.file = -1};
    H5FD_file_image_callbacks_t callbacks = {image_malloc, image_memcpy, image_realloc, image_free, lend, keep, image};
    H5Eget_auto2(H5E_DEFAULT, &image->print, &image->print_user);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access >= 0 && H5Pset_file_image_callbacks(access, &callbacks) >= 0 &&
        H5Pset_fapl_core(access, METADATA_BLOCK, 0) >= 0 && H5Pset_meta_block_size(access, METADATA_BLOCK) >= 0 &&
        H5Pset_alignment(access, 4096, 4096) >= 0)
        image->file = H5Fcreate("zerort-in-memory.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    zrt_status status = image->file < 0 ? zrt__hdf5_fail("make a file in memory") : ZRT_OK;
    if (access >= 0)
        H5Pclose(access);
    if (status != ZRT_OK)
        H5Eset_auto2(H5E_DEFAULT, image->print, image->print_user);
    return status;
}

zrt_status zrt__hdf5_image_end(zrt__hdf5_image *image, zrt_status status)
{
    if ((H5Fclose(image->file) < 0 || image->data == NULL) && status == ZRT_OK)
        status = zrt__hdf5_fail("close a file in memory");
    H5Eset_auto2(H5E_DEFAULT, image->print, image->print_user);
    if (status != ZRT_OK) {
        free(image->data);
        image->data = NULL;
    }
    return status;
}
