/* Attention with a streaming softmax (Milakov and Gimelshein 2018; Dao et al. 2022): for what cuDNN does not take. */
#include "device/cuda/cuda_attention.cuh"
extern "C" {
#include "device/cuda/cudnn_attention.h"
}

namespace
{

/* A block takes QUERIES queries of a head and goes over the keys in tiles of KEYS. */
template <int D> struct forward_tile {
    static constexpr int R = D <= 128 ? 4 : 2, QUERIES = ACROSS * R, KEYS = D <= 128 ? 32 : 16;
    static constexpr size_t BYTES = ((QUERIES + 2 * KEYS) * tile_row<D> + QUERIES * (KEYS + 1)) * sizeof(float);
};

template <class T, int D> __global__ void __launch_bounds__(ATTENTION_THREADS) attend(attention a)
{
    typedef forward_tile<D> tile;
    constexpr int R = tile::R, C = tile::KEYS / ACROSS, W = D / ACROSS, P = tile::KEYS + 1;
    ZRT__CUDA_SHARED(float, shared);
    float *queries = shared, *keys = queries + tile::QUERIES * tile_row<D>, *values = keys + tile::KEYS * tile_row<D>,
          *p = values + tile::KEYS * tile_row<D>;
    int x = (int)threadIdx.x % ACROSS, r0 = (int)threadIdx.x / ACROSS * R;
    int64_t row = blockIdx.z, head = blockIdx.y, kv_head = head / (a.n_heads / a.n_kv_heads);
    /* the last queries see the most keys: they start first */
    int64_t first = (int64_t)(gridDim.x - 1 - blockIdx.x) * tile::QUERIES, left = a.n_queries - first;
    int64_t n = left < tile::QUERIES ? left : tile::QUERIES, offset = offset_of(a, row),
            end = key_end(a, row, first, n);
    const T *from = (const T *)a.queries + (row * a.n_queries + first) * a.query_stride + head * a.head_dim;
    take_tile<T, tile::QUERIES, D>(queries, from, a.query_stride, n, a.head_dim);
    float most[R], total[R], out[R][W];
#pragma unroll
    for (int i = 0; i < R; i++) {
        most[i] = -INFINITY;
        total[i] = 0.0f;
#pragma unroll
        for (int j = 0; j < W; j++)
            out[i][j] = 0.0f;
    }
    for (int64_t at = 0; at < end; at += tile::KEYS) {
        int64_t base = row * a.key_row_stride + at * a.key_stride + kv_head * a.head_dim, n_keys = end - at;
        __syncthreads();
        take_tile<T, tile::KEYS, D>(keys, (const T *)a.keys + base, a.key_stride, n_keys, a.head_dim);
        take_tile<T, tile::KEYS, D>(values, (const T *)a.values + base, a.key_stride, n_keys, a.head_dim);
        __syncthreads();
        float scores[R][C];
        products<R, C, D>(queries, keys, r0, x, scores);
#pragma unroll
        for (int i = 0; i < R; i++) {
            float largest = -INFINITY, sum = 0.0f;
#pragma unroll
            for (int j = 0; j < C; j++) {
                bool seen = sees(a, row, offset, first + r0 + i, at + x + ACROSS * j, end);
                scores[i][j] = seen ? scores[i][j] * a.scale : -INFINITY;
                largest = fmaxf(largest, scores[i][j]);
            }
            largest = fmaxf(most[i], row_max(largest));
            float from_most = largest == -INFINITY ? 0.0f : largest; /* nothing seen yet */
            float shrink = expf(most[i] - from_most);
#pragma unroll
            for (int j = 0; j < C; j++) {
                float e = expf(scores[i][j] - from_most);
                sum += e;
                if (a.drops && e > 0.0f)
                    e *= drop_factor(a, row, head, first + r0 + i, at + x + ACROSS * j);
                p[(r0 + i) * P + x + ACROSS * j] = e;
            }
            total[i] = fmaf(total[i], shrink, row_sum(sum));
            most[i] = largest;
#pragma unroll
            for (int j = 0; j < W; j++)
                out[i][j] *= shrink;
        }
        __syncwarp(); /* a row of p belongs to half a warp */
        add_products<R, W, D>(p, P, 1, values, tile::KEYS, r0, x, out);
    }
#pragma unroll
    for (int i = 0; i < R; i++) {
        if (r0 + i >= n)
            continue;
        float inverse = total[i] > 0.0f || isnan(total[i]) ? 1.0f / total[i] : 0.0f;
        T *to = (T *)a.out + ((row * a.n_queries + first + r0 + i) * a.n_heads + head) * a.head_dim;
#pragma unroll
        for (int j = 0; j < W; j++)
            if (x + ACROSS * j < a.head_dim)
                to[x + ACROSS * j] = element<T>::from(out[i][j] * inverse);
        if (a.lse_out != NULL && x == 0)
            a.lse_out[(row * a.n_heads + head) * a.n_queries + first + r0 + i] = most[i] + logf(total[i]);
    }
}

/* New keys and values to their positions in the caches [B, P, Hk, D]. */
template <class T> __global__ void keep(const T *qkv, T *keys, T *values, attention a, int64_t n_positions)
{
    int64_t width = (int64_t)a.n_kv_heads * a.head_dim, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < a.n_rows * a.n_queries * width; i += stride) {
        int64_t token = i / width, at = i % width, row = token / a.n_queries;
        int position = a.positions[token];
        if (position < 0 || position >= n_positions) {
            report(a.fault, ZRT__CUDA_FAULT_CACHE_POSITION, position, token, n_positions);
            continue;
        }
        const T *from = qkv + token * a.query_stride + (int64_t)a.n_heads * a.head_dim + at;
        keys[(row * n_positions + position) * width + at] = from[0];
        values[(row * n_positions + position) * width + at] = from[width];
    }
}

template <class T, int D> zrt_status launch(zrt__stream *stream, const attention &a)
{
    typedef forward_tile<D> tile;
    ZRT_TRY(zrt__cuda_check(stream->device, ZRT__CUDA_ALLOW_SHARED((attend<T, D>), tile::BYTES), "attention"));
    dim3 grid((unsigned)((a.n_queries + tile::QUERIES - 1) / tile::QUERIES), (unsigned)a.n_heads, (unsigned)a.n_rows);
    ZRT__CUDA_LAUNCH((attend<T, D>), grid, ATTENTION_THREADS, tile::BYTES, zrt__cuda_stream(stream), a);
    return ZRT_OK;
}

zrt_status attend_call(zrt__stream *stream, const attention &a, zrt_dtype dtype)
{
    if (a.n_rows * a.n_queries * a.n_heads == 0)
        return ZRT_OK;
    FOR_DTYPE(dtype, T, FOR_HEAD(a.head_dim, ZRT_TRY((launch<T, D>(stream, a)))))
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_attention_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    bool taken = false;
    ZRT_TRY(zrt__cudnn_attention_run(zrt__cuda_device_of(stream)->attention, stream, c, false, &taken));
    if (taken)
        return ZRT_OK;
    attention a;
    ZRT_TRY(attention_make(stream, c, &c->in[0], &a));
    attention_options(c, &c->in[1], &a);
    a.out = c->out[0].data;
    a.lse_out = (float *)c->out[1].data;
    return attend_call(stream, a, c->in[0].dtype);
}

extern "C" zrt_status zrt__cuda_attention_cached(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    const zrt_view *qkv = &c->in[0], *keys = &c->out[1];
    attention a;
    ZRT_TRY(attention_make(stream, c, qkv, &a));
    a.positions = (const int32_t *)c->in[1].data;
    a.causal = true;
    int64_t n_positions = keys->dims[1], n = a.n_rows * a.n_queries * a.n_kv_heads * a.head_dim;
    if (n > 0)
        FOR_DTYPE(qkv->dtype, T,
                  ZRT__CUDA_LAUNCH((keep<T>), blocks_for(n, BLOCK, GRID_MAX), BLOCK, 0, zrt__cuda_stream(stream),
                                   (const T *)qkv->data, (T *)keys->data, (T *)c->out[2].data, a, n_positions))
    a.keys = keys->data;
    a.values = c->out[2].data;
    a.n_keys = n_positions;
    a.key_stride = (int64_t)a.n_kv_heads * a.head_dim;
    a.key_row_stride = n_positions * a.key_stride;
    a.out = c->out[0].data;
    return attend_call(stream, a, qkv->dtype);
}
