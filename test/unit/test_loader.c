/* The prefetching loader: what it hands out, when it ends, what it does on errors, seeks and an early end. */
#include "config.h"

#include <time.h>

#include <zerort/data.h>

#include "data/loader.h"
#include "scratch_folder.h"
#include "tap.h"

enum { LENGTH = 4, N_ROWS = 10 };

/* A text of n_rows whose row r begins with 'A' + r. */
static zrt_dataset *rows_of_text(const char *name, int n_rows, int64_t vocab_size)
{
    zrt_dataset_options options = {.length = LENGTH, .vocab_size = vocab_size};
    zrt_dataset *dataset = NULL;
    char text[LENGTH * 32 + 1];
    const char *path;

    memset(text, '.', sizeof text);
    for (int i = 0; i < n_rows; i++)
        text[i * LENGTH] = (char)('A' + i);
    path = scratch_write(name, text, (size_t)(n_rows * LENGTH + 1));
    if (zrt_dataset_open(&path, 1, &options, &dataset) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return dataset;
}

static zrt_loader *loader_of(const zrt_dataset *dataset, int rank, int n_ranks, zrt_loader_options options)
{
    zrt_loader *loader = NULL;

    if (zrt__loader_create(rank, n_ranks, dataset, &options, &loader) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return loader;
}

/* Rows of all batches to the end as letters, '|' after each batch; what ended it. */
static zrt_status read_all(zrt_loader *loader, char *text, size_t capacity)
{
    const zrt_batch *batch;
    zrt_status status;
    size_t n = 0;

    while ((status = zrt_loader_next(loader, &batch)) == ZRT_OK && n + 16 < capacity) {
        const int32_t *ids = batch->fields[0].data;

        for (int64_t i = 0; i < batch->n_rows; i++)
            text[n++] = (char)ids[i * LENGTH];
        text[n++] = '|';
    }
    text[n] = '\0';
    return status;
}

static void test_batch(const zrt_dataset *dataset)
{
    zrt_loader *loader = loader_of(dataset, 1, 2, (zrt_loader_options){.micro_batch_rows = 3, .n_epochs = 1});
    const zrt_batch *batch = NULL;
    const int32_t *ids, *labels;

    tap_ok(zrt_loader_position(loader) == 0, "nothing is handed out at first, whatever is prefetched");
    tap_ok(zrt_loader_next(loader, &batch) == ZRT_OK && batch->n_rows == 3 && batch->length == LENGTH &&
               batch->n_fields == 2,
           "a batch of three rows");
    tap_ok(strcmp(batch->names[0], "input_ids") == 0 && strcmp(batch->names[1], "labels") == 0, "input_ids and labels");
    tap_ok(batch->fields[1].dtype == ZRT_INT32 && batch->fields[1].n_dims == 2 && batch->fields[1].dims[0] == 3 &&
               batch->fields[1].dims[1] == LENGTH && batch->label_positions == LENGTH,
           "int32 of rows by length");
    ids = batch->fields[0].data;
    labels = batch->fields[1].data;
    tap_ok(ids[0] == 'D' && ids[LENGTH] == 'E' && ids[1] == '.' && labels[LENGTH - 1] == 'E',
           "the second rank's rows of the first six");
    tap_ok(batch->sample_ids[0] == 3 && batch->sample_ids[2] == 5, "and their places in the global order");
    tap_ok(zrt_loader_position(loader) == 6, "six samples are handed out to both ranks");
    tap_ok(zrt_loader_next(loader, &batch) == ZRT_OK && batch->n_rows == 2 && batch->fields[0].dims[0] == 2 &&
               zrt_loader_position(loader) == 10,
           "the last four are two each");
    tap_ok(zrt_loader_next(loader, &batch) == ZRT_END && batch == NULL, "then the end");
    tap_ok(zrt_loader_next(loader, &batch) == ZRT_END && zrt_loader_position(loader) == 10, "and it stays the end");
    zrt_loader_destroy(&loader);
    tap_ok(loader == NULL, "destroy nulls the pointer");
    zrt_loader_destroy(&loader);
    zrt_loader_destroy(NULL);
}

static void test_seek(const zrt_dataset *dataset)
{
    zrt_loader_options options = {.micro_batch_rows = 2, .seed = 7, .shuffle = true, .n_epochs = 4};
    zrt_loader *loader = loader_of(dataset, 0, 1, options);
    const zrt_batch *batch;
    char whole[256], rest[256];
    bool good = true;

    tap_ok(read_all(loader, whole, sizeof whole) == ZRT_END && strlen(whole) == 4 * (N_ROWS + N_ROWS / 2),
           "four epochs");
    tap_ok(zrt_loader_batches_per_epoch(loader) == 5, "of five batches");
    for (int64_t n = 0; n <= 20; n++) {
        good = good && zrt_loader_seek(loader, 2 * n) == ZRT_OK && zrt_loader_position(loader) == 2 * n;
        for (int64_t i = 0; i < n % 4 && good && n < 10; i++) /* with something lent and something ahead */
            zrt_loader_next(loader, &batch);
        good = good && zrt_loader_seek(loader, 2 * n) == ZRT_OK && read_all(loader, rest, sizeof rest) == ZRT_END &&
               strcmp(rest, whole + 3 * n) == 0;
    }
    tap_ok(good, "from any position a seek gives the rest of the same sequence");
    tap_ok(zrt_loader_seek(loader, -1) == ZRT_ERR_USAGE, "refused: a seek before the beginning");
    zrt_loader_destroy(&loader);
}

static void test_micro_steps(const zrt_dataset *dataset)
{
    zrt_loader *loader =
        loader_of(dataset, 0, 2, (zrt_loader_options){.micro_batch_rows = 2, .accumulation_steps = 2, .n_epochs = 1});
    char text[64];

    tap_ok(zrt_loader_batches_per_epoch(loader) == 4 && read_all(loader, text, sizeof text) == ZRT_END &&
               strcmp(text, "AB|EF|I||") == 0,
           "a last step of two rows: one for each rank, then none");
    zrt_loader_destroy(&loader);
}

static void test_large_batch(const zrt_dataset *dataset)
{
    zrt_loader *loader = loader_of(dataset, 0, 1, (zrt_loader_options){.micro_batch_rows = 1000, .n_epochs = 2});
    char text[64];

    tap_ok(read_all(loader, text, sizeof text) == ZRT_END && strcmp(text, "ABCDEFGHIJ|ABCDEFGHIJ|") == 0,
           "a batch larger than the data is all of the data");
    zrt_loader_destroy(&loader);
    loader = loader_of(dataset, 3, 16, (zrt_loader_options){.micro_batch_rows = 1, .n_epochs = 1});
    tap_ok(read_all(loader, text, sizeof text) == ZRT_END && strcmp(text, "D|") == 0,
           "fewer rows than ranks: one for some");
    zrt_loader_destroy(&loader);
    loader = loader_of(dataset, 12, 16, (zrt_loader_options){.micro_batch_rows = 1, .n_epochs = 1});
    tap_ok(read_all(loader, text, sizeof text) == ZRT_END && strcmp(text, "|") == 0,
           "and a batch without rows for others");
    zrt_loader_destroy(&loader);
}

static void test_errors(void)
{
    zrt_dataset *dataset =
        rows_of_text("limited.txt", N_ROWS, 'F'); /* row 5 begins with 'F', and row 4's labels end with it */
    zrt_loader *loader = loader_of(dataset, 0, 1, (zrt_loader_options){.micro_batch_rows = 1, .n_epochs = 1});
    const zrt_batch *batch;
    char text[64];

    tap_ok(read_all(loader, text, sizeof text) == ZRT_ERR_INPUT && strcmp(text, "A|B|C|D|") == 0,
           "an error of the thread comes with the batch that it would have been");
    tap_ok(strstr(zrt_error_message(), "limited.txt: token 70 at position 20") != NULL, "with its message");
    zrt_loader_seek(loader, 9);
    zrt_loader_seek(loader, 4);
    tap_ok(zrt_loader_next(loader, &batch) == ZRT_ERR_INPUT && batch == NULL &&
               zrt_loader_next(loader, &batch) == ZRT_ERR_INPUT && strstr(zrt_error_message(), "position 20") != NULL &&
               zrt_loader_position(loader) == 4,
           "and again at every call");
    tap_ok(zrt_loader_seek(loader, 2) == ZRT_OK && zrt_loader_next(loader, &batch) == ZRT_OK, "until a seek");
    zrt_loader_destroy(&loader);
    tap_ok(zrt__loader_create(0, 1, dataset, &(zrt_loader_options){.micro_batch_rows = 0}, &loader) == ZRT_ERR_USAGE &&
               loader == NULL,
           "refused: batches of no rows");
    tap_ok(zrt__loader_create(0, 2, dataset, &(zrt_loader_options){.micro_batch_rows = 6, .drop_last = true},
                              &loader) == ZRT_ERR_INPUT,
           "refused: a last batch to be dropped and no other");
    zrt_dataset_destroy(&dataset);
}

static void test_early_end(const zrt_dataset *dataset)
{
    const zrt_batch *batch;
    bool good = true;

    for (int i = 0; i < 50; i++) {
        zrt_loader *loader = loader_of(dataset, 0, 1, (zrt_loader_options){.micro_batch_rows = 1, .shuffle = true});

        for (int j = 0; j < i % 7; j++)
            good = good && zrt_loader_next(loader, &batch) == ZRT_OK;
        zrt_loader_destroy(&loader);
    }
    tap_ok(good, "a loader without end is destroyed at any time");
}

/* Two loaders over one dataset share its files. */
static void test_two_loaders(const zrt_dataset *dataset)
{
    zrt_loader *a =
        loader_of(dataset, 0, 1, (zrt_loader_options){.micro_batch_rows = 2, .shuffle = true, .n_epochs = 50});
    zrt_loader *b =
        loader_of(dataset, 0, 1, (zrt_loader_options){.micro_batch_rows = 2, .shuffle = true, .n_epochs = 50});
    const zrt_batch *one, *two;
    bool good = true;
    int n = 0;

    for (;; n++) {
        zrt_status first = zrt_loader_next(a, &one), second = zrt_loader_next(b, &two);

        good = good && first == second;
        if (first != ZRT_OK || second != ZRT_OK)
            break;
        good = good && memcmp(one->fields[1].data, two->fields[1].data, 2 * LENGTH * sizeof(int32_t)) == 0;
    }
    tap_ok(good && n == 250, "two loaders give the same");
    zrt_loader_destroy(&a);
    zrt_loader_destroy(&b);
}

static void test_prefetch(const zrt_dataset *dataset)
{
    const struct timespec pause = {.tv_nsec = 300000000};
    zrt_loader *loader = loader_of(dataset, 0, 1, (zrt_loader_options){.micro_batch_rows = 2, .n_epochs = 1});
    const zrt_batch *batch;
    int64_t total = 0;

    nanosleep(&pause, NULL);
    if (truncate(scratch_path("rows.txt"), 0) != 0)
        tap_diag("cannot truncate");
    while (zrt_loader_next(loader, &batch) == ZRT_OK) {
        total += batch->n_rows;
        nanosleep(&pause, NULL);
    }
    tap_ok(total >= 4 && total < N_ROWS, "at least two batches were read before they were asked for (%d rows)",
           (int)total);
    zrt_loader_destroy(&loader);
}

static void test_arrays(void)
{
    float x[5][3];
    int64_t labels[5];
    const char *names[] = {"x", "labels"};
    zrt_view fields[] = {{x, ZRT_FLOAT32, 2, {5, 3}}, {labels, ZRT_INT64, 1, {5}}};
    zrt_dataset *dataset = NULL;
    zrt_loader *loader;
    const zrt_batch *batch;
    bool good = true;
    int64_t total = 0;

    for (int i = 0; i < 5; i++) {
        labels[i] = i;
        for (int j = 0; j < 3; j++)
            x[i][j] = (float)(10 * i + j);
    }
    zrt_dataset_from_arrays(5, 2, names, fields, &dataset);
    loader = loader_of(dataset, 0, 1, (zrt_loader_options){.micro_batch_rows = 2, .shuffle = true, .n_epochs = 2});
    while (zrt_loader_next(loader, &batch) == ZRT_OK) {
        const float *rows = batch->fields[0].data;
        const int64_t *label = batch->fields[1].data;

        good = good && batch->fields[0].dims[1] == 3 && batch->fields[1].n_dims == 1 && batch->label_positions == 0;
        for (int64_t i = 0; i < batch->n_rows; i++)
            good = good && rows[3 * i + 2] == (float)(10 * label[i] + 2);
        total += batch->n_rows;
    }
    tap_ok(good && total == 10, "rows of arrays stay together when shuffled");
    zrt_loader_destroy(&loader);
    zrt_dataset_destroy(&dataset);
}

int main(void)
{
    zrt_dataset *dataset;

    if (!scratch_make())
        return 99;
    dataset = rows_of_text("rows.txt", N_ROWS, 0);
    test_batch(dataset);
    test_seek(dataset);
    test_micro_steps(dataset);
    test_large_batch(dataset);
    test_errors();
    test_early_end(dataset);
    test_two_loaders(dataset);
    test_arrays();
    test_prefetch(dataset);
    zrt_dataset_destroy(&dataset);
    scratch_remove();
    return tap_done();
}
