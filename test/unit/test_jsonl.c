/* JSONL datasets: which tokens are labels, truncation, packing, counts, bad lines, gzip, resuming at other numbers of ranks. */
#include "config.h"

#include <stdarg.h>

#include <zlib.h>

#include <zerort/text_data.h>

#include "data/loader.h"
#include "scratch_folder.h"
#include "tap.h"

enum { MOST_TOKENS = 4096 };

static zrt_tokenizer *open_golden(const char *kind)
{
    const char *golden = getenv("ZRT_GOLDEN");
    char folder[PATH_MAX];
    zrt_tokenizer *tokenizer = NULL;

    snprintf(folder, sizeof folder, "%s/tokenizers/%s", golden ? golden : ZRT_GOLDEN_DIR, kind);
    if (zrt_tokenizer_open(folder, &tokenizer) != ZRT_OK) {
        tap_ok(false, "%s", zrt_error_message());
        exit(tap_done());
    }
    return tokenizer;
}

static const char *write_text(const char *name, const char *text)
{
    return scratch_write(name, text, strlen(text));
}

static zrt_dataset *open_data(const zrt_tokenizer *tokenizer, const char *path, zrt_jsonl_options options,
                              zrt_jsonl_counts *counts)
{
    zrt_dataset *data = NULL;

    if (zrt_dataset_open_jsonl(&path, 1, tokenizer, &options, counts, &data) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return data;
}

/* What a row holds; the fields are of one batch of one row. */
typedef struct row {
    int64_t length;
    const int32_t *input, *labels, *positions, *segments, *types, *mask;
} row;

static row row_of(const zrt_batch *batch, int64_t at)
{
    row r = {.length = batch->length};

    for (int i = 0; i < batch->n_fields; i++) {
        const int32_t *values = batch->fields[i].data;
        const char *name = batch->names[i];
        if (batch->fields[i].n_dims == 2)
            values += at * batch->length;
        else
            values += at;
        if (strcmp(name, "input_ids") == 0)
            r.input = values;
        else if (strcmp(name, "labels") == 0)
            r.labels = values;
        else if (strcmp(name, "position_ids") == 0)
            r.positions = values;
        else if (strcmp(name, "segment_ids") == 0)
            r.segments = values;
        else if (strcmp(name, "token_type_ids") == 0)
            r.types = values;
        else
            r.mask = values;
    }
    return r;
}

/* The text of the labels of the first row of a file, as a user would read it. */
static bool labels_are(const zrt_tokenizer *tokenizer, const char *path, zrt_jsonl_options options,
                       const char *expected, const char *expected_input)
{
    zrt_dataset *data = open_data(tokenizer, path, options, NULL);
    zrt_loader *loader = NULL;
    zrt_encoder *encoder = NULL;
    const zrt_batch *batch;
    int32_t ids[MOST_TOKENS];
    int64_t n = 0, n_input = 0;
    const char *text = "";
    size_t bytes;
    bool good = false;
    row r;

    if (data == NULL ||
        zrt__loader_create(0, 1, data, &(zrt_loader_options){.micro_batch_rows = 1}, &loader) != ZRT_OK ||
        zrt_loader_next(loader, &batch) != ZRT_OK || zrt_encoder_create(tokenizer, &encoder) != ZRT_OK) {
        tap_diag("%s", zrt_error_message());
        goto out;
    }
    r = row_of(batch, 0);
    for (int64_t i = 0; i < r.length; i++) {
        if (r.labels[i] != ZRT_LABEL_IGNORED)
            ids[n++] = r.labels[i];
        if (r.labels[i] != ZRT_LABEL_IGNORED && r.labels[i] != (i + 1 < r.length ? r.input[i + 1] : -1))
            tap_diag("label %d is not the next token", (int)i);
        if (r.labels[i] != ZRT_LABEL_IGNORED)
            n_input = i + 2;
    }
    zrt_encoder_decode(encoder, ids, n, false, &text, &bytes);
    good = strcmp(text, expected) == 0;
    if (!good)
        tap_diag("labels '%s', expected '%s'", text, expected);
    zrt_encoder_decode(encoder, r.input, n_input, false, &text, &bytes);
    if (expected_input != NULL && strcmp(text, expected_input) != 0) {
        tap_diag("input '%s', expected '%s'", text, expected_input);
        good = false;
    }
out:
    zrt_encoder_destroy(&encoder);
    zrt_loader_destroy(&loader);
    zrt_dataset_destroy(&data);
    return good;
}

static void test_kinds(const zrt_tokenizer *gpt2, const zrt_tokenizer *llama2)
{
    zrt_jsonl_options options = {.end_token_id = (int32_t)zrt_tokenizer_find(gpt2, "<|endoftext|>")};
    const char *path = write_text("text.jsonl", "{\"text\": \"What is it?\"}\n");

    tap_ok(labels_are(gpt2, path, options, "hat is it?<|endoftext|>", "What is it?<|endoftext|>"),
           "every token of a text but the first is a label, and the end token");
    path = write_text("qa.jsonl", "{\"q\": \"What is 2 + 3?\", \"a\": \" It is 5.\"}\n");
    options.prompt_column = "q";
    options.completion_column = "a";
    tap_ok(labels_are(gpt2, path, options, " It is 5.<|endoftext|>", "What is 2 + 3? It is 5.<|endoftext|>"),
           "of a prompt and its completion the labels are the completion's");
    options.end_token_id = 2;
    tap_ok(labels_are(llama2, path, options, "It is 5.</s>", "<s> What is 2 + 3? It is 5.</s>"),
           "also where the beginning of a text has a token");
    options.end_token_id = -1;
    tap_ok(labels_are(gpt2, path, options, " It is 5.", NULL), "without an end token there is none");
    options = (zrt_jsonl_options){.end_token_id = -1, .text_column = "text"};
    tap_ok(labels_are(gpt2, write_text("bom.jsonl", "\xef\xbb\xbf{\"text\": \"What is\"}\r\n"), options, "hat is",
                      "What is"),
           "a byte order mark and carriage returns are passed over");
}

static const char chat[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": "
    "\" Hello \"}, {\"role\": \"assistant\", \"content\": \"Hi.\"}, {\"role\": \"user\", \"content\": \"Bye\"}, "
    "{\"role\": \"assistant\", \"content\": \" Well\"}]}\n";

static void test_chat(void)
{
    static const char *const marks[] = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                        "<|eot_id|>",        "<|im_start|>",        "<|im_end|>"};
    zrt_tokenizer *llama2 = open_golden("llama2"), *llama3 = open_golden("llama3");
    const char *path = write_text("chat.jsonl", chat);
    zrt_jsonl_options options = {.end_token_id = -1, .chat_template = "llama2"};
    zrt_dataset *data = NULL;
    int n = 0;

    tap_ok(zrt_tokenizer_add_special(llama3, marks, 6, &n) == ZRT_OK && n == 5,
           "special tokens are added where they are new");
    tap_ok(
        labels_are(llama2, path, options, "Hi. </s> Well </s>",
                   "<s> [INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n Hello [/INST] Hi. </s><s> [INST] Bye [/INST] Well </s>"),
        "Llama 2's template: what the assistant says counts");
    options.chat_template = "llama3";
    tap_ok(
        labels_are(
            llama3, path, options, "Hi.<|eot_id|>Well<|eot_id|>",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user"
            "<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            "Well<|eot_id|>"),
        "Llama 3's template");
    options.chat_template = "chatml";
    tap_ok(labels_are(
               llama3, path, options, "Hi.<|im_end|> Well<|im_end|>",
               "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hello <|im_end|>\n<|im_start|>assistant\n"
               "Hi.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n Well<|im_end|>"),
           "ChatML");
    options.chat_template = "alpaca";
    tap_ok(zrt_dataset_open_jsonl(&path, 1, llama3, &options, NULL, &data) == ZRT_ERR_NOT_SUPPORTED &&
               strstr(zrt_error_message(), "alpaca") != NULL,
           "another template is refused by name");
    options.chat_template = NULL;
    options.folder = scratch_folder;
    write_text("tokenizer_config.json", "{\"chat_template\": \"{{ bos_token }}[INST] {{ m }} [/INST]\"}");
    tap_ok(zrt_dataset_open_jsonl(&path, 1, llama3, &options, NULL, &data) == ZRT_ERR_NOT_SUPPORTED &&
               strstr(zrt_error_message(), "Mistral") != NULL,
           "so is one of a folder");
    write_text("tokenizer_config.json",
               "{\"chat_template\": \"{% for m in messages %}<|im_start|>{{ m.role }}{% endfor %}\"}");
    tap_ok(labels_are(llama3, path, options, "Hi.<|im_end|> Well<|im_end|>", NULL), "a known one of a folder is taken");
    options.chat_template = "chatml";
    tap_ok(zrt_dataset_open_jsonl(&path, 1, llama2, &options, NULL, &data) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "<|im_start|>") != NULL,
           "a template whose tokens the tokenizer has not is refused");
    zrt_tokenizer_destroy(&llama2);
    zrt_tokenizer_destroy(&llama3);
}

static bool refused(const zrt_tokenizer *tokenizer, const char *text, zrt_jsonl_options options, const char *first,
                    const char *second)
{
    const char *path = write_text("bad.jsonl", text);
    zrt_dataset *data = NULL;
    zrt_status status = zrt_dataset_open_jsonl(&path, 1, tokenizer, &options, NULL, &data);
    bool good = status == ZRT_ERR_INPUT && data == NULL && strstr(zrt_error_message(), "bad.jsonl") != NULL &&
                strstr(zrt_error_message(), first) != NULL && strstr(zrt_error_message(), second) != NULL;

    if (!good)
        tap_diag("status %d: %s", (int)status, status == ZRT_OK ? "" : zrt_error_message());
    zrt_dataset_destroy(&data);
    return good;
}

static void test_bad(const zrt_tokenizer *gpt2)
{
    zrt_jsonl_options options = {.end_token_id = 0, .n_classes = 2};
    zrt_jsonl_counts counts;
    zrt_dataset *data;
    const char *path;

    tap_ok(refused(gpt2, "{\"text\": \"a b\"}\n\n{\"text\": \n", options, "line 3", "not JSON"),
           "refused: a line that is not JSON");
    tap_ok(refused(gpt2, "[1]\n", options, "line 1", "object"), "refused: a line that is no object");
    tap_ok(refused(gpt2, "{\"text\": \"a b\"}\n{\"txt\": \"c\", \"id\": 1}\n", options, "line 2", "txt, id"),
           "refused: a missing column, those there named");
    tap_ok(refused(gpt2, "{\"question\": \"a\", \"answer\": \"b\"}\n", options, "line 1", "question, answer"),
           "refused: no column that is known");
    tap_ok(refused(gpt2, "{\"text\": \"a\xff\"}\n", options, "line 1", "UTF-8"), "refused: invalid UTF-8");
    tap_ok(refused(gpt2, "{\"text\": 5}\n", options, "line 1", "'text' must be text"),
           "refused: a column of another type");
    tap_ok(refused(gpt2, "", options, "empty", ""), "refused: an empty file");
    tap_ok(refused(gpt2, "\n\n", options, "empty", ""), "refused: a file of blank lines");
    tap_ok(refused(gpt2, "{\"text1\": \"a\", \"label\": 1}\n{\"text1\": \"a\", \"label\": 2}\n", options, "line 2",
                   "0 to 1"),
           "refused: a label out of range");
    options.longest = 8;
    tap_ok(refused(gpt2, "{\"text\": \"ab\"}\n{\"text\": \"one two three four five six seven eight nine\"}\n", options,
                   "line 2", "model sees 8"),
           "refused: a sample longer than the model where nobody said a length");
    options.longest = 0;
    options.vocab_size = 100;
    path = write_text("fine.jsonl", "{\"text\": \"ab\"}\n");
    tap_ok(zrt_dataset_open_jsonl(&path, 1, gpt2, &options, NULL, &data) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "vocabulary") != NULL,
           "refused: a tokenizer with more tokens than the model");
    options.vocab_size = 0;
    options.skip_bad_lines = true;
    options.length = 6;
    path = write_text("mixed.jsonl",
                      "nonsense\n{\"text\": \"a b\"}\n{\"text\": \"\"}\n{\"tex\": 1}\n"
                      "{\"text\": \"one two three four five six seven eight nine ten\"}\n{\"text\": \"\xff\"}\n");
    data = open_data(gpt2, path, options, &counts);
    tap_ok(data != NULL && counts.n_read == 6 && counts.n_bad == 3 && counts.n_empty == 1 && counts.n_truncated == 1 &&
               zrt_dataset_n_rows(data) == 2 && zrt_dataset_length(data) == 6,
           "bad lines are skipped and counted, as are empty and truncated ones");
    zrt_dataset_destroy(&data);
}

/* A file of many samples whose tokens tell which one it is. */
static char *many_lines(int n)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);

    if (file == NULL)
        exit(99);
    for (int i = 0; i < n; i++) {
        fprintf(file, "{\"text\": \"%d", i);
        for (int j = 0; j < (i * 7) % 23; j++)
            fprintf(file, " w%d", j);
        fprintf(file, "\"}\n");
    }
    fclose(file);
    return text;
}

static void test_packing(const zrt_tokenizer *gpt2)
{
    char *text = many_lines(300);
    const char *path = write_text("many.jsonl", text);
    zrt_jsonl_options options = {.end_token_id = 0, .length = 128, .packing = true};
    zrt_jsonl_counts counts;
    zrt_dataset *data = open_data(gpt2, path, options, &counts);
    zrt_loader *loader = NULL;
    const zrt_batch *batch;
    int64_t n_ends = 0, n_tokens = 0, n_labels = 0;
    bool good = true;

    if (data == NULL || zrt__loader_create(0, 1, data, &(zrt_loader_options){.micro_batch_rows = 1, .n_epochs = 1},
                                           &loader) != ZRT_OK) {
        tap_ok(false, "a packed dataset");
        return;
    }
    while (zrt_loader_next(loader, &batch) == ZRT_OK) {
        row r = row_of(batch, 0);
        for (int64_t i = 0; i < r.length; i++) {
            bool starts = i == 0 || r.segments[i] != r.segments[i - 1];
            good = good && (starts ? r.positions[i] == 0 : r.positions[i] == r.positions[i - 1] + 1);
            good = good && (i == 0 || !starts || r.segments[i] == r.segments[i - 1] + 1);
            /* A label is the next token of the same sequence. */
            if (r.labels[i] != ZRT_LABEL_IGNORED) {
                good = good && i + 1 < r.length && r.segments[i + 1] == r.segments[i] && r.labels[i] == r.input[i + 1];
                n_labels++;
                n_ends += r.labels[i] == 0;
            }
        }
    }
    n_tokens = counts.n_tokens;
    tap_ok(good, "packed: positions start again with each sequence, labels stay within it");
    tap_ok(n_ends == 300 && n_labels == n_tokens - 300, "packed: every sequence is there once, whole");
    tap_ok(zrt_dataset_n_rows(data) == (n_tokens + 127) / 128 || zrt_dataset_n_rows(data) == (n_tokens + 127) / 128 + 1,
           "packed: %d tokens in %d rows of 128", (int)n_tokens, (int)zrt_dataset_n_rows(data));
    zrt_loader_destroy(&loader);
    zrt_dataset_destroy(&data);
    free(text);
}

/* The first two tokens and the count of labels of every row that n_ranks get from `position` on, added up by row in the counter. */
static void collect(const zrt_dataset *data, int n_ranks, int64_t position, int64_t end, int64_t *of_sample)
{
    for (int rank = 0; rank < n_ranks; rank++) {
        zrt_loader_options options = {.micro_batch_rows = 8 / n_ranks, .seed = 5, .shuffle = true};
        zrt_loader *loader = NULL;
        const zrt_batch *batch;
        if (zrt__loader_create(rank, n_ranks, data, &options, &loader) != ZRT_OK ||
            zrt_loader_seek(loader, position) != ZRT_OK)
            tap_diag("%s", zrt_error_message());
        while (zrt_loader_position(loader) < end && zrt_loader_next(loader, &batch) == ZRT_OK) {
            for (int64_t i = 0; i < batch->n_rows; i++) {
                row r = row_of(batch, i);
                uint64_t sum = 0;
                for (int64_t j = 0; j < r.length; j++)
                    sum = sum * 31 + (uint64_t)(r.input[j] + 7 * (int64_t)r.labels[j]);
                of_sample[batch->sample_ids[i]] = (int64_t)sum;
            }
        }
        zrt_loader_destroy(&loader);
    }
}

static void test_same(const zrt_tokenizer *gpt2)
{
    enum { N = 300, END = 2 * N };
    char *text = many_lines(N);
    const char *path = write_text("many.jsonl", text), *zipped = scratch_path("many.jsonl.gz");
    zrt_jsonl_options options = {.end_token_id = 0, .n_threads = 1};
    zrt_dataset *data = open_data(gpt2, path, options, NULL), *other = NULL, *held = NULL;
    int64_t *whole = calloc(END + 8, sizeof *whole), *rest = calloc(END + 8, sizeof *rest);
    gzFile file = gzopen(zipped, "wb");
    bool good = true;

    gzwrite(file, text, (unsigned)strlen(text));
    gzclose(file);
    collect(data, 1, 0, END, whole);
    for (int n_ranks = 1; n_ranks <= 4; n_ranks *= 2) {
        memset(rest, 0, (END + 8) * sizeof *rest);
        collect(data, n_ranks, 152, END, rest); /* in the middle of an epoch */
        good = good && memcmp(rest + 152, whole + 152, (END - 152) * sizeof *rest) == 0;
    }
    tap_ok(good, "from the middle of an epoch 1, 2 and 4 ranks go on with the same samples");
    options.n_threads = 5;
    other = open_data(gpt2, zipped, options, NULL);
    memset(rest, 0, (END + 8) * sizeof *rest);
    collect(other, 1, 0, END, rest);
    tap_ok(memcmp(rest, whole, END * sizeof *rest) == 0, "gzip and the number of threads change nothing");
    zrt_dataset_destroy(&other);
    options.held_out_fraction = 0.1;
    options.split = ZRT_SPLIT_TRAIN;
    other = open_data(gpt2, path, options, NULL);
    options.split = ZRT_SPLIT_EVALUATION;
    held = open_data(gpt2, path, options, NULL);
    tap_ok(zrt_dataset_n_rows(other) == 270 && zrt_dataset_n_rows(held) == 30 &&
               zrt_dataset_length(other) == zrt_dataset_length(held),
           "a tenth is held out");
    scratch_write("cut.jsonl.gz", "\x1f\x8b\x08\x00garbage here", 16);
    path = scratch_path("cut.jsonl.gz");
    zrt_dataset_destroy(&other);
    options = (zrt_jsonl_options){.end_token_id = 0};
    tap_ok(zrt_dataset_open_jsonl(&path, 1, gpt2, &options, NULL, &other) == ZRT_ERR_INPUT &&
               strstr(zrt_error_message(), "gzip") != NULL,
           "refused: damaged gzip");
    zrt_dataset_destroy(&held);
    zrt_dataset_destroy(&data);
    free(whole);
    free(rest);
    free(text);
}

static void test_classification(void)
{
    zrt_tokenizer *bert = open_golden("bert");
    const char *path =
        write_text("pairs.jsonl", "{\"text1\": \"What is 2 + 3?\", \"text2\": \"It is 5.\", \"label\": 1}\n"
                                  "{\"text1\": \"What is it\", \"text2\": \"It is a thing of no great size.\", "
                                  "\"label\": 0}\n");
    zrt_jsonl_options options = {.end_token_id = -1, .n_classes = 2, .length = 16};
    zrt_jsonl_counts counts;
    zrt_dataset *data = open_data(bert, path, options, &counts);
    zrt_loader *loader = NULL;
    const zrt_batch *batch = NULL;
    row first, second;

    if (data == NULL ||
        zrt__loader_create(0, 1, data, &(zrt_loader_options){.micro_batch_rows = 2}, &loader) != ZRT_OK ||
        zrt_loader_next(loader, &batch) != ZRT_OK || batch->n_rows != 2) {
        tap_ok(false, "a dataset of classification");
        return;
    }
    first = row_of(batch, 0);
    second = row_of(batch, 1);
    tap_ok(zrt_dataset_is_classification(data) && first.labels[0] == 1 && second.labels[0] == 0 &&
               batch->label_positions == 1,
           "one label a row");
    tap_ok(first.input[0] == 2 && first.input[13] == 3 && first.mask[13] == 1 && first.mask[14] == 0 &&
               first.types[8] == 0 && first.types[9] == 1 && first.types[13] == 1 && first.types[14] == 0,
           "a pair with its types, padded");
    tap_ok(counts.n_truncated == 1 && second.mask[15] == 1 && second.input[15] == 3,
           "the longer text of a pair is cut, not its end token");
    zrt_loader_destroy(&loader);
    zrt_dataset_destroy(&data);
    zrt_tokenizer_destroy(&bert);
}

int main(void)
{
    zrt_tokenizer *gpt2, *llama2;

    if (!scratch_make())
        return 99;
    gpt2 = open_golden("gpt2");
    llama2 = open_golden("llama2");
    test_kinds(gpt2, llama2);
    test_chat();
    test_bad(gpt2);
    test_packing(gpt2);
    test_same(gpt2);
    test_classification();
    zrt_tokenizer_destroy(&gpt2);
    zrt_tokenizer_destroy(&llama2);
    scratch_remove();
    return tap_done();
}
