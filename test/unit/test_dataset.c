/* Rows of text and of arrays: windows, files end to end, the split, wildcards, and what is refused. */
#include "config.h"

#include <sys/stat.h>

#include <zerort/data.h>

#include "data/dataset.h"
#include "scratch_folder.h"
#include "tap.h"

enum { LENGTH = 4 };

static zrt_dataset *open_or_null(const char *const *paths, int n, zrt_dataset_options options)
{
    zrt_dataset *dataset = NULL;

    if (zrt_dataset_open(paths, n, &options, &dataset) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return dataset;
}

/* Row as text: inputs, '|', labels ('.' for ignored). */
static const char *row_text(const zrt_dataset *dataset, int64_t row)
{
    static char text[64];
    int32_t input[LENGTH], labels[LENGTH], scratch[LENGTH + 1];
    void *destinations[2] = {input, labels};

    if (zrt__dataset_read_row(dataset, row, destinations, scratch) != ZRT_OK)
        return zrt_error_message();
    for (int i = 0; i < LENGTH; i++) {
        text[i] = (char)input[i];
        text[LENGTH + 1 + i] = (char)(labels[i] == ZRT_LABEL_IGNORED ? '.' : labels[i]);
    }
    text[LENGTH] = '|';
    text[2 * LENGTH + 1] = '\0';
    return text;
}

static void test_text(void)
{
    const char *path = scratch_write("a.txt", "abcdefghijkl", 12);
    zrt_dataset_options options = {.length = LENGTH, .vocab_size = 256};
    zrt_dataset *dataset = open_or_null(&path, 1, options);

    tap_ok(zrt_dataset_n_rows(dataset) == 2, "12 bytes are 2 rows of 4 and the byte after");
    tap_ok(zrt_dataset_n_tokens(dataset) == 12 && zrt_dataset_is_text(dataset), "12 tokens of text");
    tap_ok(strcmp(row_text(dataset, 0), "abcd|bcde") == 0, "labels are what follows");
    tap_ok(strcmp(row_text(dataset, 1), "efgh|fghi") == 0, "rows are 4 apart");
    zrt_dataset_destroy(&dataset);
    tap_ok(dataset == NULL, "destroy nulls the pointer");
    zrt_dataset_destroy(&dataset);
    zrt_dataset_destroy(NULL);

    path = scratch_write("13.txt", "abcdefghijklm", 13);
    dataset = open_or_null(&path, 1, options);
    tap_ok(zrt_dataset_n_rows(dataset) == 3, "13 bytes are 3 rows");
    zrt_dataset_destroy(&dataset);
    path = scratch_write("utf8.txt", "\xc3\xa4\xff\0z", 5);
    dataset = open_or_null(&path, 1, options);
    tap_ok(memcmp(row_text(dataset, 0), "\xc3\xa4\xff\0|\xa4\xff\0z", 9) == 0, "any byte is a token of 0 to 255");
    zrt_dataset_destroy(&dataset);
}

static void test_files(void)
{
    const char *paths[3] = {scratch_write("x1.src", "abcdef", 6), scratch_write("x2.src", "gh", 2),
                            scratch_write("x3.src", "ijklm", 5)};
    const char *wild = scratch_path("x?.src"), *empty;
    zrt_dataset_options options = {.length = LENGTH};
    zrt_dataset *dataset = open_or_null(paths, 3, options);

    tap_ok(zrt_dataset_n_rows(dataset) == 3, "three files are one stream");
    tap_ok(strcmp(row_text(dataset, 1), "efgh|fghi") == 0, "a row goes over the ends of files");
    tap_ok(strcmp(row_text(dataset, 2), "ijkl|jklm") == 0, "and on in the last one");
    zrt_dataset_destroy(&dataset);

    empty = scratch_write("x0.src", "", 0);
    dataset = open_or_null(&wild, 1, options);
    tap_ok(dataset != NULL && strcmp(row_text(dataset, 1), "efgh|fghi") == 0,
           "a wildcard matches in byte order and passes over an empty text");
    zrt_dataset_destroy(&dataset);
    unlink(empty);

    paths[0] = scratch_write("[odd]*.txt", "abcdefghi", 9);
    dataset = open_or_null(paths, 1, options);
    tap_ok(dataset != NULL && zrt_dataset_n_rows(dataset) == 2,
           "a file whose name looks like a wildcard is meant as it is");
    zrt_dataset_destroy(&dataset);
}

/* More files than descriptors are kept open. */
static void test_many_files(void)
{
    zrt_dataset_options options = {.length = LENGTH};
    zrt_dataset *dataset;
    const char *wild;
    bool good = true;

    for (int i = 0; i < 200; i++) {
        char name[32], text[16];

        snprintf(name, sizeof name, "many-%03d", i);
        snprintf(text, sizeof text, "%08d", i);
        scratch_write(name, text, 8);
    }
    wild = scratch_path("many-*");
    dataset = open_or_null(&wild, 1, options);
    for (int64_t turn = 0; turn < 2; turn++) {
        for (int64_t i = 0; i < 199; i++) {
            char expected[16];

            snprintf(expected, sizeof expected, "%04d|%03d0", (int)i, (int)i);
            good = good && strcmp(row_text(dataset, 2 * i + 1) + 1, expected + 1) == 0;
        }
    }
    tap_ok(good, "200 files are read in any order");
    zrt_dataset_destroy(&dataset);
}

static void test_split(void)
{
    const char *paths[2] = {scratch_write("s1", "abcdefghijklmnopqrst", 20), scratch_write("s2", "ABCDEFGHIJ", 10)};
    zrt_dataset_options options = {.length = LENGTH, .held_out_fraction = 0.3, .split = ZRT_SPLIT_TRAIN};
    zrt_dataset *train = open_or_null(paths, 2, options), *evaluation;

    options.split = ZRT_SPLIT_EVALUATION;
    evaluation = open_or_null(paths, 2, options);
    tap_ok(zrt_dataset_n_tokens(train) == 21 && zrt_dataset_n_tokens(evaluation) == 9, "0.3 of each file is held out");
    tap_ok(zrt_dataset_n_rows(train) == 5 && strcmp(row_text(train, 3), "mnAB|nABC") == 0,
           "training has the files' beginnings");
    tap_ok(strcmp(row_text(evaluation, 0), "opqr|pqrs") == 0, "evaluation has the files' ends");
    tap_ok(strcmp(row_text(evaluation, 1), "stHI|tHIJ") == 0, "of all files");
    zrt_dataset_destroy(&train);
    zrt_dataset_destroy(&evaluation);
    options.split = ZRT_SPLIT_ALL;
    train = open_or_null(paths, 2, options);
    tap_ok(zrt_dataset_n_tokens(train) == 30, "without a split all is there");
    zrt_dataset_destroy(&train);
}

static void refused(const char *path, zrt_dataset_options options, zrt_status expected, const char *says,
                    const char *what)
{
    zrt_dataset *dataset = (zrt_dataset *)&options;
    zrt_status status = zrt_dataset_open(&path, 1, &options, &dataset);
    bool good = status == expected && dataset == NULL && strstr(zrt_error_message(), says) != NULL;

    if (!tap_ok(good, "refused: %s", what))
        tap_diag("%d: %s", status, zrt_error_message());
    if (status == ZRT_OK)
        zrt_dataset_destroy(&dataset);
}

static void test_refused(void)
{
    zrt_dataset_options options = {.length = LENGTH};
    zrt_dataset *dataset = NULL;
    const char *path = scratch_write("short.txt", "abcd", 4);

    refused(path, options, ZRT_ERR_INPUT, "short.txt: has 4 tokens", "too short for one row");
    refused(scratch_path("none.txt"), options, ZRT_ERR_INPUT, "none.txt: no such file", "a missing file");
    refused(scratch_path("short.txt/x"), options, ZRT_ERR_INPUT, "no such file", "a file below a file");
    refused(scratch_path("none*.txt"), options, ZRT_ERR_INPUT, "none*.txt: no file matches",
            "a wildcard without match");
    refused(scratch_write("empty.txt", "", 0), options, ZRT_ERR_INPUT, "empty.txt: is empty", "an empty file");
    refused(scratch_path("emp*.txt"), options, ZRT_ERR_INPUT, "every file that matches", "a wildcard of empty files");
    refused(scratch_folder, options, ZRT_ERR_INPUT, "is a directory; name the files in it", "a directory");
    mkdir(scratch_path("inner"), 0777);
    refused(scratch_path("inn*"), options, ZRT_ERR_INPUT, "only folders match", "a wildcard that matches a directory");
    refused("", options, ZRT_ERR_INPUT, "is empty", "an empty name");
    if (mkfifo(scratch_path("pipe"), 0666) == 0)
        refused(scratch_path("pipe"), options, ZRT_ERR_INPUT, "not a regular file", "a pipe");
    if (geteuid() != 0) {
        chmod(path, 0);
        refused(path, options, ZRT_ERR_IO, "cannot be read", "a file without permission");
    } else {
        tap_skip(1, "root may read any file");
    }
    tap_ok(zrt_dataset_open(NULL, 0, &options, &dataset) == ZRT_ERR_INPUT, "refused: no file at all");
    path = scratch_write("nine.txt", "abcdefghi", 9);
    refused(path, (zrt_dataset_options){.length = 0}, ZRT_ERR_USAGE, "sequence length", "rows of nothing");
    refused(path, (zrt_dataset_options){.length = 4, .held_out_fraction = 1.0}, ZRT_ERR_USAGE, "fraction",
            "everything held out");
    refused(path, (zrt_dataset_options){.length = 4, .split = ZRT_SPLIT_EVALUATION}, ZRT_ERR_USAGE,
            "nothing is held out", "evaluation of nothing held out");
    refused(path, (zrt_dataset_options){.length = 4, .held_out_fraction = 0.2, .split = ZRT_SPLIT_EVALUATION},
            ZRT_ERR_INPUT, "held out for evaluation has 2 tokens", "too little held out");
}

static void test_while_reading(void)
{
    const char *path = scratch_write("v.txt", "abcdefg~i", 9);
    zrt_dataset *dataset = open_or_null(&path, 1, (zrt_dataset_options){.length = LENGTH, .vocab_size = 126});
    int32_t input[LENGTH], labels[LENGTH], scratch[LENGTH + 1];
    void *destinations[2] = {input, labels};

    tap_ok(zrt__dataset_read_row(dataset, 0, destinations, scratch) == ZRT_OK, "a row within the vocabulary");
    tap_ok(zrt__dataset_read_row(dataset, 1, destinations, scratch) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "v.txt: token 126 at position 7 is not below the vocabulary of 126") != NULL,
           "a token beyond it is named with file, position and value");
    zrt_dataset_destroy(&dataset);

    dataset = open_or_null(&path, 1, (zrt_dataset_options){.length = LENGTH});
    scratch_write("v.txt", "abcdefg", 7);
    tap_ok(zrt__dataset_read_row(dataset, 0, destinations, scratch) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "changed since the run started") != NULL,
           "a file that changed before it was read");
    zrt_dataset_destroy(&dataset);
    dataset = open_or_null(&path, 1, (zrt_dataset_options){.length = LENGTH});
    zrt__dataset_read_row(dataset, 0, destinations, scratch);
    if (truncate(path, 3) != 0)
        tap_diag("cannot truncate");
    tap_ok(zrt__dataset_read_row(dataset, 0, destinations, scratch) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "became shorter") != NULL,
           "a file that is cut while it is read");
    zrt_dataset_destroy(&dataset);
}

static void test_arrays(void)
{
    float x[3][2][2] = {{{0, 1}, {2, 3}}, {{4, 5}, {6, 7}}, {{8, 9}, {10, 11}}}, row[2][2];
    int32_t labels[3] = {5, 6, 7}, label, ids[3][5] = {{0}};
    const char *names[] = {"x", "labels"}, *token_names[] = {"labels", "input_ids"};
    zrt_view fields[] = {{x, ZRT_FLOAT32, 3, {3, 2, 2}}, {labels, ZRT_INT32, 1, {3}}};
    zrt_view token_fields[] = {{labels, ZRT_INT32, 1, {3}}, {ids, ZRT_INT32, 2, {3, 5}}};
    void *destinations[2] = {row, &label};
    zrt_dataset *dataset = NULL;

    tap_ok(zrt_dataset_from_arrays(3, 2, names, fields, &dataset) == ZRT_OK && zrt_dataset_n_rows(dataset) == 3 &&
               dataset->length == 1,
           "a dataset of arrays");
    tap_ok(zrt__dataset_read_row(dataset, 2, destinations, NULL) == ZRT_OK && memcmp(row, x[2], sizeof row) == 0 &&
               label == 7,
           "its rows");
    zrt_dataset_destroy(&dataset);
    tap_ok(zrt_dataset_from_arrays(3, 2, token_names, token_fields, &dataset) == ZRT_OK && dataset->length == 5,
           "the length is that of input_ids");
    zrt_dataset_destroy(&dataset);
    fields[1].dims[0] = 4;
    tap_ok(zrt_dataset_from_arrays(3, 2, names, fields, &dataset) == ZRT_ERR_USAGE && dataset == NULL &&
               strstr(zrt_error_message(), "'labels'") != NULL,
           "arrays that differ in rows are refused");
    tap_ok(zrt_dataset_from_arrays(0, 2, names, fields, &dataset) == ZRT_ERR_USAGE, "no rows are refused");
    tap_ok(zrt_dataset_from_arrays(3, ZRT_BATCH_MAX_FIELDS + 1, names, fields, &dataset) == ZRT_ERR_USAGE,
           "too many fields are refused");
}

int main(void)
{
    if (!scratch_make())
        return 99;
    test_text();
    test_files();
    test_many_files();
    test_split();
    test_refused();
    test_while_reading();
    test_arrays();
    scratch_remove();
    return tap_done();
}
