/* test/tokenizer FOLDER ...: the strings of FOLDER/encodings.json through FOLDER/tokenizer.json, every id and every decoded text
 * compared. Without a folder: those of the golden data. */
/* ranks: 1 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <zerort/tokenizer.h>

#include "tap.h"

static bool same_ids(const json_t *expected, const int32_t *ids, int64_t n)
{
    if ((int64_t)json_array_size(expected) != n)
        return false;
    for (int64_t i = 0; i < n; i++) {
        if (json_integer_value(json_array_get(expected, (size_t)i)) != ids[i])
            return false;
    }
    return true;
}

static void show_ids(const char *what, const json_t *text, const json_t *expected, const int32_t *ids, int64_t n)
{
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    char *wanted = json_dumps(expected, JSON_ENCODE_ANY);

    tap_diag("%s of %.120s: wanted %.300s", what, quoted, wanted);
    fprintf(stdout, "# got");
    for (int64_t i = 0; i < n && i < 60; i++)
        fprintf(stdout, " %d", (int)ids[i]);
    fprintf(stdout, "\n");
    free(quoted);
    free(wanted);
}

static bool check_ids(zrt_encoder *encoder, const json_t *one, const char *key, bool special)
{
    const json_t *text = json_object_get(one, "text"), *expected = json_object_get(one, key);
    const int32_t *ids = NULL;
    int64_t n = 0;

    if (zrt_encoder_encode(encoder, json_string_value(text), json_string_length(text), special, &ids, &n) != ZRT_OK) {
        tap_diag("%s", zrt_error_message());
        return false;
    }
    if (same_ids(expected, ids, n))
        return true;
    show_ids(key, text, expected, ids, n);
    return false;
}

static bool check_decoded(zrt_encoder *encoder, const json_t *one)
{
    const json_t *ids = json_object_get(one, "ids"), *expected = json_object_get(one, "decoded");
    size_t n = json_array_size(ids), bytes = 0;
    int32_t *array = malloc((n + 1) * sizeof *array);
    const char *text = "";
    bool same;

    for (size_t i = 0; i < n; i++)
        array[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    same = zrt_encoder_decode(encoder, array, (int64_t)n, true, &text, &bytes) == ZRT_OK &&
           bytes == json_string_length(expected) && memcmp(text, json_string_value(expected), bytes) == 0;
    if (!same)
        tap_diag("decoded '%.200s', wanted '%.200s'", text, json_string_value(expected));
    free(array);
    return same;
}

static void check_pair(zrt_encoder *encoder, const char *folder, const json_t *pair)
{
    const json_t *first = json_object_get(pair, "first"), *second = json_object_get(pair, "second");
    const int32_t *ids = NULL, *types = NULL;
    int64_t n = 0;
    bool ok =
        zrt_encoder_encode_pair(encoder, json_string_value(first), json_string_length(first), json_string_value(second),
                                json_string_length(second), true, &ids, &types, &n) == ZRT_OK;

    tap_ok(ok && same_ids(json_object_get(pair, "ids"), ids, n), "%s: ids of a pair", folder);
    tap_ok(ok && same_ids(json_object_get(pair, "type_ids"), types, n), "%s: types of a pair", folder);
}

static _Noreturn void fail(const char *what, const char *why)
{
    tap_ok(false, "%s: %s", what, why);
    exit(tap_done());
}

static void check_folder(const char *folder)
{
    char path[4096];
    zrt_tokenizer *tokenizer = NULL;
    zrt_encoder *encoder = NULL;
    json_error_t error;
    json_t *golden;
    const json_t *cases;
    size_t n_ids = 0, n_plain = 0, n_decoded = 0, n;

    snprintf(path, sizeof path, "%s/encodings.json", folder);
    golden = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (golden == NULL)
        fail(path, error.text);
    if (zrt_tokenizer_open(folder, &tokenizer) != ZRT_OK || zrt_encoder_create(tokenizer, &encoder) != ZRT_OK)
        fail(folder, zrt_error_message());
    cases = json_object_get(golden, "cases");
    n = json_array_size(cases);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(cases, i);
        n_ids += check_ids(encoder, one, "ids", true);
        n_plain += check_ids(encoder, one, "ids_without_special", false);
        n_decoded += check_decoded(encoder, one);
    }
    tap_ok(n > 0 && n_ids == n, "%s: ids of %zu of %zu strings", folder, n_ids, n);
    tap_ok(n_plain == n, "%s: ids without special tokens of %zu of %zu", folder, n_plain, n);
    tap_ok(n_decoded == n, "%s: decoded texts of %zu of %zu", folder, n_decoded, n);
    check_pair(encoder, folder, json_object_get(golden, "pair"));
    zrt_encoder_destroy(&encoder);
    zrt_tokenizer_destroy(&tokenizer);
    json_decref(golden);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"gpt2", "llama2", "llama3", "bert"};
    const char *golden = getenv("ZRT_GOLDEN");

    for (int i = 1; i < argc; i++)
        check_folder(argv[i]);
    for (size_t i = 0; argc == 1 && i < sizeof kinds / sizeof *kinds; i++) {
        char folder[2048];
        snprintf(folder, sizeof folder, "%s/tokenizers/%s", golden ? golden : ZRT_GOLDEN_DIR, kinds[i]);
        check_folder(folder);
    }
    return tap_done();
}
