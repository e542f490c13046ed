/* Softmax cross entropy over the vocabulary: a block a row, which is read once from memory and a second time from the cache. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

constexpr int THREADS = 512, NOT_COUNTED = -100;

/* What 16-bit logits need no more of than the instruction gives, 22 bits. */
template <class T> DEVICE float power(float x)
{
    if (sizeof(T) == sizeof(float))
        return expf(x);
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
}

struct job {
    const void *logits;
    void *gradient; /* NULL: only the loss */
    const int32_t *labels;
    const float *scale, *lse_in; /* lse_in NULL: computed */
    float *lse_out;              /* NULL: not wanted */
    double *losses;              /* [n] losses, then [n] whether counted; NULL: not wanted */
    int64_t n, width;
};

/* A row's elements that 16-byte accesses take: from `head` on, `packs` of them, then the rest; rows of odd widths begin anywhere. */
template <class T> struct split {
    int64_t head, packs, width;
    __device__ __forceinline__ split(const T *row, int64_t n)
    {
        constexpr int N = pack_of<T>;
        int64_t off = (int64_t)(((uintptr_t)row / sizeof(T)) % N);
        head = off == 0 ? 0 : N - off;
        head = head < n ? head : n;
        packs = (n - head) / N;
        width = n;
    }
    __device__ __forceinline__ int64_t loose() const
    {
        return width - packs * pack_of<T>;
    }
    /* where the i-th element outside of packs is */
    __device__ __forceinline__ int64_t loose_at(int64_t i) const
    {
        return i < head ? i : i + packs * pack_of<T>;
    }
};

struct running {
    float most, total; /* total: of exp(x - most) */
};

DEVICE running merge(running a, running b)
{
    float most = fmaxf(a.most, b.most);
    running r = {most, 0.0f};
    /* nothing seen yet: -inf - -inf is no number */
    r.total = (a.most == -INFINITY ? 0.0f : a.total * expf(a.most - most)) +
              (b.most == -INFINITY ? 0.0f : b.total * expf(b.most - most));
    if (isnan(a.total) || isnan(b.total))
        r.total = NAN;
    return r;
}

DEVICE running block_merge(running r)
{
    __shared__ running shared[THREADS / 32];
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        running other = {__shfl_xor_sync(0xffffffffu, r.most, step), __shfl_xor_sync(0xffffffffu, r.total, step)};
        r = merge(r, other);
    }
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = r;
    __syncthreads();
    r = shared[0];
    for (int i = 1; i < THREADS / 32; i++)
        r = merge(r, shared[i]);
    return r;
}

template <class T, int N> DEVICE void take(running &r, const float x[N])
{
    float most = x[0], total = 0.0f;
#pragma unroll
    for (int k = 1; k < N; k++)
        most = fmaxf(most, x[k]);
    if (most > r.most) {
        r.total = r.most == -INFINITY ? r.total : r.total * power<T>(r.most - most);
        r.most = most;
    }
    float base = r.most == -INFINITY ? 0.0f : r.most;
#pragma unroll
    for (int k = 0; k < N; k++)
        total += power<T>(x[k] - base);
    r.total += total;
}

template <class T> __global__ void __launch_bounds__(THREADS) cross_entropy(job j)
{
    constexpr int N = pack_of<T>;
    int64_t row = blockIdx.x;
    const T *x = (const T *)j.logits + row * j.width;
    split<T> s(x, j.width);
    int64_t label = j.labels[row];
    bool counted = label != NOT_COUNTED;
    float lse;
    float at_label = label >= 0 && label < j.width ? to_float(x[label]) : NAN;
    if (j.lse_in != NULL) {
        lse = j.lse_in[row];
    } else {
        running r = {-INFINITY, 0.0f};
        for (int64_t i = threadIdx.x; i < s.packs; i += THREADS) {
            float v[N];
            load<T, N>(x + s.head + i * N, v);
            take<T, N>(r, v);
        }
        for (int64_t i = threadIdx.x; i < s.loose(); i += THREADS) {
            float v[1] = {to_float(x[s.loose_at(i)])};
            take<T, 1>(r, v);
        }
        r = block_merge(r);
        lse = r.most + logf(r.total);
        if (threadIdx.x == 0) {
            if (j.lse_out != NULL)
                j.lse_out[row] = lse;
            if (j.losses != NULL) {
                j.losses[row] = counted ? (double)r.most + log((double)r.total) - (double)at_label : 0.0;
                j.losses[j.n + row] = counted ? 1.0 : 0.0;
            }
        }
    }
    if (j.gradient == NULL)
        return;
    __syncthreads(); /* all have read the label's logit: the gradient may take its place */
    T *dx = (T *)j.gradient + row * j.width;
    float scale = counted ? *j.scale : 0.0f;
    /* 1 - softmax without cancelling more than it must */
    float correct = expm1f(at_label - lse) * scale;
    for (int64_t i = threadIdx.x; i < s.packs; i += THREADS) {
        float v[N];
        int64_t at = s.head + i * N;
        if (counted) {
            load<T, N>(x + at, v);
            int here = (int)(label - at < 0 || label - at >= N ? N : label - at);
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = power<T>(v[k] - lse) * scale;
            if (here < N) {
#pragma unroll
                for (int k = 0; k < N; k++)
                    v[k] = k == here ? correct : v[k];
            }
        } else {
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = 0.0f;
        }
        store<T, N>(dx + at, v);
    }
    for (int64_t i = threadIdx.x; i < s.loose(); i += THREADS) {
        int64_t at = s.loose_at(i);
        float v = counted ? power<T>(to_float(x[at]) - lse) * scale : 0.0f;
        dx[at] = element<T>::from(counted && at == label ? correct : v);
    }
}

/* In an order that n alone decides. */
__global__ void add_losses(const double *losses, int64_t n, double *sums, bool add)
{
    __shared__ double shared[THREADS / 32];
    double loss = 0.0, counted = 0.0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        loss += losses[i];
        counted += losses[n + i];
    }
    loss = block_sum<THREADS>(loss, shared);
    counted = block_sum<THREADS>(counted, shared);
    if (threadIdx.x == 0) {
        sums[0] = add ? sums[0] + loss : loss;
        sums[1] = add ? sums[1] + counted : counted;
    }
}

zrt_status run(zrt__stream *stream, const zrt__call *c, job j, double *sums)
{
    cudaStream_t s = zrt__cuda_stream(stream);
    j.logits = c->in[0].data;
    j.labels = (const int32_t *)c->in[1].data;
    j.n = zrt_view_elements(&c->in[1]);
    j.width = last_dim(&c->in[0]);
    if (sums != NULL)
        ZRT_TRY(zrt__cuda_scratch(stream, 2 * (size_t)j.n * sizeof(double), "the loss", (void **)&j.losses));
    if (j.n > 0)
        FOR_DTYPE(c->in[0].dtype, T, ZRT__CUDA_LAUNCH((cross_entropy<T>), (unsigned)j.n, THREADS, 0, s, j))
    if (sums != NULL)
        ZRT__CUDA_LAUNCH(add_losses, 1, THREADS, 0, s, j.losses, j.n, sums, (c->accumulate & 1u) != 0);
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_cross_entropy_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    job j = {};
    j.lse_out = (float *)c->out[1].data;
    return run(stream, c, j, (double *)c->out[0].data);
}

extern "C" zrt_status zrt__cuda_cross_entropy_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    job j = {};
    j.lse_in = (const float *)c->in[2].data;
    j.scale = (const float *)c->in[3].data;
    j.gradient = c->out[0].data;
    return run(stream, c, j, NULL);
}

extern "C" zrt_status zrt__cuda_cross_entropy(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    job j = {};
    j.scale = (const float *)c->in[2].data;
    j.gradient = c->out[1].data;
    return run(stream, c, j, (double *)c->out[0].data);
}
