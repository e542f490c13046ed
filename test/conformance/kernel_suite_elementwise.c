/* Activations, gated activations, add, mul, scale. */
#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>

#include "tap.h"

static const char *const kind_names[] = {"relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"};
static const int64_t sizes[] = {0, 1, 5, 16, 67, 1031, 33000};
#define N_SIZES (int)(sizeof sizes / sizeof sizes[0])

double suite_activation(zrt_activation_kind kind, double x)
{
    switch (kind) {
    case ZRT_RELU:
        return x > 0.0 ? x : 0.0;
    case ZRT_GELU:
        return 0.5 * x * erfc(-x / sqrt(2.0));
    case ZRT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case ZRT_SILU:
        return x / (1.0 + exp(-x));
    case ZRT_TANH:
        return tanh(x);
    case ZRT_SIGMOID:
        break;
    }
    return 1.0 / (1.0 + exp(-x));
}

static void activation(const suite_case *c, double *const *in, double *out)
{
    for (int64_t i = 0; i < c->in[1].n; i++)
        out[i] = suite_activation(c->attributes.activation.kind, in[1][i]);
}

double suite_activation_slope(zrt_activation_kind kind, double x)
{
    double step = 1e-5;
    if (kind == ZRT_RELU)
        return x > 0.0 ? 1.0 : 0.0;
    return (suite_activation(kind, x + step) - suite_activation(kind, x - step)) / (2.0 * step);
}

static bool one_activation(suite *s, zrt_dtype dtype, zrt_activation_kind kind, int64_t n, bool in_place)
{
    suite_case c = {.attributes.activation.kind = kind};
    double tolerance = suite_tolerance(dtype), *expected = calloc((size_t)n + 1, sizeof *expected);
    double *x = suite_in(s, &c, 0, dtype, 6.0, 1, &n);
    suite_out(s, &c, 0, dtype, 1.0, 1, &n);
    if (in_place)
        suite_alias(&c, 0, 0);
    bool ok = suite_run(s, &c, ZRT__KERNEL_activation_forward);
    for (int64_t i = 0; i < n; i++)
        expected[i] = suite_activation(kind, x[i]);
    ok = suite_near(c.out[0].values, expected, n, tolerance, "forward") && ok;
    suite_free(&c);

    c.attributes.activation.kind = kind;
    double *dy = suite_in(s, &c, 0, dtype, 1.0, 1, &n);
    x = suite_in(s, &c, 1, dtype, 6.0, 1, &n);
    suite_out(s, &c, 0, dtype, 1.0, 1, &n);
    if (in_place)
        suite_alias(&c, 0, 0);
    ok = suite_run(s, &c, ZRT__KERNEL_activation_backward) && ok;
    for (int64_t i = 0; i < n; i++)
        expected[i] = dy[i] * suite_activation_slope(kind, x[i]);
    ok = suite_near(c.out[0].values, expected, n, tolerance, "backward") && ok;
    if (n == 67 && kind != ZRT_RELU) {
        double *in[2] = {dy, x};
        ok = suite_gradient(s, &c, activation, in, 1, n, dy, n, c.out[0].values, NULL, tolerance,
                            "finite differences") &&
             ok;
    }
    suite_free(&c);
    free(expected);
    return ok;
}

/* Where one answer is known: the ends of the range and what is no number. */
static bool special_values(suite *s, zrt_activation_kind kind)
{
    static const double x[] = {0.0, 100.0, -100.0, 1e30, NAN, 88.0, -88.0};
    const int64_t n = sizeof x / sizeof x[0];
    suite_case c = {.attributes.activation.kind = kind};
    double expected[sizeof x / sizeof x[0]];
    suite_in(s, &c, 0, ZRT_FLOAT32, 0.0, 1, &n);
    suite_set(&c.in[0], x);
    suite_out(s, &c, 0, ZRT_FLOAT32, 0.0, 1, &n);
    bool ok = suite_run(s, &c, ZRT__KERNEL_activation_forward);
    for (int64_t i = 0; i < n; i++) {
        expected[i] = suite_activation(kind, c.in[0].values[i]);
        if (isnan(x[i]))
            expected[i] = NAN;
        bool near = isnan(expected[i]) ? isnan(c.out[0].values[i])
                                       : fabs(c.out[0].values[i] - expected[i]) <= 1e-6 * fabs(expected[i]) + 1e-30;
        if (!near)
            tap_diag("%s(%g) = %g", kind_names[kind], x[i], c.out[0].values[i]);
        ok = ok && near;
    }
    suite_free(&c);
    return ok;
}

static void glu(const suite_case *c, double *const *in, double *out)
{
    int64_t width = c->in[1].view.dims[1] / 2;
    for (int64_t row = 0; row < c->in[1].view.dims[0]; row++)
        for (int64_t k = 0; k < width; k++)
            out[row * width + k] = suite_activation(c->attributes.activation.kind, in[1][2 * row * width + k]) *
                                   in[1][(2 * row + 1) * width + k];
}

static bool one_glu(suite *s, zrt_dtype dtype, zrt_activation_kind kind, int64_t n, int64_t width, bool in_place)
{
    suite_case c = {.attributes.activation.kind = kind};
    double tolerance = suite_tolerance(dtype), *expected = calloc((size_t)(n * width) + 1, sizeof *expected);
    suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, width));
    double *x = suite_in(s, &c, 1, dtype, 3.0, 2, SUITE_DIMS(n, 2 * width)), *in[2] = {c.in[0].values, x};
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, 2 * width));
    if (in_place)
        suite_alias(&c, 0, 1);
    bool ok = suite_run(s, &c, ZRT__KERNEL_glu_backward);
    for (int64_t row = 0; row < n; row++) {
        for (int64_t k = 0; k < width; k++) {
            double dy = in[0][row * width + k], gate = x[2 * row * width + k], up = x[(2 * row + 1) * width + k];
            double *d = c.out[0].values + 2 * row * width + k;
            ok = fabs(d[0] - dy * up * suite_activation_slope(kind, gate)) < 4.0 * tolerance &&
                 fabs(d[width] - dy * suite_activation(kind, gate)) < 4.0 * tolerance && ok;
        }
    }
    if (kind != ZRT_RELU)
        ok = suite_gradient(s, &c, glu, in, 1, 2 * n * width, in[0], n * width, c.out[0].values, NULL, 2.0 * tolerance,
                            "backward") &&
             ok;
    glu(&c, in, expected);
    suite_case f = {.attributes.activation.kind = kind};
    suite_in(s, &f, 0, dtype, 0.0, 2, SUITE_DIMS(n, 2 * width));
    suite_set(&f.in[0], x);
    suite_out(s, &f, 0, dtype, 1.0, 2, SUITE_DIMS(n, width));
    ok = suite_run(s, &f, ZRT__KERNEL_glu_forward) && ok;
    ok = suite_near(f.out[0].values, expected, n * width, tolerance, "forward") && ok;
    suite_free(&f);
    suite_free(&c);
    free(expected);
    return ok;
}

/* alias: the input that the output takes the place of, -1 none */
static bool one_binary(suite *s, zrt__kernel kernel, zrt_dtype dtype, int64_t n, int alias)
{
    suite_case c = {0};
    double *expected = calloc((size_t)n + 1, sizeof *expected);
    double *a = suite_in(s, &c, 0, dtype, 2.0, 1, &n),
           *b = kernel != ZRT__KERNEL_scale ? suite_in(s, &c, 1, dtype, 2.0, 1, &n) : NULL;
    suite_out(s, &c, 0, dtype, 1.0, 1, &n);
    suite_alias(&c, 0, alias);
    if (kernel == ZRT__KERNEL_scale)
        c.attributes.scale.factor = -1.5f;
    bool ok = suite_run(s, &c, kernel);
    for (int64_t i = 0; i < n; i++)
        expected[i] = kernel == ZRT__KERNEL_add ? a[i] + b[i] : kernel == ZRT__KERNEL_mul ? a[i] * b[i] : -1.5 * a[i];
    ok = suite_near(c.out[0].values, expected, n, suite_tolerance(dtype), zrt__kernel_name(kernel)) && ok;
    suite_free(&c);
    free(expected);
    return ok;
}

static bool one_columns(suite *s, zrt_dtype dtype, int64_t n, int64_t wide, int64_t first, int64_t some, bool in_place)
{
    suite_case c = {.attributes.columns.first = first};
    double *x = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, wide));
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, some));
    bool ok = suite_run(s, &c, ZRT__KERNEL_columns_get);
    for (int64_t i = 0; i < n * some; i++)
        ok = c.out[0].values[i] == x[i / some * wide + first + i % some] && ok;
    suite_free(&c);
    c = (suite_case){.attributes.columns.first = first};
    double *expected = calloc((size_t)(n * wide) + 1, sizeof *expected);
    x = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, wide));
    double *d = suite_in(s, &c, 1, dtype, 1.0, 2, SUITE_DIMS(n, some));
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, wide));
    suite_alias(&c, 0, in_place ? 0 : -1);
    ok = suite_run(s, &c, ZRT__KERNEL_columns_add) && ok;
    for (int64_t i = 0; i < n * wide; i++) {
        int64_t k = i % wide - first;
        expected[i] = x[i] + (k >= 0 && k < some ? d[i / wide * some + k] : 0.0);
    }
    ok = suite_near(c.out[0].values, expected, n * wide, suite_tolerance(dtype), "columns_add") && ok;
    suite_free(&c);
    free(expected);
    return ok;
}

void suite_elementwise(suite *s)
{
    static const int64_t widths[][2] = {{0, 8}, {1, 1}, {3, 5}, {2, 16}, {4, 37}, {7, 600}, {90, 128}};
    for (int t = 0; t < 3; t++) {
        zrt_dtype dtype = suite_dtypes[t];
        for (int kind = ZRT_RELU; kind <= ZRT_SIGMOID; kind++) {
            bool ok = true, glu_ok = true;
            for (int i = 0; i < N_SIZES; i++)
                for (int in_place = 0; in_place < 2; in_place++)
                    ok = one_activation(s, dtype, (zrt_activation_kind)kind, sizes[i], in_place) && ok;
            for (int i = 0; i < (int)(sizeof widths / sizeof widths[0]); i++)
                glu_ok = one_glu(s, dtype, (zrt_activation_kind)kind, widths[i][0], widths[i][1], i % 2) && glu_ok;
            tap_ok(ok, "activation %s, %s", kind_names[kind], zrt_dtype_name(dtype));
            tap_ok(glu_ok, "glu %s, %s", kind_names[kind], zrt_dtype_name(dtype));
            if (dtype == ZRT_FLOAT32)
                tap_ok(special_values(s, (zrt_activation_kind)kind), "activation %s of special values",
                       kind_names[kind]);
        }
        static const zrt__kernel kernels[] = {ZRT__KERNEL_add, ZRT__KERNEL_mul, ZRT__KERNEL_scale};
        for (int k = 0; k < 3; k++) {
            bool ok = true;
            for (int i = 0; i < N_SIZES; i++)
                for (int alias = -1; alias < (kernels[k] == ZRT__KERNEL_scale ? 1 : 2); alias++)
                    ok = one_binary(s, kernels[k], dtype, sizes[i], alias) && ok;
            tap_ok(ok, "%s, %s", zrt__kernel_name(kernels[k]), zrt_dtype_name(dtype));
        }
        bool ok = true;
        for (int in_place = 0; in_place < 2; in_place++)
            ok = one_columns(s, dtype, 0, 4, 1, 2, in_place) && one_columns(s, dtype, 1, 1, 0, 1, in_place) &&
                 one_columns(s, dtype, 5, 7, 3, 4, in_place) && one_columns(s, dtype, 90, 100, 0, 33, in_place) &&
                 one_columns(s, dtype, 3, 2000, 600, 1300, in_place) && ok;
        tap_ok(ok, "columns_get and columns_add, %s", zrt_dtype_name(dtype));
    }
}
