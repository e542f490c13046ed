/* Attention: forward, backward, dropout of probabilities, lengths, segments, the cache of generation. */
#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tap.h"

enum { HAS_LENGTHS = 1, HAS_SEGMENTS = 2, HAS_DROPOUT = 4, CAUSAL = 8 };

typedef struct shape {
    int64_t rows, length;
    int heads, kv_heads, dim, options;
} shape;

static double keep_factor(const suite_case *c, int64_t row, int64_t element)
{
    const zrt__step_state *state = c->in[7].view.data;
    float p = c->attributes.attention.dropout;
    uint64_t key = zrt__hash_mix(state->seed, (uint64_t)((const int64_t *)c->in[6].view.data)[row]);
    zrt__philox counter = {{(uint32_t)(element / 4), (uint32_t)((uint64_t)element / 4 >> 32),
                            c->attributes.attention.unit_index << 16 | c->attributes.attention.op_index,
                            (uint32_t)state->step}};
    zrt__philox bits = zrt__philox4x32(counter, (uint32_t)key, (uint32_t)(key >> 32));
    return zrt__uniform_from_bits(bits.x[element % 4]) >= p ? 1.0 / (1.0 - (double)p) : 0.0;
}

/* in[1] qkv of the operands of attention_backward; lse_out NULL: not wanted */
static void attend(const suite_case *c, double *const *in, double *out, double *lse_out)
{
    int heads = c->attributes.attention.n_heads, kv_heads = c->attributes.attention.n_kv_heads,
        dim = c->attributes.attention.head_dim;
    int64_t rows = c->in[1].view.dims[0], length = c->in[1].view.dims[1], width = (int64_t)(heads + 2 * kv_heads) * dim;
    const int32_t *lengths = c->in[4].view.data, *segments = c->in[5].view.data;
    double *p = malloc(((size_t)length + 1) * sizeof *p);
    for (int64_t item = 0; item < rows * heads * length; item++) {
        int64_t row = item / (heads * length), head = item / length % heads, q = item % length,
                kv_head = head / (heads / kv_heads);
        const double *base = in[1] + row * length * width, *query = base + q * width + head * dim;
        double most = -INFINITY, sum = 0.0, *result = out + (row * length + q) * heads * dim + head * dim;
        for (int64_t k = 0; k < length; k++) {
            bool seen = !(c->attributes.attention.causal && k > q) && !(lengths != NULL && k >= lengths[row]) &&
                        !(segments != NULL && segments[row * length + k] != segments[row * length + q]);
            const double *key = base + k * width + (heads + kv_head) * dim;
            p[k] = 0.0;
            for (int d = 0; d < dim; d++)
                p[k] += query[d] * key[d];
            p[k] = seen ? p[k] * (double)c->attributes.attention.scale : -INFINITY;
            most = p[k] > most ? p[k] : most;
        }
        for (int64_t k = 0; k < length; k++) {
            p[k] = most == -INFINITY ? 0.0 : exp(p[k] - most);
            sum += p[k];
        }
        if (lse_out != NULL)
            lse_out[item] = most + log(sum);
        for (int d = 0; d < dim; d++)
            result[d] = 0.0;
        for (int64_t k = 0; k < length && sum > 0.0; k++) {
            double factor = p[k] / sum;
            if (c->in[7].view.data != NULL && factor > 0.0)
                factor *= keep_factor(c, row, (head * length + q) * length + k);
            for (int d = 0; d < dim && factor > 0.0; d++)
                result[d] += factor * base[k * width + (heads + kv_heads + kv_head) * dim + d];
        }
    }
    free(p);
}

static void function(const suite_case *c, double *const *in, double *out)
{
    attend(c, in, out, NULL);
}

static void options_of(suite *s, suite_case *c, const shape *f, int first)
{
    zrt__step_state state = {.seed = 77, .step = 5};
    if (f->options & HAS_LENGTHS) {
        suite_in(s, c, first, ZRT_INT32, 0.0, 1, &f->rows);
        /* not of few keys: their gradients are differences of near equals, with nothing larger to scale by */
        for (int64_t i = 0; i < f->rows; i++)
            ((int32_t *)c->in[first].view.data)[i] =
                i == 0 ? 0 : (int32_t)f->length / 2 + suite_below(s, (int)f->length / 2 + 1);
    }
    if (f->options & HAS_SEGMENTS) {
        suite_in(s, c, first + 1, ZRT_INT32, 0.0, 2, SUITE_DIMS(f->rows, f->length));
        for (int64_t i = 0; i < f->rows * f->length; i++)
            ((int32_t *)c->in[first + 1].view.data)[i] = (int32_t)(i % f->length * 3 / f->length);
    }
    if (f->options & HAS_DROPOUT) {
        suite_in(s, c, first + 2, ZRT_INT64, 0.0, 1, &f->rows);
        for (int64_t i = 0; i < f->rows; i++)
            ((int64_t *)c->in[first + 2].view.data)[i] = 1000 + 7 * i;
        suite_state(&c->in[first + 3], &state, sizeof state);
    }
}

static void attributes(suite_case *c, const shape *f)
{
    c->attributes.attention.n_heads = f->heads;
    c->attributes.attention.n_kv_heads = f->kv_heads;
    c->attributes.attention.head_dim = f->dim;
    c->attributes.attention.causal = f->options & CAUSAL;
    c->attributes.attention.scale = (float)(1.3 / sqrt(f->dim));
    c->attributes.attention.dropout = f->options & HAS_DROPOUT ? 0.25f : 0.0f;
    c->attributes.attention.unit_index = 3;
    c->attributes.attention.op_index = 9;
}

static bool one(suite *s, zrt_dtype dtype, const shape *f)
{
    int64_t width = (int64_t)(f->heads + 2 * f->kv_heads) * f->dim, n = f->rows * f->length * width;
    int64_t n_out = f->rows * f->length * f->heads * f->dim, n_lse = f->rows * f->heads * f->length;
    double *expected = calloc((size_t)n_out + 1, sizeof *expected), *lse = calloc((size_t)n_lse + 1, sizeof *lse);
    suite_case c = {0}, b = {0};
    double tolerance = suite_tolerance(dtype);

    /* backward's operands first: the reference reads them */
    attributes(&b, f);
    double *d_o = suite_in(s, &b, 0, dtype, 1.0, 3, SUITE_DIMS(f->rows, f->length, (int64_t)f->heads * f->dim));
    double *qkv = suite_in(s, &b, 1, dtype, 2.0, 3, SUITE_DIMS(f->rows, f->length, width)), *in[2] = {d_o, qkv};
    options_of(s, &b, f, 4);
    attend(&b, in, expected, lse);

    attributes(&c, f);
    suite_in(s, &c, 0, dtype, 0.0, 3, SUITE_DIMS(f->rows, f->length, width));
    suite_set(&c.in[0], qkv);
    options_of(s, &c, f, 1);
    for (int i = 0; i < 4; i++) /* lengths are drawn */
        if (b.in[4 + i].view.data != NULL)
            memcpy(c.in[1 + i].view.data, b.in[4 + i].view.data,
                   (size_t)b.in[4 + i].n * zrt_dtype_bytes(b.in[4 + i].view.dtype));
    suite_out(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(f->rows, f->length, (int64_t)f->heads * f->dim));
    suite_out(s, &c, 1, ZRT_FLOAT32, 1.0, 3, SUITE_DIMS(f->rows, f->heads, f->length));
    bool ok = suite_run(s, &c, ZRT__KERNEL_attention_forward);
    ok = suite_near(c.out[0].values, expected, n_out, tolerance, "o") && ok;
    for (int64_t i = 0; i < n_lse; i++)
        ok = (lse[i] == -INFINITY || fabs(c.out[1].values[i] - lse[i]) < 4e-6) && ok;

    suite_in(s, &b, 2, dtype, 0.0, 3, SUITE_DIMS(f->rows, f->length, (int64_t)f->heads * f->dim));
    suite_set(&b.in[2], c.out[0].values);
    suite_in(s, &b, 3, ZRT_FLOAT32, 0.0, 3, SUITE_DIMS(f->rows, f->heads, f->length));
    suite_set(&b.in[3], c.out[1].values);
    suite_out(s, &b, 0, dtype, 1.0, 3, SUITE_DIMS(f->rows, f->length, width));
    ok = suite_run(s, &b, ZRT__KERNEL_attention_backward) && ok;
    /* delta is taken from the rounded output: three roundings reach a gradient */
    ok = suite_gradient(s, &b, function, in, 1, n, d_o, n_out, b.out[0].values, NULL, 3.0 * tolerance, "dqkv") && ok;
    if (!ok)
        tap_diag("rows %d length %d heads %d/%d dim %d options %d", (int)f->rows, (int)f->length, f->heads, f->kv_heads,
                 f->dim, f->options);
    suite_free(&c);
    suite_free(&b);
    free(expected);
    free(lse);
    return ok;
}

/* A prompt, then token by token: the same as all at once. */
static bool cached(suite *s, zrt_dtype dtype, int64_t rows, int64_t prompt, int64_t length, int heads, int kv_heads,
                   int dim)
{
    shape f = {rows, length, heads, kv_heads, dim, CAUSAL};
    int64_t width = (int64_t)(heads + 2 * kv_heads) * dim, places = length + 5, out_width = (int64_t)heads * dim;
    suite_case all = {0}, c = {0};
    double *expected = calloc((size_t)(rows * length * out_width) + 1, sizeof *expected), *in[2] = {NULL, NULL};
    attributes(&all, &f);
    in[1] = suite_in(s, &all, 1, dtype, 2.0, 3, SUITE_DIMS(rows, length, width));
    attend(&all, in, expected, NULL);
    double *keys = calloc((size_t)(rows * places * kv_heads * dim) + 1, sizeof *keys),
           *values = calloc((size_t)(rows * places * kv_heads * dim) + 1, sizeof *values);
    bool ok = true;
    for (int64_t first = 0, n = prompt; first < length; first += n, n = 1) {
        double *part = calloc((size_t)(rows * n * width), sizeof *part),
               *want = calloc((size_t)(rows * n * out_width), sizeof *want);
        for (int64_t i = 0; i < rows * n * width; i++)
            part[i] = in[1][(i / width / n * length + first + i / width % n) * width + i % width];
        for (int64_t i = 0; i < rows * n * out_width; i++)
            want[i] = expected[(i / out_width / n * length + first + i / out_width % n) * out_width + i % out_width];
        attributes(&c, &f);
        suite_in(s, &c, 0, dtype, 0.0, 3, SUITE_DIMS(rows, n, width));
        suite_set(&c.in[0], part);
        suite_in(s, &c, 1, ZRT_INT32, 0.0, 2, SUITE_DIMS(rows, n));
        for (int64_t i = 0; i < rows * n; i++)
            ((int32_t *)c.in[1].view.data)[i] = (int32_t)(first + i % n);
        suite_out(s, &c, 0, dtype, 1.0, 3, SUITE_DIMS(rows, n, out_width));
        suite_out(s, &c, 1, dtype, 0.0, 4, SUITE_DIMS(rows, places, kv_heads, dim));
        suite_out(s, &c, 2, dtype, 0.0, 4, SUITE_DIMS(rows, places, kv_heads, dim));
        suite_set(&c.out[1], keys);
        suite_set(&c.out[2], values);
        ok = suite_run(s, &c, ZRT__KERNEL_attention_cached) && ok;
        ok = suite_near(c.out[0].values, want, rows * n * out_width, suite_tolerance(dtype), "cached") && ok;
        memcpy(keys, c.out[1].values, (size_t)c.out[1].n * sizeof *keys);
        memcpy(values, c.out[2].values, (size_t)c.out[2].n * sizeof *values);
        suite_free(&c);
        free(part);
        free(want);
    }
    suite_free(&all);
    free(expected);
    free(keys);
    free(values);
    return ok;
}

void suite_attention(suite *s)
{
    static const shape shapes[] = {
        {0, 4, 1, 1, 8, CAUSAL},    {1, 1, 1, 1, 1, 0},    {2, 5, 2, 1, 8, 0},         {1, 33, 2, 2, 16, CAUSAL},
        {2, 70, 4, 2, 16, CAUSAL},  {1, 131, 2, 1, 32, 0}, {1, 100, 1, 1, 64, CAUSAL}, {2, 40, 3, 1, 20, CAUSAL},
        {1, 65, 2, 2, 128, CAUSAL}, {1, 9, 1, 1, 256, 0},
    };
    for (int t = 0; t < 3; t++) {
        const char *name = zrt_dtype_name(suite_dtypes[t]);
        bool ok = true;
        for (int i = 0; i < (int)(sizeof shapes / sizeof shapes[0]); i++)
            ok = one(s, suite_dtypes[t], &shapes[i]) && ok;
        tap_ok(ok, "attention, %s", name);
        for (int option = 1; option < 8; option++) {
            shape small = {3, 37, 2, 1, 16, option | CAUSAL}, large = {2, 75, 2, 2, 10, option};
            ok = one(s, suite_dtypes[t], &small) && one(s, suite_dtypes[t], &large);
            tap_ok(ok, "attention with%s%s%s, %s", option & HAS_LENGTHS ? " lengths" : "",
                   option & HAS_SEGMENTS ? " segments" : "", option & HAS_DROPOUT ? " dropout" : "", name);
        }
        ok = cached(s, suite_dtypes[t], 2, 1, 7, 2, 1, 8) && cached(s, suite_dtypes[t], 1, 70, 75, 4, 2, 20) &&
             cached(s, suite_dtypes[t], 2, 3, 140, 2, 2, 64);
        tap_ok(ok, "attention with a cache, %s", name);
    }
}
