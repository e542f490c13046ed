/* Token files of every format, and every way in which one can be damaged. */
#include "config.h"

#include <hdf5.h>

#include <zerort/data.h>
#include <zerort/log.h>

#include "data/dataset.h"
#include "tap.h"
#include "token_samples.h"

enum { LENGTH = 4 };

static zrt_dataset *open_one(const char *path, int64_t vocab_size)
{
    zrt_dataset_options options = {.length = LENGTH, .vocab_size = vocab_size};
    zrt_dataset *dataset = NULL;

    if (zrt_dataset_open(&path, 1, &options, &dataset) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return dataset;
}

static bool row_is(const zrt_dataset *dataset, int64_t row, const int32_t *input, const int32_t *labels)
{
    int32_t got_input[LENGTH], got_labels[LENGTH], scratch[LENGTH + 1];
    void *destinations[2] = {got_input, got_labels};

    if (dataset == NULL)
        return false;
    if (zrt__dataset_read_row(dataset, row, destinations, scratch) != ZRT_OK) {
        tap_diag("%s", zrt_error_message());
        return false;
    }
    return memcmp(got_input, input, sizeof got_input) == 0 && memcmp(got_labels, labels, sizeof got_labels) == 0;
}

static bool read_fails(const zrt_dataset *dataset, int64_t row, const char *says)
{
    int32_t input[LENGTH], labels[LENGTH], scratch[LENGTH + 1];
    void *destinations[2] = {input, labels};

    return dataset != NULL && zrt__dataset_read_row(dataset, row, destinations, scratch) == ZRT_ERR_INPUT &&
           strstr(zrt_error_message(), says) != NULL;
}

static void refused(const char *path, const char *says, const char *what)
{
    zrt_dataset_options options = {.length = LENGTH};
    zrt_dataset *dataset = NULL;
    zrt_status status = zrt_dataset_open(&path, 1, &options, &dataset);
    bool named = strncmp(zrt_error_message(), scratch_folder, strlen(scratch_folder)) == 0;

    if (!tap_ok(status == ZRT_ERR_INPUT && named && strstr(zrt_error_message(), says) != NULL, "refused: %s", what))
        tap_diag("%d: %s", status, zrt_error_message());
    zrt_dataset_destroy(&dataset);
}

#define ROW(...) ((const int32_t[LENGTH]){__VA_ARGS__})

static void test_bin(void)
{
    zrt_dataset *dataset = open_one(sample_bin("a.bin", 20240520, 1, 30000, 30000, 2), 0);

    tap_ok(zrt_dataset_n_tokens(dataset) == 30000 && !zrt_dataset_is_text(dataset), "llm.c's .bin of GPT-2");
    tap_ok(row_is(dataset, 1, ROW(12, 15, 18, 21), ROW(15, 18, 21, 24)), "its rows");
    tap_ok(row_is(dataset, 5000, ROW(0, 3, 6, 9), ROW(3, 6, 9, 12)) &&
               row_is(dataset, 4999, ROW(59988, 59991, 59994, 59997), ROW(59991, 59994, 59997, 0)),
           "tokens above 32767 are not negative");
    zrt_dataset_destroy(&dataset);
    dataset = open_one(scratch_path("a.bin"), 50257);
    tap_ok(read_fails(dataset, 4188, "a.bin: token 50259 at position 16753 is not below the vocabulary of 50257"),
           "a token beyond the vocabulary is named with file, position and value");
    zrt_dataset_destroy(&dataset);
    dataset = open_one(sample_bin("l.bin", 20240801, 7, 9, 9, 4), 0);
    tap_ok(row_is(dataset, 1, ROW(12, 15, 18, 21), ROW(15, 18, 21, 24)), "llm.c's .bin of Llama 3");
    zrt_dataset_destroy(&dataset);

    refused(sample_bin("b.bin", 20240520, 1, 30001, 30000, 2), "is truncated", ".bin with fewer tokens than it says");
    refused(sample_bin("b.bin", 20240520, 1, 29999, 30000, 2), "29999 tokens", ".bin with more tokens than it says");
    refused(sample_bin("b.bin", 20240520, 1, -5, 10, 2), "is truncated", ".bin with a count of four milliards");
    refused(sample_bin("b.bin", 20240520, 1, 0, 0, 2), "holds no tokens", ".bin without tokens");
    refused(sample_bin("b.bin", 20240520, 2, 10, 10, 2), "version 2", ".bin of an unknown version");
    refused(sample_bin("b.bin", 12345, 1, 10, 10, 2), "magic 12345 instead of 20240520", ".bin with a wrong magic");
    refused(scratch_write("b.bin", "abc", 3), "is no token file", ".bin of three bytes");
    refused(scratch_write("b.bin", "", 0), "b.bin: is empty", ".bin of no bytes");
    if (truncate(sample_bin("b.bin", 20240520, 1, 10, 10, 2), 500) == 0)
        refused(scratch_path("b.bin"), "is truncated", ".bin that ends in its header");
}

static void test_npy(void)
{
    const uint16_t u2[9] = {1, 2, 3, 4, 65535, 6, 7, 8, 9};
    const int64_t i8[9] = {1, 2, 3, 4, 5, 6, -7, 8, INT64_C(1) << 40};
    const int8_t i1[9] = {1, 2, 3, 4, 5, 6, 7, -8, 9};
    const uint64_t u8[9] = {1, 2, 3, 4, UINT64_MAX, 6, 7, 8, 9};
    const int32_t i4[3][5] = {{1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}, {11, 12, 13, 14, 15}};
    zrt_dataset *dataset =
        open_one(sample_npy("a.npy", 1, "{'descr': '<u2', 'fortran_order': False, 'shape': (9,), }", u2, sizeof u2), 0);

    tap_ok(row_is(dataset, 0, ROW(1, 2, 3, 4), ROW(2, 3, 4, 65535)) &&
               row_is(dataset, 1, ROW(65535, 6, 7, 8), ROW(6, 7, 8, 9)),
           ".npy version 1 of uint16");
    zrt_dataset_destroy(&dataset);
    dataset =
        open_one(sample_npy("a.npy", 2, "{'descr': '<i8', 'fortran_order': False, 'shape': (9,), }", i8, sizeof i8), 0);
    tap_ok(row_is(dataset, 0, ROW(1, 2, 3, 4), ROW(2, 3, 4, 5)), ".npy version 2 of int64");
    tap_ok(read_fails(dataset, 1, "a.npy: token -7 at position 6 is negative"), "a negative token");
    zrt_dataset_destroy(&dataset);
    sample_npy("a.npy", 3, "{\"shape\": (9,), \"fortran_order\": False, \"descr\": \"|i1\"}", i1, sizeof i1);
    dataset = open_one(scratch_path("a.npy"), 0);
    tap_ok(row_is(dataset, 0, ROW(1, 2, 3, 4), ROW(2, 3, 4, 5)) && read_fails(dataset, 1, "token -8 at position 7"),
           ".npy version 3 of int8, keys in another order");
    zrt_dataset_destroy(&dataset);
    dataset = open_one(
        sample_npy("a.npy", 1, "{'descr': '<u8', 'fortran_order': False, 'shape': (9L,), }", u8, sizeof u8), 0);
    tap_ok(read_fails(dataset, 0, "at position 4"), "a token of 2^64 - 1");
    zrt_dataset_destroy(&dataset);
    sample_npy("a.npy", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }", i8 + 4, 5 * sizeof *i8);
    dataset = open_one(scratch_path("a.npy"), 0);
    tap_ok(read_fails(dataset, 0, "is negative"), "the first bad token is named");
    zrt_dataset_destroy(&dataset);

    dataset = open_one(
        sample_npy("r.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 5), }", i4, sizeof i4), 15);
    tap_ok(zrt_dataset_n_rows(dataset) == 3 && row_is(dataset, 1, ROW(6, 7, 8, 9), ROW(7, 8, 9, 10)),
           "in two dimensions each row is a row");
    tap_ok(read_fails(dataset, 2, "token 15 at row 2, column 4 is not below the vocabulary of 15"),
           "a bad token's row and column");
    zrt_dataset_destroy(&dataset);
    sample_npy("r.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (5, 3), }", i4, sizeof i4);
    dataset = open_one(scratch_path("r.npy"), 0);
    tap_ok(zrt_dataset_n_rows(dataset) == 5 && row_is(dataset, 4, ROW(13, 14, 15, 0), ROW(14, 15, -100, -100)) &&
               dataset->label_positions == 2,
           "short rows are padded with labels that do not count");
    zrt_dataset_destroy(&dataset);
    refused(sample_npy("r.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 6), }", i4, 48),
            "rows have 6 tokens, more than a sequence of 4", "rows that are too wide");
    refused(sample_npy("r.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (15, 1), }", i4, sizeof i4),
            "one token", "rows of one token");

    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'fortran_order': True, 'shape': (3, 5), }", i4, sizeof i4),
            "ascontiguousarray", ".npy in Fortran order");
    refused(sample_npy("b.npy", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (15,), }", i4, sizeof i4),
            "'<f4'", ".npy of floats");
    refused(sample_npy("b.npy", 1, "{'descr': '>i4', 'fortran_order': False, 'shape': (15,), }", i4, sizeof i4),
            "big-endian", "big-endian .npy");
    refused(
        sample_npy("b.npy", 1, "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (15,), }", i4, sizeof i4),
        "must be integers", ".npy of structures");
    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (), }", i4, 4), "no dimensions",
            ".npy of one number");
    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 3, 5), }", i4, sizeof i4),
            "more than two dimensions", ".npy of three dimensions");
    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (16,), }", i4, sizeof i4),
            "is truncated", "truncated .npy");
    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (14,), }", i4, sizeof i4),
            "more than one array", ".npy with bytes after its array");
    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (0,), }", i4, 0),
            "holds no tokens", ".npy without tokens");
    refused(
        sample_npy("b.npy", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", i4, 16),
        "larger than any file", ".npy whose size overflows");
    refused(
        sample_npy("b.npy", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999999,), }", i4, 16),
        "cannot be understood", ".npy whose dimension overflows");
    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'shape': (15,), }", i4, sizeof i4), "cannot be understood",
            ".npy without its order");
    refused(sample_npy("b.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (15,", i4, sizeof i4),
            "cannot be understood", ".npy with an unfinished header");
    refused(sample_npy("b.npy", 4, "{'descr': '<i4', 'fortran_order': False, 'shape': (15,), }", i4, sizeof i4),
            "version 4", ".npy of version 4");
    refused(scratch_write("b.npy", "PK\3\4 and more", 13), "first bytes are wrong", ".npy that is something else");
    refused(scratch_write("b.npy", "\x93NUMPY\1\0\xff\xff{'descr'", 18), "truncated within its header",
            ".npy that ends in its header");
    refused(scratch_write("b.npy", "\x93NUMPY\2\0\xff\xff\xff\xff{'descr'", 20), "damaged", ".npy with a huge header");
}

static void write_hdf5(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims, const void *data,
                       bool packed)
{
    hid_t space = H5Screate_simple(n_dims, dims, NULL), creation = H5Pcreate(H5P_DATASET_CREATE), dataset;
    hsize_t chunk[3] = {2, 2, 2};

    if (packed) {
        H5Pset_chunk(creation, n_dims, chunk);
        H5Pset_deflate(creation, 4);
    }
    dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Dwrite(dataset, H5Tget_class(type) == H5T_FLOAT ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT, H5S_ALL, H5S_ALL,
             H5P_DEFAULT, data);
    H5Dclose(dataset);
    H5Pclose(creation);
    H5Sclose(space);
}

static void count_warning(zrt_log_level level, const char *message, void *user)
{
    if (level == ZRT_LOG_WARNING && strstr(message, "could be tokens") != NULL)
        ++*(int *)user;
}

static void test_hdf5(void)
{
    const int data[24] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 300000};
    const float floats[4] = {1, 2, 3, 4};
    hsize_t nine = 9, four = 4, rows[2] = {3, 5}, cube[3] = {2, 2, 2};
    char named[PATH_MAX + 300];
    hid_t file, group;
    zrt_dataset *dataset;
    int warnings = 0;

    file = H5Fcreate(scratch_path("a.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_hdf5(file, "attention_mask", H5T_STD_U8LE, 1, &four, data, false);
    write_hdf5(file, "cube", H5T_STD_I32LE, 3, cube, data, false);
    write_hdf5(file, "floats", H5T_IEEE_F32LE, 1, &four, floats, false);
    group = H5Gcreate2(file, "train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    write_hdf5(group, "tokens", H5T_STD_I32BE, 1, &nine, data, true);
    write_hdf5(group, "rows", H5T_STD_U16LE, 2, rows, data, true);
    write_hdf5(group, "large", H5T_STD_I32LE, 1, &nine, data + 15, false);
    H5Gclose(group);
    H5Fclose(file);
    file = H5Fcreate(scratch_path("one.hdf5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_hdf5(file, "anything", H5T_STD_U16LE, 1, &nine, data, false);
    H5Fclose(file);
    file = H5Fcreate(scratch_path("none.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_hdf5(file, "floats", H5T_IEEE_F32LE, 1, &four, floats, false);
    H5Fclose(file);

    zrt_log_set_sink(count_warning, &warnings);
    dataset = open_one(scratch_path("one.hdf5"), 0);
    tap_ok(row_is(dataset, 1, ROW(5, 6, 7, 8), ROW(6, 7, 8, 9)) && warnings == 0, "the only dataset of an HDF5 file");
    zrt_dataset_destroy(&dataset);
    dataset = open_one(scratch_path("a.h5"), 0);
    tap_ok(zrt_dataset_n_tokens(dataset) == 9 && row_is(dataset, 1, ROW(5, 6, 7, 8), ROW(6, 7, 8, 9)),
           "of several the one called tokens, packed and big-endian");
    tap_ok(warnings == 1, "with a warning");
    zrt_dataset_destroy(&dataset);
    zrt_log_set_sink(NULL, NULL);
    snprintf(named, sizeof named, "%s:/train/rows", scratch_path("a.h5"));
    dataset = open_one(named, 14);
    tap_ok(row_is(dataset, 1, ROW(6, 7, 8, 9), ROW(7, 8, 9, 10)), "a named one of two dimensions");
    tap_ok(read_fails(dataset, 2, "a.h5:/train/rows: token 14 at row 2, column 3"), "its bad token");
    zrt_dataset_destroy(&dataset);
    snprintf(named, sizeof named, "%s:train/large", scratch_path("a.h5"));
    dataset = open_one(named, 50257);
    tap_ok(row_is(dataset, 0, ROW(16, 17, 18, 19), ROW(17, 18, 19, 20)) &&
               read_fails(dataset, 1, "token 300000 at position 8"),
           "a name without a slash, a token beyond the vocabulary");
    zrt_dataset_destroy(&dataset);
    snprintf(named, sizeof named, "%s:train/large", scratch_path("?.h5"));
    dataset = open_one(named, 0);
    tap_ok(dataset != NULL && zrt_dataset_n_rows(dataset) == 2, "a wildcard with a dataset");
    zrt_dataset_destroy(&dataset);

    refused(scratch_path("none.h5"), "no dataset of integers", "HDF5 without integers");
    snprintf(named, sizeof named, "%s:/train/nothing", scratch_path("a.h5"));
    refused(named, "no such dataset", "HDF5 without the dataset named");
    snprintf(named, sizeof named, "%s:/train", scratch_path("a.h5"));
    refused(named, "no such dataset", "a group instead of a dataset");
    snprintf(named, sizeof named, "%s:/floats", scratch_path("a.h5"));
    refused(named, "must be integers", "HDF5 of floats");
    snprintf(named, sizeof named, "%s:/cube", scratch_path("a.h5"));
    refused(named, "has 3 dimensions", "HDF5 of three dimensions");
    snprintf(named, sizeof named, "%s:", scratch_path("a.h5"));
    refused(named, "must follow the colon", "a colon and nothing");
    refused(scratch_write("b.h5", "this is text", 12), "no HDF5 file", "text called .h5");
    refused(scratch_write("b.h5", "", 0), "is empty", "an empty .h5");
    if (truncate(scratch_path("a.h5"), 3000) == 0)
        refused(scratch_path("a.h5"), "damaged HDF5 file", "a truncated .h5");
}

static void test_mixed(void)
{
    const int32_t data[10] = {0};
    const char *paths[2] = {
        sample_npy("1.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (10,), }", data, 40),
        sample_npy("2.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 5), }", data, 40)};
    zrt_dataset_options options = {.length = LENGTH};
    zrt_dataset *dataset = NULL;

    tap_ok(zrt_dataset_open(paths, 2, &options, &dataset) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "of one kind") != NULL,
           "refused: files of one and of two dimensions");
    paths[1] = scratch_write("3.txt", "abcdefghij", 10);
    tap_ok(zrt_dataset_open(paths, 2, &options, &dataset) == ZRT_OK && zrt_dataset_n_rows(dataset) == 4 &&
               !zrt_dataset_is_text(dataset),
           "formats may be mixed");
    zrt_dataset_destroy(&dataset);
}

int main(void)
{
    if (!scratch_make())
        return 99;
    test_bin();
    test_npy();
    test_hdf5();
    test_mixed();
    scratch_remove();
    return tap_done();
}
