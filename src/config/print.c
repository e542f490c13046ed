/* The resolved configuration as JSON, value by value, and explained. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/configuration.h"
#include "config/resolved.h"

zrt_status zrt_config_print(zrt_config *config, int n_ranks, int64_t hidden_size, char **json_out)
{
    zrt__resolved *resolved = NULL;
    ZRT_TRY(zrt__config_resolve(config, n_ranks, hidden_size, 0, &resolved));
    char *text = json_dumps(resolved->tree, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    size_t length = text != NULL ? strlen(text) : 0;
    char *line = text != NULL ? realloc(text, length + 2) : NULL;
    zrt__resolved_destroy(&resolved);
    if (line == NULL) {
        free(text);
        return zrt__fail(ZRT_ERR_MEMORY, "no memory to print the configuration");
    }
    memcpy(line + length, "\n", 2);
    *json_out = line;
    return ZRT_OK;
}

zrt_status zrt_config_get(zrt_config *config, int n_ranks, int64_t hidden_size, const char *key, char *value,
                          size_t capacity)
{
    zrt__resolved *resolved = NULL;
    ZRT_TRY(zrt__config_resolve(config, n_ranks, hidden_size, 0, &resolved));
    const json_t *found = zrt__tree_get(resolved->tree, key);
    char *text = found != NULL ? json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    zrt_status status = ZRT_OK;
    if (found == NULL)
        status = zrt__fail(ZRT_ERR_USAGE, "the configuration has no value %s", key);
    else if (text == NULL || strlen(text) >= capacity)
        status = zrt__fail(ZRT_ERR_USAGE, "the value of %s does not fit into %zu bytes", key, capacity);
    else
        memcpy(value, text, strlen(text) + 1);
    free(text);
    zrt__resolved_destroy(&resolved);
    return status;
}

zrt_status zrt_config_explain(zrt_config *config, int n_ranks, int64_t hidden_size, FILE *file)
{
    zrt__resolved *resolved = NULL;
    ZRT_TRY(zrt__config_resolve(config, n_ranks, hidden_size, 0, &resolved));
    size_t index;
    json_t *notice;
    json_array_foreach(config->notices, index, notice) fprintf(file, "  %s\n", json_string_value(notice));
    for (size_t i = 0; zrt__key_get(i) != NULL; i++) {
        const zrt__key *key = zrt__key_get(i);
        const json_t *value = zrt__tree_get(resolved->tree, key->path);
        if (value == NULL || key->type == ZRT__KEY_BLOCK || strcmp(key->path, "zerort.arguments") == 0)
            continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        const char *source = json_string_value(json_object_get(resolved->sources, key->path));
        fprintf(file, "  %s = %s (%s)%s%s\n", key->path, text != NULL ? text : "?", source != NULL ? source : "file",
                key->disposition == ZRT__HONOURED ? "" : ", accepted without effect: ",
                key->disposition == ZRT__HONOURED ? "" : key->note);
        free(text);
    }
    for (size_t i = 0; zrt__argument_get(i) != NULL; i++) {
        const char *name = zrt__argument_get(i)->name;
        const json_t *value = json_object_get(config->arguments, name);
        char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        if (text != NULL)
            fprintf(file, "  %s = %s (argument)\n", name, text);
        free(text);
    }
    zrt__resolved_destroy(&resolved);
    return ferror(file) ? zrt__fail(ZRT_ERR_IO, "the configuration could not be printed") : ZRT_OK;
}
