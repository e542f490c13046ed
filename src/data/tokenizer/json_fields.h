/* Fields of a tokenizer.json: what is there and not understood is refused by name. */
#ifndef ZRT_DATA_TOKENIZER_JSON_FIELDS_H
#define ZRT_DATA_TOKENIZER_JSON_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "data/tokenizer/text.h"

/* An object and how messages call it: "FILE: normalizer.normalizers[1]". */
typedef struct zrt__json_object {
    const json_t *json;
    char where[192];
} zrt__json_object;

/* `json` must be an object, the value of `key` in `parent`, or its element `index` (-1: no array). */
zrt_status zrt__json_child(const zrt__json_object *parent, const json_t *json, const char *key, long index,
                           zrt__json_object *child_out);

/* `keys`: names separated by spaces, " type id "; any other key is refused. */
zrt_status zrt__json_check_keys(const zrt__json_object *object, const char *keys);

/* A missing key or null is the fallback; `fallback` < 0 or NULL: it must be there. */
zrt_status zrt__json_bool(const zrt__json_object *object, const char *key, int fallback, bool *value_out);
zrt_status zrt__json_count(const zrt__json_object *object, const char *key, int64_t fallback, int64_t *value_out);
/* Lent from the object; one with U+0000 is refused. */
zrt_status zrt__json_string(const zrt__json_object *object, const char *key, const char *fallback,
                            const char **text_out, size_t *n_out);
zrt_status zrt__json_array(const zrt__json_object *object, const char *key, const json_t **array_out);

/* jansson has no keys with U+0000, but vocabularies do: the text is parsed with U+10FFFF in its place. */
zrt_status zrt__tokenizer_json(const char *name, const char *text, size_t n, json_t **json_out);
/* Appends a string with U+0000 put back. */
zrt_status zrt__json_restore(const char *text, size_t n, zrt__bytes *out);

/* NULL where it is absent or null. */
const json_t *zrt__json_get(const zrt__json_object *object, const char *key);

zrt_status zrt__json_fail(const zrt__json_object *object, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "OBJECT: KEY 'VALUE' is not supported; there are LIST". */
zrt_status zrt__json_refuse(const zrt__json_object *object, const char *key, const char *value, const char *known);

#endif
