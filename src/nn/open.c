#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"
#include "nn/hf_config.h"
#include "nn/lora_config.h"
#include "nn/nn.h"
#include "nn/text_file.h"

#define MAX_NAME 64

/* Insertions, deletions and substitutions between two short names (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
    size_t row[MAX_NAME + 1], n = strlen(b);
    if (strlen(a) > MAX_NAME || n > MAX_NAME)
        return MAX_NAME;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            corner = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

static zrt_status unknown(const char *name)
{
    const char *nearest = NULL, *preset;
    size_t least = MAX_NAME;
    char list[512] = "";
    for (int i = 0; (preset = zrt_model_preset(i)) != NULL; i++) {
        size_t d = distance(name, preset), used = strlen(list);
        if (d < least) {
            least = d;
            nearest = preset;
        }
        snprintf(list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ", preset);
    }
    if (strchr(name, '/') != NULL)
        return zrt__fail(ZRT_ERR_CONFIG, "model '%.256s': there is no such folder", name);
    if (nearest != NULL && least <= 1 + strlen(name) / 3)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "model '%.256s' is neither a preset nor a folder; did you mean '%s'? There are %s", name,
                         nearest, list);
    return zrt__fail(ZRT_ERR_CONFIG, "model '%.256s' is neither a preset nor a folder; presets are %s", name, list);
}

/* The configuration with a larger vocabulary. What is wrong with the text is told when it is read. */
static zrt_status resize(int64_t vocab_size, char **text, size_t *bytes)
{
    json_t *root = json_loadb(*text, *bytes, JSON_REJECT_DUPLICATES, NULL);
    char *resized = NULL;
    if (json_is_object(root) && json_object_set_new(root, "vocab_size", json_integer(vocab_size)) == 0)
        resized = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (resized == NULL)
        return zrt__fail(ZRT_ERR_MEMORY, "out of memory for a configuration with %" PRId64 " tokens", vocab_size);
    free(*text);
    *text = resized;
    *bytes = strlen(resized);
    return ZRT_OK;
}

static zrt_status open_folder(const char *folder, const char *path, int64_t vocab_size, zrt_model **model_out)
{
    char *text = NULL;
    size_t bytes = 0;
    ZRT_TRY(zrt__text_file_read(path, &text, &bytes));
    zrt_status status = zrt__hf_config_read(path, folder, text, bytes, model_out);
    int64_t stored = status == ZRT_OK ? zrt_model_get_info(*model_out)->vocab_size : 0;
    if (status == ZRT_OK && vocab_size > stored) {
        zrt_model_destroy(model_out);
        status = resize(vocab_size, &text, &bytes);
        if (status == ZRT_OK)
            status = zrt__hf_config_read(path, folder, text, bytes, model_out);
        if (status == ZRT_OK)
            (*model_out)->stored_vocab = stored;
    }
    free(text);
    return status;
}

static zrt_status open_preset(const char *name, const zrt_gpt2_spec *gpt2, const zrt_llama_spec *llama,
                              int64_t vocab_size, zrt_model **model_out)
{
    if (gpt2 != NULL) {
        zrt_gpt2_spec spec = *gpt2;
        spec.vocab_size = vocab_size > spec.vocab_size ? vocab_size : spec.vocab_size;
        return zrt__gpt2_create(name, &spec, NULL, model_out);
    }
    zrt_llama_spec spec = *llama;
    spec.vocab_size = vocab_size > spec.vocab_size ? vocab_size : spec.vocab_size;
    return zrt__llama_create(name, &spec, NULL, model_out);
}

zrt_status zrt_model_open(const char *name_or_folder, zrt_model **model_out)
{
    return zrt_model_open_resized(name_or_folder, 0, model_out);
}

zrt_status zrt_model_open_resized(const char *name_or_folder, int64_t vocab_size, zrt_model **model_out)
{
    const zrt_gpt2_spec *gpt2;
    const zrt_llama_spec *llama;
    struct stat folder, config;
    char *path = zrt__format("%s/config.json", name_or_folder);
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    bool is_folder = stat(name_or_folder, &folder) == 0 && S_ISDIR(folder.st_mode);
    zrt_status status;
    /* As in transformers, a folder that holds a model comes before a published name. */
    if (is_folder && stat(path, &config) == 0)
        status = open_folder(name_or_folder, path, vocab_size, model_out);
    else if (zrt__preset_find(name_or_folder, &gpt2, &llama))
        status = open_preset(name_or_folder, gpt2, llama, vocab_size, model_out);
    else if (is_folder && zrt__is_adapter_folder(name_or_folder))
        status = zrt__adapter_open(name_or_folder, model_out);
    else if (is_folder)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: no config.json in this folder", name_or_folder);
    else
        status = unknown(name_or_folder);
    free(path);
    return status;
}
