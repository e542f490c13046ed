/* libFuzzer: whatever the bytes of a tokenizer.json are, it is refused or encodes and decodes. What follows the last '\n' is the text. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const zrt_tokenizer *tokenizer, const char *text, size_t n)
{
    zrt_encoder *encoder = NULL;
    const int32_t *ids = NULL, *types = NULL;
    const char *decoded;
    int32_t *copy;
    int64_t n_ids = 0;
    size_t bytes;

    if (zrt_encoder_create(tokenizer, &encoder) != ZRT_OK)
        abort();
    if (zrt_encoder_encode_pair(encoder, text, n / 2, text + n / 2, n - n / 2, n % 2, &ids, &types, &n_ids) == ZRT_OK) {
        for (int64_t i = 0; i < n_ids; i++) {
            if (ids[i] < 0 || ids[i] >= zrt_tokenizer_n_ids(tokenizer) || types[i] < 0)
                abort();
        }
        zrt__encoder_cut(encoder, n_ids / 2, &ids, &types, &n_ids);
    }
    if (zrt_encoder_encode(encoder, text, n, true, &ids, &n_ids) == ZRT_OK) {
        copy = malloc(((size_t)n_ids + 1) * sizeof *copy);
        if (copy == NULL)
            abort();
        if (n_ids > 0)
            memcpy(copy, ids, (size_t)n_ids * sizeof *copy);
        if (zrt_encoder_decode(encoder, copy, n_ids, false, &decoded, &bytes) == ZRT_OK &&
            zrt__utf8_valid_prefix(decoded, bytes) != bytes)
            abort();
        zrt_encoder_decode(encoder, copy, n_ids, true, &decoded, &bytes);
        free(copy);
    }
    zrt_encoder_destroy(&encoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char usual[] = "Hello  a \xc3\xa9 1a2\n<x> ab\tabab \xe2\x96\x81 <s>!";
    const uint8_t *feed = size > 0 ? memrchr(data, '\n', size) : NULL;
    size_t n = feed != NULL ? (size_t)(feed - data) : size;
    zrt_tokenizer *tokenizer = NULL;

    if (zrt__tokenizer_parse("fuzz", (const char *)data, n, &tokenizer) != ZRT_OK)
        return 0;
    use(tokenizer, usual, sizeof usual - 1);
    if (feed != NULL)
        use(tokenizer, (const char *)feed + 1, size - n - 1);
    zrt_tokenizer_destroy(&tokenizer);
    return 0;
}
