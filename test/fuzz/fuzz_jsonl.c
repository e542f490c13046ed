/* libFuzzer: whatever the bytes of a line of JSONL are, it is refused or becomes a sample. The first byte chooses the columns. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/jsonl_sample.h"
#include "data/tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char tokenizer_json[] =
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": "
    "false, "
    "\"normalized\": false, \"special\": true}], \"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"_\"}, "
    "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}, \"post_processor\": {\"type\": "
    "\"BertProcessing\", "
    "\"sep\": [\"</s>\", 1], \"cls\": [\"<s>\", 0]}, \"model\": {\"type\": \"BPE\", \"vocab\": {\"<s>\": 0, \"</s>\": "
    "1, \"a\": 2, "
    "\"b\": 3, \"ab\": 4, \"\xc4\xa0\": 5, \"_\": 6, \"<|im_start|>\": 7, \"<|im_end|>\": 8, \"<|begin_of_text|>\": 9, "
    "\"<|start_header_id|>\": 10, \"<|end_header_id|>\": 11, \"<|eot_id|>\": 12}, \"merges\": [\"a b\"]}}";

typedef struct fixture {
    zrt_tokenizer *tokenizer;
    zrt_encoder *encoder;
    zrt__jsonl_scratch scratch;
} fixture;

static void start(fixture *f)
{
    if (zrt__tokenizer_parse("fuzz", tokenizer_json, sizeof tokenizer_json - 1, &f->tokenizer) != ZRT_OK ||
        zrt_encoder_create(f->tokenizer, &f->encoder) != ZRT_OK)
        abort();
}

static void check(const fixture *f, const zrt__sample *sample)
{
    if (sample->n < 0 || (size_t)sample->n != f->scratch.ids.n)
        abort();
    for (int32_t i = 0; i < sample->n; i++) {
        int32_t id = f->scratch.ids.data[i] >= 0 ? f->scratch.ids.data[i] : ~f->scratch.ids.data[i];
        if (id >= zrt_tokenizer_n_ids(f->tokenizer))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const templates[] = {"llama2", "llama3", "chatml", NULL};
    static fixture f;
    zrt_jsonl_options options = {.end_token_id = 1};
    zrt__jsonl_form form;
    zrt__sample sample;
    json_t *json = NULL;
    bool cut;

    if (f.tokenizer == NULL)
        start(&f);
    if (size == 0)
        return 0;
    options.chat_template = templates[data[0] & 3];
    options.text_column = data[0] & 4 ? "a" : NULL;
    options.prompt_column = data[0] & 8 ? "b" : NULL;
    options.length = data[0] & 16 ? 5 : 0;
    options.n_classes = data[0] & 32 ? 3 : 0;
    if (zrt__jsonl_parse("fuzz", 1, (const char *)data + 1, size - 1, &json) == ZRT_OK) {
        if (zrt__jsonl_choose("fuzz", 1, json, &options, f.tokenizer, &form) == ZRT_OK &&
            zrt__jsonl_encode(&form, "fuzz", 1, json, f.encoder, &f.scratch, &sample, &cut) == ZRT_OK)
            check(&f, &sample);
        json_decref(json);
    }
    return 0;
}
