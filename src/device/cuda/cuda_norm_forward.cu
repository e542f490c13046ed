/* Layer and root-mean-square normalisation of rows, fused with the residual sum before it. Statistics are of the values as
 * stored, in fp32. */
#include "device/cuda/cuda_norm.cuh"

namespace
{

struct forward {
    const void *x, *r, *w, *b; /* r, b NULL when absent */
    void *y, *sum;             /* sum NULL without r */
    float *mean, *rstd;        /* mean NULL: root mean square */
    int64_t rows, width;
    float eps;
};

/* ROWS = BLOCK / THREADS rows a block, each of at most THREADS * H packs. */
template <class T, int THREADS, int H> __global__ void __launch_bounds__(BLOCK) norm_forward(forward job)
{
    constexpr int N = pack_of<T>;
    __shared__ float shared[BLOCK / 32];
    int lane = (int)(threadIdx.x % THREADS), packs = (int)(job.width / N);
    int64_t row = (int64_t)blockIdx.x * (BLOCK / THREADS) + threadIdx.x / THREADS;
    if (row >= job.rows) /* whole warps, or whole blocks */
        return;
    int64_t at = row * job.width;
    pack<T, N> x[H], r[H];
#pragma unroll
    for (int h = 0; h < H; h++)
        if (lane + h * THREADS < packs)
            x[h] = load_pack<T, N>((const T *)job.x + at + (lane + h * THREADS) * N);
    if (job.r != NULL) {
#pragma unroll
        for (int h = 0; h < H; h++)
            if (lane + h * THREADS < packs)
                r[h] = load_pack<T, N>((const T *)job.r + at + (lane + h * THREADS) * N);
#pragma unroll
        for (int h = 0; h < H; h++)
            if (lane + h * THREADS < packs) {
#pragma unroll
                for (int i = 0; i < N; i++)
                    x[h].v[i] = element<T>::from(to_float(x[h].v[i]) + to_float(r[h].v[i]));
                store_pack<T, N>((T *)job.sum + at + (lane + h * THREADS) * N, x[h]);
            }
    }
    float sum = 0.0f, squares = 0.0f, mean = 0.0f;
    if (job.mean != NULL) {
#pragma unroll
        for (int h = 0; h < H; h++)
            if (lane + h * THREADS < packs)
#pragma unroll
                for (int i = 0; i < N; i++)
                    sum += to_float(x[h].v[i]);
        mean = group_sum<THREADS>(sum, shared) / (float)job.width;
    }
#pragma unroll
    for (int h = 0; h < H; h++)
        if (lane + h * THREADS < packs)
#pragma unroll
            for (int i = 0; i < N; i++) {
                float d = to_float(x[h].v[i]) - mean;
                squares = fmaf(d, d, squares);
            }
    float rstd = 1.0f / sqrtf(group_sum<THREADS>(squares, shared) / (float)job.width + job.eps);
    if (lane == 0) {
        if (job.mean != NULL)
            job.mean[row] = mean;
        job.rstd[row] = rstd;
    }
#pragma unroll
    for (int h = 0; h < H; h++) {
        int place = (lane + h * THREADS) * N;
        if (lane + h * THREADS >= packs)
            continue;
        float v[N], w[N], b[N];
        load<T, N>((const T *)job.w + place, w);
        if (job.b != NULL)
            load<T, N>((const T *)job.b + place, b);
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = (to_float(x[h].v[i]) - mean) * rstd;
            v[i] = job.b != NULL ? fmaf(v[i], w[i], b[i]) : v[i] * w[i];
        }
        store<T, N>((T *)job.y + at + place, v);
    }
}

/* A row a block, of any width. */
template <class T, int N> __global__ void __launch_bounds__(BLOCK) norm_forward_wide(forward job)
{
    __shared__ float shared[BLOCK / 32];
    int64_t row = blockIdx.x, at = row * job.width;
    const T *x = (const T *)job.x + at;
    float sum = 0.0f, squares = 0.0f, mean = 0.0f;
    for (int64_t i = (int64_t)threadIdx.x * N; i < job.width; i += BLOCK * N) {
        float v[N], other[N];
        load<T, N>(x + i, v);
        if (job.r != NULL) {
            load<T, N>((const T *)job.r + at + i, other);
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = to_float(element<T>::from(v[k] + other[k]));
            store<T, N>((T *)job.sum + at + i, v);
        }
#pragma unroll
        for (int k = 0; k < N; k++)
            sum += v[k];
    }
    if (job.r != NULL)
        x = (const T *)job.sum + at; /* each thread reads again what it has written */
    if (job.mean != NULL)
        mean = block_sum<BLOCK>(sum, shared) / (float)job.width;
    for (int64_t i = (int64_t)threadIdx.x * N; i < job.width; i += BLOCK * N) {
        float v[N];
        load<T, N>(x + i, v);
#pragma unroll
        for (int k = 0; k < N; k++)
            squares = fmaf(v[k] - mean, v[k] - mean, squares);
    }
    float rstd = 1.0f / sqrtf(block_sum<BLOCK>(squares, shared) / (float)job.width + job.eps);
    if (threadIdx.x == 0) {
        if (job.mean != NULL)
            job.mean[row] = mean;
        job.rstd[row] = rstd;
    }
    for (int64_t i = (int64_t)threadIdx.x * N; i < job.width; i += BLOCK * N) {
        float v[N], w[N], b[N];
        load<T, N>(x + i, v);
        load<T, N>((const T *)job.w + i, w);
        if (job.b != NULL)
            load<T, N>((const T *)job.b + i, b);
#pragma unroll
        for (int k = 0; k < N; k++) {
            v[k] = (v[k] - mean) * rstd;
            v[k] = job.b != NULL ? fmaf(v[k], w[k], b[k]) : v[k] * w[k];
        }
        store<T, N>((T *)job.y + at + i, v);
    }
}

template <class T> void launch_forward(cudaStream_t s, const forward &job, bool whole)
{
    shape z = shape_of<T>(job.width, whole);
    if (z.held > 0)
        FOR_SHAPE(z,
                  ZRT__CUDA_LAUNCH((norm_forward<T, THREADS, H>),
                                   (unsigned)((job.rows + BLOCK / THREADS - 1) / (BLOCK / THREADS)), BLOCK, 0, s, job));
    else if (whole && job.width % pack_of<T> == 0)
        ZRT__CUDA_LAUNCH((norm_forward_wide<T, pack_of<T>>), (unsigned)job.rows, BLOCK, 0, s, job);
    else
        ZRT__CUDA_LAUNCH((norm_forward_wide<T, 1>), (unsigned)job.rows, BLOCK, 0, s, job);
}

zrt_status forward_call(zrt__stream *stream, forward job, const zrt_view *x)
{
    job.x = x->data;
    job.width = last_dim(x);
    job.rows = rows_of(x);
    if (job.rows * job.width == 0)
        return ZRT_OK;
    bool whole =
        aligned(job.x) && aligned(job.r) && aligned(job.w) && aligned(job.b) && aligned(job.y) && aligned(job.sum);
    FOR_DTYPE(x->dtype, T, launch_forward<T>(zrt__cuda_stream(stream), job, whole))
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_layernorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.w = c->in[1].data;
    job.b = c->in[2].data;
    job.y = c->out[0].data;
    job.mean = (float *)c->out[1].data;
    job.rstd = (float *)c->out[2].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}

extern "C" zrt_status zrt__cuda_rmsnorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.w = c->in[1].data;
    job.y = c->out[0].data;
    job.rstd = (float *)c->out[1].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}

extern "C" zrt_status zrt__cuda_add_layernorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.r = c->in[1].data;
    job.w = c->in[2].data;
    job.b = c->in[3].data;
    job.y = c->out[0].data;
    job.mean = (float *)c->out[1].data;
    job.rstd = (float *)c->out[2].data;
    job.sum = c->out[3].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}

extern "C" zrt_status zrt__cuda_add_rmsnorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.r = c->in[1].data;
    job.w = c->in[2].data;
    job.y = c->out[0].data;
    job.rstd = (float *)c->out[1].data;
    job.sum = c->out[2].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}
