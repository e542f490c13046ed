/* Gradient of attention: probabilities are computed again from the scores and their logarithmic sum. */
#include "config.h"

#ifndef ZRT__ISA

#include "device/cpu/cpu_attention.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_attention_backward.c"

#include "device/cpu/cpu_isa.h"

zrt_status zrt__cpu_attention_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct zrt__attend a;
    ZRT_TRY(zrt__attend_make(call, &call->in[1], &a));
    zrt__attend_options(&a, &call->in[4]);
    if (call->out[0].dtype == ZRT_FLOAT32 && a.padded == a.head_dim) {
        /* key and value gradients add up where they belong, one task a key head */
        zrt__cpu_parallel(stream, a.n_rows * a.n_kv_heads, 1, ZRT__PICK(whole_heads), &a);
    } else {
        /* 16 bits hold no running sum: once by keys and once by queries, each with its sums in scratch */
        int64_t key_blocks = (a.n_keys + ZRT__KEYS - 1) / ZRT__KEYS;
        zrt__cpu_parallel(stream, a.n_rows * a.n_kv_heads * key_blocks, 1, ZRT__PICK(by_keys), &a);
        zrt__cpu_parallel(stream, a.n_rows * a.n_heads * a.n_blocks, 1, ZRT__PICK(by_queries), &a);
    }
    return ZRT_OK;
}

#else

#include "device/cpu/cpu_attention_tile.h"

struct ZRT__EACH(scratch) {
    float query_rows[ZRT__QUERIES * ZRT__HEAD_DIM_MAX], do_rows[ZRT__QUERIES * ZRT__HEAD_DIM_MAX];
    float queries[ZRT__HEAD_DIM_MAX * ZRT__QUERIES], dos[ZRT__HEAD_DIM_MAX * ZRT__QUERIES]; /* transposed */
    float d_queries[ZRT__HEAD_DIM_MAX * ZRT__QUERIES];                                      /* transposed */
    float keys[ZRT__KEYS * ZRT__HEAD_DIM_MAX], values[ZRT__KEYS * ZRT__HEAD_DIM_MAX];
    float p[ZRT__KEYS * ZRT__QUERIES], ds[ZRT__KEYS * ZRT__QUERIES], factors[ZRT__KEYS * ZRT__QUERIES];
    float lse[ZRT__QUERIES], delta[ZRT__QUERIES];
};

/* Queries, their output gradients, and delta = sum over d of dO O: sum over keys of P dP. */
static inline void ZRT__EACH(load_queries)(const struct zrt__attend *a, const struct zrt__query_tile *t,
                                           struct ZRT__EACH(scratch) * s)
{
    const zrt_view *d_o = &a->call->in[0], *o = &a->call->in[2];
    const float *lse = (const float *)a->call->in[3].data + (t->row * a->n_heads + t->head) * a->n_queries + t->first;
    int64_t o_stride = (int64_t)a->n_heads * a->head_dim;
    int64_t o_at = (t->row * a->n_queries + t->first) * o_stride + t->head * a->head_dim;
    float o_row[ZRT__HEAD_DIM_MAX];
    ZRT__EACH(take_queries)(a, t, &a->call->in[1], a->query_stride, a->scale, s->query_rows, s->queries);
    ZRT__EACH(take_queries)(a, t, d_o, o_stride, 1.0f, s->do_rows, s->dos);
    for (int q = 0; q < ZRT__QUERIES; q++) {
        /* a query that saw no key has lse -inf: its probabilities shall be 0 */
        s->lse[q] = q < t->n && lse[q] != -INFINITY ? lse[q] : INFINITY;
        s->delta[q] = 0.0f;
        if (q >= t->n)
            continue;
        float lanes[16] = {0};
        ZRT__EACH(take_rows)(o, o_at + q * o_stride, 0, 1, a->head_dim, a->padded, o_row);
        for (int d = 0; d < a->padded; d += 16)
            for (int u = 0; u < 16; u += VW)
                v_store(lanes + u,
                        v_fma(v_load(o_row + d + u), v_load(s->do_rows + q * a->padded + d + u), v_load(lanes + u)));
        for (int half = 8; half > 0; half /= 2)
            for (int k = 0; k < half; k++)
                lanes[k] += lanes[k + half];
        s->delta[q] = lanes[0];
    }
}

/* One tile of queries with one of keys: s->p (with dropout) and s->ds; adds to dk and dv (rows `d_row` apart) unless
 * they are NULL, and to s->d_queries if so asked. */
static void ZRT__EACH(pair)(const struct zrt__attend *a, const struct zrt__query_tile *t, int64_t first, int n,
                            bool to_queries, float *dk, float *dv, size_t d_row, struct ZRT__EACH(scratch) * s)
{
    size_t padded = (size_t)a->padded;
    ZRT__EACH(product)
    (n, ZRT__QUERIES, a->head_dim, s->keys, padded, s->queries, ZRT__QUERIES, s->p, ZRT__QUERIES, false);
    ZRT__EACH(mask)(a, t, first, n, s->p);
    ZRT__EACH(product)
    (n, ZRT__QUERIES, a->head_dim, s->values, padded, s->dos, ZRT__QUERIES, s->ds, ZRT__QUERIES, false);
    if (a->drops)
        ZRT__EACH(draw_tile)(a, t, first, n, s->factors);
    for (int v = 0; v < QV; v++) {
        vf lse = v_load(s->lse + v * VW), delta = v_load(s->delta + v * VW);
        for (int key = 0; key < n; key++) {
            size_t at = (size_t)(key * ZRT__QUERIES + v * VW);
            vf p = v_exp(v_load(s->p + at) - lse), dp = v_load(s->ds + at), kept = p;
            if (a->drops) {
                vf factor = v_load(s->factors + at);
                dp *= factor;
                kept *= factor;
            }
            v_store(s->p + at, kept);
            v_store(s->ds + at, p * (dp - delta) * a->scale);
        }
    }
    if (dk != NULL) {
        ZRT__EACH(product)(n, a->padded, t->n, s->p, ZRT__QUERIES, s->do_rows, padded, dv, d_row, true);
        ZRT__EACH(product)(n, a->padded, t->n, s->ds, ZRT__QUERIES, s->query_rows, padded, dk, d_row, true);
    }
    if (to_queries)
        ZRT__EACH(product_transposed)(a->head_dim, n, s->keys, padded, s->ds, s->d_queries);
}

static inline int ZRT__EACH(load_keys)(const struct zrt__attend *a, const struct zrt__query_tile *t, int64_t first,
                                       int64_t end, struct ZRT__EACH(scratch) * s)
{
    int n = end - first < ZRT__KEYS ? (int)(end - first) : ZRT__KEYS;
    ZRT__EACH(take_keys)(a, &a->keys, t, first, n, s->keys);
    ZRT__EACH(take_keys)(a, &a->values, t, first, n, s->values);
    return n;
}

static inline void ZRT__EACH(put_queries)(const struct zrt__attend *a, const struct zrt__query_tile *t,
                                          struct ZRT__EACH(scratch) * s)
{
    int64_t at = (t->row * a->n_queries + t->first) * a->query_stride + t->head * a->head_dim;
    ZRT__EACH(transpose)(s->d_queries, ZRT__QUERIES, a->head_dim, ZRT__QUERIES, 1.0f, s->query_rows, (size_t)a->padded);
    ZRT__EACH(put_rows)(&a->call->out[0], at, a->query_stride, t->n, a->head_dim, a->padded, s->query_rows);
}

/* Items are key heads of rows. */
static void ZRT__EACH(whole_heads)(void *arg, int64_t begin, int64_t end)
{
    const struct zrt__attend *a = arg;
    struct ZRT__EACH(scratch) s;
    size_t stride = (size_t)a->query_stride;
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item / a->n_kv_heads, kv_head = item % a->n_kv_heads;
        float *dk =
            (float *)a->call->out[0].data + row * a->n_queries * a->query_stride + (a->n_heads + kv_head) * a->head_dim;
        float *dv = dk + (size_t)a->n_kv_heads * (size_t)a->head_dim;
        for (int64_t key = 0; key < a->n_keys; key++) {
            memset(dk + (size_t)key * stride, 0, (size_t)a->head_dim * sizeof *dk);
            memset(dv + (size_t)key * stride, 0, (size_t)a->head_dim * sizeof *dv);
        }
        for (int64_t head = kv_head * a->group; head < (kv_head + 1) * a->group; head++) {
            for (int64_t block = 0; block < a->n_blocks; block++) {
                struct zrt__query_tile t = zrt__attend_tile(a, row, head, block);
                ZRT__EACH(load_queries)(a, &t, &s);
                memset(s.d_queries, 0, (size_t)a->head_dim * ZRT__QUERIES * sizeof *s.d_queries);
                for (int64_t first = 0; first < t.key_end; first += ZRT__KEYS) {
                    int n = ZRT__EACH(load_keys)(a, &t, first, t.key_end, &s);
                    ZRT__EACH(pair)
                    (a, &t, first, n, true, dk + (size_t)first * stride, dv + (size_t)first * stride, stride, &s);
                }
                ZRT__EACH(put_queries)(a, &t, &s);
            }
        }
    }
}

/* Items are tiles of keys, of key heads of rows. */
static void ZRT__EACH(by_keys)(void *arg, int64_t begin, int64_t end)
{
    const struct zrt__attend *a = arg;
    struct ZRT__EACH(scratch) s;
    float dk[ZRT__KEYS * ZRT__HEAD_DIM_MAX], dv[ZRT__KEYS * ZRT__HEAD_DIM_MAX];
    int64_t blocks = (a->n_keys + ZRT__KEYS - 1) / ZRT__KEYS;
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item / (a->n_kv_heads * blocks), kv_head = item / blocks % a->n_kv_heads,
                first = item % blocks * ZRT__KEYS;
        int n_rows = a->n_keys - first < ZRT__KEYS ? (int)(a->n_keys - first) : ZRT__KEYS;
        size_t sums = (size_t)(n_rows * a->padded) * sizeof *dk;
        memset(dk, 0, sums);
        memset(dv, 0, sums);
        for (int64_t head = kv_head * a->group; head < (kv_head + 1) * a->group; head++) {
            for (int64_t block = 0; block < a->n_blocks; block++) {
                struct zrt__query_tile t = zrt__attend_tile(a, row, head, block);
                if (t.key_end <= first)
                    continue;
                int n = ZRT__EACH(load_keys)(a, &t, first, t.key_end, &s);
                ZRT__EACH(load_queries)(a, &t, &s);
                ZRT__EACH(pair)(a, &t, first, n, false, dk, dv, (size_t)a->padded, &s);
            }
        }
        int64_t at = (row * a->n_queries + first) * a->query_stride + (a->n_heads + kv_head) * a->head_dim;
        ZRT__EACH(put_rows)(&a->call->out[0], at, a->query_stride, n_rows, a->head_dim, a->padded, dk);
        at += (int64_t)a->n_kv_heads * a->head_dim;
        ZRT__EACH(put_rows)(&a->call->out[0], at, a->query_stride, n_rows, a->head_dim, a->padded, dv);
    }
}

/* Items are tiles of queries, of heads of rows. */
static void ZRT__EACH(by_queries)(void *arg, int64_t begin, int64_t end)
{
    const struct zrt__attend *a = arg;
    struct ZRT__EACH(scratch) s;
    for (int64_t item = begin; item < end; item++) {
        struct zrt__query_tile t =
            zrt__attend_tile(a, item / (a->n_heads * a->n_blocks), item / a->n_blocks % a->n_heads, item % a->n_blocks);
        ZRT__EACH(load_queries)(a, &t, &s);
        memset(s.d_queries, 0, (size_t)a->head_dim * ZRT__QUERIES * sizeof *s.d_queries);
        for (int64_t first = 0; first < t.key_end; first += ZRT__KEYS) {
            int n = ZRT__EACH(load_keys)(a, &t, first, t.key_end, &s);
            ZRT__EACH(pair)(a, &t, first, n, true, NULL, NULL, 0, &s);
        }
        ZRT__EACH(put_queries)(a, &t, &s);
    }
}

#endif
