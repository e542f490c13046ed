/* Attention forward, by tiles of keys with a running softmax. */
#include "config.h"

#ifndef ZRT__ISA

#include "device/cpu/cpu_attention.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__SELF "device/cpu/cpu_attention.c"

#include "device/cpu/cpu_isa.h"

zrt_status zrt__cpu_attention_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct zrt__attend a;
    ZRT_TRY(zrt__attend_make(call, &call->in[0], &a));
    zrt__attend_options(&a, &call->in[1]);
    zrt__cpu_parallel(stream, a.n_rows * a.n_heads * a.n_blocks, 1, ZRT__PICK(attend), &a);
    return ZRT_OK;
}

/* Puts the keys and values of the new tokens where the cache keeps them; rows are of B x S. */
static void remember(void *arg, int64_t begin, int64_t end)
{
    const struct zrt__attend *a = arg;
    const zrt_view *qkv = &a->call->in[0];
    size_t bytes = zrt_dtype_bytes(qkv->dtype), width = (size_t)(a->n_kv_heads * a->head_dim) * bytes;
    for (int64_t row = begin; row < end; row++) {
        const char *key =
            (const char *)qkv->data + (size_t)(row * a->query_stride + (int64_t)a->n_heads * a->head_dim) * bytes;
        size_t to = (size_t)(row / a->n_queries * a->call->out[1].dims[1] + a->positions[row]) * width;
        memcpy((char *)a->keys.data + to, key, width);
        memcpy((char *)a->values.data + to, key + width, width);
    }
}

zrt_status zrt__cpu_attention_cached(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = arg;
    struct zrt__attend a;
    ZRT_TRY(zrt__attend_make(call, &call->in[0], &a));
    a.keys = call->out[1];
    a.values = call->out[2];
    a.positions = call->in[1].data;
    a.causal = true;
    a.n_keys = call->out[1].dims[1];
    a.key_stride = (int64_t)a.n_kv_heads * a.head_dim;
    a.key_row_stride = a.n_keys * a.key_stride;
    int64_t n_tokens = a.n_rows * a.n_queries;
    for (int64_t i = 0; i < n_tokens; i++)
        if (a.positions[i] < 0 || a.positions[i] >= a.n_keys)
            return zrt__fail(ZRT_ERR_INPUT, "generation: position %ld is outside the cache of %lld tokens",
                             (long)a.positions[i], (long long)a.n_keys);
    zrt__cpu_parallel(stream, n_tokens, 64, remember, &a);
    if (a.n_queries == 1)
        zrt__cpu_parallel(stream, a.n_rows * a.n_heads, 1, ZRT__PICK(attend_one), &a);
    else
        zrt__cpu_parallel(stream, a.n_rows * a.n_heads * a.n_blocks, 1, ZRT__PICK(attend), &a);
    return ZRT_OK;
}

#else

#include "device/cpu/cpu_attention_tile.h"

struct ZRT__EACH(scratch) {
    float queries[ZRT__HEAD_DIM_MAX * ZRT__QUERIES], result[ZRT__HEAD_DIM_MAX * ZRT__QUERIES];
    float rows[ZRT__QUERIES * ZRT__HEAD_DIM_MAX];
    float scores[ZRT__KEYS * ZRT__QUERIES], factors[ZRT__KEYS * ZRT__QUERIES];
    float keys[ZRT__KEYS * ZRT__HEAD_DIM_MAX]; /* then the values */
    float most[ZRT__QUERIES], total[ZRT__QUERIES];
};

/* Turns scores into exp(score - largest so far); brings totals and results to the new largest. */
static inline void ZRT__EACH(soften)(int n, int head_dim, bool first, float *scores, struct ZRT__EACH(scratch) * s)
{
    for (int v = 0; v < QV; v++) {
        float *p = scores + v * VW;
        vf old = v_load(s->most + v * VW), most = old, total = v_all(0.0f);
        for (int key = 0; key < n; key++)
            most = v_max(v_load(p + key * ZRT__QUERIES), most);
        /* a query that has seen nothing yet: -inf - -inf is no number */
        vf base = v_select(most == -INFINITY, v_all(0.0f), most);
        for (int key = 0; key < n; key++) {
            vf e = v_exp(v_load(p + key * ZRT__QUERIES) - base);
            v_store(p + key * ZRT__QUERIES, e);
            total += e;
        }
        vf shrink = v_exp(old - base);
        v_store(s->most + v * VW, most);
        v_store(s->total + v * VW, v_fma(v_load(s->total + v * VW), shrink, total));
        for (int d = 0; d < head_dim && !first; d++) {
            float *r = s->result + d * ZRT__QUERIES + v * VW;
            v_store(r, v_load(r) * shrink);
        }
    }
}

static void ZRT__EACH(attend)(void *arg, int64_t begin, int64_t end)
{
    const struct zrt__attend *a = arg;
    const zrt_view *o = &a->call->out[0];
    struct ZRT__EACH(scratch) s;
    size_t padded = (size_t)a->padded;
    int64_t o_stride = (int64_t)a->n_heads * a->head_dim;
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item / (a->n_heads * a->n_blocks);
        struct zrt__query_tile t = zrt__attend_tile(a, row, item / a->n_blocks % a->n_heads, item % a->n_blocks);
        ZRT__EACH(take_queries)(a, &t, &a->call->in[0], a->query_stride, a->scale, s.rows, s.queries);
        memset(s.result, 0, (size_t)a->head_dim * ZRT__QUERIES * sizeof *s.result);
        for (int q = 0; q < ZRT__QUERIES; q++) {
            s.most[q] = -INFINITY;
            s.total[q] = 0.0f;
        }
        for (int64_t first = 0; first < t.key_end; first += ZRT__KEYS) {
            int n = t.key_end - first < ZRT__KEYS ? (int)(t.key_end - first) : ZRT__KEYS;
            ZRT__EACH(take_keys)(a, &a->keys, &t, first, n, s.keys);
            ZRT__EACH(product)
            (n, ZRT__QUERIES, a->head_dim, s.keys, padded, s.queries, ZRT__QUERIES, s.scores, ZRT__QUERIES, false);
            ZRT__EACH(mask)(a, &t, first, n, s.scores);
            ZRT__EACH(soften)(n, a->head_dim, first == 0, s.scores, &s);
            if (a->drops) {
                ZRT__EACH(draw_tile)(a, &t, first, n, s.factors);
                for (int i = 0; i < n * ZRT__QUERIES; i += VW)
                    v_store(s.scores + i, v_load(s.scores + i) * v_load(s.factors + i));
            }
            ZRT__EACH(take_keys)(a, &a->values, &t, first, n, s.keys);
            ZRT__EACH(product_transposed)(a->head_dim, n, s.keys, padded, s.scores, s.result);
        }
        for (int v = 0; v < QV; v++) {
            vf total = v_load(s.total + v * VW);
            vf inverse = v_select(total == 0.0f, v_all(0.0f), 1.0f / total);
            for (int d = 0; d < a->head_dim; d++) {
                float *r = s.result + d * ZRT__QUERIES + v * VW;
                v_store(r, v_load(r) * inverse);
            }
        }
        ZRT__EACH(transpose)(s.result, ZRT__QUERIES, a->head_dim, ZRT__QUERIES, 1.0f, s.rows, padded);
        ZRT__EACH(put_rows)
        (o, (row * a->n_queries + t.first) * o_stride + t.head * a->head_dim, o_stride, t.n, a->head_dim, a->padded,
         s.rows);
        if (a->positions == NULL) {
            float *lse = (float *)a->call->out[1].data + (row * a->n_heads + t.head) * a->n_queries + t.first;
            for (int q = 0; q < t.n; q++)
                lse[q] = s.most[q] + logf(s.total[q]);
        }
    }
}

/* One query a row: what a step of generation is. The elements of a head are the lanes. */
static void ZRT__EACH(attend_one)(void *arg, int64_t begin, int64_t end)
{
    const struct zrt__attend *a = arg;
    struct ZRT__EACH(scratch) s;
    int padded = a->padded;
    for (int64_t item = begin; item < end; item++) {
        struct zrt__query_tile t = zrt__attend_tile(a, item / a->n_heads, item % a->n_heads, 0);
        float *query = s.rows, *result = s.result, most = -INFINITY, total = 0.0f;
        ZRT__EACH(take_rows)
        (&a->call->in[0], t.row * a->query_stride + t.head * a->head_dim, 0, 1, a->head_dim, padded, query);
        memset(result, 0, (size_t)padded * sizeof *result);
        for (int64_t first = 0; first < t.key_end; first += ZRT__KEYS) {
            int n = t.key_end - first < ZRT__KEYS ? (int)(t.key_end - first) : ZRT__KEYS;
            float before = most;
            ZRT__EACH(take_keys)(a, &a->keys, &t, first, n, s.keys);
            for (int key = 0; key < n; key++) {
                vf sums[16 / VW] = {{0}};
                float lanes[16];
                for (int d = 0; d < padded; d += 16)
                    for (int u = 0; u < 16 / VW; u++)
                        sums[u] =
                            v_fma(v_load(query + d + u * VW), v_load(s.keys + key * padded + d + u * VW), sums[u]);
                memcpy(lanes, sums, sizeof lanes);
                for (int half = 8; half > 0; half /= 2)
                    for (int k = 0; k < half; k++)
                        lanes[k] += lanes[k + half];
                s.scores[key] = lanes[0] * a->scale;
                most = s.scores[key] > most ? s.scores[key] : most;
            }
            float shrink = expf(before - most);
            total *= shrink;
            for (int key = 0; key < n; key++) {
                s.scores[key] = expf(s.scores[key] - most);
                total += s.scores[key];
            }
            ZRT__EACH(take_keys)(a, &a->values, &t, first, n, s.keys);
            for (int d = 0; d < padded; d += VW) {
                vf sum = v_load(result + d) * shrink;
                for (int key = 0; key < n; key++)
                    sum = v_fma(v_all(s.scores[key]), v_load(s.keys + key * padded + d), sum);
                v_store(result + d, sum);
            }
        }
        for (int d = 0; d < padded; d++)
            result[d] /= total;
        ZRT__EACH(put_rows)
        (&a->call->out[0], (t.row * a->n_heads + t.head) * a->head_dim, 0, 1, a->head_dim, padded, result);
    }
}

#endif
