/* Layer and root-mean-square normalisation, with and without the sum before it. */
#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

/* in[0] x [n, C], in[1] w, in[2] b or NULL; statistics optional. rms: no mean. */
static void normalise(bool rms, double *const *in, int64_t n, int64_t width, double eps, double *y, double *mean_out,
                      double *rstd_out)
{
    for (int64_t row = 0; row < n; row++) {
        const double *x = in[0] + row * width;
        double mean = 0.0, variance = 0.0;
        for (int64_t k = 0; k < width && !rms; k++)
            mean += x[k] / (double)width;
        for (int64_t k = 0; k < width; k++)
            variance += (x[k] - mean) * (x[k] - mean) / (double)width;
        double rstd = 1.0 / sqrt(variance + eps);
        for (int64_t k = 0; k < width; k++)
            y[row * width + k] = (x[k] - mean) * rstd * in[1][k] + (in[2] != NULL ? in[2][k] : 0.0);
        if (mean_out != NULL)
            mean_out[row] = mean;
        if (rstd_out != NULL)
            rstd_out[row] = rstd;
    }
}

static void layernorm(const suite_case *c, double *const *in, double *out)
{
    normalise(false, in, c->in[1].view.dims[0], c->in[1].view.dims[1], (double)c->attributes.norm.eps, out, NULL, NULL);
}

static void rmsnorm(const suite_case *c, double *const *in, double *out)
{
    normalise(true, in, c->in[1].view.dims[0], c->in[1].view.dims[1], (double)c->attributes.norm.eps, out, NULL, NULL);
}

static bool one_forward(suite *s, zrt_dtype dtype, bool rms, bool add, int alias, bool bias, int64_t n, int64_t width)
{
    suite_case c = {.attributes.norm.eps = 1e-5f};
    double tolerance = suite_tolerance(dtype);
    int64_t count = n * width, dims[2] = {n, width};
    int i = 0, o = 0, i_bias, o_mean = -1, o_rstd;
    double *in[3] = {suite_in(s, &c, i++, dtype, 2.0, 2, dims), NULL, NULL},
           *r = add ? suite_in(s, &c, i++, dtype, 2.0, 2, dims) : NULL;
    in[1] = suite_in(s, &c, i++, dtype, 1.0, 1, &width);
    i_bias = i;
    if (bias && !rms)
        in[2] = suite_in(s, &c, i_bias, dtype, 1.0, 1, &width);
    suite_out(s, &c, o++, dtype, 1.0, 2, dims);
    if (!rms)
        suite_out(s, &c, o_mean = o++, ZRT_FLOAT32, 1.0, 1, &n);
    suite_out(s, &c, o_rstd = o++, ZRT_FLOAT32, 1.0, 1, &n);
    if (add) {
        suite_out(s, &c, o, dtype, 1.0, 2, dims);
        suite_alias(&c, o, alias);
    }
    zrt__kernel kernel = rms ? (add ? ZRT__KERNEL_add_rmsnorm_forward : ZRT__KERNEL_rmsnorm_forward)
                             : (add ? ZRT__KERNEL_add_layernorm_forward : ZRT__KERNEL_layernorm_forward);
    bool ok = suite_run(s, &c, kernel);
    double *y = calloc((size_t)count + 1, sizeof *y), *mean = calloc((size_t)n + 1, sizeof *mean),
           *rstd = calloc((size_t)n + 1, sizeof *rstd);
    if (add) {
        for (int64_t k = 0; k < count; k++)
            y[k] = in[0][k] + r[k];
        ok = suite_near(c.out[o].values, y, count, suite_tolerance(dtype), "sum") && ok;
        in[0] = c.out[o].values; /* what is normalised is the sum as rounded */
    }
    normalise(rms, in, n, width, (double)c.attributes.norm.eps, y, mean, rstd);
    ok = suite_near(c.out[0].values, y, count, tolerance, zrt__kernel_name(kernel)) && ok;
    if (!rms) /* a mean of numbers near 2 may itself be near 0 */
        for (int64_t row = 0; row < n; row++)
            ok = fabs(c.out[o_mean].values[row] - mean[row]) < 1e-6 && ok;
    ok = suite_near(c.out[o_rstd].values, rstd, n, 2e-6, "rstd") && ok;
    suite_free(&c);
    free(y);
    free(mean);
    free(rstd);
    return ok;
}

/* options: bit 0 add, 1 dw, 2 db, 3 accumulate, 4 dw and db in fp32; alias: 0 dx <- dy, 1 dx <- add, -1 none */
static bool one_backward(suite *s, zrt_dtype dtype, bool rms, int options, int alias, int64_t n, int64_t width)
{
    suite_case c = {.attributes.norm.eps = 1e-5f};
    double tolerance = 2.0 * suite_tolerance(dtype);
    int64_t count = n * width, dims[2] = {n, width};
    int i_rstd = rms ? 3 : 4, i_add = i_rstd + 1;
    zrt_dtype weight_dtype = options & 16 ? ZRT_FLOAT32 : dtype;
    double *dy = suite_in(s, &c, 0, dtype, 1.0, 2, dims);
    double *in[3] = {suite_in(s, &c, 1, dtype, 2.0, 2, dims), suite_in(s, &c, 2, dtype, 1.0, 1, &width), NULL};
    double *mean = rms ? NULL : suite_in(s, &c, 3, ZRT_FLOAT32, 1.0, 1, &n),
           *rstd = suite_in(s, &c, i_rstd, ZRT_FLOAT32, 1.0, 1, &n);
    double *bias = calloc((size_t)width + 1, sizeof *bias), *y = calloc((size_t)count + 1, sizeof *y), *old[3] = {0};
    in[2] = rms ? NULL : bias;
    normalise(rms, in, n, width, 1e-5, y, mean, rstd);
    if (!rms)
        suite_set(&c.in[3], mean);
    suite_set(&c.in[i_rstd], rstd);
    double *add = options & 1 ? suite_in(s, &c, i_add, dtype, 1.0, 2, dims) : NULL;
    suite_out(s, &c, 0, dtype, 1.0, 2, dims);
    if (alias == 0 || (alias == 1 && add != NULL))
        suite_alias(&c, 0, alias == 0 ? 0 : i_add);
    for (int o = 1; o <= (rms ? 1 : 2); o++) {
        if (!(options & (1 << o)))
            continue;
        double *values = suite_out(s, &c, o, weight_dtype, 1.0, 1, &width);
        old[o] = malloc(((size_t)width + 1) * sizeof *values);
        memcpy(old[o], values, (size_t)width * sizeof *values);
    }
    c.accumulate = options & 8 ? 6u : 0u;
    bool ok = suite_run(s, &c, rms ? ZRT__KERNEL_rmsnorm_backward : ZRT__KERNEL_layernorm_backward);
    suite_function *f = rms ? rmsnorm : layernorm;
    ok = suite_gradient(s, &c, f, in, 0, count, dy, count, c.out[0].values, add, tolerance, "dx") && ok;
    for (int o = 1; o <= 2; o++)
        if (old[o] != NULL)
            ok = suite_gradient(s, &c, f, in, o, width, dy, count, c.out[o].values, options & 8 ? old[o] : NULL,
                                2.0 * suite_tolerance(weight_dtype), o == 1 ? "dw" : "db") &&
                 ok;
    free(old[1]);
    free(old[2]);
    free(bias);
    free(y);
    suite_free(&c);
    return ok;
}

void suite_norms(suite *s)
{
    static const int64_t shapes[][2] = {{0, 8}, {1, 1}, {3, 5}, {5, 64}, {2, 131}, {70, 48}, {9, 1100}};
    int n_shapes = (int)(sizeof shapes / sizeof shapes[0]);
    for (int t = 0; t < 3; t++) {
        for (int rms = 0; rms < 2; rms++) {
            bool forward = true, add = true, backward = true;
            for (int i = 0; i < n_shapes; i++) {
                int64_t n = shapes[i][0], width = shapes[i][1];
                for (int bias = 0; bias < 2; bias++)
                    forward = one_forward(s, suite_dtypes[t], rms, false, -1, bias, n, width) && forward;
                for (int alias = -1; alias < 2; alias++)
                    add = one_forward(s, suite_dtypes[t], rms, true, alias, alias != 0, n, width) && add;
                /* a row of one element is normalised to its sign or to nothing: no gradient to speak of */
                for (int options = 0; options < 32 && width > 1; options += n * width > 5000 ? 5 : 1)
                    backward = one_backward(s, suite_dtypes[t], rms, options, options % 3 - 1, n, width) && backward;
            }
            const char *name = rms ? "rmsnorm" : "layernorm", *dtype = zrt_dtype_name(suite_dtypes[t]);
            tap_ok(forward, "%s forward, %s", name, dtype);
            tap_ok(add, "add and %s forward, %s", name, dtype);
            tap_ok(backward, "%s backward, %s", name, dtype);
        }
    }
}
