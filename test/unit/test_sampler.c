/* The sampler's properties: every sample once an epoch, the same global steps for any number of ranks, resumed by one counter. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "data/sampler.h"
#include "tap.h"

enum { MAX_ROWS = 4096 };

static zrt__sampler sampler_of(int64_t n_rows, int rank, int n_ranks, int64_t micro_rows, int64_t accumulation)
{
    return (zrt__sampler){.n_rows = n_rows,
                          .rank = rank,
                          .n_ranks = n_ranks,
                          .micro_rows = micro_rows,
                          .accumulation = accumulation,
                          .seed = 42,
                          .shuffle = true,
                          .n_epochs = 3};
}

/* A run of all ranks as a list of rows, each step sorted by position and ended by -1. False where ranks disagree. */
static bool run_all(int64_t n_rows, int n_ranks, int64_t micro_rows, int64_t accumulation, bool drop_last, int64_t from,
                    int64_t *list, size_t *n_out)
{
    zrt__sampler samplers[8];
    size_t n = 0;
    int64_t position = -1, micro_steps = 0;

    for (int r = 0; r < n_ranks; r++) {
        samplers[r] = sampler_of(n_rows, r, n_ranks, micro_rows, accumulation);
        samplers[r].drop_last = drop_last;
        if (zrt__sampler_start(&samplers[r]) != ZRT_OK)
            return false;
        zrt__sampler_seek(&samplers[r], from);
    }
    for (;;) {
        int64_t least = INT64_MAX, most = 0;
        int n_more = 0;

        for (int r = 0; r < n_ranks; r++) {
            zrt__share share;

            if (!zrt__sampler_next(&samplers[r], &share))
                continue;
            n_more++;
            least = share.n < least ? share.n : least;
            most = share.n > most ? share.n : most;
            for (int64_t i = 0; i < share.n; i++) {
                if (position >= 0 && share.first + i < position)
                    return false;
                position = share.first + i;
                list[n++] = zrt__sampler_row(&samplers[r], position);
            }
            if (samplers[r].position != samplers[0].position)
                return false;
        }
        if (n_more == 0)
            break;
        if (n_more != n_ranks || most > micro_rows || most - least > 1)
            return false; /* all end at the same call, and shares are even */
        if (++micro_steps % accumulation == 0)
            list[n++] = -1;
    }
    *n_out = n;
    return true;
}

static void test_each_once(int64_t n_rows, int n_ranks, int64_t micro_rows, int64_t accumulation, bool drop_last)
{
    static int64_t list[4 * MAX_ROWS];
    static int seen[MAX_ROWS];
    int64_t rows = micro_rows * n_ranks * accumulation, full = drop_last ? n_rows / rows * rows : n_rows, of_epoch = 0;
    size_t n = 0;
    int epochs = 0;
    bool good = run_all(n_rows, n_ranks, micro_rows, accumulation, drop_last, 0, list, &n);

    memset(seen, 0, sizeof seen);
    for (size_t i = 0; good && i < n; i++) {
        if (list[i] >= 0) {
            good = seen[list[i]]++ == 0;
            of_epoch++;
        } else if (of_epoch == full) {
            memset(seen, 0, sizeof seen);
            of_epoch = 0;
            epochs++;
        }
    }
    tap_ok(good && epochs == 3, "%s sample once an epoch: %lld rows, %d ranks x %lld x %lld%s",
           drop_last ? "at most every" : "every", (long long)n_rows, n_ranks, (long long)micro_rows,
           (long long)accumulation, drop_last ? ", last dropped" : "");
}

static void test_same_steps(int64_t n_rows, bool drop_last)
{
    static const int worlds[][3] = {{1, 12, 1}, {2, 6, 1}, {3, 4, 1}, {4, 3, 1}, {6, 2, 1},
                                    {1, 1, 12}, {2, 2, 3}, {3, 1, 4}, {4, 1, 3}};
    static int64_t first[4 * MAX_ROWS], list[4 * MAX_ROWS];
    size_t n_first = 0, n = 0;
    bool good = run_all(n_rows, 1, 12, 1, drop_last, 0, first, &n_first), sorted = true;

    for (size_t w = 0; good && w < sizeof worlds / sizeof *worlds; w++) {
        good = run_all(n_rows, worlds[w][0], worlds[w][1], worlds[w][2], drop_last, 0, list, &n) && n == n_first &&
               memcmp(list, first, n * sizeof *list) == 0;
        if (!good)
            tap_diag("%d ranks x %d rows x %d micro-steps differ", worlds[w][0], worlds[w][1], worlds[w][2]);
    }
    tap_ok(good, "12 = 2 x 6 = 2 x 2 x 3 ..: the same steps of %lld rows%s", (long long)n_rows,
           drop_last ? ", last dropped" : "");
    for (size_t i = 1; i < n_first; i++)
        sorted = sorted && (first[i] < 0 || first[i] == first[i - 1] + 1);
    tap_ok(!sorted, "they are shuffled");
}

static void test_resume(void)
{
    static int64_t whole[4 * MAX_ROWS], rest[4 * MAX_ROWS];
    size_t n_whole = 0, n_rest = 0;
    bool good = run_all(100, 2, 3, 2, false, 0, whole, &n_whole);
    int64_t position = 0;

    for (size_t i = 0; good && i < n_whole; i++) {
        if (whole[i] >= 0) {
            position++;
            continue;
        }
        good = run_all(100, 4, 1, 3, false, position, rest, &n_rest) && n_rest == n_whole - i - 1 &&
               memcmp(rest, whole + i + 1, n_rest * sizeof *rest) == 0;
    }
    tap_ok(good && position == 300, "from the counter after any step, other ranks go on with the same steps");
}

static void test_epochs(void)
{
    zrt__sampler a = sampler_of(1000, 0, 1, 10, 1), other_seed = a, plain = a;
    int same_epoch = 0, same_seed = 0;
    bool in_order = true;

    other_seed.seed = 43;
    plain.shuffle = false;
    for (int64_t i = 0; i < 1000; i++) {
        same_epoch += zrt__sampler_row(&a, i) == zrt__sampler_row(&a, 1000 + i);
        same_seed += zrt__sampler_row(&a, i) == zrt__sampler_row(&other_seed, i);
        in_order = in_order && zrt__sampler_row(&plain, 1000 + i) == i;
    }
    tap_ok(same_epoch < 20, "epochs have orders of their own");
    tap_ok(same_seed < 20, "seeds have orders of their own");
    tap_ok(in_order, "without shuffling rows come in order");
}

static void test_counts(void)
{
    zrt__sampler sampler = sampler_of(10, 0, 2, 2, 2);
    zrt__share share;
    int64_t shares[4], n = 0;

    zrt__sampler_start(&sampler);
    tap_ok(zrt__sampler_micro_steps_per_epoch(&sampler) == 4, "10 rows by 8 are two steps of two micro-steps");
    for (; n < 4 && zrt__sampler_next(&sampler, &share); n++)
        shares[n] = share.n;
    tap_ok(n == 4 && shares[0] == 2 && shares[1] == 2 && shares[2] == 1 && shares[3] == 0,
           "the last of which have one row and none");
    tap_ok(sampler.position == 10, "the epoch ends with a step");
    sampler.drop_last = true;
    tap_ok(zrt__sampler_micro_steps_per_epoch(&sampler) == 2, "one step where the last is dropped");
    sampler.n_rows = 7;
    tap_ok(zrt__sampler_start(&sampler) == ZRT_ERR_INPUT, "refused: dropping the last of less than one step");
    sampler.drop_last = false;
    tap_ok(zrt__sampler_start(&sampler) == ZRT_OK && zrt__sampler_micro_steps_per_epoch(&sampler) == 2,
           "short of one step otherwise");
    zrt__sampler_seek(&sampler, 21);
    tap_ok(!zrt__sampler_next(&sampler, &share), "after the last epoch is the end");
    sampler.n_epochs = 0;
    zrt__sampler_seek(&sampler, INT64_C(7) << 40);
    tap_ok(zrt__sampler_next(&sampler, &share) && share.first == INT64_C(7) << 40,
           "without a number of epochs there is none");
    sampler.micro_rows = 0;
    tap_ok(zrt__sampler_start(&sampler) == ZRT_ERR_USAGE, "refused: no rows a micro-step");
    sampler.micro_rows = INT64_MAX / 2;
    tap_ok(zrt__sampler_start(&sampler) == ZRT_ERR_USAGE, "refused: more rows than can be counted");
}

int main(void)
{
    for (int drop_last = 0; drop_last < 2; drop_last++) {
        test_each_once(1000, 1, 8, 1, drop_last);
        test_each_once(1000, 4, 3, 2, drop_last);
        test_each_once(97, 3, 2, 5, drop_last);
        test_each_once(96, 4, 2, 3, drop_last);
        test_same_steps(1000, drop_last);
        test_same_steps(96, drop_last);
        test_same_steps(13, drop_last);
    }
    test_each_once(3, 4, 2, 1, false);
    test_each_once(1, 2, 1, 2, false);
    test_resume();
    test_epochs();
    test_counts();
    return tap_done();
}
