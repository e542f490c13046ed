/* One line of JSONL to one sample. */
#ifndef ZRT_DATA_JSONL_SAMPLE_H
#define ZRT_DATA_JSONL_SAMPLE_H

#include <zerort/text_data.h>

#include "data/chat_template.h"
#include "data/samples.h"

typedef enum zrt__jsonl_kind {
    ZRT__JSONL_TEXT,
    ZRT__JSONL_COMPLETION,
    ZRT__JSONL_MESSAGES,
    ZRT__JSONL_CLASSIFICATION
} zrt__jsonl_kind;

/* How the lines of a dataset are read. */
typedef struct zrt__jsonl_form {
    zrt__jsonl_kind kind;
    const char *first, *second; /* columns: text; prompt and completion */
    zrt__chat_family family;
    int32_t end_token;
    int64_t n_classes;
    int64_t most_tokens; /* of classification: beyond it the longer of the two texts is cut; 0: any */
} zrt__jsonl_form;

/* Of one block, so that no two threads share it. */
typedef struct zrt__jsonl_scratch {
    zrt__chat_text chat;
    zrt__bytes text;
    zrt__ids ids;
} zrt__jsonl_scratch;
void zrt__jsonl_scratch_release(zrt__jsonl_scratch *scratch);

/* Parses a line; `where` is its file and number, for messages. Gives a new reference. */
zrt_status zrt__jsonl_parse(const char *path, int64_t line, const char *text, size_t n, json_t **json_out);

/* Chooses the kind and the columns by the options and what the first line has. */
zrt_status zrt__jsonl_choose(const char *path, int64_t line, const json_t *json, const zrt_jsonl_options *options,
                             const zrt_tokenizer *tokenizer, zrt__jsonl_form *form_out);

/* Encodes: tokens to scratch->ids, ~id where they are no label. */
zrt_status zrt__jsonl_encode(const zrt__jsonl_form *form, const char *path, int64_t line, const json_t *json,
                             zrt_encoder *encoder, zrt__jsonl_scratch *scratch, zrt__sample *sample_out, bool *cut_out);

/* The text of a column that must be there. */
zrt_status zrt__jsonl_text(const char *path, int64_t line, const json_t *json, const char *column,
                           const char **text_out, size_t *n_out);

#endif
