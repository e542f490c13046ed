/* Tokenizers of Hugging Face folders: text to token ids and back, exactly as the tokenizers library does it. */
#ifndef ZERORT_TOKENIZER_H
#define ZERORT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A tokenizer is read once and then only read: any number of threads may use it. An encoder is what one thread needs besides. */
typedef struct zrt_tokenizer zrt_tokenizer;
typedef struct zrt_encoder zrt_encoder;

/* Reads PATH/tokenizer.json, or PATH where it is a file. Normalizers, pre-tokenizers, BPE and WordPiece models, added tokens,
 * post-processors and decoders; a part or an option that is not supported is refused by its name. "truncation" and "padding" of
 * the file are left to the caller, as transformers leaves them. Local.
 * Errors: ZRT_ERR_INPUT (missing, not JSON, contradictory: the place named), ZRT_ERR_NOT_SUPPORTED. */
ZRT_EXPORT zrt_status zrt_tokenizer_open(const char *path, zrt_tokenizer **tokenizer_out);
ZRT_EXPORT void zrt_tokenizer_destroy(zrt_tokenizer **tokenizer);

/* Every id is below it: a model's vocabulary must have at least as many. Local. */
ZRT_EXPORT int64_t zrt_tokenizer_n_ids(const zrt_tokenizer *tokenizer);
/* The id of a token written as the file writes it ("</s>"), -1 where there is none. Local. */
ZRT_EXPORT int64_t zrt_tokenizer_find(const zrt_tokenizer *tokenizer, const char *token);
/* Adds special tokens that are not there yet, with the ids that follow the highest; what they contain is then one token. Not while
 * another thread uses the tokenizer. n_added_out may be NULL. Local. */
ZRT_EXPORT zrt_status zrt_tokenizer_add_special(zrt_tokenizer *tokenizer, const char *const *tokens, int n_tokens,
                                                int *n_added_out);

/* Writes FOLDER/tokenizer.json: the file that was read, with the tokens that were added since. Local. ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_tokenizer_save(const zrt_tokenizer *tokenizer, const char *folder);

/* Copies what lies beside a model's weights in a Hugging Face folder and is there: tokenizer.json, tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json, vocab.json, vocab.txt, merges.txt, tokenizer.model, chat_template.jinja and
 * generation_config.json; each is whole or not there. Nothing where both are the same folder. Local. ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_tokenizer_copy_files(const char *from, const char *to);

/* The token that ends a text, -1: none. From eos_token of tokenizer_config.json or special_tokens_map.json beside tokenizer.json,
 * else eos_token_id of generation_config.json or config.json, else the usual ones: <|endoftext|>, </s>, <|end_of_text|>. Local.
 * ZRT_ERR_INPUT where such a file is damaged. */
ZRT_EXPORT zrt_status zrt_tokenizer_end_token(const zrt_tokenizer *tokenizer, int32_t *end_out);
/* The tokens at which generation stops: eos_token_id of generation_config.json, one or several, else the end token. At most
 * `capacity` go to ids_out. Local. */
ZRT_EXPORT zrt_status zrt_tokenizer_stop_tokens(const zrt_tokenizer *tokenizer, int32_t *ids_out, int capacity,
                                                int *n_out);

/* The tokenizer is lent until the encoder is destroyed. Local. */
ZRT_EXPORT zrt_status zrt_encoder_create(const zrt_tokenizer *tokenizer, zrt_encoder **encoder_out);
ZRT_EXPORT void zrt_encoder_destroy(zrt_encoder **encoder);

/* Tokens of a text of `bytes` bytes, or of two (second NULL: one), with the special tokens of the template if `special`. Lends ids
 * and type_ids [n] (which text a token belongs to; type_ids_out may be NULL) until the encoder's next call. Local.
 * Errors: ZRT_ERR_INPUT (not UTF-8: the byte named). */
ZRT_EXPORT zrt_status zrt_encoder_encode(zrt_encoder *encoder, const char *text, size_t bytes, bool special,
                                         const int32_t **ids_out, int64_t *n_out);
ZRT_EXPORT zrt_status zrt_encoder_encode_pair(zrt_encoder *encoder, const char *first, size_t first_bytes,
                                              const char *second, size_t second_bytes, bool special,
                                              const int32_t **ids_out, const int32_t **type_ids_out, int64_t *n_out);

/* Tokens as text, without special ones if `skip_special`; ids that are none are left out. Lends UTF-8 that ends with a NUL until the
 * encoder's next call. Local. */
ZRT_EXPORT zrt_status zrt_encoder_decode(zrt_encoder *encoder, const int32_t *ids, int64_t n, bool skip_special,
                                         const char **text_out, size_t *bytes_out);

#ifdef __cplusplus
}
#endif
#endif
