/* What the attention kernels share: where heads lie, and which keys a query sees. */
#ifndef ZRT_DEVICE_CPU_CPU_ATTENTION_H
#define ZRT_DEVICE_CPU_CPU_ATTENTION_H

#include "base/error.h"
#include "base/random.h"
#include "device/cpu/cpu_draw.h"
#include "device/kernels.h"

#define ZRT__QUERIES 32 /* of a tile: they are the lanes, so that the softmax needs no sums across lanes */
#define ZRT__KEYS 64    /* of a tile */
#define ZRT__HEAD_DIM_MAX 256

struct zrt__attend {
    const zrt__call *call;
    int n_heads, n_kv_heads, group, head_dim, padded; /* padded: head_dim rounded up to 16 */
    int64_t n_rows, n_queries, n_keys, n_blocks; /* rows of the batch; queries and keys of a row; tiles of queries */
    bool causal;
    float scale;
    zrt_view keys,
        values; /* as stored; element (row, key, head, d) at row * row_stride + key * stride + (head * head_dim + d) */
    int64_t key_stride, key_row_stride;
    int64_t query_stride; /* of qkv */
    const int32_t *lengths, *segments,
        *positions; /* NULL when absent; positions [B, S]: of the queries (with a cache) */
    const int64_t *samples;
    bool drops;
    struct zrt__cpu_draw draw;
    uint64_t seed;
    float kept;
};

/* One tile of queries of a head. */
struct zrt__query_tile {
    int64_t row, head, first; /* first query */
    int n;
    int64_t offset;  /* position of query 0 among the keys */
    int64_t key_end; /* no query of the tile sees a key at or beyond it */
    uint64_t key;    /* of the dropout */
    int32_t segments[ZRT__QUERIES];
};

static inline zrt_status zrt__attend_make(const zrt__call *call, const zrt_view *qkv, struct zrt__attend *a)
{
    int d = call->attributes.attention.head_dim;
    *a = (struct zrt__attend){.call = call,
                              .n_heads = call->attributes.attention.n_heads,
                              .n_kv_heads = call->attributes.attention.n_kv_heads,
                              .head_dim = d,
                              .padded = (d + 15) / 16 * 16,
                              .n_rows = qkv->dims[0],
                              .n_queries = qkv->dims[1],
                              .n_keys = qkv->dims[1],
                              .causal = call->attributes.attention.causal,
                              .scale = call->attributes.attention.scale,
                              .keys = *qkv,
                              .values = *qkv};
    if (d < 1 || d > ZRT__HEAD_DIM_MAX)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "attention: head_dim %d; from 1 to %d is supported", d,
                         ZRT__HEAD_DIM_MAX);
    size_t bytes = zrt_dtype_bytes(qkv->dtype);
    a->group = a->n_heads / a->n_kv_heads;
    a->n_blocks = (a->n_queries + ZRT__QUERIES - 1) / ZRT__QUERIES;
    a->query_stride = a->key_stride = (int64_t)(a->n_heads + 2 * a->n_kv_heads) * d;
    a->key_row_stride = a->n_keys * a->key_stride;
    if (qkv->data != NULL) {
        a->keys.data = (char *)qkv->data + (size_t)(a->n_heads * d) * bytes;
        a->values.data = (char *)qkv->data + (size_t)((a->n_heads + a->n_kv_heads) * d) * bytes;
    }
    return ZRT_OK;
}

/* Operands of training and evaluation: lengths, segment_ids, sample_ids, state. */
static inline void zrt__attend_options(struct zrt__attend *a, const zrt_view options[4])
{
    float dropout = a->call->attributes.attention.dropout;
    a->lengths = options[0].data;
    a->segments = options[1].data;
    a->samples = options[2].data;
    const zrt__step_state *state = options[3].data;
    a->drops = dropout > 0.0f && state != NULL && a->samples != NULL;
    if (a->drops) {
        a->draw = zrt__cpu_draw_make(state, dropout, a->call->attributes.attention.unit_index,
                                     a->call->attributes.attention.op_index);
        a->seed = state->seed;
        a->kept = 1.0f / (1.0f - dropout);
    }
}

static inline struct zrt__query_tile zrt__attend_tile(const struct zrt__attend *a, int64_t row, int64_t head,
                                                      int64_t block)
{
    struct zrt__query_tile t = {.row = row, .head = head, .first = block * ZRT__QUERIES, .key_end = a->n_keys};
    int64_t left = a->n_queries - t.first;
    t.n = left < ZRT__QUERIES ? (int)left : ZRT__QUERIES;
    t.offset = a->positions != NULL ? a->positions[row * a->n_queries] : 0;
    if (a->lengths != NULL && a->lengths[row] < t.key_end)
        t.key_end = a->lengths[row] > 0 ? a->lengths[row] : 0;
    if (a->causal && t.offset + t.first + t.n < t.key_end)
        t.key_end = t.offset + t.first + t.n;
    if (a->drops)
        t.key = zrt__hash_mix(a->seed, (uint64_t)a->samples[row]);
    if (a->segments != NULL)
        for (int q = 0; q < t.n; q++)
            t.segments[q] = a->segments[row * a->n_queries + t.first + q];
    return t;
}

#endif
