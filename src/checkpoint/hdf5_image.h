/* HDF5 files that are made in memory. Only for the files of this folder; whoever calls holds the lock of base/hdf5_lock.h. */
#ifndef ZRT_CHECKPOINT_HDF5_IMAGE_H
#define ZRT_CHECKPOINT_HDF5_IMAGE_H

#include <hdf5.h>

#include <zerort/status.h>

typedef struct zrt__hdf5_image {
    hid_t file;
    char *data; /* after the close; released with free() */
    size_t bytes;
    size_t held;
    H5E_auto2_t print; /* the program's own setting */
    void *print_user;
} zrt__hdf5_image;

/* Opens an empty file in memory and keeps HDF5 from printing. The image must stay where it is. */
zrt_status zrt__hdf5_image_begin(zrt__hdf5_image *image);
/* Closes it, which leaves data and bytes, unless `status` is an error already, which is passed on. */
zrt_status zrt__hdf5_image_end(zrt__hdf5_image *image, zrt_status status);
/* The message with HDF5's own reason. */
zrt_status zrt__hdf5_fail(const char *what);

#endif
