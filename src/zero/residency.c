/* Residency of sharded parameters: a static schedule of gathers and releases under a hard cap.
 *
 * Every use has its parameters gathered one use ahead at the latest. Between two uses they stay when less than max_reuse_distance elements
 * are used in between and the cap allows, the nearest pairs first (so the last blocks stay for backward, as DeepSpeed's coordinator
 * leaves them). Gathers move ahead of that by up to prefetch_bucket_size elements where the cap allows. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "zero/zero.h"

/* Sharded flats that nodes [begin, end) of the unit read. */
static zrt_status collect(const zrt__zero *zero, const zrt_unit *unit, size_t begin, size_t end, zrt__use *use)
{
    use->flats = zrt__malloc((size_t)(zero->n_flats + 1) * sizeof *use->flats);
    if (use->flats == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = begin; i < end; i++) {
        for (int k = 0; k < ZRT__MAX_INPUTS; k++) {
            const zrt_tensor *tensor = zrt__unit_tensor(unit, unit->nodes[i].in[k]);
            if (tensor == NULL || tensor->kind != ZRT__TENSOR_PARAM)
                continue;
            int flat = zero->slot_flat[tensor->index], known = zero->flats[flat].kind != ZRT__FLAT_SHARDED;
            for (int f = 0; f < use->n_flats && !known; f++)
                known = use->flats[f] == flat;
            if (!known)
                use->flats[use->n_flats++] = flat;
        }
    }
    return ZRT_OK;
}

static zrt_status collect_uses(const zrt__zero *zero, const zrt__build *build, zrt__residency *residency)
{
    bool train = build->options.mode == ZRT_MODE_TRAIN;
    residency->uses = zrt__calloc((size_t)build->n_units * 2 + 1, sizeof *residency->uses);
    if (residency->uses == NULL)
        return ZRT_ERR_MEMORY;
    for (int u = 0; u < build->n_units; u++) {
        zrt__use *use = &residency->uses[residency->n_uses++];
        use->unit = u;
        ZRT_TRY(collect(zero, build->units[u], 0, (size_t)build->units[u]->n_forward, use));
    }
    for (int u = build->n_units - 1; u >= 0 && train; u--) {
        zrt__use *use = &residency->uses[residency->n_uses++];
        use->unit = u;
        use->backward = true;
        ZRT_TRY(collect(zero, build->units[u], (size_t)build->units[u]->n_forward, build->units[u]->n_nodes, use));
    }
    return ZRT_OK;
}

/* live[e]: elements gathered or being gathered while use e runs. */
static bool fits(const int64_t *live, int from, int to, int64_t elements, int64_t cap)
{
    for (int e = from; e <= to; e++)
        if (live[e] + elements > cap)
            return false;
    return true;
}

static void occupy(int64_t *live, int from, int to, int64_t elements)
{
    for (int e = from; e <= to; e++)
        live[e] += elements;
}

/* One gather a use, each from one use ahead; the smallest cap that works. */
static zrt_status minimal(const zrt__zero *zero, zrt__residency *residency, int64_t *live, int64_t *smallest_out)
{
    for (int e = 0; e < residency->n_uses; e++) {
        for (int i = 0; i < residency->uses[e].n_flats; i++) {
            int flat = residency->uses[e].flats[i];
            int64_t elements = zero->flats[flat].n_elements;
            zrt__gather *before = NULL;
            for (size_t g = residency->n_gathers; g-- > 0 && before == NULL;)
                if (residency->gathers[g].flat == flat)
                    before = &residency->gathers[g];
            if (before != NULL && before->last >= e - 1) {
                before->last = e; /* used by the unit just before: it stays */
                live[e] += elements;
                continue;
            }
            ZRT_TRY(zrt__grow(&residency->gathers, &residency->gathers_capacity, residency->n_gathers,
                              sizeof *residency->gathers));
            int issue = e > 0 ? e - 1 : 0;
            residency->gathers[residency->n_gathers++] = (zrt__gather){flat, issue, e, e};
            occupy(live, issue, e, elements);
        }
    }
    *smallest_out = 0;
    for (int e = 0; e < residency->n_uses; e++)
        if (live[e] > *smallest_out)
            *smallest_out = live[e];
    return ZRT_OK;
}

static int64_t distance(const zrt__zero *zero, const zrt__residency *residency, int from, int to)
{
    int64_t elements = 0;
    for (int e = from + 1; e < to; e++)
        for (int i = 0; i < residency->uses[e].n_flats; i++)
            elements += zero->flats[residency->uses[e].flats[i]].n_elements;
    return elements;
}

static void remove_gather(zrt__residency *residency, size_t index)
{
    residency->n_gathers--;
    memmove(&residency->gathers[index], &residency->gathers[index + 1],
            (residency->n_gathers - index) * sizeof *residency->gathers);
}

/* Joins two gathers of a flat into one where it may stay between them; the nearest pairs first. */
static void keep_between(const zrt__zero *zero, zrt__residency *residency, int64_t *live, int64_t cap)
{
    const zrt__zero_options *options = &zero->options;
    for (int gap = 1; gap < residency->n_uses; gap++) {
        for (size_t g = 0; g < residency->n_gathers; g++) {
            zrt__gather *next = &residency->gathers[g], *before = NULL;
            for (size_t k = 0; k < g; k++)
                if (residency->gathers[k].flat == next->flat)
                    before = &residency->gathers[k];
            if (before == NULL || next->first - before->last != gap)
                continue;
            int64_t elements = zero->flats[next->flat].n_elements;
            int from = before->last + 1, to = next->issue - 1;
            if (distance(zero, residency, before->last, next->first) > options->max_reuse_distance ||
                !fits(live, from, to, elements, cap))
                continue;
            occupy(live, from, to, elements);
            before->last = next->last;
            remove_gather(residency, g--);
        }
    }
}

static void prefetch(const zrt__zero *zero, zrt__residency *residency, int64_t *live, int64_t cap)
{
    const zrt__zero_options *options = &zero->options;
    for (size_t g = 0; g < residency->n_gathers; g++) {
        zrt__gather *gather = &residency->gathers[g];
        int64_t elements = zero->flats[gather->flat].n_elements;
        while (gather->issue > 0) {
            int64_t ahead = elements; /* in flight for uses after the one before which it would be enqueued */
            for (size_t k = 0; k < g; k++)
                if (residency->gathers[k].first > gather->issue - 1 && residency->gathers[k].issue <= gather->issue - 1)
                    ahead += zero->flats[residency->gathers[k].flat].n_elements;
            bool overtakes = g > 0 && residency->gathers[g - 1].issue > gather->issue - 1;
            if (ahead > options->prefetch_bucket_size || overtakes ||
                !fits(live, gather->issue - 1, gather->issue - 1, elements, cap))
                break;
            gather->issue--;
            live[gather->issue] += elements;
        }
    }
}

zrt_status zrt__residency_create(const zrt__zero *zero, const zrt__build *build, zrt__residency *residency_out)
{
    zrt__residency residency = {0};
    int64_t smallest = 0, cap = zero->options.max_live_parameters;
    int64_t *live = zrt__calloc((size_t)build->n_units * 2 + 1, sizeof *live);
    zrt_status status = live != NULL ? collect_uses(zero, build, &residency) : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = minimal(zero, &residency, live, &smallest);
    if (status == ZRT_OK && smallest > cap && zero->options.max_live_given)
        status = zrt__fail(
            ZRT_ERR_CONFIG,
            "zero_optimization.stage3_max_live_parameters is %lld, but one unit in use and one in flight "
            "are %lld elements of model %s: give at least %lld",
            (long long)zero->options.max_live_parameters, (long long)smallest, zero->model->name, (long long)smallest);
    if (smallest > cap)
        cap = smallest;
    if (status == ZRT_OK) {
        keep_between(zero, &residency, live, cap);
        prefetch(zero, &residency, live, cap);
        for (int e = 0; e < residency.n_uses; e++)
            if (live[e] > residency.peak_live)
                residency.peak_live = live[e];
    }
    free(live);
    if (status != ZRT_OK) {
        zrt__residency_free(&residency);
        return status;
    }
    *residency_out = residency;
    return ZRT_OK;
}

void zrt__residency_free(zrt__residency *residency)
{
    for (int i = 0; i < residency->n_uses; i++)
        free(residency->uses[i].flats);
    free(residency->uses);
    free(residency->gathers);
    *residency = (zrt__residency){0};
}
