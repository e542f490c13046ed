/* The configuration object; only for the files of this folder. */
#ifndef ZRT_CONFIG_CONFIGURATION_H
#define ZRT_CONFIG_CONFIGURATION_H

#include <jansson.h>
#include <zerort/config.h>

#include "config/arguments.h"
#include "config/keys.h"

struct zrt_config {
    json_t *file;      /* what files, strings and zrt_config_set gave, by the new names of keys */
    json_t *arguments; /* what was set by argument name */
    json_t *notices;   /* strings: deprecated spellings that were mapped */
};

/* Checks a JSON value against a key's type and range; the message names `path`. "auto" passes where the key may be auto. */
zrt_status zrt__value_check(const char *path, zrt__key_type type, double low, double high, const char *choices,
                            bool may_be_auto, const json_t *value);
/* Checks a whole tree and merges it over config->file. Takes nothing. */
zrt_status zrt__tree_merge(zrt_config *config, const json_t *tree);
/* The value at a dotted path; NULL: none. Borrowed. */
json_t *zrt__tree_get(const json_t *tree, const char *path);
/* Sets it, making the objects on the way. Steals `value`. */
zrt_status zrt__tree_set(json_t *tree, const char *path, json_t *value);
bool zrt__is_auto(const json_t *value);
/* Parses JSON text, of any kind of value; the message names `where`. */
json_t *zrt__json_parse(const char *text, const char *where);

#endif
