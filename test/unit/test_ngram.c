/* The n-gram baseline against the same formula by plain scanning, and what it costs. */
#include "config.h"

#include <math.h>
#include <time.h>

#include <zerort/data.h>

#include "tap.h"
#include "token_samples.h"

enum { N_TRAIN = 400, N_EVALUATION = 90, LENGTH = 8 };

/* Witten-Bell: (c(h w) + T(h) P(w | h')) / (c(h) + T(h)), an unseen h leaves P(w | h'). `n_history` tokens lie before `at`. */
static double probability(const char *train, int n_train, const char *at, int n_history, double lowest)
{
    double shorter = n_history > 0 ? probability(train, n_train, at, n_history - 1, lowest) : lowest;
    bool followed[256] = {false};
    int count = 0, of_context = 0, types = 0;

    for (int i = n_history; i < n_train; i++) {
        if (memcmp(train + i - n_history, at - n_history, (size_t)n_history) != 0)
            continue;
        of_context++;
        count += train[i] == *at;
        types += !followed[(unsigned char)train[i]];
        followed[(unsigned char)train[i]] = true;
    }
    return of_context == 0 ? shorter : (count + types * shorter) / (of_context + types);
}

static zrt_dataset *dataset_of(const char *name, const char *text, size_t n, int64_t length)
{
    zrt_dataset_options options = {.length = length};
    zrt_dataset *dataset = NULL;
    const char *path = scratch_write(name, text, n);

    if (zrt_dataset_open(&path, 1, &options, &dataset) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return dataset;
}

static void test_formula(void)
{
    char train[N_TRAIN], evaluation[N_EVALUATION];
    zrt_dataset *counted, *scored;
    unsigned state = 1;

    for (int i = 0; i < N_TRAIN + N_EVALUATION; i++) {
        state = state * 1103515245u + 12345u;
        /* The evaluation has tokens and contexts that training has not. */
        if (i < N_TRAIN)
            train[i] = (char)("abcde"[(state >> 16) % 5]);
        else
            evaluation[i - N_TRAIN] = (char)("abcdefg"[(state >> 16) % 7]);
    }
    counted = dataset_of("train.txt", train, sizeof train, LENGTH);
    scored = dataset_of("evaluation.txt", evaluation, sizeof evaluation, LENGTH);
    for (int order = 1; order <= 5; order++) {
        int64_t count = 0, n_labels = (N_EVALUATION - 1) / LENGTH * LENGTH;
        double nats = 0.0, expected = 0.0;
        zrt_status status;

        for (int i = 1; i <= n_labels; i++)
            expected -= log(probability(train, N_TRAIN, evaluation + i, i < order - 1 ? i : order - 1, 1.0 / 256));
        expected /= (double)n_labels;
        status = zrt_dataset_ngram_loss(counted, scored, order, &nats, &count);
        tap_ok(status == ZRT_OK && count == n_labels && fabs(nats - expected) < 1e-12 * expected,
               "order %d: %.6f nats over %d labels, by scanning %.6f", order, nats, (int)count, expected);
    }
    zrt_dataset_destroy(&counted);
    zrt_dataset_destroy(&scored);
}

static void test_rows(void)
{
    int32_t rows[4][3] = {{1, 2, 3}, {1, 2, 3}, {4, 1, 2}, {7, 1, 2}};
    const char *names[] = {"input_ids"};
    zrt_view view = {rows, ZRT_INT32, 2, {4, 3}};
    zrt_dataset *dataset, *arrays = NULL;
    zrt_dataset_options options = {.length = 2};
    const char *path;
    double nats = 0.0, expected, unigram[8] = {0}, p1[8], after_one, after_two;
    int64_t count = 0;
    zrt_status status;

    path = sample_npy("rows.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (4, 3), }", rows, sizeof rows);
    if (zrt_dataset_open(&path, 1, &options, &dataset) != ZRT_OK) {
        tap_ok(false, "%s", zrt_error_message());
        return;
    }
    for (int i = 0; i < 12; i++)
        unigram[rows[i / 3][i % 3]]++;
    for (int t = 0; t < 8; t++) /* 12 tokens of 5 types; the vocabulary is 8, one more than the largest token */
        p1[t] = (unigram[t] + 5 * (1.0 / 8)) / 17;
    /* After 1 came 2 four times; after 2 came 3 twice, and nothing after the ends of rows; after 4 and 7 came 1. */
    after_one = (4 + p1[2]) / 5;
    after_two = (2 + p1[3]) / 3;
    expected = -(4 * log(after_one) + 2 * log(after_two) + 2 * log((1 + p1[1]) / 2)) / 8;
    status = zrt_dataset_ngram_loss(dataset, dataset, 2, &nats, &count);
    tap_ok(status == ZRT_OK && count == 8 && fabs(nats - expected) < 1e-12,
           "rows of two dimensions are counted each by itself (%.9f, by hand %.9f)", nats, expected);
    zrt_dataset_from_arrays(4, 1, names, &view, &arrays);
    tap_ok(zrt_dataset_ngram_loss(arrays, dataset, 2, &nats, &count) == ZRT_ERR_NOT_SUPPORTED,
           "refused: arrays in memory");
    tap_ok(zrt_dataset_ngram_loss(dataset, dataset, 0, &nats, &count) == ZRT_ERR_NOT_SUPPORTED, "refused: order 0");
    tap_ok(zrt_dataset_ngram_loss(dataset, dataset, 9, &nats, &count) == ZRT_ERR_NOT_SUPPORTED, "refused: order 9");
    zrt_dataset_destroy(&arrays);
    zrt_dataset_destroy(&dataset);
}

static void test_time(void)
{
    enum { N = 3 << 20 };
    char *text = malloc(N);
    zrt_dataset *dataset;
    clock_t begin;
    double seconds, nats;
    unsigned state = 1;

    if (text == NULL)
        exit(99);
    for (int i = 0; i < N; i++) {
        state = state * 1103515245u + 12345u;
        text[i] = (char)(32 + (state >> 24) % 64 / (1 + (state >> 20) % 4));
    }
    dataset = dataset_of("large.txt", text, N, 256);
    begin = clock();
    zrt_dataset_ngram_loss(dataset, dataset, 3, &nats, NULL);
    seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    tap_ok(seconds < 20.0, "3 MB are counted and scored in %.2f s", seconds); /* a fraction of one without sanitizers */
    zrt_dataset_destroy(&dataset);
    free(text);
}

int main(void)
{
    if (!scratch_make())
        return 99;
    test_formula();
    test_rows();
    test_time();
    scratch_remove();
    return tap_done();
}
