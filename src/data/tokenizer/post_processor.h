/* The post-processor of a tokenizer.json: which special tokens stand around one text or two. */
#ifndef ZRT_DATA_TOKENIZER_POST_PROCESSOR_H
#define ZRT_DATA_TOKENIZER_POST_PROCESSOR_H

#include "data/tokenizer/json_fields.h"
#include "data/tokenizer/text.h"

typedef struct zrt__template_part {
    int sequence;       /* 0, 1: the text; -1: special tokens */
    size_t first_id, n; /* of the ids */
    int32_t type_id;
} zrt__template_part;

typedef struct zrt__template {
    zrt__template_part *parts;
    size_t n_parts, capacity;
} zrt__template;

typedef struct zrt__post_processor {
    zrt__template templates[2]; /* of one text, of two */
    zrt__ids ids;
} zrt__post_processor;

/* NULL: none. Without special tokens two texts have the types 0 and 1. */
zrt_status zrt__post_processor_read(const zrt__json_object *object, zrt__post_processor *post_processor);
zrt_status zrt__post_processor_default(zrt__post_processor *post_processor);
void zrt__post_processor_release(zrt__post_processor *post_processor);

#endif
