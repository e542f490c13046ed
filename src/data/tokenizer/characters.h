/* What kind of character a code point is, as the tokenizers library answers. */
#ifndef ZRT_DATA_TOKENIZER_CHARACTERS_H
#define ZRT_DATA_TOKENIZER_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Unicode's White_Space. */
bool zrt__is_space(uint32_t code);
/* Other: control, format, private use; 0 and U+FFFD, which BERT drops as well; not tab, line feed and carriage return. */
bool zrt__is_dropped_by_bert(uint32_t code);
bool zrt__is_cjk(uint32_t code);
/* ASCII's signs and Unicode's punctuation. */
bool zrt__is_punctuation(uint32_t code);
bool zrt__is_nonspacing_mark(uint32_t code);
bool zrt__is_mark(uint32_t code);
/* What \w of Rust's expressions matches. */
bool zrt__is_word(uint32_t code);
/* Any of the categories of numbers. */
bool zrt__is_numeric(uint32_t code);
/* Normalisation leaves it as it is, whatever newer tables say. */
bool zrt__is_normalized_as_is(uint32_t code);
/* Full lower case: 1 or 2 code points. */
size_t zrt__to_lower(uint32_t code, uint32_t lower_out[2]);

#endif
