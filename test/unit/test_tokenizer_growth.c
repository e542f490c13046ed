/* A tokenizer.json whose steps make a text longer again and again is refused for that text, in little memory and time. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tokenizer.h"
#include "tap.h"

enum { STEPS = 60 };

/* {"type":"Sequence",KEY:[step, ... STEPS times]}, or one step. */
static char *sequence(const char *key, const char *step, int n)
{
    size_t capacity = strlen(step) * (size_t)(n + 1) + 256, used;
    char *text = malloc(capacity);
    if (text == NULL)
        exit(99);
    used = (size_t)snprintf(text, capacity, "{\"type\": \"Sequence\", \"%s\": [", key);
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", i > 0 ? ", " : "", step);
    snprintf(text + used, capacity - used, "]}");
    return text;
}

static zrt_tokenizer *parse(const char *normalizer, const char *decoder)
{
    static char json[1 << 16];
    zrt_tokenizer *tokenizer = NULL;
    int n =
        snprintf(json, sizeof json,
                 "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [], "
                 "\"normalizer\": %s, \"pre_tokenizer\": null, \"post_processor\": null, \"decoder\": %s, \"model\": "
                 "{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": \"a\", \"continuing_subword_prefix\": null, "
                 "\"end_of_word_suffix\": null, \"fuse_unk\": true, \"byte_fallback\": false, \"vocab\": {\"a\": 0, "
                 "\"b\": 1}, \"merges\": []}}",
                 normalizer, decoder);
    if (zrt__tokenizer_parse("tokenizer.json", json, (size_t)n, &tokenizer) != ZRT_OK)
        tap_diag("%s", zrt_error_message());
    return tokenizer;
}

/* STEPS of them go too far, two do not. */
static void grows(const char *what, const char *kind, const char *key, const char *step)
{
    static const char text[] = "a\xc3\xa9 b a\xc3\xa9";
    for (int n = 2; n <= STEPS; n += STEPS - 2) {
        char *steps = sequence(key, step, n);
        bool decodes = strcmp(kind, "decoder") == 0;
        zrt_tokenizer *tokenizer = parse(decodes ? "null" : steps, decodes ? steps : "null");
        zrt_encoder *encoder = NULL;
        const int32_t *ids = NULL, one[] = {0, 1, 0};
        const char *decoded;
        int64_t n_ids = 0;
        size_t bytes;
        zrt_status status = tokenizer != NULL ? zrt_encoder_create(tokenizer, &encoder) : ZRT_ERR_INTERNAL;
        for (int again = 0; again < 2 && encoder != NULL; again++) /* an encoder is as good as new after it */
            status = decodes ? zrt_encoder_decode(encoder, one, 3, false, &decoded, &bytes)
                             : zrt_encoder_encode(encoder, text, sizeof text - 1, false, &ids, &n_ids);
        if (n == 2)
            tap_ok(status == ZRT_OK, "%s: two steps", what);
        else
            tap_ok(status == ZRT_ERR_INPUT && strstr(zrt_error_message(), "longer again") != NULL, "%s: %d steps: %s",
                   what, n, zrt_error_message());
        zrt_encoder_destroy(&encoder);
        zrt_tokenizer_destroy(&tokenizer);
        free(steps);
    }
}

int main(void)
{
    grows("a normalizer that doubles", "normalizer", "normalizers",
          "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aa\"}");
    grows("a decoder that doubles", "decoder", "decoders",
          "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aba\"}");
    return tap_done();
}
