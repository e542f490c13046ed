#include "config.h"

#include "data/sampler.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/random.h"

static int64_t step_rows(const zrt__sampler *sampler)
{
    return sampler->micro_rows * sampler->n_ranks * sampler->accumulation;
}

zrt_status zrt__sampler_start(zrt__sampler *sampler)
{
    int64_t rows;

    if (sampler->micro_rows < 1 || sampler->accumulation < 1 || sampler->n_epochs < 0)
        return zrt__fail(
            ZRT_ERR_USAGE,
            "a loader needs 1 row or more a micro-step, 1 micro-step or more a step and no negative number of epochs, "
            "not %" PRId64 ", %" PRId64 " and %" PRId64,
            sampler->micro_rows, sampler->accumulation, sampler->n_epochs);
    if (__builtin_mul_overflow(sampler->micro_rows, (int64_t)sampler->n_ranks, &rows) ||
        __builtin_mul_overflow(rows, sampler->accumulation, &rows))
        return zrt__fail(ZRT_ERR_USAGE, "a batch of %" PRId64 " x %d ranks x %" PRId64 " rows is too large",
                         sampler->micro_rows, sampler->n_ranks, sampler->accumulation);
    if (sampler->drop_last && sampler->n_rows < rows)
        return zrt__fail(ZRT_ERR_INPUT,
                         "the data has %" PRId64 " rows, fewer than one batch of %" PRId64
                         ", and a last batch that is not full is "
                         "to be dropped; give more data, a smaller batch, or keep the last batch",
                         sampler->n_rows, rows);
    zrt__sampler_seek(sampler, 0);
    return ZRT_OK;
}

void zrt__sampler_seek(zrt__sampler *sampler, int64_t position)
{
    sampler->position = position;
    sampler->step_left = 0;
    sampler->micro_step = 0;
}

/* A step never reaches into the next epoch: its samples then depend on nothing but the counter and its size. */
static bool start_step(zrt__sampler *sampler)
{
    int64_t rows = step_rows(sampler), left = sampler->n_rows - sampler->position % sampler->n_rows;

    if (sampler->drop_last && left < rows) {
        sampler->position += left;
        left = sampler->n_rows;
    }
    if (sampler->n_epochs > 0 && sampler->position / sampler->n_rows >= sampler->n_epochs)
        return false;
    sampler->step_left = left < rows ? left : rows;
    return true;
}

bool zrt__sampler_next(zrt__sampler *sampler, zrt__share *share_out)
{
    int64_t full = sampler->micro_rows * sampler->n_ranks, taken, each, extra, rank = sampler->rank;

    if (sampler->micro_step == 0 && !start_step(sampler))
        return false;
    taken = sampler->step_left < full ? sampler->step_left : full;
    each = taken / sampler->n_ranks;
    extra = taken % sampler->n_ranks;
    share_out->first = sampler->position + rank * each + (rank < extra ? rank : extra);
    share_out->n = each + (rank < extra ? 1 : 0);
    sampler->position += taken;
    sampler->step_left -= taken;
    sampler->micro_step = (sampler->micro_step + 1) % sampler->accumulation;
    return true;
}

int64_t zrt__sampler_row(const zrt__sampler *sampler, int64_t at)
{
    uint64_t epoch = (uint64_t)(at / sampler->n_rows), within = (uint64_t)(at % sampler->n_rows);

    if (!sampler->shuffle)
        return (int64_t)within;
    return (int64_t)zrt__permute(zrt__hash_mix(zrt__hash_bytes(sampler->seed, "shuffle", 7), epoch),
                                 (uint64_t)sampler->n_rows, within);
}

int64_t zrt__sampler_micro_steps_per_epoch(const zrt__sampler *sampler)
{
    int64_t rows = step_rows(sampler), steps = sampler->n_rows / rows;

    if (!sampler->drop_last && sampler->n_rows % rows != 0)
        steps++;
    return steps * sampler->accumulation;
}
