/* The formats that token_file.c opens. Each fills in what the file holds; `fd` is open and `file_bytes` known. */
#ifndef ZRT_DATA_TOKEN_FORMAT_H
#define ZRT_DATA_TOKEN_FORMAT_H

#include "data/token_file.h"

/* llm.c, dev/data/data_common.py: GPT-2's tokens as uint16, Llama 3's as uint32. */
enum {
    ZRT__BIN_HEADER_INTS = 256,
    ZRT__BIN_MAGIC_GPT2 = 20240520,
    ZRT__BIN_VERSION_GPT2 = 1,
    ZRT__BIN_MAGIC_LLAMA3 = 20240801,
    ZRT__BIN_VERSION_LLAMA3 = 7
};

/* llm.c's .bin: 256 int32 (magic, version, count), then the tokens. */
zrt_status zrt__token_format_bin(int fd, zrt__token_file *file);

/* NumPy's .npy: versions 1 to 3, integers of one or two dimensions. */
zrt_status zrt__token_format_npy(int fd, zrt__token_file *file);

/* HDF5: the dataset named, or the one that looks like tokens. */
zrt_status zrt__token_format_hdf5(const char *object, zrt__token_file *file);
zrt_status zrt__token_hdf5_read(const zrt__token_file *file, int64_t first, int64_t n, int64_t *tokens);
void zrt__token_hdf5_close(zrt__hdf5_tokens **hdf5);

/* Reads exactly n bytes; where the file ends before, false with *io_error false. */
bool zrt__read_exactly(int fd, void *data, size_t n, int64_t offset, bool *io_error);

#endif
