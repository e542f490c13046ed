/* Added tokens: contents that are found in a text before anything else is done with it. */
#ifndef ZRT_DATA_TOKENIZER_ADDED_TOKENS_H
#define ZRT_DATA_TOKENIZER_ADDED_TOKENS_H

#include "data/tokenizer/text.h"

typedef struct zrt__added_token {
    char *content;
    size_t n;
    int32_t id;
    bool single_word, left_strip, right_strip, normalized, special;
} zrt__added_token;

/* Contents as a tree of bytes. */
typedef struct zrt__token_tree {
    struct zrt__token_node *nodes;
    size_t n_nodes, capacity;
    int32_t roots[256]; /* 0: none */
} zrt__token_tree;

typedef struct zrt__token_match {
    size_t start, end; /* end == 0: no more */
    int32_t token;     /* index of the added token */
} zrt__token_match;

/* `token` is the index that a match tells; the first of two of the same content stays. n > 0. */
zrt_status zrt__token_tree_add(zrt__token_tree *tree, const char *content, size_t n, int32_t token);
void zrt__token_tree_release(zrt__token_tree *tree);

/* The leftmost and longest from `at` on that may stand there. `done` is the end of the one before, which stripping on the left
 * does not pass. */
zrt__token_match zrt__token_tree_next(const zrt__token_tree *tree, const zrt__added_token *tokens, const char *text,
                                      size_t n, size_t *at, size_t done);

#endif
