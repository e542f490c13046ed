/* Gradient of attention: probabilities are computed again from the scores and their logarithmic sum, once by keys and once by
 * queries, so that every sum has one owner and an order. */
#include "device/cuda/cuda_attention.cuh"
extern "C" {
#include "device/cuda/cudnn_attention.h"
}

namespace
{

/* Tiles of SIDE queries and SIDE keys. */
template <int D> struct square {
    static constexpr int R = D <= 128 ? 2 : 1, SIDE = ACROSS * R, P = SIDE + 1;
    static constexpr size_t BYTES = (4 * SIDE * tile_row<D> + 2 * SIDE * P + 2 * SIDE) * sizeof(float);
};

/* delta: of each query the sum over d of dO O, which is that over keys of P dP. A warp a query. */
template <class T> __global__ void sum_outputs(attention a)
{
    int64_t item = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32, n = a.n_rows * a.n_heads * a.n_queries;
    if (item >= n)
        return;
    int64_t query = item % a.n_queries, head = item / a.n_queries % a.n_heads, row = item / a.n_queries / a.n_heads;
    int64_t at = ((row * a.n_queries + query) * a.n_heads + head) * a.head_dim;
    float sum = 0.0f;
    for (int d = (int)threadIdx.x % 32; d < a.head_dim; d += 32)
        sum = fmaf(to_float(((const T *)a.o)[at + d]), to_float(((const T *)a.d_o)[at + d]), sum);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        a.delta[item] = sum;
}

template <class T, int D>
DEVICE void take_queries(const attention &a, int64_t row, int64_t head, int64_t first, float *queries, float *d_o,
                         float *lse, float *delta)
{
    constexpr int SIDE = square<D>::SIDE;
    int64_t n = a.n_queries - first, o_stride = (int64_t)a.n_heads * a.head_dim;
    take_tile<T, SIDE, D>(queries,
                          (const T *)a.queries + (row * a.n_queries + first) * a.query_stride + head * a.head_dim,
                          a.query_stride, n, a.head_dim);
    take_tile<T, SIDE, D>(d_o, (const T *)a.d_o + (row * a.n_queries + first) * o_stride + head * a.head_dim, o_stride,
                          n, a.head_dim);
    if (threadIdx.x < SIDE) {
        int64_t at = (row * a.n_heads + head) * a.n_queries + first + threadIdx.x;
        bool there = (int64_t)threadIdx.x < n;
        /* a query that saw no key has lse -inf: its probabilities shall be 0 */
        lse[threadIdx.x] = there && a.lse[at] != -INFINITY ? a.lse[at] : INFINITY;
        delta[threadIdx.x] = there ? a.delta[at] : 0.0f;
    }
}

template <class T, int D>
DEVICE void take_keys(const attention &a, int64_t row, int64_t kv_head, int64_t first, float *keys, float *values)
{
    constexpr int SIDE = square<D>::SIDE;
    int64_t at = row * a.key_row_stride + first * a.key_stride + kv_head * a.head_dim, n = a.n_keys - first;
    take_tile<T, SIDE, D>(keys, (const T *)a.keys + at, a.key_stride, n, a.head_dim);
    take_tile<T, SIDE, D>(values, (const T *)a.values + at, a.key_stride, n, a.head_dim);
}

/* p (with dropout) and ds of one pair of tiles, [query][key] */
template <int D>
DEVICE void pair(const attention &a, int64_t row, int64_t head, int64_t first_query, int64_t first_key,
                 const float *queries, const float *d_o, const float *keys, const float *values, const float *lse,
                 const float *delta, float *p, float *ds)
{
    constexpr int R = square<D>::R, P = square<D>::P;
    int x = (int)threadIdx.x % ACROSS, r0 = (int)threadIdx.x / ACROSS * R;
    int64_t end = key_end(a, row, first_query, square<D>::SIDE), offset = offset_of(a, row);
    float scores[R][R], d_scores[R][R];
    products<R, R, D>(queries, keys, r0, x, scores);
    products<R, R, D>(d_o, values, r0, x, d_scores);
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j++) {
            int64_t query = first_query + r0 + i, key = first_key + x + ACROSS * j;
            float e = sees(a, row, offset, query, key, end) ? expf(scores[i][j] * a.scale - lse[r0 + i]) : 0.0f;
            float kept = e, dp = d_scores[i][j];
            if (a.drops && e > 0.0f) {
                float factor = drop_factor(a, row, head, query, key);
                kept *= factor;
                dp *= factor;
            }
            p[(r0 + i) * P + x + ACROSS * j] = kept;
            ds[(r0 + i) * P + x + ACROSS * j] = e * (dp - delta[r0 + i]) * a.scale;
        }
}

template <int D> struct places {
    float *queries, *d_o, *keys, *values, *p, *ds, *lse, *delta;
    __device__ __forceinline__ places(float *shared)
    {
        constexpr int SIZE = square<D>::SIDE * tile_row<D>, PAIR = square<D>::SIDE * square<D>::P;
        queries = shared;
        d_o = queries + SIZE;
        keys = d_o + SIZE;
        values = keys + SIZE;
        p = values + SIZE;
        ds = p + PAIR;
        lse = ds + PAIR;
        delta = lse + square<D>::SIDE;
    }
};

template <class T, int R, int W>
DEVICE void put_rows(T *to, int64_t stride, int64_t n, int head_dim, int r0, int x, const float sums[R][W])
{
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < W; j++)
            if (r0 + i < n && x + ACROSS * j < head_dim)
                to[(r0 + i) * stride + x + ACROSS * j] = element<T>::from(sums[i][j]);
}

template <class T, int D> __global__ void __launch_bounds__(ATTENTION_THREADS) by_keys(attention a)
{
    constexpr int SIDE = square<D>::SIDE, R = square<D>::R, W = D / ACROSS, P = square<D>::P;
    ZRT__CUDA_SHARED(float, shared);
    places<D> s(shared);
    int x = (int)threadIdx.x % ACROSS, r0 = (int)threadIdx.x / ACROSS * R;
    int64_t row = blockIdx.z, kv_head = blockIdx.y, first = (int64_t)blockIdx.x * SIDE,
            group = a.n_heads / a.n_kv_heads;
    float dk[R][W], dv[R][W];
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < W; j++)
            dk[i][j] = dv[i][j] = 0.0f;
    take_keys<T, D>(a, row, kv_head, first, s.keys, s.values);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int64_t at = 0; at < a.n_queries; at += SIDE) {
            if (key_end(a, row, at, SIDE) <= first)
                continue;
            __syncthreads();
            take_queries<T, D>(a, row, head, at, s.queries, s.d_o, s.lse, s.delta);
            __syncthreads();
            pair<D>(a, row, head, at, first, s.queries, s.d_o, s.keys, s.values, s.lse, s.delta, s.p, s.ds);
            __syncthreads();
            add_products<R, W, D>(s.p, 1, P, s.d_o, SIDE, r0, x, dv);
            add_products<R, W, D>(s.ds, 1, P, s.queries, SIDE, r0, x, dk);
        }
    T *to = (T *)a.out + (row * a.n_keys + first) * a.key_stride + (a.n_heads + kv_head) * a.head_dim;
    put_rows<T, R, W>(to, a.key_stride, a.n_keys - first, a.head_dim, r0, x, dk);
    put_rows<T, R, W>(to + (int64_t)a.n_kv_heads * a.head_dim, a.key_stride, a.n_keys - first, a.head_dim, r0, x, dv);
}

template <class T, int D> __global__ void __launch_bounds__(ATTENTION_THREADS) by_queries(attention a)
{
    constexpr int SIDE = square<D>::SIDE, R = square<D>::R, W = D / ACROSS, P = square<D>::P;
    ZRT__CUDA_SHARED(float, shared);
    places<D> s(shared);
    int x = (int)threadIdx.x % ACROSS, r0 = (int)threadIdx.x / ACROSS * R;
    int64_t row = blockIdx.z, head = blockIdx.y, first = (int64_t)(gridDim.x - 1 - blockIdx.x) * SIDE;
    int64_t kv_head = head / (a.n_heads / a.n_kv_heads), end = key_end(a, row, first, SIDE);
    float dq[R][W];
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < W; j++)
            dq[i][j] = 0.0f;
    take_queries<T, D>(a, row, head, first, s.queries, s.d_o, s.lse, s.delta);
    for (int64_t at = 0; at < end; at += SIDE) {
        __syncthreads();
        take_keys<T, D>(a, row, kv_head, at, s.keys, s.values);
        __syncthreads();
        pair<D>(a, row, head, first, at, s.queries, s.d_o, s.keys, s.values, s.lse, s.delta, s.p, s.ds);
        __syncthreads();
        add_products<R, W, D>(s.ds, P, 1, s.keys, SIDE, r0, x, dq);
    }
    T *to = (T *)a.out + (row * a.n_queries + first) * a.query_stride + head * a.head_dim;
    put_rows<T, R, W>(to, a.query_stride, a.n_queries - first, a.head_dim, r0, x, dq);
}

template <class T, int D> zrt_status launch(zrt__stream *stream, const attention &a)
{
    constexpr size_t BYTES = square<D>::BYTES;
    constexpr int SIDE = square<D>::SIDE;
    cudaStream_t s = zrt__cuda_stream(stream);
    int64_t n = a.n_rows * a.n_heads * a.n_queries;
    unsigned tiles = (unsigned)((a.n_queries + SIDE - 1) / SIDE);
    ZRT_TRY(zrt__cuda_check(stream->device, ZRT__CUDA_ALLOW_SHARED((by_keys<T, D>), BYTES), "attention"));
    ZRT_TRY(zrt__cuda_check(stream->device, ZRT__CUDA_ALLOW_SHARED((by_queries<T, D>), BYTES), "attention"));
    ZRT__CUDA_LAUNCH((sum_outputs<T>), (unsigned)((n + BLOCK / 32 - 1) / (BLOCK / 32)), BLOCK, 0, s, a);
    dim3 by_keys_grid(tiles, (unsigned)a.n_kv_heads, (unsigned)a.n_rows),
        grid(tiles, (unsigned)a.n_heads, (unsigned)a.n_rows);
    ZRT__CUDA_LAUNCH((by_keys<T, D>), by_keys_grid, ATTENTION_THREADS, BYTES, s, a);
    ZRT__CUDA_LAUNCH((by_queries<T, D>), grid, ATTENTION_THREADS, BYTES, s, a);
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_attention_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    bool taken = false;
    ZRT_TRY(zrt__cudnn_attention_run(zrt__cuda_device_of(stream)->attention, stream, c, true, &taken));
    if (taken)
        return ZRT_OK;
    attention a;
    ZRT_TRY(attention_make(stream, c, &c->in[1], &a));
    attention_options(c, &c->in[4], &a);
    a.d_o = c->in[0].data;
    a.o = c->in[2].data;
    a.lse = (const float *)c->in[3].data;
    a.out = c->out[0].data;
    if (a.n_rows * a.n_queries * a.n_heads == 0)
        return ZRT_OK;
    ZRT_TRY(zrt__cuda_scratch(stream, (size_t)(a.n_rows * a.n_heads * a.n_queries) * sizeof(float),
                              "attention's gradient", (void **)&a.delta));
    FOR_DTYPE(c->in[1].dtype, T, FOR_HEAD(a.head_dim, ZRT_TRY((launch<T, D>(stream, a)))))
    return ZRT_OK;
}
