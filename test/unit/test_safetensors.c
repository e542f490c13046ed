/* safetensors: good files, files that lie, folders with shards, writing and reading back. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "checkpoint/safetensors.h"
#include "tap.h"

static char folder[] = "/tmp/zrt-safetensors-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static void write_bytes(const char *name, const void *data, size_t n)
{
    FILE *file = fopen(in_folder(name), "wb");
    if (file == NULL || fwrite(data, 1, n, file) != n || fclose(file) != 0)
        tap_ok(false, "the test can write %s", name);
}

/* A file of that header and n_data bytes 0, 1, 2, .. */
static void write_file(const char *name, const char *header, size_t n_data)
{
    unsigned char bytes[4096];
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + length + i] = (unsigned char)i;
    write_bytes(name, bytes, 8 + length + n_data);
}

static void test_good(void)
{
    /* An odd header length, so that nothing is aligned. */
    write_file(
        "good.safetensors",
        "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},\"mask\":{\"dtype\":\"BOOL\",\"shape\":[1,1]"
        ","
        "\"data_offsets\":[32,33]},\"scalar\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[33,37]},"
        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[37,37]}, "
        "\"wide\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[37,45]}}",
        45);
    zrt__safetensors *file = NULL;
    if (!tap_ok(zrt__safetensors_open(in_folder("good.safetensors"), &file) == ZRT_OK, "a good file opens")) {
        tap_diag("%s", zrt_error_message());
        return;
    }
    tap_ok(zrt__safetensors_count(file) == 6 && strcmp(zrt__safetensors_get(file, 0)->name, "a") == 0 &&
               zrt__safetensors_get(file, 6) == NULL,
           "it has six tensors in the order of their names");
    const zrt__safetensors_entry *b = zrt__safetensors_find(file, "b"), *none = zrt__safetensors_find(file, "none");
    tap_ok(b != NULL && b->n_dims == 2 && b->dims[0] == 2 && b->dims[1] == 3 && b->n_elements == 6 && b->bytes == 24 &&
               b->dtype == ZRT_FLOAT32,
           "shape and dtype of b");
    tap_ok(none != NULL && none->n_elements == 0 && none->bytes == 0, "a tensor without elements");
    tap_ok(zrt__safetensors_find(file, "c") == NULL, "no tensor c");

    float values[6], want;
    uint32_t bits = 0x07060504u;
    memcpy(&want, &bits, sizeof want);
    tap_ok(zrt__safetensors_read(file, "b", 1, 2, values) == ZRT_OK && memcmp(&values[0], &want, 4) == 0,
           "elements 1 and 2 of b");
    tap_ok(zrt__safetensors_read(file, "a", 1, 3, values) == ZRT_OK && values[0] == zrt__bf16_to_float(0x1b1au) &&
               values[2] == zrt__bf16_to_float(0x1f1eu),
           "bf16 is converted, unaligned");
    const unsigned char wide[8] = {37, 38, 39, 40, 41, 42, 43, 44};
    double exact;
    memcpy(&exact, wide, 8);
    tap_ok(zrt__safetensors_read(file, "wide", 0, 1, values) == ZRT_OK && values[0] == (float)exact,
           "fp64 is converted");
    tap_ok(zrt__safetensors_read(file, "b", 5, 2, values) == ZRT_ERR_INTERNAL &&
               zrt__safetensors_read(file, "b", -1, 1, values) == ZRT_ERR_INTERNAL &&
               zrt__safetensors_read(file, "b", 1, INT64_MAX, values) == ZRT_ERR_INTERNAL,
           "a range beyond the tensor is refused");
    int32_t scalar = 0;
    tap_ok(zrt__safetensors_read_raw(zrt__safetensors_find(file, "scalar"), 0, 1, &scalar) == ZRT_OK &&
               scalar == 0x24232221,
           "raw int32");
    tap_ok(zrt__safetensors_read(file, "scalar", 0, 1, values) == ZRT_ERR_INPUT, "int32 is not read as fp32");
    tap_ok(zrt__safetensors_read(file, "mask", 0, 1, values) == ZRT_ERR_INPUT, "BOOL is listed but not read");
    tap_ok(zrt__safetensors_read(file, "missing", 0, 1, values) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "missing") != NULL &&
               strstr(zrt_error_message(), "good.safetensors") != NULL,
           "a missing tensor is named with its file");
    zrt__safetensors_close(&file);
    tap_ok(file == NULL, "close nulls the pointer");
    zrt__safetensors_close(&file);
    zrt__safetensors_close(NULL);
}

static void test_refused(void)
{
#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header, *named;
        size_t n_data;
    } cases[] = {
        {"{\"t\":" T("F32", "[2]", "[0,8]") "}", "'t'", 7},
        {"{\"t\":" T("F32", "[2]", "[0,8]") "}", "1 bytes after the last", 9},
        {"{\"t\":" T("F32", "[2]", "[0,4]") "}", "'t'", 8},
        {"{\"t\":" T("F33", "[2]", "[0,8]") "}", "F33", 8},
        {"{\"t\":" T("F32", "[2]", "[8,0]") "}", "data_offsets", 8},
        {"{\"t\":" T("F32", "[2]", "[-8,0]") "}", "data_offsets", 8},
        {"{\"t\":" T("F32", "[2]", "[0,8,9]") "}", "data_offsets", 8},
        {"{\"t\":" T("F32", "[2]", "[0.0,8.0]") "}", "data_offsets", 8},
        {"{\"t\":" T("F32", "[2]", "\"x\"") "}", "data_offsets", 8},
        {"{\"t\":" T("F32", "[-2]", "[0,8]") "}", "dimension", 8},
        {"{\"t\":" T("F32", "2", "[0,8]") "}", "shape", 8},
        {"{\"t\":" T("F32", "[1,1,1,1,1,2]", "[0,8]") "}", "6 dimensions", 8},
        {"{\"t\":" T("F32", "[4294967296,4294967296,2]", "[0,8]") "}", "overflow", 8},
        {"{\"t\":" T("F64", "[2305843009213693952]", "[0,0]") "}", "overflow", 8},
        {"{\"t\":" T("F32", "[9223372036854775808]", "[0,0]") "}", "JSON", 8},
        {"{\"t\":" T("F32", "[2]", "[0,8]") ",\"u\":" T("F32", "[1]", "[4,8]") "}", "overlaps", 8},
        {"{\"t\":" T("F32", "[2]", "[0,8]") ",\"u\":" T("F32", "[2]", "[0,8]") "}", "overlaps", 8},
        {"{\"t\":" T("F32", "[1]", "[0,4]") ",\"u\":" T("F32", "[1]", "[8,12]") "}",
         "hole of 4 bytes before tensor 'u'", 12},
        {"{\"t\":" T("F32", "[1]", "[4,8]") "}", "hole", 8},
        {"{\"t\":" T("F32", "[2]", "[0,8]") ",\"t\":" T("F32", "[2]", "[0,8]") "}", "duplicate", 8},
        {"{\"t\":7}", "'t'", 0},
        {"{\"t\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype", 8},
        {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "shape", 8},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[2]}}", "data_offsets", 8},
        {"{\"__metadata__\":[]}", "__metadata__", 0},
        {"[]", "'{'", 0},
        {"{", "JSON", 0},
        {"{}x", "JSON", 0},
        {"", "header", 0},
    };
#undef T
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("bad.safetensors", cases[i].header, cases[i].n_data);
        zrt__safetensors *file = NULL;
        zrt_status status = zrt__safetensors_open(in_folder("bad.safetensors"), &file);
        bool good = status == ZRT_ERR_INPUT && file == NULL && strstr(zrt_error_message(), cases[i].named) != NULL &&
                    strstr(zrt_error_message(), "bad.safetensors") != NULL;
        if (!tap_ok(good, "refused: %.70s", cases[i].header))
            tap_diag("status %d: %s", status, zrt_error_message());
        zrt__safetensors_close(&file);
    }
    static const struct {
        const char *name, *bytes;
        size_t n;
    } raw[] = {
        {"empty", "", 0},
        {"seven bytes", "\2\0\0\0\0\0\0", 7},
        {"a header longer than the file", "\3\0\0\0\0\0\0\0{}", 10},
        {"a header of 2^64 - 1 bytes", "\377\377\377\377\377\377\377\377{}", 10},
        {"a NUL in a name", "\12\0\0\0\0\0\0\0{\"t\0\":{}}  ", 20},
    };
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++) {
        write_bytes("bad.safetensors", raw[i].bytes, raw[i].n);
        zrt__safetensors *file = NULL;
        tap_ok(zrt__safetensors_open(in_folder("bad.safetensors"), &file) == ZRT_ERR_INPUT, "refused: %s", raw[i].name);
        zrt__safetensors_close(&file);
    }
    /* Ten gigabytes of holes, which the disk has room for and memory has not. */
    const uint64_t ten_gigabytes = UINT64_C(10) << 30;
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(ten_gigabytes >> 8 * i);
    write_bytes("bad.safetensors", length, sizeof length);
    zrt__safetensors *file = NULL;
    if (truncate(in_folder("bad.safetensors"), (off_t)(8 + ten_gigabytes + 8)) == 0)
        tap_ok(zrt__safetensors_open(in_folder("bad.safetensors"), &file) == ZRT_ERR_INPUT &&
                   strstr(zrt_error_message(), "10737418240") != NULL,
               "refused: %s", zrt_error_message());
    tap_ok(zrt__safetensors_open(in_folder("nothing"), &file) == ZRT_ERR_INPUT, "a file that is not there");
    mkfifo(in_folder("fifo"), 0600);
    tap_ok(zrt__safetensors_open(in_folder("fifo"), &file) == ZRT_ERR_INPUT, "a FIFO does not hang");
    unlink(in_folder("fifo"));
    unlink(in_folder("bad.safetensors"));
    write_file("none.safetensors", "{}", 0);
    tap_ok(zrt__safetensors_open(in_folder("none.safetensors"), &file) == ZRT_OK && zrt__safetensors_count(file) == 0 &&
               zrt__safetensors_find(file, "x") == NULL,
           "a file without tensors opens");
    zrt__safetensors_close(&file);
    unlink(in_folder("none.safetensors"));
}

static void test_parameters(void)
{
    write_file("names.safetensors",
               "{\"wte.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
               "\"model.norm.weight\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[8,10]},"
               "\"h.0.attn.bias\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[10,11]},"
               "\"h.0.attn.masked_bias\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[11,15]},"
               "\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[15,19]},"
               "\"h.0.attn.c_attn.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[19,23]},"
               "\"counts\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[23,31]}}",
               31);
    zrt__safetensors *file = NULL;
    tap_ok(zrt__safetensors_open(in_folder("names.safetensors"), &file) == ZRT_OK, "a file with other spellings opens");
    const zrt__safetensors_entry *entry = NULL;
    tap_ok(zrt__safetensors_find_parameter(file, "transformer.wte.weight", 2, (int64_t[]){1, 2}, &entry) == ZRT_OK &&
               strcmp(entry->name, "wte.weight") == 0,
           "transformer. absent");
    tap_ok(zrt__safetensors_find_parameter(file, "norm.weight", 1, (int64_t[]){1}, &entry) == ZRT_OK &&
               strcmp(entry->name, "model.norm.weight") == 0,
           "model. present");
    tap_ok(zrt__safetensors_find_parameter(file, "wte.weight", 2, (int64_t[]){2, 1}, &entry) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "[1, 2]") != NULL && strstr(zrt_error_message(), "[2, 1]") != NULL,
           "another shape is refused with both");
    tap_ok(zrt__safetensors_find_parameter(file, "counts", 1, (int64_t[]){1}, &entry) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "I64") != NULL,
           "integers are no parameter");
    tap_ok(zrt__safetensors_find_parameter(file, "transformer.wpe.weight", 1, (int64_t[]){1}, &entry) ==
                   ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "transformer.wpe.weight") != NULL,
           "a missing parameter is named");
    size_t index = 0;
    const zrt__safetensors_entry *first = zrt__safetensors_next_unused(file, &index);
    const zrt__safetensors_entry *second = zrt__safetensors_next_unused(file, &index);
    tap_ok(first != NULL && strcmp(first->name, "counts") == 0 && second != NULL &&
               strcmp(second->name, "h.0.attn.c_attn.bias") == 0 && zrt__safetensors_next_unused(file, &index) == NULL,
           "unused tensors without masks and the tied head");
    zrt__safetensors_close(&file);
    unlink(in_folder("names.safetensors"));
}

static void test_old_names(void)
{
    zrt__safetensors *file = NULL;
    const zrt__safetensors_entry *weight = NULL, *bias = NULL;
    write_file("old.safetensors",
               "{\"embeddings.LayerNorm.gamma\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
               "\"bert.pooler.LayerNorm.beta\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
               8);
    tap_ok(zrt__safetensors_open(in_folder("old.safetensors"), &file) == ZRT_OK &&
               zrt__safetensors_find_parameter(file, "bert.embeddings.LayerNorm.weight", 1, (int64_t[]){1}, &weight) ==
                   ZRT_OK &&
               zrt__safetensors_find_parameter(file, "bert.pooler.LayerNorm.bias", 1, (int64_t[]){1}, &bias) ==
                   ZRT_OK &&
               strcmp(weight->name, "embeddings.LayerNorm.gamma") == 0 &&
               strcmp(bias->name, "bert.pooler.LayerNorm.beta") == 0,
           "gamma and beta of a LayerNorm");
    tap_ok(zrt__safetensors_lacks(file, "bert.pooler.LayerNorm.weight") &&
               !zrt__safetensors_lacks(file, "bert.pooler.LayerNorm.bias"),
           "what a file lacks");
    zrt__safetensors_close(&file);
    unlink(in_folder("old.safetensors"));
}

static void test_folders(void)
{
    zrt__safetensors *file = NULL;
    tap_ok(zrt__safetensors_open(folder, &file) == ZRT_ERR_INPUT, "a folder without weights");
    write_bytes("pytorch_model.bin", "x", 1);
    tap_ok(zrt__safetensors_open(folder, &file) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "pytorch_model.bin") != NULL,
           "a folder with pickled weights is told apart");
    unlink(in_folder("pytorch_model.bin"));
    write_file("one.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
    write_file("two.safetensors", "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
    static const struct {
        const char *index, *named;
        zrt_status status;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", NULL, ZRT_OK},
        {"{\"weight_map\":{\"a\":\"one.safetensors\"}}", NULL, ZRT_OK},
        {"{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"two.safetensors\"}}", "'a'", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"a\":\"three.safetensors\"}}", "three.safetensors", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "'../one.safetensors'", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "/etc/passwd", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"a\":\"..\"}}", "'..'", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"a\":\"\"}}", "'a'", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"a\":1}}", "'a'", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"c\":\"one.safetensors\"}}", "'c'", ZRT_ERR_INPUT},
        {"{\"weight_map\":[]}", "weight_map", ZRT_ERR_INPUT},
        {"{\"weight_map\":", "index.json", ZRT_ERR_INPUT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"two.safetensors\"}}", "duplicate", ZRT_ERR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_bytes("model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        zrt_status status = zrt__safetensors_open(folder, &file);
        if (!tap_ok(status == cases[i].status &&
                        (cases[i].named == NULL || strstr(zrt_error_message(), cases[i].named) != NULL),
                    "index %s", cases[i].index))
            tap_diag("status %d: %s", status, zrt_error_message());
        zrt__safetensors_close(&file);
    }
    write_file("two.safetensors",
               "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],"
               "\"data_offsets\":[2,4]}}",
               4);
    write_bytes("model.safetensors.index.json", cases[0].index, strlen(cases[0].index));
    tap_ok(zrt__safetensors_open(folder, &file) == ZRT_ERR_INPUT && strstr(zrt_error_message(), "'a' is in") != NULL,
           "a tensor in two shards is refused");
    unlink(in_folder("one.safetensors"));
    unlink(in_folder("two.safetensors"));
    unlink(in_folder("model.safetensors.index.json"));
}

/* Appends all elements of `tensor` as fp32 0, 1, 2, .. in parts of 5. */
static zrt_status append(zrt__safetensors_writer *writer, int64_t n)
{
    float part[5];
    for (int64_t i = 0; i < n; i += 5) {
        for (int k = 0; k < 5; k++)
            part[k] = (float)(i + k);
        ZRT_TRY(zrt__safetensors_writer_append(writer, part, ZRT_FLOAT32, n - i < 5 ? n - i : 5));
    }
    return ZRT_OK;
}

static int count_files(void)
{
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static const zrt__safetensors_tensor written[] = {
    {"a \"quoted\" name", ZRT_FLOAT32, 2, {3, 4}},
    {"none", ZRT_FLOAT32, 1, {0}},
    {"b", ZRT_BFLOAT16, 1, {7}},
    {"c", ZRT_FLOAT16, 2, {1, 11}},
    {"d", ZRT_FLOAT64, 0, {0}},
};
static const int64_t written_elements[] = {12, 0, 7, 11, 1};

static zrt_status save(size_t limit, bool commit)
{
    zrt__safetensors_writer *writer;
    ZRT_TRY(zrt__safetensors_writer_create(folder, 5, written, limit, &writer));
    zrt_status status = ZRT_OK;
    for (int i = 0; i < 5 && status == ZRT_OK; i++)
        status = append(writer, written_elements[i]);
    if (status == ZRT_OK && commit)
        return zrt__safetensors_writer_commit(&writer);
    zrt__safetensors_writer_destroy(&writer);
    return status;
}

static bool read_back(void)
{
    zrt__safetensors *file;
    if (zrt__safetensors_open(folder, &file) != ZRT_OK) {
        tap_diag("%s", zrt_error_message());
        return false;
    }
    bool good = zrt__safetensors_count(file) == 5;
    for (int i = 0; i < 5 && good; i++) {
        float values[12];
        const zrt__safetensors_entry *entry = zrt__safetensors_find(file, written[i].name);
        good = entry != NULL && entry->dtype == written[i].dtype && entry->n_dims == written[i].n_dims &&
               entry->n_elements == written_elements[i] &&
               zrt__safetensors_read(file, written[i].name, 0, written_elements[i], values) == ZRT_OK;
        for (int64_t k = 0; k < written_elements[i] && good; k++)
            good = values[k] == (float)k;
    }
    zrt__safetensors_close(&file);
    return good;
}

static void test_writer(void)
{
    tap_ok(save(0, true) == ZRT_OK && count_files() == 1 && read_back(), "one file is written and read back");
    tap_ok(save(0, false) == ZRT_OK && count_files() == 1 && read_back(), "an abandoned save leaves the old one alone");
    tap_ok(save(48, true) == ZRT_OK && count_files() == 3 && read_back(), "two shards and an index replace it");
    tap_ok(save(1, true) == ZRT_OK && count_files() == 5 && read_back(), "four shards replace two");
    tap_ok(save(0, true) == ZRT_OK && count_files() == 1 && read_back(), "one file replaces the shards");

    zrt__safetensors_writer *writer = NULL;
    float values[13] = {0};
    tap_ok(zrt__safetensors_writer_create(folder, 5, written, 0, &writer) == ZRT_OK &&
               zrt__safetensors_writer_append(writer, values, ZRT_FLOAT32, 13) == ZRT_ERR_INTERNAL,
           "more elements than the tensor has are refused");
    tap_ok(zrt__safetensors_writer_append(writer, values, ZRT_FLOAT32, 12) == ZRT_OK &&
               zrt__safetensors_writer_commit(&writer) == ZRT_ERR_INTERNAL && writer == NULL &&
               strstr(zrt_error_message(), "'b'") != NULL && count_files() == 1 && read_back(),
           "an incomplete save does not commit and names the tensor");
    tap_ok(zrt__safetensors_writer_create(in_folder("nowhere"), 5, written, 0, &writer) == ZRT_ERR_IO,
           "a folder that is not there");

    /* A full disk: a file may not grow to the end of its header. */
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){100, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    zrt_status status = save(0, true);
    setrlimit(RLIMIT_FSIZE, &before);
    tap_ok(status == ZRT_ERR_IO && strstr(zrt_error_message(), "model.safetensors.tmp") != NULL && count_files() == 1 &&
               read_back(),
           "a write that fails leaves the old file and nothing else");
    unlink(in_folder("model.safetensors"));
}

static void test_golden(void)
{
    char path[4096];
    const char *golden = getenv("ZRT_GOLDEN");
    snprintf(path, sizeof path, "%s/llama-bf16-sharded", golden != NULL ? golden : ZRT_GOLDEN_DIR);
    zrt__safetensors *file = NULL;
    if (!tap_ok(zrt__safetensors_open(path, &file) == ZRT_OK && zrt__safetensors_count(file) == 21,
                "five shards of Hugging Face's"))
        tap_diag("%s", zrt_error_message());
    zrt__safetensors_close(&file);
    snprintf(path, sizeof path, "%s/gpt2/reference.safetensors", golden != NULL ? golden : ZRT_GOLDEN_DIR);
    const zrt__safetensors_entry *ids = NULL;
    if (tap_ok(zrt__safetensors_open(path, &file) == ZRT_OK, "a file with integers"))
        ids = zrt__safetensors_find(file, "input_ids");
    int32_t tokens[128];
    tap_ok(ids != NULL && ids->dtype == ZRT_INT32 && ids->n_dims == 2 && ids->n_elements == 128 &&
               zrt__safetensors_read_raw(ids, 0, 128, tokens) == ZRT_OK && tokens[0] >= 0 && tokens[0] < 257,
           "its input_ids");
    zrt__safetensors_close(&file);
}

int main(void)
{
    if (mkdtemp(folder) == NULL) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        return 1;
    }
    test_good();
    unlink(in_folder("good.safetensors"));
    test_refused();
    test_parameters();
    test_old_names();
    test_folders();
    test_writer();
    test_golden();
    tap_ok(rmdir(folder) == 0, "nothing is left behind");
    return tap_done();
}
