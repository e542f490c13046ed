#include "config.h"

#include "data/tokenizer/added_tokens.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "data/tokenizer/characters.h"

/* Children of one parent are a list. Node 0 stands for none. */
typedef struct zrt__token_node {
    int32_t child, sibling, token; /* token: -1 where none ends */
    unsigned char byte;
} node;

static zrt_status new_node(zrt__token_tree *tree, unsigned char byte, int32_t sibling, int32_t *index_out)
{
    if (tree->n_nodes == 0) {
        ZRT_TRY(zrt__grow(&tree->nodes, &tree->capacity, tree->n_nodes, sizeof(node)));
        tree->nodes[tree->n_nodes++] = (node){.token = -1};
    }
    ZRT_TRY(zrt__grow(&tree->nodes, &tree->capacity, tree->n_nodes, sizeof(node)));
    *index_out = (int32_t)tree->n_nodes;
    tree->nodes[tree->n_nodes++] = (node){.sibling = sibling, .token = -1, .byte = byte};
    return ZRT_OK;
}

static int32_t find_child(const zrt__token_tree *tree, int32_t parent, unsigned char byte)
{
    int32_t child = tree->nodes[parent].child;

    while (child > 0 && tree->nodes[child].byte != byte)
        child = tree->nodes[child].sibling;
    return child;
}

zrt_status zrt__token_tree_add(zrt__token_tree *tree, const char *content, size_t n, int32_t token)
{
    int32_t at = tree->roots[(unsigned char)content[0]];

    if (at == 0) {
        ZRT_TRY(new_node(tree, (unsigned char)content[0], 0, &at));
        tree->roots[(unsigned char)content[0]] = at;
    }
    for (size_t i = 1; i < n; i++) {
        int32_t child = find_child(tree, at, (unsigned char)content[i]);
        if (child == 0) {
            ZRT_TRY(new_node(tree, (unsigned char)content[i], tree->nodes[at].child, &child));
            tree->nodes[at].child = child;
        }
        at = child;
    }
    if (tree->nodes[at].token < 0)
        tree->nodes[at].token = token;
    return ZRT_OK;
}

void zrt__token_tree_release(zrt__token_tree *tree)
{
    free(tree->nodes);
    *tree = (zrt__token_tree){0};
}

/* The longest content that starts at `at`. */
static bool longest_at(const zrt__token_tree *tree, const char *text, size_t n, size_t at, zrt__token_match *match_out)
{
    int32_t place = tree->roots[(unsigned char)text[at]];
    bool found = false;

    for (size_t i = at + 1; place > 0; i++) {
        if (tree->nodes[place].token >= 0) {
            *match_out = (zrt__token_match){at, i, tree->nodes[place].token};
            found = true;
        }
        place = i < n ? find_child(tree, place, (unsigned char)text[i]) : 0;
    }
    return found;
}

static bool may_stand(const zrt__added_token *token, const char *text, size_t n, const zrt__token_match *match)
{
    size_t bytes;

    if (!token->single_word)
        return true;
    if (match->start > 0 && zrt__is_word(zrt__utf8_decode(text + zrt__utf8_previous(text, match->start), &bytes)))
        return false;
    return match->end == n || !zrt__is_word(zrt__utf8_decode(text + match->end, &bytes));
}

static void strip(const zrt__added_token *token, const char *text, size_t n, size_t done, zrt__token_match *match)
{
    size_t bytes;

    while (token->left_strip && match->start > done &&
           zrt__is_space(zrt__utf8_decode(text + zrt__utf8_previous(text, match->start), &bytes)))
        match->start = zrt__utf8_previous(text, match->start);
    while (token->right_strip && match->end < n && zrt__is_space(zrt__utf8_decode(text + match->end, &bytes)))
        match->end += bytes;
}

zrt__token_match zrt__token_tree_next(const zrt__token_tree *tree, const zrt__added_token *tokens, const char *text,
                                      size_t n, size_t *at, size_t done)
{
    zrt__token_match match = {0};

    while (tree->n_nodes > 0 && *at < n) {
        if (tree->roots[(unsigned char)text[*at]] == 0 || !longest_at(tree, text, n, *at, &match)) {
            ++*at;
            continue;
        }
        *at = match.end;
        if (!may_stand(&tokens[match.token], text, n, &match))
            continue;
        strip(&tokens[match.token], text, n, done, &match);
        return match;
    }
    return (zrt__token_match){0};
}
