#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/model.h"

enum { SHORT_WORD = 40, NO_RANK = INT32_MAX };

/* One symbol of a long word; merged ones have n_right < 0 no more. */
typedef struct zrt__heap_symbol {
    int32_t id; /* -1: merged into the one before */
    int32_t previous, next;
} symbol;

typedef struct zrt__heap_entry {
    int32_t rank, at, id;
} entry;

static const zrt__merge *find_merge(const zrt__model *model, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t mask = model->n_merge_slots - 1;
    size_t at = (size_t)(pair * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;

    for (;; at = (at + 1) & mask) {
        if (model->merges[at].rank < 0)
            return NULL;
        if (model->merges[at].pair == pair)
            return &model->merges[at];
    }
}

static int32_t rank_of(const zrt__model *model, int32_t left, int32_t right)
{
    const zrt__merge *merge = find_merge(model, left, right);

    return merge ? merge->rank : NO_RANK;
}

/* The lowest rank first, of equal ones the leftmost, until none is left. */
static void merge_short(const zrt__model *model, zrt__ids *word)
{
    int32_t ranks[SHORT_WORD];
    int32_t *ids = word->data;
    size_t n = word->n;

    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(model, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (ranks[i] < ranks[best])
                best = i;
        }
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = find_merge(model, ids[best], ids[best + 1])->id;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        if (best + 1 < n) {
            memmove(ranks + best + 1, ranks + best + 2, (n - best - 1) * sizeof *ranks);
            ranks[best] = rank_of(model, ids[best], ids[best + 1]);
        }
        if (best > 0)
            ranks[best - 1] = rank_of(model, ids[best - 1], ids[best]);
    }
    word->n = n;
}

static bool is_before(const entry *a, const entry *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static zrt_status heap_push(const zrt__model *model, zrt__word_scratch *scratch, size_t *n, int32_t at)
{
    const symbol *left = &scratch->symbols[at];
    const zrt__merge *merge = left->next >= 0 ? find_merge(model, left->id, scratch->symbols[left->next].id) : NULL;
    entry *heap, new_entry;
    size_t place = *n;

    if (merge == NULL)
        return ZRT_OK;
    ZRT_TRY(zrt__grow(&scratch->heap, &scratch->heap_capacity, *n, sizeof *scratch->heap));
    heap = scratch->heap;
    new_entry = (entry){merge->rank, at, merge->id};
    for (++*n; place > 0 && is_before(&new_entry, &heap[(place - 1) / 2]); place = (place - 1) / 2)
        heap[place] = heap[(place - 1) / 2];
    heap[place] = new_entry;
    return ZRT_OK;
}

static entry heap_pop(entry *heap, size_t *n)
{
    entry top = heap[0], last = heap[--*n];
    size_t place = 0;

    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= *n)
            break;
        if (child + 1 < *n && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &last))
            break;
        heap[place] = heap[child];
        place = child;
    }
    heap[place] = last;
    return top;
}

static zrt_status merge_long(const zrt__model *model, zrt__word_scratch *scratch)
{
    zrt__ids *word = &scratch->ids;
    size_t n_heap = 0, n = word->n;
    symbol *symbols;

    if (n > INT32_MAX)
        return zrt__fail(ZRT_ERR_INPUT, "a word of %zu characters is too long; cut the text", n);
    if (n > scratch->symbols_capacity) {
        symbols = zrt__realloc(scratch->symbols, n * sizeof *symbols);
        if (symbols == NULL)
            return ZRT_ERR_MEMORY;
        scratch->symbols = symbols;
        scratch->symbols_capacity = n;
    }
    symbols = scratch->symbols;
    for (size_t i = 0; i < n; i++)
        symbols[i] = (symbol){word->data[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i + 1 < n; i++)
        ZRT_TRY(heap_push(model, scratch, &n_heap, (int32_t)i));
    while (n_heap > 0) {
        entry top = heap_pop(scratch->heap, &n_heap);
        symbol *left = &symbols[top.at], *right;
        const zrt__merge *merge;
        if (left->id < 0 || left->next < 0)
            continue;
        right = &symbols[left->next];
        merge = find_merge(model, left->id, right->id);
        if (merge == NULL || merge->id != top.id) /* one of the two has changed since */
            continue;
        left->id = merge->id;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0)
            symbols[left->next].previous = top.at;
        if (left->previous >= 0)
            ZRT_TRY(heap_push(model, scratch, &n_heap, left->previous));
        ZRT_TRY(heap_push(model, scratch, &n_heap, top.at));
    }
    word->n = 0;
    for (int32_t at = 0; at >= 0; at = symbols[at].next)
        word->data[word->n++] = symbols[at].id;
    return ZRT_OK;
}

zrt_status zrt__model_merge(const zrt__model *model, zrt__word_scratch *scratch)
{
    if (scratch->ids.n < 2 || model->n_merge_slots == 0)
        return ZRT_OK;
    if (scratch->ids.n > SHORT_WORD)
        return merge_long(model, scratch);
    merge_short(model, &scratch->ids);
    return ZRT_OK;
}

static zrt_status put_fallback(const zrt__model *model, zrt__ids *ids, const char *text, size_t bytes, bool *done_out)
{
    *done_out = false;
    for (size_t i = 0; i < bytes; i++) {
        if (model->fallback[(unsigned char)text[i]] < 0)
            return ZRT_OK;
    }
    for (size_t i = 0; i < bytes; i++)
        ZRT_TRY(zrt__ids_append(ids, model->fallback[(unsigned char)text[i]]));
    *done_out = true;
    return ZRT_OK;
}

/* A token for each character. As the tokenizers library has it, an unknown one waits for the next known one, past bytes. */
static zrt_status put_symbols(const zrt__model *model, zrt__ids *ids, const char *text, size_t n)
{
    bool waits = false;
    size_t bytes = 1;

    for (size_t at = 0; at < n; at += bytes) {
        int32_t id;
        if (model->is_byte_level) {
            id = model->bytes[(unsigned char)text[at]];
        } else {
            zrt__utf8_decode(text + at, &bytes);
            id = zrt__vocabulary_find(&model->vocabulary, text + at, bytes);
        }
        if (id >= 0) {
            if (waits)
                ZRT_TRY(zrt__ids_append(ids, model->unknown));
            waits = false;
            ZRT_TRY(zrt__ids_append(ids, id));
            continue;
        }
        if (model->has_fallback) {
            bool done;
            ZRT_TRY(put_fallback(model, ids, text + at, bytes, &done));
            if (done)
                continue;
        }
        if (model->unknown < 0)
            continue;
        if (waits && !model->fuses_unknown)
            ZRT_TRY(zrt__ids_append(ids, model->unknown));
        waits = true;
    }
    return waits ? zrt__ids_append(ids, model->unknown) : ZRT_OK;
}

static zrt_status find_word(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n,
                            int32_t *id_out)
{
    if (!model->is_byte_level) {
        *id_out = zrt__vocabulary_find(&model->vocabulary, text, n);
        return ZRT_OK;
    }
    scratch->text.n = 0;
    for (size_t i = 0; i < n; i++)
        ZRT_TRY(zrt__bytes_append_code(&scratch->text, zrt__byte_character((unsigned char)text[i])));
    *id_out = zrt__vocabulary_find(&model->vocabulary, scratch->text.data, scratch->text.n);
    return ZRT_OK;
}

zrt_status zrt__model_bpe(const zrt__model *model, zrt__word_scratch *scratch, const char *text, size_t n,
                          bool is_whole)
{
    if (model->ignores_merges && is_whole) {
        int32_t id;
        ZRT_TRY(find_word(model, scratch, text, n, &id));
        if (id >= 0)
            return zrt__ids_append(&scratch->ids, id);
    }
    ZRT_TRY(put_symbols(model, &scratch->ids, text, n));
    return zrt__model_merge(model, scratch);
}
