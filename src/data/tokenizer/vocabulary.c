#include "config.h"

#include "data/tokenizer/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

typedef struct zrt__vocabulary_slot {
    uint64_t hash;
    size_t offset;
    uint32_t n;
    int32_t id; /* -1: free */
} slot;

static slot *find_slot(const zrt__vocabulary *vocabulary, const char *content, size_t n, uint64_t hash)
{
    size_t mask = vocabulary->n_slots - 1;

    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        slot *candidate = &vocabulary->slots[i];
        if (candidate->id < 0 || (candidate->hash == hash && candidate->n == n &&
                                  memcmp(vocabulary->text.data + candidate->offset, content, n) == 0))
            return candidate;
    }
}

static zrt_status grow_slots(zrt__vocabulary *vocabulary)
{
    size_t n_slots = vocabulary->n_slots ? vocabulary->n_slots * 2 : 256, n_old = vocabulary->n_slots;
    slot *slots = zrt__malloc(n_slots * sizeof *slots), *old = vocabulary->slots;

    if (slots == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < n_slots; i++)
        slots[i].id = -1;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].id < 0)
            continue;
        size_t at = old[i].hash & (n_slots - 1);
        while (slots[at].id >= 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = old[i];
    }
    free(old);
    vocabulary->slots = slots;
    vocabulary->n_slots = n_slots;
    return ZRT_OK;
}

zrt_status zrt__vocabulary_add(zrt__vocabulary *vocabulary, const char *content, size_t n, int32_t id)
{
    uint64_t hash = zrt__hash(content, n);
    slot *place;

    if (2 * (vocabulary->n_contents + 1) > vocabulary->n_slots)
        ZRT_TRY(grow_slots(vocabulary));
    while (vocabulary->n_ids <= (size_t)id) {
        ZRT_TRY(zrt__grow(&vocabulary->tokens, &vocabulary->tokens_capacity, vocabulary->n_ids, sizeof(zrt__token)));
        vocabulary->tokens[vocabulary->n_ids++] = (zrt__token){0};
    }
    place = find_slot(vocabulary, content, n, hash);
    if (place->id < 0) {
        size_t offset = vocabulary->text.n;
        ZRT_TRY(zrt__bytes_append(&vocabulary->text, content, n));
        *place = (slot){.hash = hash, .offset = offset, .n = (uint32_t)n};
        vocabulary->n_contents++;
    }
    place->id = id;
    vocabulary->tokens[id] = (zrt__token){.offset = place->offset, .n = place->n, .exists = true};
    return ZRT_OK;
}

int32_t zrt__vocabulary_find(const zrt__vocabulary *vocabulary, const char *content, size_t n)
{
    if (vocabulary->n_slots == 0)
        return -1;
    return find_slot(vocabulary, content, n, zrt__hash(content, n))->id;
}

const char *zrt__vocabulary_content(const zrt__vocabulary *vocabulary, int64_t id, size_t *n_out)
{
    if (id < 0 || (uint64_t)id >= vocabulary->n_ids || !vocabulary->tokens[id].exists)
        return NULL;
    *n_out = vocabulary->tokens[id].n;
    return vocabulary->text.data + vocabulary->tokens[id].offset;
}

void zrt__vocabulary_release(zrt__vocabulary *vocabulary)
{
    zrt__bytes_release(&vocabulary->text);
    free(vocabulary->tokens);
    free(vocabulary->slots);
    *vocabulary = (zrt__vocabulary){0};
}
