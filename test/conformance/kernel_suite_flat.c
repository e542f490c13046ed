/* Zero, convert, accumulate, sums of squares. */
#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static const int64_t sizes[] = {0, 1, 15, 16, 100, 513, 16385, 70001};
#define N_SIZES (int)(sizeof sizes / sizeof sizes[0])

static bool zero_and_convert(suite *s, zrt_dtype from, zrt_dtype to, int64_t n)
{
    suite_case c = {0};
    double *expected = calloc((size_t)n + 1, sizeof *expected);
    suite_out(s, &c, 0, from, 1.0, 1, &n);
    bool ok = suite_run(s, &c, ZRT__KERNEL_zero) && suite_near(c.out[0].values, expected, n, 0.0, "zero");
    suite_free(&c);
    double *x = suite_in(s, &c, 0, from, 3.0, 1, &n);
    suite_operand rounded;
    suite_out(s, &c, 0, to, 1.0, 1, &n);
    ok = suite_run(s, &c, ZRT__KERNEL_convert) && ok;
    rounded = c.out[0];
    rounded.view.data = malloc((size_t)n * zrt_dtype_bytes(to) + 1);
    rounded.values = calloc((size_t)n + 1, sizeof(double));
    suite_set(&rounded, x); /* one rounding: the same bits */
    ok = memcmp(rounded.view.data, c.out[0].view.data, (size_t)n * zrt_dtype_bytes(to)) == 0 && ok;
    free(rounded.view.data);
    free(rounded.values);
    suite_free(&c);
    free(expected);
    return ok;
}

static bool accumulate(suite *s, zrt_dtype from, zrt_dtype to, int64_t n, bool add)
{
    suite_case c = {.accumulate = add};
    double *x = suite_in(s, &c, 0, from, 1.0, 1, &n), *y = suite_out(s, &c, 0, to, 1.0, 1, &n),
           *expected = calloc((size_t)n + 1, sizeof *expected);
    for (int64_t i = 0; i < n; i++)
        expected[i] = x[i] + (add ? y[i] : 0.0);
    bool ok = suite_run(s, &c, ZRT__KERNEL_accumulate);
    ok = suite_near(c.out[0].values, expected, n, to == ZRT_FLOAT64 ? 1e-15 : suite_tolerance(to), "accumulate") && ok;
    free(expected);
    suite_free(&c);
    return ok;
}

/* bad: so many elements are infinite or no number */
static bool sum_squares(suite *s, zrt_dtype dtype, int64_t n, int bad, bool add)
{
    suite_case c = {.accumulate = add};
    double *x = suite_in(s, &c, 0, dtype, 1.0, 1, &n), *sums = suite_out(s, &c, 0, ZRT_FLOAT64, 1.0, 1, SUITE_DIMS(2));
    double expected[2] = {add ? sums[0] : 0.0, add ? sums[1] : 0.0};
    for (int i = 0; i < bad && n > 0; i++)
        x[i * 7 % n] = i % 2 ? NAN : -INFINITY;
    suite_set(&c.in[0], x);
    for (int64_t i = 0; i < n; i++) {
        expected[0] += isfinite(x[i]) ? x[i] * x[i] : 0.0;
        expected[1] += !isfinite(x[i]);
    }
    bool ok = suite_run(s, &c, ZRT__KERNEL_sum_squares) &&
              fabs(c.out[0].values[0] - expected[0]) <= 1e-13 * fabs(expected[0]) &&
              fabs(c.out[0].values[1] - expected[1]) < 1e-12;
    suite_free(&c);
    return ok;
}

/* options: bit 0 shard accumulates, 1 sums there, 2 sums accumulate, 3 in place */
static bool gradient_reduced(suite *s, zrt_dtype dtype, zrt_dtype shard_dtype, int64_t n, int options)
{
    suite_case c = {.accumulate = (options & 1 ? 1u : 0u) | (options & 4 ? 2u : 0u)};
    bool in_place = options & 8 && dtype == shard_dtype && !(options & 1);
    double *g = suite_in(s, &c, 0, dtype, 1.0, 1, &n), *old = suite_out(s, &c, 0, shard_dtype, 1.0, 1, &n);
    double *sums = options & 2 ? suite_out(s, &c, 1, ZRT_FLOAT64, 1.0, 1, SUITE_DIMS(2)) : NULL, squares = 0.0,
           bad = 0.0;
    double *expected = calloc((size_t)n + 1, sizeof *expected);
    if (n > 3) {
        g[3] = INFINITY;
        suite_set(&c.in[0], g);
    }
    for (int64_t i = 0; i < n; i++)
        expected[i] = g[i] + (options & 1 ? old[i] : 0.0);
    if (sums != NULL && options & 4) {
        squares = sums[0];
        bad = sums[1];
    }
    if (in_place)
        suite_alias(&c, 0, 0);
    bool ok = suite_run(s, &c, ZRT__KERNEL_gradient_reduced);
    ok = suite_near(c.out[0].values, expected, n, suite_tolerance(shard_dtype), "shard") && ok;
    if (sums != NULL) {
        for (int64_t i = 0; i < n; i++) {
            squares += isfinite(expected[i]) ? c.out[0].values[i] * c.out[0].values[i] : 0.0;
            bad += !isfinite(expected[i]);
        }
        ok =
            fabs(c.out[1].values[0] - squares) <= 1e-13 * fabs(squares) && fabs(c.out[1].values[1] - bad) < 1e-12 && ok;
    }
    free(expected);
    suite_free(&c);
    return ok;
}

void suite_flat(suite *s)
{
    for (int t = 0; t < 3; t++) {
        const char *name = zrt_dtype_name(suite_dtypes[t]);
        bool convert_ok = true, accumulate_ok = true, squares_ok = true, reduced_ok = true;
        for (int i = 0; i < N_SIZES; i++) {
            for (int other = 0; other < 3; other++)
                if (other != t)
                    convert_ok = zero_and_convert(s, suite_dtypes[t], suite_dtypes[other], sizes[i]) && convert_ok;
            for (int add = 0; add < 2; add++) {
                accumulate_ok = accumulate(s, suite_dtypes[t], suite_dtypes[t], sizes[i], add) && accumulate_ok;
                accumulate_ok = accumulate(s, suite_dtypes[t], ZRT_FLOAT32, sizes[i], add) && accumulate_ok;
                accumulate_ok = accumulate(s, ZRT_FLOAT32, suite_dtypes[t], sizes[i], add) && accumulate_ok;
                squares_ok = sum_squares(s, suite_dtypes[t], sizes[i], 0, add) &&
                             sum_squares(s, suite_dtypes[t], sizes[i], 5, add) && squares_ok;
            }
            for (int options = 0; options < 16; options++) {
                reduced_ok = gradient_reduced(s, suite_dtypes[t], ZRT_FLOAT32, sizes[i], options) && reduced_ok;
                reduced_ok = gradient_reduced(s, suite_dtypes[t], suite_dtypes[t], sizes[i], options) && reduced_ok;
            }
        }
        tap_ok(convert_ok, "zero, convert from %s", name);
        tap_ok(accumulate_ok, "accumulate, %s", name);
        tap_ok(squares_ok, "sum of squares, %s", name);
        tap_ok(reduced_ok, "gradient reduced, %s", name);
    }
    tap_ok(accumulate(s, ZRT_FLOAT64, ZRT_FLOAT64, 2, true) && accumulate(s, ZRT_FLOAT64, ZRT_FLOAT64, 2, false),
           "accumulate of sums");
}
