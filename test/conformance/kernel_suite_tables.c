/* Embedding, rotary positions, cross entropy, last position. */
#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static void random_ids(suite *s, suite_operand *o, int below)
{
    for (int64_t i = 0; i < o->n; i++)
        ((int32_t *)o->view.data)[i] = suite_below(s, below);
    for (int64_t i = 0; i < o->n; i++)
        o->values[i] = ((int32_t *)o->view.data)[i];
}

static bool one_embedding(suite *s, zrt_dtype dtype, zrt_dtype table_dtype, int64_t n, int64_t rows, int64_t width,
                          bool option)
{
    suite_case c = {0};
    double *expected = calloc((size_t)((n + rows) * width) + 1, sizeof *expected);
    suite_in(s, &c, 0, ZRT_INT32, 0.0, 1, &n);
    random_ids(s, &c.in[0], (int)rows);
    double *table = suite_in(s, &c, 1, dtype, 1.0, 2, SUITE_DIMS(rows, width)), *ids = c.in[0].values;
    double *add = option ? suite_in(s, &c, 2, dtype, 1.0, 2, SUITE_DIMS(n, width)) : NULL;
    suite_out(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, width));
    bool ok = suite_run(s, &c, ZRT__KERNEL_embedding_forward);
    for (int64_t i = 0; i < n * width; i++)
        expected[i] = table[(int64_t)ids[i / width] * width + i % width] + (add != NULL ? add[i] : 0.0);
    ok = suite_near(c.out[0].values, expected, n * width, suite_tolerance(dtype), "forward") && ok;
    suite_free(&c);

    double *dy = suite_in(s, &c, 0, dtype, 1.0, 2, SUITE_DIMS(n, width));
    suite_in(s, &c, 1, ZRT_INT32, 0.0, 1, &n);
    random_ids(s, &c.in[1], (int)rows);
    double *old = suite_out(s, &c, 0, table_dtype, 1.0, 2, SUITE_DIMS(rows, width));
    c.accumulate = option;
    for (int64_t i = 0; i < rows * width; i++)
        expected[i] = option ? old[i] : 0.0;
    for (int64_t i = 0; i < n * width; i++)
        expected[(int64_t)c.in[1].values[i / width] * width + i % width] += dy[i];
    ok = suite_run(s, &c, ZRT__KERNEL_embedding_backward) && ok;
    ok = suite_near(c.out[0].values, expected, rows * width, suite_tolerance(table_dtype), "backward") && ok;
    suite_free(&c);
    free(expected);
    return ok;
}

static bool one_rope(suite *s, zrt_dtype dtype, int heads, int kv_heads, int dim, bool inverse, bool in_place)
{
    const int64_t rows = 3, length = 7, n_positions = 19, row = (int64_t)(heads + 2 * kv_heads) * dim;
    suite_case c = {.attributes.rope = {heads, kv_heads, dim, inverse}};
    double *x = suite_in(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(rows, length, row));
    suite_in(s, &c, 1, ZRT_INT32, 0.0, 2, SUITE_DIMS(rows, length));
    random_ids(s, &c.in[1], (int)n_positions);
    double *table = suite_in(s, &c, 2, ZRT_FLOAT32, 1.0, 2, SUITE_DIMS(n_positions, dim));
    suite_out(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(rows, length, row));
    if (in_place)
        suite_alias(&c, 0, 0);
    bool ok = suite_run(s, &c, ZRT__KERNEL_rope);
    double *expected = malloc((size_t)(rows * length * row) * sizeof *expected);
    for (int64_t i = 0; i < rows * length * row; i++) {
        int64_t token = i / row, head = i % row / dim, d = i % row % dim, half = dim / 2;
        const double *entry = table + (int64_t)c.in[1].values[token] * dim;
        double cosine = entry[d % half], sine = entry[half + d % half] * (inverse ? -1.0 : 1.0);
        expected[i] = head >= heads + kv_heads ? x[i]
                      : d < half               ? x[i] * cosine - x[i + half] * sine
                                               : x[i] * cosine + x[i - half] * sine;
    }
    ok = suite_near(c.out[0].values, expected, rows * length * row, suite_tolerance(dtype), "rope") && ok;
    free(expected);
    suite_free(&c);
    return ok;
}

/* in[0] logits: out[i] the loss of row i */
static void losses(const suite_case *c, double *const *in, double *out)
{
    int64_t width = c->in[0].view.dims[1];
    for (int64_t row = 0; row < c->in[0].view.dims[0]; row++) {
        const double *x = in[0] + row * width;
        int label = (int)c->in[1].values[row];
        double most = x[0], sum = 0.0;
        for (int64_t k = 1; k < width; k++)
            most = x[k] > most ? x[k] : most;
        for (int64_t k = 0; k < width; k++)
            sum += exp(x[k] - most);
        out[row] = label < 0 ? 0.0 : most + log(sum) - x[label];
    }
}

static bool one_cross_entropy(suite *s, zrt_dtype dtype, int64_t n, int64_t width, bool option)
{
    suite_case c = {0};
    double *expected = calloc((size_t)n + 1, sizeof *expected), *one = calloc((size_t)n + 1, sizeof *one), scale = 0.37;
    suite_in(s, &c, 0, dtype, 5.0, 2, SUITE_DIMS(n, width));
    suite_in(s, &c, 1, ZRT_INT32, 0.0, 1, &n);
    random_ids(s, &c.in[1], (int)width);
    for (int64_t i = 1; i < n; i += 3)
        ((int32_t *)c.in[1].view.data)[i] = (int32_t)(c.in[1].values[i] = -100);
    double *sums = suite_out(s, &c, 0, ZRT_FLOAT64, 3.0, 1, SUITE_DIMS(2)), sums_before[2] = {sums[0], sums[1]},
           want[2] = {option ? sums[0] : 0.0, option ? sums[1] : 0.0};
    suite_out(s, &c, 1, ZRT_FLOAT32, 1.0, 1, &n);
    c.accumulate = option;
    bool ok = suite_run(s, &c, ZRT__KERNEL_cross_entropy_forward);
    double *in[1] = {c.in[0].values};
    losses(&c, in, expected);
    for (int64_t i = 0; i < n; i++) {
        want[0] += expected[i];
        want[1] += c.in[1].values[i] >= 0.0;
        if (c.in[1].values[i] < 0.0)
            continue;
        double lse = expected[i] + in[0][i * width + (int64_t)c.in[1].values[i]];
        if (!(fabs(c.out[1].values[i] - lse) < 2e-6)) {
            tap_diag("lse of row %lld is %.9g, not %.9g", (long long)i, c.out[1].values[i], lse);
            ok = false;
        }
    }
    ok = fabs(c.out[0].values[0] - want[0]) <= 1e-6 * fabs(want[0]) && c.out[0].values[1] == want[1] && ok;
    if (!ok)
        tap_diag("sums %.12g %g, not %.12g %g", c.out[0].values[0], c.out[0].values[1], want[0], want[1]);

    suite_case b = {0};
    suite_in(s, &b, 0, dtype, 0.0, 2, SUITE_DIMS(n, width));
    suite_set(&b.in[0], c.in[0].values);
    suite_in(s, &b, 1, ZRT_INT32, 0.0, 1, &n);
    suite_set(&b.in[1], c.in[1].values);
    suite_in(s, &b, 2, ZRT_FLOAT32, 0.0, 1, &n);
    suite_set(&b.in[2], c.out[1].values);
    suite_in(s, &b, 3, ZRT_FLOAT32, 0.0, 1, SUITE_DIMS(1));
    suite_set(&b.in[3], &scale);
    suite_out(s, &b, 0, dtype, 1.0, 2, SUITE_DIMS(n, width));
    if (option)
        suite_alias(&b, 0, 0);
    ok = suite_run(s, &b, ZRT__KERNEL_cross_entropy_backward) && ok;
    for (int64_t i = 0; i < n; i++)
        one[i] = b.in[3].values[0];
    in[0] = b.in[0].values;
    ok = suite_gradient(s, &b, losses, in, 0, n * width, one, n, b.out[0].values, NULL, suite_tolerance(dtype),
                        "dlogits") &&
         ok;

    /* Both at once: the same sums, and the same gradient to the bit but for the rounding of lse. */
    suite_case f = {0};
    suite_in(s, &f, 0, dtype, 0.0, 2, SUITE_DIMS(n, width));
    suite_set(&f.in[0], c.in[0].values);
    suite_in(s, &f, 1, ZRT_INT32, 0.0, 1, &n);
    suite_set(&f.in[1], c.in[1].values);
    suite_in(s, &f, 2, ZRT_FLOAT32, 0.0, 1, SUITE_DIMS(1));
    suite_set(&f.in[2], &scale);
    double *both = suite_out(s, &f, 0, ZRT_FLOAT64, 3.0, 1, SUITE_DIMS(2)),
           wanted[2] = {want[0] - (option ? sums_before[0] : 0.0) + (option ? both[0] : 0.0),
                        want[1] - (option ? sums_before[1] : 0.0) + (option ? both[1] : 0.0)};
    suite_out(s, &f, 1, dtype, 1.0, 2, SUITE_DIMS(n, width));
    if (option)
        suite_alias(&f, 1, 0);
    f.accumulate = option;
    ok = suite_run(s, &f, ZRT__KERNEL_cross_entropy) && ok;
    if (fabs(f.out[0].values[0] - wanted[0]) > 1e-6 * fabs(wanted[0]) || fabs(f.out[0].values[1] - wanted[1]) > 1e-9) {
        tap_diag("both at once: sums %.12g %g, not %.12g %g", f.out[0].values[0], f.out[0].values[1], wanted[0],
                 wanted[1]);
        ok = false;
    }
    ok = suite_near(f.out[1].values, b.out[0].values, n * width, suite_tolerance(dtype), "both at once") && ok;
    suite_free(&f);
    suite_free(&b);
    suite_free(&c);
    free(expected);
    free(one);
    return ok;
}

/* A label that is none makes the loss no number; an infinite logit too. */
static bool wrong_label(suite *s)
{
    const int64_t n = 3, width = 40;
    suite_case c = {0};
    suite_in(s, &c, 0, ZRT_FLOAT32, 1.0, 2, SUITE_DIMS(n, width));
    suite_in(s, &c, 1, ZRT_INT32, 0.0, 1, &n);
    ((int32_t *)c.in[1].view.data)[1] = 40;
    suite_out(s, &c, 0, ZRT_FLOAT64, 0.0, 1, SUITE_DIMS(2));
    suite_out(s, &c, 1, ZRT_FLOAT32, 0.0, 1, &n);
    bool ok = suite_run(s, &c, ZRT__KERNEL_cross_entropy_forward) && !isfinite(c.out[0].values[0]) &&
              c.out[0].values[1] == 3.0;
    ((int32_t *)c.in[1].view.data)[1] = 4;
    ((float *)c.in[0].view.data)[50] = INFINITY;
    ok = suite_run(s, &c, ZRT__KERNEL_cross_entropy_forward) && !isfinite(c.out[0].values[0]) && ok;
    suite_free(&c);
    return ok;
}

static bool last_position(suite *s, zrt_dtype dtype, int64_t rows, int64_t length, int64_t width)
{
    suite_case c = {.attributes.last.index = length / 2};
    double *x = suite_in(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(rows, length, width));
    suite_out(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(rows, 1, width));
    bool ok = suite_run(s, &c, ZRT__KERNEL_last_position_forward);
    for (int64_t i = 0; i < rows * width; i++)
        ok = c.out[0].values[i] == x[(i / width * length + length / 2) * width + i % width] && ok;
    suite_free(&c);
    c.attributes.last.index = length / 2;
    double *dy = suite_in(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(rows, 1, width));
    suite_out(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(rows, length, width));
    ok = suite_run(s, &c, ZRT__KERNEL_last_position_backward) && ok;
    for (int64_t i = 0; i < rows * length * width; i++)
        ok = c.out[0].values[i] ==
                 (i / width % length == length / 2 ? dy[i / width / length * width + i % width] : 0.0) &&
             ok;
    suite_free(&c);
    return ok;
}

void suite_tables(suite *s)
{
    for (int t = 0; t < 3; t++) {
        zrt_dtype dtype = suite_dtypes[t];
        const char *name = zrt_dtype_name(dtype);
        bool ok = true;
        for (int option = 0; option < 2; option++) {
            for (int wide = 0; wide < 2; wide++) {
                zrt_dtype table = wide ? ZRT_FLOAT32 : dtype;
                ok = one_embedding(s, dtype, table, 0, 3, 4, option) &&
                     one_embedding(s, dtype, table, 1, 1, 1, option) && ok;
                ok = one_embedding(s, dtype, table, 200, 7, 33, option) &&
                     one_embedding(s, dtype, table, 150, 40, 600, option) && ok;
            }
        }
        tap_ok(ok, "embedding, %s", name);
        ok = true;
        for (int option = 0; option < 4; option++)
            ok = one_rope(s, dtype, 2, 1, 8, option & 1, option & 2) &&
                 one_rope(s, dtype, 3, 3, 34, option & 1, option & 2) &&
                 one_rope(s, dtype, 1, 1, 2, option & 1, option & 2) && ok;
        tap_ok(ok, "rope, %s", name);
        ok = true;
        for (int option = 0; option < 2; option++)
            ok = one_cross_entropy(s, dtype, 0, 5, option) && one_cross_entropy(s, dtype, 1, 1, option) &&
                 one_cross_entropy(s, dtype, 4, 17, option) && one_cross_entropy(s, dtype, 300, 131, option) &&
                 one_cross_entropy(s, dtype, 5, 5003, option) && ok;
        tap_ok(ok, "cross entropy, %s", name);
        tap_ok(last_position(s, dtype, 3, 5, 7) && last_position(s, dtype, 0, 2, 3), "last position, %s", name);
    }
    tap_ok(wrong_label(s), "cross entropy: what is no label makes the loss no number");
}
