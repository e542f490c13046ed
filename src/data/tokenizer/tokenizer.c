#include "config.h"

#include "data/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void zrt_tokenizer_destroy(zrt_tokenizer **tokenizer)
{
    zrt_tokenizer *t = *tokenizer;

    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n_added; i++)
        free(t->added[i].content);
    free(t->added);
    zrt__vocabulary_release(&t->added_names);
    zrt__token_tree_release(&t->raw_tree);
    zrt__token_tree_release(&t->normalized_tree);
    zrt__normalizer_release(&t->normalizer);
    zrt__pre_tokenizer_release(&t->pre_tokenizer);
    zrt__model_release(&t->model);
    zrt__post_processor_release(&t->post_processor);
    zrt__decoder_release(&t->decoder);
    free(t->path);
    free(t);
    *tokenizer = NULL;
}

int64_t zrt_tokenizer_n_ids(const zrt_tokenizer *tokenizer)
{
    return tokenizer->n_ids;
}

int64_t zrt_tokenizer_find(const zrt_tokenizer *tokenizer, const char *token)
{
    int32_t id = zrt__vocabulary_find(&tokenizer->added_names, token, strlen(token));

    return id >= 0 ? id : zrt__vocabulary_find(&tokenizer->model.vocabulary, token, strlen(token));
}

const char *zrt__tokenizer_token(const zrt_tokenizer *tokenizer, int64_t id, size_t *n_out, bool *special_out)
{
    const char *content = zrt__vocabulary_content(&tokenizer->added_names, id, n_out);

    *special_out = false;
    if (content == NULL)
        return zrt__vocabulary_content(&tokenizer->model.vocabulary, id, n_out);
    for (size_t i = 0; i < tokenizer->n_added; i++) {
        if (tokenizer->added[i].id == id && tokenizer->added[i].special)
            *special_out = true;
    }
    return content;
}

zrt_status zrt_tokenizer_add_special(zrt_tokenizer *tokenizer, const char *const *tokens, int n_tokens,
                                     int *n_added_out)
{
    zrt__matcher *matcher;
    zrt_status status;
    int n_added = 0;

    ZRT_TRY(zrt__matcher_create(&matcher));
    status = ZRT_OK;
    for (int i = 0; status == ZRT_OK && i < n_tokens; i++) {
        zrt__added_token token = {
            .content = (char *)(uintptr_t)tokens[i], .n = strlen(tokens[i]), .id = -1, .special = true};
        if (token.n == 0 || zrt__utf8_valid_prefix(token.content, token.n) != token.n)
            status = zrt__fail(ZRT_ERR_INPUT, "a special token is empty or not UTF-8");
        else if (zrt__vocabulary_find(&tokenizer->added_names, token.content, token.n) < 0) {
            int64_t before = tokenizer->n_ids;
            status = zrt__tokenizer_add(tokenizer, matcher, &token);
            n_added += tokenizer->n_ids > before;
        }
    }
    zrt__matcher_destroy(&matcher);
    if (n_added_out != NULL)
        *n_added_out = n_added;
    return status;
}
