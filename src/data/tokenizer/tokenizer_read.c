#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/tokenizer.h"

/* Its content as the texts have it in which it is looked for. */
static zrt_status add_to_tree(zrt_tokenizer *tokenizer, zrt__matcher *matcher, const zrt__added_token *token,
                              int32_t index)
{
    zrt__bytes buffers[2] = {{0}, {0}};
    const char *content = token->content;
    size_t n = token->n;
    zrt_status status = ZRT_OK;

    if (token->normalized)
        status =
            zrt__normalizer_apply(&tokenizer->normalizer, matcher, token->content, token->n, buffers, &content, &n);
    if (status == ZRT_OK && n > 0)
        status = zrt__token_tree_add(token->normalized ? &tokenizer->normalized_tree : &tokenizer->raw_tree, content, n,
                                     index);
    zrt__bytes_release(&buffers[0]);
    zrt__bytes_release(&buffers[1]);
    return status;
}

zrt_status zrt__tokenizer_add(zrt_tokenizer *tokenizer, zrt__matcher *matcher, const zrt__added_token *token)
{
    int32_t known = zrt__vocabulary_find(&tokenizer->model.vocabulary, token->content, token->n);
    zrt__added_token added = *token;
    size_t n;

    if (known < 0)
        known = zrt__vocabulary_find(&tokenizer->added_names, token->content, token->n);
    if (added.id < 0)
        added.id = known >= 0 ? known : (int32_t)tokenizer->n_ids;
    if (added.id >= ZRT__MAX_TOKEN_ID)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s: ids of %d and more are not supported", tokenizer->path,
                         ZRT__MAX_TOKEN_ID);
    if (known >= 0 && known != added.id)
        return zrt__fail(ZRT_ERR_INPUT, "%s: the added token '%.64s' has the id %d and, in the vocabulary, %d",
                         tokenizer->path, token->content, added.id, known);
    if (known < 0 && (zrt__vocabulary_content(&tokenizer->model.vocabulary, added.id, &n) != NULL ||
                      zrt__vocabulary_content(&tokenizer->added_names, added.id, &n) != NULL))
        return zrt__fail(ZRT_ERR_INPUT, "%s: the added token '%.64s' has the id %d of another token", tokenizer->path,
                         token->content, added.id);
    ZRT_TRY(zrt__grow(&tokenizer->added, &tokenizer->added_capacity, tokenizer->n_added, sizeof *tokenizer->added));
    ZRT_TRY(zrt__vocabulary_add(&tokenizer->added_names, token->content, token->n, added.id));
    added.content = zrt__malloc(token->n + 1);
    if (added.content == NULL)
        return ZRT_ERR_MEMORY;
    memcpy(added.content, token->content, token->n);
    added.content[token->n] = '\0';
    tokenizer->added[tokenizer->n_added++] = added;
    if (added.id >= tokenizer->n_ids)
        tokenizer->n_ids = added.id + 1;
    return add_to_tree(tokenizer, matcher, &added, (int32_t)tokenizer->n_added - 1);
}

static zrt_status read_added(const zrt__json_object *root, zrt__matcher *matcher, zrt_tokenizer *tokenizer)
{
    const json_t *array;

    if (zrt__json_get(root, "added_tokens") == NULL)
        return ZRT_OK;
    ZRT_TRY(zrt__json_array(root, "added_tokens", &array));
    for (size_t i = 0; i < json_array_size(array); i++) {
        zrt__json_object object;
        zrt__added_token token = {0};
        const char *content;
        int64_t id;
        ZRT_TRY(zrt__json_child(root, json_array_get(array, i), "added_tokens", (long)i, &object));
        ZRT_TRY(zrt__json_check_keys(&object, " id content single_word lstrip rstrip normalized special "));
        ZRT_TRY(zrt__json_string(&object, "content", NULL, &content, &token.n));
        ZRT_TRY(zrt__json_count(&object, "id", -1, &id));
        ZRT_TRY(zrt__json_bool(&object, "single_word", -1, &token.single_word));
        ZRT_TRY(zrt__json_bool(&object, "lstrip", -1, &token.left_strip));
        ZRT_TRY(zrt__json_bool(&object, "rstrip", -1, &token.right_strip));
        ZRT_TRY(zrt__json_bool(&object, "normalized", -1, &token.normalized));
        ZRT_TRY(zrt__json_bool(&object, "special", -1, &token.special));
        if (token.n == 0)
            return zrt__json_fail(&object, "'content' is empty");
        if (id >= ZRT__MAX_TOKEN_ID)
            return zrt__json_fail(&object, "'id' must be below %d", ZRT__MAX_TOKEN_ID);
        token.id = (int32_t)id;
        token.content = (char *)(uintptr_t)content;
        ZRT_TRY(zrt__tokenizer_add(tokenizer, matcher, &token));
    }
    return ZRT_OK;
}

/* A part that may be absent. */
static zrt_status find_part(const zrt__json_object *root, const char *key, zrt__json_object *part_out, bool *exists_out)
{
    const json_t *json = zrt__json_get(root, key);

    *exists_out = json != NULL;
    return json ? zrt__json_child(root, json, key, -1, part_out) : ZRT_OK;
}

static zrt_status read_parts(const zrt__json_object *root, zrt__matcher *matcher, zrt_tokenizer *tokenizer)
{
    zrt__json_object part;
    bool exists;

    ZRT_TRY(zrt__json_check_keys(
        root, " version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder "
              "model "));
    ZRT_TRY(find_part(root, "normalizer", &part, &exists));
    if (exists)
        ZRT_TRY(zrt__normalizer_read(&part, &tokenizer->normalizer));
    ZRT_TRY(find_part(root, "pre_tokenizer", &part, &exists));
    if (exists)
        ZRT_TRY(zrt__pre_tokenizer_read(&part, &tokenizer->pre_tokenizer));
    ZRT_TRY(find_part(root, "model", &part, &exists));
    if (!exists)
        return zrt__json_fail(root, "'model' is missing; is it a tokenizer.json?");
    ZRT_TRY(zrt__model_read(&part, tokenizer->pre_tokenizer.is_byte_level, &tokenizer->model));
    tokenizer->n_ids = (int64_t)tokenizer->model.vocabulary.n_ids;
    ZRT_TRY(find_part(root, "post_processor", &part, &exists));
    ZRT_TRY(exists ? zrt__post_processor_read(&part, &tokenizer->post_processor)
                   : zrt__post_processor_default(&tokenizer->post_processor));
    ZRT_TRY(find_part(root, "decoder", &part, &exists));
    if (exists)
        ZRT_TRY(zrt__decoder_read(&part, &tokenizer->decoder));
    ZRT_TRY(read_added(root, matcher, tokenizer));
    tokenizer->n_added_of_file = tokenizer->n_added;
    for (size_t i = 0; i < tokenizer->post_processor.ids.n; i++) {
        if (tokenizer->post_processor.ids.data[i] >= tokenizer->n_ids)
            return zrt__json_fail(root, "post_processor: the id %d is of no token",
                                  tokenizer->post_processor.ids.data[i]);
    }
    return ZRT_OK;
}

zrt_status zrt__tokenizer_parse(const char *name, const char *json, size_t n, zrt_tokenizer **tokenizer_out)
{
    json_t *parsed = NULL;
    zrt_tokenizer *tokenizer = zrt__calloc(1, sizeof *tokenizer);
    zrt__matcher *matcher = NULL;
    zrt__json_object root = {0};
    zrt_status status = ZRT_ERR_MEMORY;

    *tokenizer_out = NULL;
    if (tokenizer == NULL)
        goto out;
    tokenizer->path = zrt__strdup(name);
    if (tokenizer->path == NULL)
        goto out;
    snprintf(root.where, sizeof root.where, "%.180s", name);
    status = zrt__tokenizer_json(name, json, n, &parsed);
    root.json = parsed;
    if (status == ZRT_OK && !json_is_object(parsed))
        status = zrt__fail(ZRT_ERR_INPUT, "%s: must hold an object", name);
    if (status == ZRT_OK)
        status = zrt__matcher_create(&matcher);
    if (status == ZRT_OK)
        status = read_parts(&root, matcher, tokenizer);
out:
    zrt__matcher_destroy(&matcher);
    if (status != ZRT_OK)
        zrt_tokenizer_destroy(&tokenizer);
    json_decref(parsed);
    *tokenizer_out = tokenizer;
    return status;
}

zrt_status zrt__tokenizer_read_file(const char *path, char **text_out, size_t *n_out)
{
    FILE *file = fopen(path, "rb");
    zrt_status status = ZRT_OK;
    struct stat about;
    char *text = NULL;

    if (file == NULL)
        return zrt__fail(errno == ENOENT || errno == ENOTDIR ? ZRT_ERR_INPUT : ZRT_ERR_IO, "%s: %s", path,
                         strerror(errno));
    if (fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode)) {
        status = zrt__fail(ZRT_ERR_INPUT, "%s: is not a file", path);
    } else {
        text = zrt__malloc((size_t)about.st_size + 1);
        if (text == NULL)
            status = ZRT_ERR_MEMORY;
        else if (fread(text, 1, (size_t)about.st_size, file) != (size_t)about.st_size)
            status = zrt__fail(ZRT_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    }
    fclose(file);
    if (status != ZRT_OK) {
        free(text);
        return status;
    }
    text[about.st_size] = '\0';
    *text_out = text;
    *n_out = (size_t)about.st_size;
    return ZRT_OK;
}

zrt_status zrt_tokenizer_open(const char *path, zrt_tokenizer **tokenizer_out)
{
    struct stat about;
    char *file, *text = NULL;
    size_t n = 0;
    zrt_status status;

    *tokenizer_out = NULL;
    file =
        stat(path, &about) == 0 && !S_ISDIR(about.st_mode) ? zrt__strdup(path) : zrt__format("%s/tokenizer.json", path);
    if (file == NULL)
        return ZRT_ERR_MEMORY;
    status = zrt__tokenizer_read_file(file, &text, &n);
    if (status == ZRT_OK)
        status = zrt__tokenizer_parse(file, text, n, tokenizer_out);
    free(text);
    free(file);
    return status;
}
