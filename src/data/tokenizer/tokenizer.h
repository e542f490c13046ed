/* Inside of a tokenizer. */
#ifndef ZRT_DATA_TOKENIZER_TOKENIZER_H
#define ZRT_DATA_TOKENIZER_TOKENIZER_H

#include <zerort/tokenizer.h>

#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/decoder.h"
#include "data/tokenizer/model.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/post_processor.h"
#include "data/tokenizer/pre_tokenizer.h"

struct zrt_tokenizer {
    char *path; /* of tokenizer.json */
    zrt__added_token *added;
    size_t n_added, added_capacity;
    size_t n_added_of_file;      /* the first of them */
    zrt__vocabulary added_names; /* contents of added tokens, by their own ids */
    zrt__token_tree raw_tree, normalized_tree;
    zrt__normalizer normalizer;
    zrt__pre_tokenizer pre_tokenizer;
    zrt__model model;
    zrt__post_processor post_processor;
    zrt__decoder decoder;
    int64_t n_ids; /* the highest id and one */
};

/* A whole file; its text ends with a NUL. */
zrt_status zrt__tokenizer_read_file(const char *path, char **text_out, size_t *n_out);

/* From text in memory; `name` begins messages. */
zrt_status zrt__tokenizer_parse(const char *name, const char *json, size_t n, zrt_tokenizer **tokenizer_out);
/* Adds one token; an id < 0 is the first free one. */
zrt_status zrt__tokenizer_add(zrt_tokenizer *tokenizer, zrt__matcher *matcher, const zrt__added_token *token);

/* What the encoder encoded last, a pair or one text with special tokens, cut to at most `most` tokens: the longer text first, its
 * end. The special tokens stay. */
zrt_status zrt__encoder_cut(zrt_encoder *encoder, int64_t most, const int32_t **ids_out, const int32_t **type_ids_out,
                            int64_t *n_out);

/* NULL where the id is none. */
const char *zrt__tokenizer_token(const zrt_tokenizer *tokenizer, int64_t id, size_t *n_out, bool *special_out);

#endif
