/* The resolved configuration as JSON, and value by value. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/configuration.h"
#include "config/resolved.h"

zrt_status zrt__resolved_print(const zrt__resolved *resolved, char **json_out)
{
    char *text = json_dumps(resolved->tree, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    size_t length = text != NULL ? strlen(text) : 0;
    char *line = text != NULL ? realloc(text, length + 2) : NULL;
    if (line == NULL) {
        free(text);
        return zrt__fail(ZRT_ERR_MEMORY, "no memory to print the configuration");
    }
    memcpy(line + length, "\n", 2);
    *json_out = line;
    return ZRT_OK;
}

zrt_status zrt_config_print(zrt_config *config, int n_ranks, int64_t hidden_size, char **json_out)
{
    zrt__resolved *resolved = NULL;
    ZRT_TRY(zrt__config_resolve(config, n_ranks, hidden_size, 0, &resolved));
    zrt_status status = zrt__resolved_print(resolved, json_out);
    zrt__resolved_destroy(&resolved);
    return status;
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
