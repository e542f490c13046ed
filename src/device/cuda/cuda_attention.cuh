/* What attention's kernels share: operands, which keys a query sees, tiles in shared memory. Products are fp32. */
#ifndef ZRT_DEVICE_CUDA_CUDA_ATTENTION_CUH
#define ZRT_DEVICE_CUDA_CUDA_ATTENTION_CUH

#include "device/cuda/cuda_vector.cuh"

enum { ATTENTION_THREADS = 256, ACROSS = 16 }; /* 16 x 16 threads on a tile of scores */

/* One call. Keys lie key_stride apart, rows of them key_row_stride; queries and outputs as in the packed buffers. */
struct attention {
    const void *queries, *keys, *values, *o, *d_o;
    void *out; /* o, or dqkv */
    const float *lse;
    float *lse_out; /* NULL: not wanted */
    const int32_t *lengths, *segments,
        *positions; /* NULL when absent; positions of the queries, consecutive in a row */
    const int64_t *samples;
    const zrt__step_state *state;
    int64_t n_rows, n_queries, n_keys, query_stride, key_stride, key_row_stride;
    int n_heads, n_kv_heads, head_dim;
    bool causal, drops;
    float scale;
    draw d;
    float *delta; /* [rows, heads, queries], backward */
    zrt__cuda_fault *fault;
};

DEVICE int64_t offset_of(const attention &a, int64_t row)
{
    return a.positions != NULL ? a.positions[row * a.n_queries] : 0;
}

/* Keys that any of the queries [first, first + n) of a row may see: below this. */
DEVICE int64_t key_end(const attention &a, int64_t row, int64_t first, int64_t n)
{
    int64_t end = a.n_keys;
    if (a.lengths != NULL && a.lengths[row] < end)
        end = a.lengths[row] > 0 ? a.lengths[row] : 0;
    int64_t seen = offset_of(a, row) + first + n;
    if (a.causal && seen < end)
        end = seen;
    return end;
}

DEVICE bool sees(const attention &a, int64_t row, int64_t offset, int64_t query, int64_t key, int64_t end)
{
    if (query >= a.n_queries || key >= end || (a.causal && key > offset + query))
        return false;
    return a.segments == NULL || a.segments[row * a.n_queries + query] == a.segments[row * a.n_keys + key];
}

/* 0, or what a kept probability is multiplied by */
DEVICE float drop_factor(const attention &a, int64_t row, int64_t head, int64_t query, int64_t key)
{
    uint64_t element = (uint64_t)((head * a.n_queries + query) * a.n_keys + key);
    uint32_t words[4];
    philox(hash_mix(a.state->seed, (uint64_t)a.samples[row]), element / 4, a.d.op, (uint32_t)a.state->step, words);
    return draw_factor(a.d, words[element % 4]);
}

/* Rows of shared memory are D floats and four more: 16-byte accesses of neighbouring rows then differ in their banks. */
template <int D> constexpr int tile_row = D + 4;

/* n <= ROWS rows of head_dim elements, `stride` apart, as floats; the rest of the tile 0. */
template <class T, int ROWS, int D>
DEVICE void take_tile(float *tile, const T *from, int64_t stride, int64_t n, int head_dim)
{
    for (int i = (int)threadIdx.x; i < ROWS * D; i += ATTENTION_THREADS) {
        int row = i / D, column = i % D;
        tile[row * tile_row<D> + column] = row < n && column < head_dim ? to_float(from[row * stride + column]) : 0.0f;
    }
}

/* out[i][j] = a[rows of this thread: r0 + i] . b[c0 + ACROSS j] */
template <int R, int C, int D> DEVICE void products(const float *a, const float *b, int r0, int c0, float out[R][C])
{
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < C; j++)
            out[i][j] = 0.0f;
    for (int k = 0; k < D; k += 4) {
        float4 x[R], y[C];
#pragma unroll
        for (int i = 0; i < R; i++)
            x[i] = *reinterpret_cast<const float4 *>(a + (r0 + i) * tile_row<D> + k);
#pragma unroll
        for (int j = 0; j < C; j++)
            y[j] = *reinterpret_cast<const float4 *>(b + (c0 + ACROSS * j) * tile_row<D> + k);
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < C; j++) {
                out[i][j] = fmaf(x[i].x, y[j].x, out[i][j]);
                out[i][j] = fmaf(x[i].y, y[j].y, out[i][j]);
                out[i][j] = fmaf(x[i].z, y[j].z, out[i][j]);
                out[i][j] = fmaf(x[i].w, y[j].w, out[i][j]);
            }
    }
}

/* sums[i][j] += over k < K of p[(r0 + i) * p_row + k * p_step] m[k][c0 + ACROSS j] */
template <int R, int C, int D>
DEVICE void add_products(const float *p, int p_row, int p_step, const float *m, int K, int r0, int c0, float sums[R][C])
{
    for (int k = 0; k < K; k++) {
        float x[R];
#pragma unroll
        for (int i = 0; i < R; i++)
            x[i] = p[(r0 + i) * p_row + k * p_step];
#pragma unroll
        for (int j = 0; j < C; j++) {
            float y = m[k * tile_row<D> + c0 + ACROSS * j];
#pragma unroll
            for (int i = 0; i < R; i++)
                sums[i][j] = fmaf(x[i], y, sums[i][j]);
        }
    }
}

/* Over the 16 threads of a row of scores */
DEVICE float row_max(float x)
{
#pragma unroll
    for (int step = ACROSS / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

DEVICE float row_sum(float x)
{
#pragma unroll
    for (int step = ACROSS / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Runs the statement with D the tile's width for the head size. */
#define FOR_HEAD(head_dim, ...)     \
    if ((head_dim) <= 64) {         \
        constexpr int D = 64;       \
        __VA_ARGS__;                \
    } else if ((head_dim) <= 128) { \
        constexpr int D = 128;      \
        __VA_ARGS__;                \
    } else {                        \
        constexpr int D = 256;      \
        __VA_ARGS__;                \
    }

enum { HEAD_DIM_MAX = 256 };

/* The call's operands but for what only one of the kernels has; `options`: lengths, segment ids, sample ids, state. */
static inline zrt_status attention_make(zrt__stream *stream, const zrt__call *c, const zrt_view *qkv, attention *a_out)
{
    attention a = {};
    size_t bytes = zrt_dtype_bytes(qkv->dtype);
    a.n_heads = c->attributes.attention.n_heads;
    a.n_kv_heads = c->attributes.attention.n_kv_heads;
    a.head_dim = c->attributes.attention.head_dim;
    if (a.head_dim < 1 || a.head_dim > HEAD_DIM_MAX)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "attention: heads of %d elements; up to %d is supported", a.head_dim,
                         (int)HEAD_DIM_MAX);
    a.n_rows = qkv->dims[0];
    a.n_queries = a.n_keys = qkv->dims[1];
    a.query_stride = a.key_stride = (int64_t)(a.n_heads + 2 * a.n_kv_heads) * a.head_dim;
    a.key_row_stride = a.n_keys * a.key_stride;
    a.queries = qkv->data;
    a.keys = (const char *)qkv->data + (size_t)a.n_heads * a.head_dim * bytes;
    a.values = (const char *)qkv->data + (size_t)(a.n_heads + a.n_kv_heads) * a.head_dim * bytes;
    a.causal = c->attributes.attention.causal;
    a.scale = c->attributes.attention.scale;
    a.fault = zrt__cuda_device_of(stream)->fault;
    *a_out = a;
    return ZRT_OK;
}

static inline void attention_options(const zrt__call *c, const zrt_view options[4], attention *a)
{
    float dropout = c->attributes.attention.dropout;
    a->lengths = (const int32_t *)options[0].data;
    a->segments = (const int32_t *)options[1].data;
    a->samples = (const int64_t *)options[2].data;
    a->state = (const zrt__step_state *)options[3].data;
    a->drops = dropout > 0.0f && a->state != NULL && a->samples != NULL;
    if (a->drops)
        a->d = make_draw(dropout, c->attributes.attention.unit_index, c->attributes.attention.op_index);
}

#endif
