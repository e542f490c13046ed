/* Dropout: the documented draws, the rate, and rows that do not depend on their batch. */
#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tap.h"

/* alias: 0 y <- x, 1 y <- add, -1 none */
static bool one(suite *s, zrt_dtype dtype, int64_t rows, int64_t width, bool has_add, int alias)
{
    suite_case c = {.attributes.dropout = {0.3f, 5, 2}};
    zrt__step_state state = {.seed = 0x123456789abcdefu, .step = 41};
    double *x = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(rows, width));
    double *add = has_add ? suite_in(s, &c, 1, dtype, 1.0, 2, SUITE_DIMS(rows, width)) : NULL;
    suite_in(s, &c, 2, ZRT_INT64, 0.0, 1, &rows);
    for (int64_t i = 0; i < rows; i++)
        ((int64_t *)c.in[2].view.data)[i] = 3 + 1000000007 * i;
    suite_state(&c.in[3], &state, sizeof state);
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(rows, width));
    if (alias == 0 || (alias == 1 && has_add))
        suite_alias(&c, 0, alias);
    bool ok = suite_run(s, &c, ZRT__KERNEL_dropout);
    double *expected = calloc((size_t)(rows * width) + 1, sizeof *expected);
    for (int64_t i = 0; i < rows * width; i++) {
        int64_t e = i % width;
        uint64_t key = zrt__hash_mix(state.seed, (uint64_t)((int64_t *)c.in[2].view.data)[i / width]);
        zrt__philox bits = zrt__philox4x32((zrt__philox){{(uint32_t)(e / 4), 0, 5u << 16 | 2u, 41}}, (uint32_t)key,
                                           (uint32_t)(key >> 32));
        expected[i] = (zrt__uniform_from_bits(bits.x[e % 4]) >= 0.3f ? x[i] / (1.0 - (double)0.3f) : 0.0) +
                      (add != NULL ? add[i] : 0.0);
    }
    ok = suite_near(c.out[0].values, expected, rows * width, suite_tolerance(dtype), "dropout") && ok;
    free(expected);
    suite_free(&c);
    return ok;
}

static double *ones(suite *s, int64_t rows, int64_t width, int64_t first_sample, float probability, int64_t step)
{
    suite_case c = {.attributes.dropout = {probability, 1, 1}};
    zrt__step_state state = {.seed = 9, .step = step};
    double *x = suite_in(s, &c, 0, ZRT_FLOAT32, 0.0, 2, SUITE_DIMS(rows, width)),
           *result = malloc((size_t)(rows * width) * sizeof *result);
    for (int64_t i = 0; i < rows * width; i++)
        x[i] = 1.0;
    suite_set(&c.in[0], x);
    suite_in(s, &c, 2, ZRT_INT64, 0.0, 1, &rows);
    for (int64_t i = 0; i < rows; i++)
        ((int64_t *)c.in[2].view.data)[i] = first_sample + i;
    suite_state(&c.in[3], &state, sizeof state);
    suite_out(s, &c, 0, ZRT_FLOAT32, 0.0, 2, SUITE_DIMS(rows, width));
    suite_run(s, &c, ZRT__KERNEL_dropout);
    memcpy(result, c.out[0].values, (size_t)(rows * width) * sizeof *result);
    suite_free(&c);
    return result;
}

static bool rate(suite *s)
{
    const int64_t rows = 4, width = 50001, n = rows * width;
    double *y = ones(s, rows, width, 0, 0.1f, 3), *again = ones(s, rows, width, 0, 0.1f, 4), kept = 0.0, both = 0.0;
    for (int64_t i = 0; i < n; i++) {
        kept += y[i] > 0.0;
        both += y[i] > 0.0 && again[i] > 0.0;
    }
    free(y);
    free(again);
    /* five standard deviations; a step's draws are independent of the next one's */
    return fabs(kept / (double)n - 0.9) < 5.0 * sqrt(0.09 / (double)n) &&
           fabs(both / (double)n - 0.81) < 5.0 * sqrt(0.16 / (double)n);
}

static bool split(suite *s)
{
    const int64_t width = 777;
    double *all = ones(s, 5, width, 20, 0.5f, 0), *first = ones(s, 2, width, 20, 0.5f, 0),
           *rest = ones(s, 3, width, 22, 0.5f, 0);
    bool equal = memcmp(all, first, (size_t)(2 * width) * sizeof *all) == 0 &&
                 memcmp(all + 2 * width, rest, (size_t)(3 * width) * sizeof *all) == 0 &&
                 memcmp(all, all + width, (size_t)width * sizeof *all) != 0;
    free(all);
    free(first);
    free(rest);
    return equal;
}

void suite_dropout(suite *s)
{
    for (int t = 0; t < 3; t++) {
        bool ok = true;
        for (int alias = -1; alias < 2; alias++)
            for (int add = 0; add < 2; add++)
                ok = one(s, suite_dtypes[t], 0, 9, add, alias) && one(s, suite_dtypes[t], 3, 1, add, alias) &&
                     one(s, suite_dtypes[t], 2, 131, add, alias) && one(s, suite_dtypes[t], 3, 9001, add, alias) && ok;
        tap_ok(ok, "dropout draws as documented, %s", zrt_dtype_name(suite_dtypes[t]));
    }
    tap_ok(rate(s), "dropout keeps 1 - p of the elements, anew each step");
    tap_ok(split(s), "dropout of a row does not depend on its batch");
}
