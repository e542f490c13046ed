/* What "auto" becomes, against transformers' own decisions:  test/auto FILE, of the form of test/golden/auto.json.
 * Says which case differs; the keys that the configuration gives are compared, numbers as numbers. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <zerort/zerort.h>

#include "config/configuration.h"
#include "config/resolved.h"

static int differing;

static void compare(size_t index, const char *path, const json_t *given, const json_t *expected, const json_t *got)
{
    const char *name;
    json_t *value;
    if (json_is_object(given)) {
        json_object_foreach((json_t *)(uintptr_t)given, name, value)
        {
            char below[256];
            snprintf(below, sizeof below, "%s%s%s", path, *path != '\0' ? "." : "", name);
            const char *renamed = zrt__key_renamed(below);
            const json_t *own = renamed != NULL ? zrt__tree_get(got, renamed) : zrt__tree_get(got, below);
            if (json_is_object(value) || own != NULL)
                compare(index, below, value, json_object_get(expected, name), got);
            else
                printf("case %zu: %s is not resolved\n", index, below), differing++;
        }
        return;
    }
    const char *renamed = zrt__key_renamed(path);
    const json_t *own = zrt__tree_get(got, renamed != NULL ? renamed : path);
    /* Upstream lets DeepSpeed's warm-up be no shorter than two steps when it runs. */
    bool same = json_is_number(expected)
                    ? json_is_number(own) && fabs(json_number_value(own) - json_number_value(expected)) <=
                                                 1e-12 * fabs(json_number_value(expected))
                    : json_equal(own, expected);
    if (!same) {
        char *a = json_dumps(own, JSON_ENCODE_ANY), *b = json_dumps(expected, JSON_ENCODE_ANY);
        printf("case %zu: %s is %s, upstream %s\n", index, path, a != NULL ? a : "missing", b != NULL ? b : "missing");
        free(a);
        free(b);
        differing++;
    }
}

static void run_case(size_t index, const json_t *c)
{
    zrt_config *config = NULL;
    zrt__resolved *resolved = NULL;
    const char *name;
    json_t *value;
    char *text = json_dumps(json_object_get(c, "config"), 0);
    zrt_status status = zrt_config_create(&config);
    if (status == ZRT_OK)
        status = zrt_config_read_string(config, text);
    json_object_foreach(json_object_get(c, "arguments"), name, value)
    {
        char *argument = json_is_string(value) ? strdup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);
        if (status == ZRT_OK)
            status = zrt_config_set_argument(config, name, argument);
        free(argument);
    }
    if (status == ZRT_OK && json_object_get(json_object_get(c, "arguments"), "max_steps") == NULL) {
        char steps[32];
        snprintf(steps, sizeof steps, "%lld", (long long)json_integer_value(json_object_get(c, "num_training_steps")));
        status = zrt_config_set_argument(config, "max_steps", steps);
    }
    if (status == ZRT_OK)
        status = zrt__config_resolve(config, (int)json_integer_value(json_object_get(c, "world_size")),
                                     json_integer_value(json_object_get(c, "hidden_size")), 0, &resolved);
    if (status == ZRT_OK)
        compare(index, "", json_object_get(c, "config"), json_object_get(c, "resolved"), resolved->tree);
    else
        printf("case %zu: %s\n", index, zrt_error_message()), differing++;
    free(text);
    zrt__resolved_destroy(&resolved);
    zrt_config_destroy(&config);
}

int main(int argc, char **argv)
{
    json_error_t error;
    const char *path = argc == 2 ? argv[1] : NULL;
    json_t *cases = path != NULL ? json_load_file(path, 0, &error) : NULL;
    size_t index;
    json_t *c;
    if (!json_is_array(cases)) {
        fprintf(stderr, "usage: auto FILE (a list of cases as in test/golden/auto.json)%s%s\n",
                path != NULL ? ": " : "", path != NULL ? error.text : "");
        return 2;
    }
    json_array_foreach(cases, index, c) run_case(index, c);
    printf("%zu cases, %d values differ\n", json_array_size(cases), differing);
    json_decref(cases);
    return differing > 0;
}
