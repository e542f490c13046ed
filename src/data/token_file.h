/* Files of tokens, read by range: what is in a file is found out once when it is opened, the tokens stay where they are. */
#ifndef ZRT_DATA_TOKEN_FILE_H
#define ZRT_DATA_TOKEN_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <zerort/status.h>

typedef struct zrt__hdf5_tokens zrt__hdf5_tokens;

typedef struct zrt__token_file {
    char *name; /* as messages call it: the path, and for HDF5 ":/dataset" */
    char *path;
    bool is_text;
    int n_dims;     /* 1: a stream of tokens; 2: rows, each a sample of its own */
    int64_t n_rows; /* of a file of two dimensions */
    int64_t width;
    int64_t n_tokens;
    /* All but HDF5: integers that lie end to end in the file. */
    int64_t data_offset;
    int element_bytes;
    bool is_signed;
    off_t file_bytes; /* size and time when it was opened: a file that changes under a run is an error */
    struct timespec file_modified;
    zrt__hdf5_tokens *hdf5;
} zrt__token_file;

/* Opens and checks one file. `object` is the path of a dataset in an HDF5 file or NULL. A missing, empty, damaged or
 * unfit file is ZRT_ERR_INPUT, one that cannot be read ZRT_ERR_IO. */
zrt_status zrt__token_file_open(const char *path, const char *object, zrt__token_file *file_out);
void zrt__token_file_close(zrt__token_file *file);

/* True for a file of zero bytes that would be read as text. */
bool zrt__token_file_is_empty_text(const char *path);

/* True for the names that HDF5 files have: ".h5", ".hdf5". */
bool zrt__token_file_is_hdf5(const char *path, size_t length);

/* Descriptors that are open now: few, whatever the number of files. Thread safe. */
typedef struct zrt__descriptors zrt__descriptors;
zrt_status zrt__descriptors_create(zrt__descriptors **descriptors_out);
void zrt__descriptors_destroy(zrt__descriptors **descriptors);

/* Reads tokens [first, first + n) (row-major; of a file of two dimensions within one row). Values beyond int64 are given as
 * negative ones. Thread safe. */
zrt_status zrt__token_file_read(const zrt__token_file *file, zrt__descriptors *descriptors, int64_t first, int64_t n,
                                int64_t *tokens);

#endif
