/* The configuration for people: each value, where it came from, and what becomes of it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/configuration.h"
#include "config/resolved.h"

static void print_key(FILE *file, const zrt__resolved *resolved, const zrt__key *key)
{
    static const char *const effects[] = {
        [ZRT__HONOURED] = "acts", [ZRT__INERT] = "accepted without effect here", [ZRT__REFUSED] = "off, refused if on"};
    const json_t *value = zrt__tree_get(resolved->tree, key->path);
    if (value == NULL || key->type == ZRT__KEY_BLOCK || strcmp(key->path, "zerort.arguments") == 0)
        return;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    const char *source = json_string_value(json_object_get(resolved->sources, key->path));
    fprintf(file, "  %s = %s (%s), %s%s%s\n", key->path, text != NULL ? text : "?", source != NULL ? source : "file",
            effects[key->disposition], key->disposition == ZRT__HONOURED ? "" : ": ",
            key->disposition == ZRT__HONOURED ? "" : key->note);
    free(text);
}

/* One that was given by its own name, the others by their place in resolved.json. */
static void print_argument(FILE *file, const zrt_config *config, const zrt__resolved *resolved, const char *name)
{
    const json_t *given = json_object_get(config->arguments, name);
    const json_t *value = json_object_get(zrt__tree_get(resolved->tree, "zerort.arguments"), name);
    if (given == NULL && value == NULL)
        return;
    char *text = json_dumps(given != NULL ? given : value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (given != NULL)
        fprintf(file, "  %s = %s (option), acts\n", name, text != NULL ? text : "?");
    else
        fprintf(file, "  zerort.arguments.%s = %s (default), acts\n", name, text != NULL ? text : "?");
    free(text);
}

static void print_dtypes(FILE *file, const zrt__resolved *resolved)
{
    const char *compute = zrt_dtype_name(resolved->compute_dtype), *fp32 = zrt_dtype_name(ZRT_FLOAT32);
    const struct {
        const char *role, *dtype;
    } rows[] = {
        {"parameters, activations, gathers", compute},
        {"gradients of a pass", compute},
        {"reductions", zrt_dtype_name(resolved->reduce_dtype)},
        {"accumulated gradients, shards", zrt_dtype_name(resolved->accumulate_dtype)},
        {"master weights, optimizer moments", fp32},
        {"sums of matrix products", fp32},
        {"softmax, statistics of norms, loss", fp32},
    };
    fprintf(file, "  %-36s dtype\n", "role");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        fprintf(file, "  %-36s %s\n", rows[i].role, rows[i].dtype);
}

zrt_status zrt_config_explain(zrt_config *config, int n_ranks, int64_t hidden_size, FILE *file)
{
    zrt__resolved *resolved = NULL;
    ZRT_TRY(zrt__config_resolve(config, n_ranks, hidden_size, 0, &resolved));
    size_t index;
    json_t *notice;
    json_array_foreach(config->notices, index, notice) fprintf(file, "  notice: %s\n", json_string_value(notice));
    for (size_t i = 0; zrt__key_get(i) != NULL; i++)
        print_key(file, resolved, zrt__key_get(i));
    for (size_t i = 0; zrt__argument_get(i) != NULL; i++)
        print_argument(file, config, resolved, zrt__argument_get(i)->name);
    print_dtypes(file, resolved);
    zrt__resolved_destroy(&resolved);
    return ferror(file) ? zrt__fail(ZRT_ERR_IO, "the configuration could not be printed") : ZRT_OK;
}
