#include "config.h"

#include "data/tokenizer/json_fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define STAND_IN "\xf4\x8f\xbf\xbf"
#define STAND_IN_ESCAPED "\\udbff\\udfff"

zrt_status zrt__json_fail(const zrt__json_object *object, const char *format, ...)
{
    char text[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return zrt__fail(ZRT_ERR_INPUT, "%s: %s", object->where, text);
}

zrt_status zrt__json_refuse(const zrt__json_object *object, const char *key, const char *value, const char *known)
{
    return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: %s '%.64s' is not supported; there are %s", object->where, key, value,
                     known);
}

zrt_status zrt__json_child(const zrt__json_object *parent, const json_t *json, const char *key, long index,
                           zrt__json_object *child_out)
{
    size_t used;

    snprintf(child_out->where, sizeof child_out->where, "%s", parent->where);
    used = strlen(child_out->where);
    /* After the name of the file comes a colon, after an object a dot. */
    snprintf(child_out->where + used, sizeof child_out->where - used, "%s%s", strstr(parent->where, ": ") ? "." : ": ",
             key);
    used = strlen(child_out->where);
    if (index >= 0)
        snprintf(child_out->where + used, sizeof child_out->where - used, "[%ld]", index);
    child_out->json = json;
    if (!json_is_object(json))
        return zrt__json_fail(child_out, "must be an object");
    return ZRT_OK;
}

zrt_status zrt__json_check_keys(const zrt__json_object *object, const char *keys)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object->json, key, value)
    {
        char wanted[80];
        snprintf(wanted, sizeof wanted, " %.76s ", key);
        if (strstr(keys, wanted) == NULL)
            return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: the key '%.64s' is not supported; there are%s", object->where,
                             key, keys);
    }
    return ZRT_OK;
}

const json_t *zrt__json_get(const zrt__json_object *object, const char *key)
{
    const json_t *value = json_object_get(object->json, key);

    return json_is_null(value) ? NULL : value;
}

zrt_status zrt__json_bool(const zrt__json_object *object, const char *key, int fallback, bool *value_out)
{
    const json_t *value = zrt__json_get(object, key);

    if (value == NULL && fallback < 0)
        return zrt__json_fail(object, "'%s' is missing", key);
    if (value != NULL && !json_is_boolean(value))
        return zrt__json_fail(object, "'%s' must be true or false", key);
    *value_out = value ? json_is_true(value) : fallback != 0;
    return ZRT_OK;
}

zrt_status zrt__json_count(const zrt__json_object *object, const char *key, int64_t fallback, int64_t *value_out)
{
    const json_t *value = zrt__json_get(object, key);

    if (value == NULL && fallback < 0)
        return zrt__json_fail(object, "'%s' is missing", key);
    if (value != NULL && (!json_is_integer(value) || json_integer_value(value) < 0))
        return zrt__json_fail(object, "'%s' must be an integer of 0 or more", key);
    *value_out = value ? json_integer_value(value) : fallback;
    return ZRT_OK;
}

zrt_status zrt__json_string(const zrt__json_object *object, const char *key, const char *fallback,
                            const char **text_out, size_t *n_out)
{
    const json_t *value = zrt__json_get(object, key);

    if (value == NULL && fallback == NULL)
        return zrt__json_fail(object, "'%s' is missing", key);
    if (value != NULL && !json_is_string(value))
        return zrt__json_fail(object, "'%s' must be a string", key);
    if (value != NULL && strstr(json_string_value(value), STAND_IN) != NULL)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: U+0000 in '%s' is not supported", object->where, key);
    *text_out = value ? json_string_value(value) : fallback;
    *n_out = value ? json_string_length(value) : strlen(fallback);
    return ZRT_OK;
}

zrt_status zrt__json_array(const zrt__json_object *object, const char *key, const json_t **array_out)
{
    const json_t *value = zrt__json_get(object, key);

    if (!json_is_array(value))
        return zrt__json_fail(object, "'%s' must be an array", key);
    *array_out = value;
    return ZRT_OK;
}

static zrt_status replace_nul(const char *text, size_t n, zrt__bytes *out)
{
    size_t done = 0;

    for (size_t at = 0; at + 1 < n; at++) {
        if (text[at] != '\\')
            continue;
        if (n - at >= 6 && memcmp(text + at, "\\u0000", 6) == 0) {
            ZRT_TRY(zrt__bytes_append(out, text + done, at - done));
            ZRT_TRY(zrt__bytes_append(out, STAND_IN_ESCAPED, strlen(STAND_IN_ESCAPED)));
            done = at + 6;
        }
        at++;
    }
    return zrt__bytes_append(out, text + done, n - done);
}

zrt_status zrt__tokenizer_json(const char *name, const char *text, size_t n, json_t **json_out)
{
    zrt__bytes replaced = {0};
    json_error_t error;

    *json_out = NULL;
    if (memmem(text, n, "\\u0000", 6) != NULL) {
        zrt_status status = ZRT_OK;
        if (memmem(text, n, STAND_IN, strlen(STAND_IN)) != NULL || memmem(text, n, "\\udbff\\udfff", 12) != NULL ||
            memmem(text, n, "\\uDBFF\\uDFFF", 12) != NULL)
            status = zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: U+0000 beside U+10FFFF is not supported", name);
        if (status == ZRT_OK)
            status = replace_nul(text, n, &replaced);
        if (status != ZRT_OK) {
            zrt__bytes_release(&replaced);
            return status;
        }
        text = replaced.data;
        n = replaced.n;
    }
    *json_out = json_loadb(text, n, 0, &error);
    zrt__bytes_release(&replaced);
    return *json_out ? ZRT_OK : zrt__fail(ZRT_ERR_INPUT, "%s: line %d: %s", name, error.line, error.text);
}

zrt_status zrt__json_restore(const char *text, size_t n, zrt__bytes *out)
{
    size_t done = 0, length = strlen(STAND_IN);

    for (;;) {
        const char *found = memmem(text + done, n - done, STAND_IN, length);
        size_t until = found ? (size_t)(found - text) : n;
        ZRT_TRY(zrt__bytes_append(out, text + done, until - done));
        if (found == NULL)
            return ZRT_OK;
        ZRT_TRY(zrt__bytes_append(out, "", 1));
        done = until + length;
    }
}
