#include "config.h"

#include "data/ngram.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"

enum { MAX_ORDER = 8, NOT_FOUND = -1 };

/* An n-gram that was seen, in both of its uses. */
typedef struct node {
    uint64_t key;
    int64_t count;     /* times seen */
    int64_t followers; /* tokens seen after it */
    int64_t types;     /* different ones */
} node;

struct zrt__ngram {
    int order, bits; /* of a token in a key */
    int64_t vocab_size;
    node *nodes; /* node 0 is the empty context */
    size_t n_nodes, capacity;
    int32_t *table; /* open addressing, of indices of nodes + 1; 0: free */
    size_t table_size;
    uint64_t history;        /* the last tokens */
    int n_history;           /* of them, at most order */
    int64_t last[MAX_ORDER]; /* nodes of the last k tokens, k < order */
};

static uint64_t key_of(const zrt__ngram *ngram, int n)
{
    /* A leading one tells "a" from "\0a". */
    return (ngram->history & ((UINT64_C(1) << (n * ngram->bits)) - 1)) | UINT64_C(1) << (n * ngram->bits);
}

/* The place of a key in the table: where it is or where it would go. */
static size_t place_of(const zrt__ngram *ngram, uint64_t key)
{
    uint64_t hash = key * UINT64_C(0x9E3779B97F4A7C15);
    size_t mask = ngram->table_size - 1, at = (size_t)(hash ^ hash >> 29) & mask;

    while (ngram->table[at] != 0 && ngram->nodes[ngram->table[at] - 1].key != key)
        at = (at + 1) & mask;
    return at;
}

static zrt_status grow_table(zrt__ngram *ngram)
{
    int32_t *old = ngram->table;
    size_t size = ngram->table_size * 2;

    if (ngram->n_nodes >= INT32_MAX)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "more than 2^31 different n-grams; count a part of the data");
    ngram->table = zrt__calloc(size, sizeof *ngram->table);
    if (ngram->table == NULL) {
        ngram->table = old;
        return ZRT_ERR_MEMORY;
    }
    free(old);
    ngram->table_size = size;
    for (size_t i = 0; i < ngram->n_nodes; i++)
        ngram->table[place_of(ngram, ngram->nodes[i].key)] = (int32_t)i + 1;
    return ZRT_OK;
}

static zrt_status find_or_add(zrt__ngram *ngram, uint64_t key, int64_t *index_out)
{
    size_t at = place_of(ngram, key);

    if (ngram->table[at] == 0) {
        if (ngram->n_nodes * 2 >= ngram->table_size) {
            ZRT_TRY(grow_table(ngram));
            at = place_of(ngram, key);
        }
        ZRT_TRY(zrt__grow(&ngram->nodes, &ngram->capacity, ngram->n_nodes, sizeof *ngram->nodes));
        ngram->nodes[ngram->n_nodes] = (node){.key = key};
        ngram->table[at] = (int32_t)++ngram->n_nodes;
    }
    *index_out = ngram->table[at] - 1;
    return ZRT_OK;
}

zrt_status zrt__ngram_create(int order, int64_t vocab_size, zrt__ngram **ngram_out)
{
    zrt__ngram *ngram;
    int64_t root;
    int bits = 1;

    while (bits < 32 && (INT64_C(1) << bits) < vocab_size)
        bits++;
    if (order < 1 || order > MAX_ORDER || bits * order > 63)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "n-grams of %d tokens of a vocabulary of %" PRId64
                         " cannot be counted; give an order of 1 to %d",
                         order, vocab_size, 63 / bits < MAX_ORDER ? 63 / bits : MAX_ORDER);
    ngram = zrt__calloc(1, sizeof *ngram);
    if (ngram == NULL)
        return ZRT_ERR_MEMORY;
    ngram->order = order;
    ngram->bits = bits;
    ngram->vocab_size = vocab_size;
    ngram->table_size = 1 << 16;
    ngram->table = zrt__calloc(ngram->table_size, sizeof *ngram->table);
    if (ngram->table == NULL || find_or_add(ngram, key_of(ngram, 0), &root) != ZRT_OK) {
        zrt__ngram_destroy(&ngram);
        return ZRT_ERR_MEMORY;
    }
    zrt__ngram_restart(ngram);
    *ngram_out = ngram;
    return ZRT_OK;
}

void zrt__ngram_destroy(zrt__ngram **ngram)
{
    if (*ngram == NULL)
        return;
    free((*ngram)->table);
    free((*ngram)->nodes);
    free(*ngram);
    *ngram = NULL;
}

void zrt__ngram_restart(zrt__ngram *ngram)
{
    ngram->history = 0;
    ngram->n_history = 0;
    ngram->last[0] = 0;
}

static void remember(zrt__ngram *ngram, int32_t token)
{
    ngram->history = ngram->history << ngram->bits | (uint64_t)token;
    if (ngram->n_history < ngram->order)
        ngram->n_history++;
}

zrt_status zrt__ngram_count(zrt__ngram *ngram, const int32_t *tokens, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t next[MAX_ORDER];

        remember(ngram, tokens[i]);
        for (int k = 1; k <= ngram->n_history; k++) {
            int64_t index;
            node *context;

            ZRT_TRY(find_or_add(ngram, key_of(ngram, k), &index));
            context = &ngram->nodes[ngram->last[k - 1]];
            context->followers++;
            context->types += ngram->nodes[index].count++ == 0;
            if (k < ngram->order)
                next[k] = index;
        }
        for (int k = 1; k <= ngram->n_history && k < ngram->order; k++)
            ngram->last[k] = next[k];
    }
    return ZRT_OK;
}

double zrt__ngram_score(zrt__ngram *ngram, const int32_t *tokens, int64_t n, int64_t n_unscored)
{
    double nats = 0.0;

    for (int64_t i = 0; i < n; i++) {
        double p = 1.0 / (double)ngram->vocab_size;
        int64_t next[MAX_ORDER];

        remember(ngram, tokens[i]);
        for (int k = 1; k <= ngram->n_history; k++) {
            int64_t index = (int64_t)ngram->table[place_of(ngram, key_of(ngram, k))] - 1;

            /* An unknown context leaves what the shorter one says. */
            if (ngram->last[k - 1] != NOT_FOUND && ngram->nodes[ngram->last[k - 1]].followers > 0) {
                const node *context = &ngram->nodes[ngram->last[k - 1]];
                double count = index >= 0 ? (double)ngram->nodes[index].count : 0.0;

                p = (count + (double)context->types * p) / (double)(context->followers + context->types);
            }
            if (k < ngram->order)
                next[k] = index >= 0 ? index : NOT_FOUND;
        }
        for (int k = 1; k <= ngram->n_history && k < ngram->order; k++)
            ngram->last[k] = next[k];
        if (i >= n_unscored)
            nats -= log(p);
    }
    return nats;
}
