/* Ranks that encode JSONL together get what one alone gets, and the same errors. */
/* ranks: 1 2 3 4 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>
#include <zerort/zerort.h>

#include "data/dataset.h"
#include "tap_mpi.h"
#include "unit/scratch_folder.h"

enum { N_LINES = 24000, LINE_BYTES = 96, LENGTH = 64 };

/* The lines that are not JSON (from 1; 0: none) are cut off. */
static void write_lines(const char *name, int n, int bad, int worse)
{
    char *text = malloc((size_t)n * LINE_BYTES);
    size_t used = 0;
    if (text == NULL)
        exit(99);
    for (int i = 1; i <= n; i++) {
        const char *end = i == bad || i == worse ? "" : "\"}";
        used += (size_t)snprintf(text + used, LINE_BYTES, "{\"text\": \"line %d of some words, and %d more%s\n", i,
                                 i * 7919 % 1000003, end);
    }
    scratch_write(name, text, used);
    free(text);
}

static zrt_status open_file(const zrt_context *context, const zrt_tokenizer *tokenizer, const char *path,
                            zrt_jsonl_options options, zrt_jsonl_counts *counts, zrt_dataset **dataset_out)
{
    options.context = context;
    options.end_token_id = -1;
    return zrt_dataset_open_jsonl(&path, 1, tokenizer, &options, counts, dataset_out);
}

static bool same_rows(const zrt_dataset *a, const zrt_dataset *b)
{
    static int32_t left[6][LENGTH], right[6][LENGTH];
    void *const to_left[] = {left[0], left[1], left[2], left[3], left[4], left[5]};
    void *const to_right[] = {right[0], right[1], right[2], right[3], right[4], right[5]};
    bool same = zrt_dataset_n_rows(a) == zrt_dataset_n_rows(b) && zrt_dataset_length(a) == zrt_dataset_length(b) &&
                zrt_dataset_n_tokens(a) == zrt_dataset_n_tokens(b) && zrt_dataset_length(a) <= LENGTH;
    for (int64_t row = 0; same && row < zrt_dataset_n_rows(a); row += row < 100 ? 1 : 37) {
        same = zrt__dataset_read_row(a, row, to_left, NULL) == ZRT_OK &&
               zrt__dataset_read_row(b, row, to_right, NULL) == ZRT_OK && memcmp(left, right, sizeof left) == 0;
    }
    return same;
}

static void together(const zrt_context *context, const zrt_tokenizer *tokenizer, const char *name,
                     zrt_jsonl_options options, const char *what)
{
    zrt_dataset *shared = NULL, *alone = NULL;
    zrt_jsonl_counts a = {0}, b = {0};
    zrt_status status = open_file(context, tokenizer, scratch_path(name), options, &a, &shared);
    zrt_status by_itself = open_file(NULL, tokenizer, scratch_path(name), options, &b, &alone);
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_OK && by_itself == ZRT_OK && same_rows(shared, alone),
               "%s: %lld rows as of one rank", what, shared != NULL ? (long long)zrt_dataset_n_rows(shared) : -1);
    tap_ok_all(MPI_COMM_WORLD, memcmp(&a, &b, sizeof a) == 0, "and the same counts: %lld read, %lld bad, %lld tokens",
               (long long)a.n_read, (long long)a.n_bad, (long long)a.n_tokens);
    zrt_dataset_destroy(&shared);
    zrt_dataset_destroy(&alone);
}

/* Both parts at once are what each is by itself. */
static void both_parts(const zrt_context *context, const zrt_tokenizer *tokenizer)
{
    const char *path = scratch_path("many.jsonl");
    zrt_jsonl_options options = {.held_out_fraction = 0.07, .end_token_id = -1, .context = context};
    zrt_dataset *train = NULL, *held_out = NULL, *parts[2] = {NULL, NULL};
    zrt_jsonl_counts a = {0}, b = {0};
    zrt_status status = zrt_dataset_open_jsonl_split(&path, 1, tokenizer, &options, &a, &train, &held_out);
    options.split = ZRT_SPLIT_TRAIN;
    if (status == ZRT_OK)
        status = open_file(NULL, tokenizer, path, options, &b, &parts[0]);
    options.split = ZRT_SPLIT_EVALUATION;
    if (status == ZRT_OK)
        status = open_file(NULL, tokenizer, path, options, &b, &parts[1]);
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_OK && same_rows(train, parts[0]) && same_rows(held_out, parts[1]) &&
                   zrt_dataset_n_rows(train) + zrt_dataset_n_rows(held_out) == N_LINES && memcmp(&a, &b, sizeof a) == 0,
               "both parts at once: %lld and %lld rows", train != NULL ? (long long)zrt_dataset_n_rows(train) : -1,
               held_out != NULL ? (long long)zrt_dataset_n_rows(held_out) : -1);
    for (int i = 0; i < 2; i++)
        zrt_dataset_destroy(&parts[i]);
    zrt_dataset_destroy(&train);
    zrt_dataset_destroy(&held_out);
}

static void refused(const zrt_context *context, const zrt_tokenizer *tokenizer, const char *path, const char *word,
                    const char *other, const char *what)
{
    zrt_dataset *dataset = NULL;
    zrt_status status = open_file(context, tokenizer, path, (zrt_jsonl_options){0}, NULL, &dataset);
    tap_ok_all(MPI_COMM_WORLD,
               status == ZRT_ERR_INPUT && dataset == NULL && strstr(zrt_error_message(), word) != NULL &&
                   strstr(zrt_error_message(), other) != NULL,
               "refused on all ranks, naming %s: %s", word, what);
    zrt_dataset_destroy(&dataset);
}

int main(int argc, char **argv)
{
    char folder[4096];
    zrt_context *context = NULL;
    zrt_tokenizer *tokenizer = NULL;
    const char *golden = getenv("ZRT_GOLDEN");
    snprintf(folder, sizeof folder, "%s/tokenizers/gpt2", golden != NULL ? golden : "test/golden");
    if (zrt_init(&argc, &argv, &context) != ZRT_OK || zrt_tokenizer_open(folder, &tokenizer) != ZRT_OK) {
        fprintf(stderr, "%s\n", zrt_error_message());
        return 1;
    }
    bool is_first = zrt_rank(context) == 0;
    if (is_first && !scratch_make())
        return 99;
    MPI_Bcast(scratch_folder, sizeof scratch_folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (is_first) {
        write_lines("many.jsonl", N_LINES, 0, 0);
        write_lines("few.jsonl", 3, 0, 0);
        write_lines("bad.jsonl", N_LINES, 9001, 20001);
        write_lines("first.jsonl", N_LINES, 1, 2);
        scratch_write("empty.jsonl", "", 0);
    }
    write_lines(zrt_rank(context) % 2 ? "odd.jsonl" : "even.jsonl", zrt_rank(context) % 2 ? 5000 : 24000, 0, 0);
    MPI_Barrier(MPI_COMM_WORLD);
    together(context, tokenizer, "many.jsonl", (zrt_jsonl_options){0}, "many blocks");
    together(context, tokenizer, "many.jsonl",
             (zrt_jsonl_options){.length = 40, .packing = true, .n_threads = 2 + zrt_rank(context) % 2}, "packed");
    together(context, tokenizer, "many.jsonl",
             (zrt_jsonl_options){.held_out_fraction = 0.1, .split = ZRT_SPLIT_EVALUATION}, "held out");
    together(context, tokenizer, "few.jsonl", (zrt_jsonl_options){.length = 12}, "fewer blocks than ranks");
    together(context, tokenizer, "bad.jsonl", (zrt_jsonl_options){.skip_bad_lines = true}, "bad lines skipped");
    together(context, tokenizer, "first.jsonl", (zrt_jsonl_options){.skip_bad_lines = true}, "the first lines bad");
    both_parts(context, tokenizer);
    refused(context, tokenizer, scratch_path("bad.jsonl"), "line 9001:", "not JSON", "the first of two bad lines");
    refused(context, tokenizer, scratch_path("first.jsonl"), "line 1:", "not JSON", "the very first line");
    refused(context, tokenizer, scratch_path("empty.jsonl"), "empty", "empty.jsonl", "an empty file");
    refused(context, tokenizer, scratch_path("none.jsonl"), "none.jsonl", "No such file", "no file");
    if (zrt_size(context) > 1) {
        refused(context, tokenizer, scratch_path(is_first ? "many.jsonl" : "none.jsonl"), "none.jsonl", "No such file",
                "a file that only rank 0 has");
        refused(context, tokenizer, scratch_path(zrt_rank(context) % 2 ? "odd.jsonl" : "even.jsonl"), "same file",
                ".jsonl", "files that differ");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (is_first)
        scratch_remove();
    zrt_tokenizer_destroy(&tokenizer);
    int status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
