/* Reading: JSON against the table of keys. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "config/configuration.h"

zrt_status zrt_config_create(zrt_config **config_out)
{
    zrt_config *config = zrt__calloc(1, sizeof *config);
    if (config == NULL)
        return ZRT_ERR_MEMORY;
    config->file = json_object();
    config->arguments = json_object();
    config->notices = json_array();
    if (config->file == NULL || config->arguments == NULL || config->notices == NULL) {
        zrt_config_destroy(&config);
        return zrt__fail(ZRT_ERR_MEMORY, "no memory for a configuration");
    }
    *config_out = config;
    return ZRT_OK;
}

void zrt_config_destroy(zrt_config **config)
{
    if (config == NULL || *config == NULL)
        return;
    json_decref((*config)->file);
    json_decref((*config)->arguments);
    json_decref((*config)->notices);
    free(*config);
    *config = NULL;
}

bool zrt__is_auto(const json_t *value)
{
    return json_is_string(value) && strcmp(json_string_value(value), "auto") == 0;
}

json_t *zrt__tree_get(const json_t *tree, const char *path)
{
    char name[128];
    const json_t *at = tree;
    while (at != NULL) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof name)
            return NULL;
        memcpy(name, path, n);
        name[n] = '\0';
        at = json_object_get(at, name);
        if (path[n] == '\0')
            break;
        path += n + 1;
    }
    return (json_t *)(uintptr_t)at;
}

zrt_status zrt__tree_set(json_t *tree, const char *path, json_t *value)
{
    char name[128];
    json_t *at = tree;
    if (value == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "no memory for configuration key %s", path);
    for (;;) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof name) {
            json_decref(value);
            return zrt__fail(ZRT_ERR_CONFIG, "configuration key %s is too long", path);
        }
        memcpy(name, path, n);
        name[n] = '\0';
        if (path[n] == '\0')
            break;
        json_t *next = json_object_get(at, name);
        if (!json_is_object(next)) {
            next = json_object();
            if (next == NULL || json_object_set_new(at, name, next) != 0) {
                json_decref(value);
                return zrt__fail(ZRT_ERR_MEMORY, "no memory for configuration key %s", path);
            }
        }
        at = next;
        path += n + 1;
    }
    return json_object_set_new(at, name, value) == 0
               ? ZRT_OK
               : zrt__fail(ZRT_ERR_MEMORY, "no memory for configuration key %s", path);
}

/* ---- checks ---- */

static const char *type_text(zrt__key_type type)
{
    static const char *const texts[] = {"true or false", "a whole number", "a number",  "a string",
                                        "a string",      "a list",         "an object", "an object"};
    return texts[type];
}

static bool is_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, text, length) == 0 && (at[length] == '|' || at[length] == '\0'))
            return true;
    }
    return false;
}

static bool type_fits(zrt__key_type type, const json_t *value)
{
    switch (type) {
    case ZRT__KEY_BOOL:
        return json_is_boolean(value);
    case ZRT__KEY_INT: /* DeepSpeed's files write 5e8 */
        return json_is_integer(value) ||
               (json_is_real(value) && floor(json_real_value(value)) == json_real_value(value) &&
                fabs(json_real_value(value)) < 9.2e18);
    case ZRT__KEY_NUMBER:
        return json_is_number(value);
    case ZRT__KEY_STRING:
    case ZRT__KEY_CHOICE:
        return json_is_string(value);
    case ZRT__KEY_LIST:
        return json_is_array(value);
    case ZRT__KEY_BLOCK:
    case ZRT__KEY_OPEN:
        break;
    }
    return json_is_object(value);
}

zrt_status zrt__value_check(const char *path, zrt__key_type type, double low, double high, const char *choices,
                            bool may_be_auto, const json_t *value)
{
    if (may_be_auto && zrt__is_auto(value))
        return ZRT_OK;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    zrt_status status = ZRT_OK;
    if (!type_fits(type, value))
        status = zrt__fail(ZRT_ERR_CONFIG, "configuration key %s must be %s%s, not %.80s", path, type_text(type),
                           may_be_auto ? " or \"auto\"" : "", text != NULL ? text : "that");
    else if ((type == ZRT__KEY_INT || type == ZRT__KEY_NUMBER) &&
             !(json_number_value(value) >= low && json_number_value(value) <= high))
        status = high < 1e300 ? zrt__fail(ZRT_ERR_CONFIG, "configuration key %s is %.80s; it must be from %g to %g",
                                          path, text != NULL ? text : "out of range", low, high)
                              : zrt__fail(ZRT_ERR_CONFIG, "configuration key %s is %.80s; it must be at least %g", path,
                                          text != NULL ? text : "out of range", low);
    else if (type == ZRT__KEY_CHOICE && !is_choice(choices, json_string_value(value)))
        status = zrt__fail(ZRT_ERR_CONFIG, "configuration key %s is %.80s; it must be one of %s", path,
                           text != NULL ? text : "unknown", choices);
    free(text);
    return status;
}

static bool is_off(const zrt__key *key, const json_t *value)
{
    if (key->fallback != NULL) {
        json_t *fallback = json_loads(key->fallback, JSON_DECODE_ANY, NULL);
        bool same = json_equal(fallback, value) || (json_is_number(fallback) && json_is_number(value) &&
                                                    json_number_value(fallback) == json_number_value(value));
        json_decref(fallback);
        return same;
    }
    /* A block that is switched off, or empty, asks for nothing. */
    return json_is_object(value) && (json_object_size(value) == 0 || json_is_false(json_object_get(value, "enabled")));
}

static zrt_status merge_block(zrt_config *config, const char *block, const json_t *tree);

static zrt_status merge_value(zrt_config *config, const char *path, const json_t *value)
{
    const zrt__key *key = zrt__key_find(path);
    ZRT_TRY(zrt__value_check(path, key->type, key->low, key->high, key->choices, key->may_be_auto, value));
    if (key->disposition == ZRT__REFUSED && !is_off(key, value))
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "configuration key %s is not supported: %s", path, key->note);
    if (key->type == ZRT__KEY_BLOCK)
        return merge_block(config, path, value);
    if (key->type == ZRT__KEY_INT && json_is_real(value))
        return zrt__tree_set(config->file, path, json_integer((json_int_t)json_real_value(value)));
    return zrt__tree_set(config->file, path, json_deep_copy(value));
}

static zrt_status unknown_key(const char *block, const char *name, const char *path)
{
    const char *nearest = zrt__key_elsewhere(name);
    if (nearest == NULL)
        nearest = zrt__key_nearest(block, name);
    return zrt__fail(ZRT_ERR_CONFIG, "unknown configuration key %.120s%s%s%s", path,
                     nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
                     nearest != NULL ? "?" : "");
}

/* A deprecated switch: true stands for a value of another key, which must not say otherwise. */
static zrt_status merge_switch(zrt_config *config, const char *path, const char *target, const char *text,
                               const json_t *value, const json_t *tree)
{
    char block[128];
    if (!json_is_boolean(value))
        return zrt__fail(ZRT_ERR_CONFIG, "configuration key %s, deprecated for %s, must be true or false", path,
                         target);
    /* The block of the newer spelling beside it. */
    size_t length = strrchr(path, '.') != NULL ? (size_t)(strrchr(path, '.') - path) + 1 : 0;
    snprintf(block, sizeof block, "%.*s", (int)strcspn(target + length, "."), target + length);
    if (json_is_true(value) && strcmp(block, path) != 0 && json_object_get(tree, block) != NULL)
        return zrt__fail(ZRT_ERR_CONFIG, "configuration keys %s and %.*s%s say the same; give the latter alone", path,
                         (int)length, target, block);
    json_array_append_new(config->notices, json_sprintf("%s is deprecated: true is read as %s %s", path, target, text));
    return json_is_true(value) ? zrt_config_set(config, target, text) : ZRT_OK;
}

static zrt_status merge_block(zrt_config *config, const char *block, const json_t *tree)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tree, name, value)
    {
        char *path = *block != '\0' ? zrt__format("%s.%s", block, name) : zrt__strdup(name);
        if (path == NULL)
            return ZRT_ERR_MEMORY;
        const char *renamed = zrt__key_renamed(path), *known = renamed != NULL ? renamed : path;
        zrt_status status = ZRT_OK;
        const char *target = NULL, *text = zrt__key_switch(path, &target);
        if (text != NULL && (zrt__key_find(path) == NULL || json_is_boolean(value))) {
            status = merge_switch(config, path, target, text, value, tree);
        } else if (strchr(name, '.') != NULL || zrt__key_find(known) == NULL) {
            status = unknown_key(block, name, path);
        } else if (renamed != NULL && zrt__tree_get(tree, renamed + strlen(block) + (*block != '\0')) != NULL) {
            status = zrt__fail(ZRT_ERR_CONFIG, "configuration keys %s and %s are the same; give one", path, renamed);
        } else {
            if (renamed != NULL)
                json_array_append_new(config->notices, json_sprintf("%s is another spelling of %s", path, renamed));
            status = merge_value(config, known, value);
        }
        free(path);
        if (status != ZRT_OK)
            return status;
    }
    return ZRT_OK;
}

static zrt_status take_arguments(zrt_config *config)
{
    json_t *given = zrt__tree_get(config->file, "zerort.arguments"), *value;
    const char *name;
    json_object_foreach(given, name, value)
    {
        char *text = json_is_string(value) ? zrt__strdup(json_string_value(value))
                                           : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        zrt_status status = text == NULL ? ZRT_ERR_MEMORY : ZRT_OK;
        if (status == ZRT_OK && json_object_get(config->arguments, name) == NULL)
            status = zrt_config_set_argument(config, name, text);
        free(text);
        if (status != ZRT_OK)
            return status;
    }
    if (given != NULL)
        json_object_del(json_object_get(config->file, "zerort"), "arguments");
    return ZRT_OK;
}

zrt_status zrt__tree_merge(zrt_config *config, const json_t *tree)
{
    if (!json_is_object(tree))
        return zrt__fail(ZRT_ERR_CONFIG, "a configuration is a JSON object");
    ZRT_TRY(merge_block(config, "", tree));
    return take_arguments(config);
}

/* ---- sources ---- */

json_t *zrt__json_parse(const char *text, const char *where)
{
    json_error_t error;
    json_t *tree = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (tree == NULL)
        zrt__fail(ZRT_ERR_CONFIG, "%s, line %d, column %d: %s", where, error.line, error.column, error.text);
    return tree;
}

zrt_status zrt_config_read_string(zrt_config *config, const char *json)
{
    json_t *tree = zrt__json_parse(json, "configuration");
    if (tree == NULL)
        return ZRT_ERR_CONFIG;
    zrt_status status = zrt__tree_merge(config, tree);
    json_decref(tree);
    return status;
}

zrt_status zrt_config_read_file(zrt_config *config, const char *path)
{
    json_error_t error;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return zrt__fail(errno == ENOENT ? ZRT_ERR_CONFIG : ZRT_ERR_IO, "configuration %s: %s", path, strerror(errno));
    json_t *tree = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
    fclose(file);
    if (tree == NULL)
        return zrt__fail(ZRT_ERR_CONFIG, "configuration %s, line %d, column %d: %s", path, error.line, error.column,
                         error.text);
    zrt_status status = zrt__tree_merge(config, tree);
    json_decref(tree);
    return status == ZRT_OK ? ZRT_OK : zrt__fail_context(status, "%s: ", path);
}

/* A JSON value, or a string without its quotes. */
static json_t *parse_value(zrt__key_type type, const char *text)
{
    if (type == ZRT__KEY_STRING || type == ZRT__KEY_CHOICE)
        return *text == '"' ? json_loads(text, JSON_DECODE_ANY, NULL) : json_string(text);
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    return value != NULL ? value : json_string(text);
}

zrt_status zrt_config_set(zrt_config *config, const char *key, const char *value)
{
    const char *renamed = zrt__key_renamed(key), *target = NULL, *text = zrt__key_switch(key, &target);
    const zrt__key *known = zrt__key_find(renamed != NULL ? renamed : key);
    if (known == NULL && text != NULL) {
        json_t *parsed_switch = parse_value(ZRT__KEY_BOOL, value);
        zrt_status switched = merge_switch(config, key, target, text, parsed_switch, NULL);
        json_decref(parsed_switch);
        return switched;
    }
    if (known == NULL) {
        char block[128] = "";
        const char *dot = strrchr(key, '.');
        if (dot != NULL && (size_t)(dot - key) < sizeof block)
            memcpy(block, key, (size_t)(dot - key));
        return unknown_key(block, dot != NULL ? dot + 1 : key, key);
    }
    json_t *parsed = parse_value(known->type, value);
    zrt_status status = parsed == NULL ? zrt__fail(ZRT_ERR_MEMORY, "no memory for configuration key %s", key)
                                       : merge_value(config, known->path, parsed);
    json_decref(parsed);
    return status == ZRT_OK ? take_arguments(config) : status;
}

zrt_status zrt_config_set_argument(zrt_config *config, const char *name, const char *value)
{
    const zrt__argument *argument = zrt__argument_find(name);
    if (argument == NULL) {
        const char *nearest = zrt__argument_nearest(name);
        return zrt__fail(ZRT_ERR_CONFIG, "unknown training argument %s%s%s%s", name,
                         nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
                         nearest != NULL ? "?" : "");
    }
    json_t *parsed = parse_value(argument->type, value);
    if (parsed == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "no memory for training argument %s", name);
    zrt_status status = zrt__value_check(argument->name, argument->type, argument->low, argument->high,
                                         argument->choices, false, parsed);
    if (status == ZRT_OK && argument->type == ZRT__KEY_INT && json_is_real(parsed)) {
        json_t *whole = json_integer((json_int_t)json_real_value(parsed));
        json_decref(parsed);
        parsed = whole;
    }
    if (status == ZRT_OK && json_object_set(config->arguments, argument->name, parsed) != 0)
        status = zrt__fail(ZRT_ERR_MEMORY, "no memory for training argument %s", name);
    json_decref(parsed);
    return status;
}
