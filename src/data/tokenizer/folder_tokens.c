/* The tokens that end a text, as the files beside tokenizer.json name them. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/tokenizer.h"

/* NULL where there is no such file. */
static zrt_status load_beside(const zrt_tokenizer *tokenizer, const char *name, json_t **json_out)
{
    const char *slash = strrchr(tokenizer->path, '/');
    char *path = zrt__format("%.*s%s", slash ? (int)(slash - tokenizer->path) + 1 : 0, tokenizer->path, name);
    json_error_t error;
    zrt_status status = ZRT_OK;

    *json_out = NULL;
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    if (access(path, F_OK) == 0) {
        *json_out = json_load_file(path, JSON_ALLOW_NUL, &error);
        if (*json_out == NULL)
            status = zrt__fail(ZRT_ERR_INPUT, "%s: line %d: %s", path, error.line, error.text);
    }
    free(path);
    return status;
}

static void add_id(const zrt_tokenizer *tokenizer, const json_t *id, int32_t *ids, int capacity, int *n)
{
    if (!json_is_integer(id) || *n == capacity || json_integer_value(id) < 0 ||
        json_integer_value(id) >= tokenizer->n_ids)
        return;
    for (int i = 0; i < *n; i++) {
        if (ids[i] == json_integer_value(id))
            return;
    }
    ids[(*n)++] = (int32_t)json_integer_value(id);
}

/* eos_token_id, a number or a list. */
static zrt_status read_ids(const zrt_tokenizer *tokenizer, const char *name, int32_t *ids, int capacity, int *n)
{
    json_t *root;
    const json_t *value;

    ZRT_TRY(load_beside(tokenizer, name, &root));
    value = json_object_get(root, "eos_token_id");
    add_id(tokenizer, value, ids, capacity, n);
    for (size_t i = 0; i < json_array_size(value); i++)
        add_id(tokenizer, json_array_get(value, i), ids, capacity, n);
    json_decref(root);
    return ZRT_OK;
}

/* eos_token, a text or an object with its content. */
static zrt_status read_name(const zrt_tokenizer *tokenizer, const char *name, int32_t *end)
{
    json_t *root;
    const json_t *value;

    ZRT_TRY(load_beside(tokenizer, name, &root));
    value = json_object_get(root, "eos_token");
    if (json_is_object(value))
        value = json_object_get(value, "content");
    if (json_is_string(value))
        *end = (int32_t)zrt_tokenizer_find(tokenizer, json_string_value(value));
    json_decref(root);
    return ZRT_OK;
}

zrt_status zrt_tokenizer_end_token(const zrt_tokenizer *tokenizer, int32_t *end_out)
{
    static const char *const usual[] = {"<|endoftext|>", "</s>", "<|end_of_text|>"};
    int n = 0;

    *end_out = -1;
    ZRT_TRY(read_name(tokenizer, "tokenizer_config.json", end_out));
    if (*end_out < 0)
        ZRT_TRY(read_name(tokenizer, "special_tokens_map.json", end_out));
    if (*end_out < 0)
        ZRT_TRY(read_ids(tokenizer, "generation_config.json", end_out, 1, &n));
    if (*end_out < 0)
        ZRT_TRY(read_ids(tokenizer, "config.json", end_out, 1, &n));
    for (size_t i = 0; *end_out < 0 && i < sizeof usual / sizeof *usual; i++)
        *end_out = (int32_t)zrt_tokenizer_find(tokenizer, usual[i]);
    return ZRT_OK;
}

zrt_status zrt_tokenizer_stop_tokens(const zrt_tokenizer *tokenizer, int32_t *ids_out, int capacity, int *n_out)
{
    *n_out = 0;
    ZRT_TRY(read_ids(tokenizer, "generation_config.json", ids_out, capacity, n_out));
    if (*n_out == 0 && capacity > 0) {
        ZRT_TRY(zrt_tokenizer_end_token(tokenizer, ids_out));
        *n_out = ids_out[0] >= 0;
    }
    return ZRT_OK;
}
