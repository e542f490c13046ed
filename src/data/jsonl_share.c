#include "config.h"

#include "data/jsonl_share.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

/* All ranks end with the error of the lowest that has one: blocks are in the order of the ranks, and so it is the first of the file. */
static zrt_status agree(const zrt__group *group, const zrt__jsonl_part *parts, int n, const char *path,
                        zrt_status status)
{
    int rank = zrt__group_rank(group);
    bool differ = false;

    for (int i = 0; i < n; i++)
        if (parts[i].failed)
            return zrt__group_agree(group, rank == i ? status : ZRT_OK);
    for (int i = 0; i < n; i++)
        differ = differ || parts[i].more != parts[0].more || parts[i].n_read != parts[0].n_read;
    if (differ)
        return zrt__fail(ZRT_ERR_INPUT, "%s: is not the same file on all ranks; put it where all ranks read it", path);
    return ZRT_OK;
}

static void add(zrt_jsonl_counts *to, const zrt_jsonl_counts *counts)
{
    to->n_read += counts->n_read;
    to->n_bad += counts->n_bad;
    to->n_empty += counts->n_empty;
    to->n_truncated += counts->n_truncated;
    to->n_tokens += counts->n_tokens;
}

static zrt_status reserve(zrt__samples *to, int64_t n_samples, int64_t n_tokens)
{
    if (n_samples > 0)
        ZRT_TRY(zrt__grow(&to->samples, &to->capacity, to->n + (size_t)n_samples - 1, sizeof *to->samples));
    return zrt__ids_reserve(&to->tokens, (size_t)n_tokens);
}

/* A rank's samples at the end of `to`, which has room: they are handed out from there. */
static zrt_status take(const zrt__group *group, int from, const zrt__jsonl_part *part, const zrt__samples *mine,
                       zrt__samples *to)
{
    zrt__sample *samples = to->samples + to->n;
    int32_t *tokens = to->tokens.data + to->tokens.n;

    if (part->n_samples == 0)
        return ZRT_OK;
    if (mine != NULL) {
        memcpy(samples, mine->samples, mine->n * sizeof *samples);
        memcpy(tokens, mine->tokens.data, mine->tokens.n * sizeof *tokens);
    }
    if (group != NULL) {
        ZRT_TRY(zrt__group_broadcast(group, samples, (size_t)part->n_samples * sizeof *samples, from));
        ZRT_TRY(zrt__group_broadcast(group, tokens, (size_t)part->n_tokens * sizeof *tokens, from));
    }
    for (int64_t i = 0; i < part->n_samples; i++)
        samples[i].first += (int64_t)to->tokens.n;
    to->n += (size_t)part->n_samples;
    to->tokens.n += (size_t)part->n_tokens;
    return ZRT_OK;
}

static zrt_status share(const zrt__group *group, const char *path, zrt_status status, const zrt__jsonl_part *part,
                        const zrt__samples *samples, zrt__samples *to, zrt_jsonl_counts *counts, zrt__jsonl_part *parts)
{
    int n = zrt__group_size(group), rank = zrt__group_rank(group);
    int64_t n_samples = 0, n_tokens = 0;

    ZRT_TRY(zrt__group_all_gather(group, part, parts, sizeof *part));
    ZRT_TRY(agree(group, parts, n, path, status));
    for (int i = 0; i < n; i++) {
        n_samples += parts[i].n_samples;
        n_tokens += parts[i].n_tokens;
    }
    ZRT_TRY(zrt__group_agree(group, reserve(to, n_samples, n_tokens)));
    for (int i = 0; i < n; i++) {
        ZRT_TRY(take(group, i, &parts[i], i == rank ? samples : NULL, to));
        add(counts, &parts[i].counts);
    }
    return ZRT_OK;
}

zrt_status zrt__jsonl_share(const zrt__group *group, const char *path, zrt_status status, const zrt__jsonl_part *part,
                            const zrt__samples *samples, zrt__samples *to, zrt_jsonl_counts *counts)
{
    zrt__jsonl_part *parts;

    if (group == NULL) {
        ZRT_TRY(status);
        ZRT_TRY(reserve(to, part->n_samples, part->n_tokens));
        add(counts, &part->counts);
        return take(NULL, 0, part, samples, to);
    }
    parts = zrt__calloc((size_t)zrt__group_size(group), sizeof *parts);
    zrt_status allocated = zrt__group_agree(group, parts != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (allocated == ZRT_OK)
        allocated = share(group, path, status, part, samples, to, counts, parts);
    free(parts);
    return allocated;
}
