/* Files of text to one file of tokens. */
#include "config.h"

#include <zerort/text_data.h>

#include "scratch_folder.h"
#include "tap.h"

static const char *write_text(const char *name, const char *text)
{
    return scratch_write(name, text, strlen(text));
}

static void test_tokenize(const zrt_tokenizer *gpt2)
{
    const char *paths[2], *out = scratch_path("tokens.bin"), *path;
    zrt_tokenize_options options = {.end_token_id = 0, .document = ZRT_DOCUMENT_PARAGRAPH, .n_threads = 2};
    zrt_tokenize_counts counts;
    zrt_encoder *encoder;
    const int32_t *ids;
    int64_t n_first, n_second, n_third;
    char *file;
    size_t n;
    uint16_t last;

    paths[0] = write_text("a.txt", "One two.\nThree.\n\n\nFour");
    paths[1] = write_text("b.jsonl", "{\"text\": \"Five six\"}\n");
    zrt_encoder_create(gpt2, &encoder);
    zrt_encoder_encode(encoder, "One two.\nThree.", 15, false, &ids, &n_first);
    zrt_encoder_encode(encoder, "Four", 4, false, &ids, &n_second);
    zrt_encoder_encode(encoder, "Five six", 8, false, &ids, &n_third);
    tap_ok(zrt_tokenize_files(paths, 2, gpt2, &options, out, &counts) == ZRT_OK && counts.n_documents == 3 &&
               counts.n_tokens == n_first + n_second + n_third + 3,
           "paragraphs and lines of JSONL are documents");
    file = scratch_read(out, &n);
    tap_ok(file != NULL && n == 1024 + 2 * (size_t)counts.n_tokens && (memcpy(&last, file + n - 2, 2), last == 0),
           "tokens of two bytes, the end token last");
    free(file);
    unlink(out);
    path = write_text("bad.txt", "fine\n\xc3(\n");
    tap_ok(zrt_tokenize_files(&path, 1, gpt2, &options, out, &counts) == ZRT_ERR_INPUT && access(out, F_OK) != 0 &&
               strstr(zrt_error_message(), "line 2") != NULL,
           "refused: a text that is not UTF-8, with nothing written");
    zrt_encoder_destroy(&encoder);
}

int main(void)
{
    const char *golden = getenv("ZRT_GOLDEN");
    zrt_tokenizer *gpt2 = NULL;
    char folder[PATH_MAX];

    if (!scratch_make())
        return 99;
    snprintf(folder, sizeof folder, "%s/tokenizers/gpt2", golden ? golden : ZRT_GOLDEN_DIR);
    if (tap_ok(zrt_tokenizer_open(folder, &gpt2) == ZRT_OK, "a tokenizer"))
        test_tokenize(gpt2);
    zrt_tokenizer_destroy(&gpt2);
    scratch_remove();
    return tap_done();
}
