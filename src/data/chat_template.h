/* Chat templates of a few families: messages as one text. */
#ifndef ZRT_DATA_CHAT_TEMPLATE_H
#define ZRT_DATA_CHAT_TEMPLATE_H

#include <jansson.h>

#include <zerort/tokenizer.h>

#include "data/tokenizer/text.h"

typedef enum zrt__chat_family { ZRT__CHAT_LLAMA2, ZRT__CHAT_LLAMA3, ZRT__CHAT_CHATML } zrt__chat_family;

/* A part of the text that the assistant says. */
typedef struct zrt__chat_part {
    size_t start, end;
} zrt__chat_part;

typedef struct zrt__chat_text {
    zrt__bytes text;
    zrt__chat_part *parts;
    size_t n_parts, capacity;
} zrt__chat_text;

/* `name` NULL: what FOLDER/tokenizer_config.json has. The family's special tokens must be the tokenizer's. */
zrt_status zrt__chat_family_choose(const char *name, const char *folder, const zrt_tokenizer *tokenizer,
                                   zrt__chat_family *family_out);

/* The status tells, without a message, whether `messages` is what the template takes; `*why_out` says what is wrong. */
zrt_status zrt__chat_render(zrt__chat_family family, const json_t *messages, zrt__chat_text *out, const char **why_out);
void zrt__chat_text_release(zrt__chat_text *text);

#endif
