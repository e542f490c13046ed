/* Linear layers in both layouts of the weight. */
#include "config.h"

#include "kernel_suite.h"

#include <stdlib.h>

#include "tap.h"

static double weight(const double *w, bool in_out, int64_t m, int64_t k, int64_t n_out, int64_t n_in)
{
    return in_out ? w[k * n_out + m] : w[m * n_in + k];
}

static void weight_dims(bool in_out, int64_t n_out, int64_t n_in, int64_t dims[2])
{
    dims[0] = in_out ? n_in : n_out;
    dims[1] = in_out ? n_out : n_in;
}

static bool forward(suite *s, zrt_dtype dtype, bool in_out, bool bias, int64_t n, int64_t n_in, int64_t n_out)
{
    suite_case c = {.attributes.linear.weight_in_out = in_out};
    int64_t dims[2];
    weight_dims(in_out, n_out, n_in, dims);
    double *x = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_in)), *w = suite_in(s, &c, 1, dtype, 1.0, 2, dims);
    double *b = bias ? suite_in(s, &c, 2, dtype, 1.0, 1, &n_out) : NULL;
    double *expected = calloc((size_t)(n * n_out) + 1, sizeof *expected);
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_out));
    for (int64_t i = 0; i < n * n_out; i++) {
        expected[i] = b != NULL ? b[i % n_out] : 0.0;
        for (int64_t k = 0; k < n_in; k++)
            expected[i] += x[i / n_out * n_in + k] * weight(w, in_out, i % n_out, k, n_out, n_in);
    }
    bool ok = suite_run(s, &c, ZRT__KERNEL_linear_forward);
    ok = suite_near(c.out[0].values, expected, n * n_out, suite_tolerance(dtype), "y") && ok;
    suite_free(&c);
    free(expected);
    return ok;
}

static bool backward_input(suite *s, zrt_dtype dtype, bool in_out, bool has_add, bool in_place, int64_t n, int64_t n_in,
                           int64_t n_out)
{
    suite_case c = {.attributes.linear.weight_in_out = in_out};
    int64_t dims[2];
    weight_dims(in_out, n_out, n_in, dims);
    double *dy = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_out)), *w = suite_in(s, &c, 1, dtype, 1.0, 2, dims);
    double *add = has_add ? suite_in(s, &c, 2, dtype, 1.0, 2, SUITE_DIMS(n, n_in)) : NULL;
    double *expected = calloc((size_t)(n * n_in) + 1, sizeof *expected);
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_in));
    if (has_add && in_place)
        suite_alias(&c, 0, 2);
    for (int64_t i = 0; i < n * n_in; i++) {
        expected[i] = add != NULL ? add[i] : 0.0;
        for (int64_t m = 0; m < n_out; m++)
            expected[i] += dy[i / n_in * n_out + m] * weight(w, in_out, m, i % n_in, n_out, n_in);
    }
    bool ok = suite_run(s, &c, ZRT__KERNEL_linear_backward_input);
    ok = suite_near(c.out[0].values, expected, n * n_in, suite_tolerance(dtype), "dx") && ok;
    suite_free(&c);
    free(expected);
    return ok;
}

/* The product and the activation behind it at once; and the activation's gradient behind the product of backward. */
static bool activated(suite *s, zrt_dtype dtype, zrt_activation_kind kind, bool in_out, bool option, int64_t n,
                      int64_t n_in, int64_t n_out)
{
    suite_case c = {.attributes.linear = {in_out, kind}}, b = {.attributes.linear = {in_out, kind}};
    int64_t dims[2];
    weight_dims(in_out, n_out, n_in, dims);
    double *x = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_in)), *w = suite_in(s, &c, 1, dtype, 0.3, 2, dims);
    double *bias = option ? suite_in(s, &c, 2, dtype, 1.0, 1, &n_out) : NULL;
    double *h = calloc((size_t)(n * n_out) + 1, sizeof *h), *y = calloc((size_t)(n * n_out) + 1, sizeof *y),
           *dx = calloc((size_t)(n * n_in) + 1, sizeof *dx);
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_out));
    if (option)
        suite_out(s, &c, 1, dtype, 1.0, 2, SUITE_DIMS(n, n_out));
    for (int64_t i = 0; i < n * n_out; i++) {
        h[i] = bias != NULL ? bias[i % n_out] : 0.0;
        for (int64_t k = 0; k < n_in; k++)
            h[i] += x[i / n_out * n_in + k] * weight(w, in_out, i % n_out, k, n_out, n_in);
        y[i] = suite_activation(kind, h[i]);
    }
    bool ok = suite_run(s, &c, ZRT__KERNEL_linear_activation_forward);
    ok = suite_near(c.out[0].values, y, n * n_out, suite_tolerance(dtype), "y") && ok;
    ok = (!option || suite_near(c.out[1].values, h, n * n_out, suite_tolerance(dtype), "h")) && ok;
    double *dy = suite_in(s, &b, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_out));
    w = suite_in(s, &b, 1, dtype, 0.3, 2, dims);
    double *before = suite_in(s, &b, 2, dtype, 2.0, 2, SUITE_DIMS(n, n_in));
    suite_out(s, &b, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_in));
    for (int64_t i = 0; i < n * n_in; i++) {
        for (int64_t m = 0; m < n_out; m++)
            dx[i] += dy[i / n_in * n_out + m] * weight(w, in_out, m, i % n_in, n_out, n_in);
        dx[i] *= suite_activation_slope(kind, before[i]);
    }
    ok = suite_run(s, &b, ZRT__KERNEL_linear_activation_backward) && ok;
    ok = suite_near(b.out[0].values, dx, n * n_in, suite_tolerance(dtype), "dh") && ok;
    suite_free(&c);
    suite_free(&b);
    free(h);
    free(y);
    free(dx);
    return ok;
}

static bool backward_weight(suite *s, zrt_dtype dtype, zrt_dtype weight_dtype, bool in_out, bool has_bias,
                            uint32_t accumulate, int64_t n, int64_t n_in, int64_t n_out)
{
    suite_case c = {.attributes.linear.weight_in_out = in_out, .accumulate = accumulate};
    int64_t dims[2];
    weight_dims(in_out, n_out, n_in, dims);
    double *dy = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, n_out));
    double *x = suite_in(s, &c, 1, dtype, 1.0, 2, SUITE_DIMS(n, n_in)),
           *dw = suite_out(s, &c, 0, weight_dtype, 1.0, 2, dims);
    double *db = has_bias ? suite_out(s, &c, 1, weight_dtype, 1.0, 1, &n_out) : NULL;
    double *expected = calloc((size_t)(n_in * n_out) + 1, sizeof *expected),
           *sums = calloc((size_t)n_out + 1, sizeof *sums);
    for (int64_t i = 0; i < n_in * n_out; i++) {
        int64_t m = in_out ? i % n_out : i / n_in, k = in_out ? i / n_out : i % n_in;
        expected[i] = accumulate & 1u ? dw[i] : 0.0;
        for (int64_t row = 0; row < n; row++)
            expected[i] += dy[row * n_out + m] * x[row * n_in + k];
    }
    for (int64_t m = 0; m < n_out && has_bias; m++) {
        sums[m] = accumulate & 2u ? db[m] : 0.0;
        for (int64_t row = 0; row < n; row++)
            sums[m] += dy[row * n_out + m];
    }
    bool ok = suite_run(s, &c, ZRT__KERNEL_linear_backward_weight);
    double tolerance = suite_tolerance(weight_dtype);
    ok = suite_near(c.out[0].values, expected, n_in * n_out, tolerance, "dw") && ok;
    ok = (!has_bias || suite_near(c.out[1].values, sums, n_out, tolerance, "db")) && ok;
    suite_free(&c);
    free(expected);
    free(sums);
    return ok;
}

void suite_linear(suite *s)
{
    /* the last three are larger than a tile in one dimension each */
    static const int64_t shapes[][3] = {{0, 3, 4},      {1, 1, 1},     {3, 5, 7},    {17, 33, 20}, {64, 48, 96},
                                        {130, 70, 150}, {11, 401, 37}, {300, 9, 30}, {5, 43, 2503}};
    for (int t = 0; t < 3; t++) {
        bool ok = true, input_ok = true, weight_ok = true, activated_ok = true;
        for (int i = 0; i < (int)(sizeof shapes / sizeof shapes[0]); i++) {
            int64_t n = shapes[i][0], n_in = shapes[i][1], n_out = shapes[i][2];
            for (int option = 0; option < 8; option++) {
                zrt_dtype wide = option & 4 ? ZRT_FLOAT32 : suite_dtypes[t];
                ok = forward(s, suite_dtypes[t], option & 1, option & 2, n, n_in, n_out) && ok;
                input_ok =
                    backward_input(s, suite_dtypes[t], option & 1, option & 2, option & 4, n, n_in, n_out) && input_ok;
                for (uint32_t accumulate = 0; accumulate < 4; accumulate++)
                    weight_ok =
                        backward_weight(s, suite_dtypes[t], wide, option & 1, option & 2, accumulate, n, n_in, n_out) &&
                        weight_ok;
            }
        }
        for (int kind = ZRT_RELU; kind <= ZRT_SIGMOID; kind++)
            for (int i = 0; i < 6; i++)
                activated_ok = activated(s, suite_dtypes[t], (zrt_activation_kind)kind, i % 2, kind % 2 == i % 3 % 2,
                                         shapes[i][0], shapes[i][1], shapes[i][2]) &&
                               activated_ok;
        const char *name = zrt_dtype_name(suite_dtypes[t]);
        tap_ok(ok, "linear forward, %s", name);
        tap_ok(input_ok, "linear backward to the input, %s", name);
        tap_ok(activated_ok, "linear with an activation, %s", name);
        tap_ok(weight_ok, "linear backward to the weight, %s", name);
    }
}
