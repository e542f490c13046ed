/* Squared norms of gradients with a count of what is not finite, summed in fp64 in an order that the length alone decides. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

enum { PARTS = 1024 };

/* y = x, or y += x, or nothing of both where y is NULL; partial: [gridDim.x] squares, then [gridDim.x] counts. */
template <class A, class B, int N, bool ADD> __global__ void measure(const A *x, B *y, int64_t n, double *partial)
{
    __shared__ double shared[BLOCK / 32];
    double squares = 0.0, odd = 0.0;
    int64_t stride = (int64_t)gridDim.x * blockDim.x * N;
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < n; i += stride) {
        float v[N], old[N];
        load_at<A, N>(x, i, n, v);
        if (y != NULL) {
            if (ADD)
                load_at<B, N>(y, i, n, old);
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = to_float(element<B>::from(ADD ? old[k] + v[k] : v[k])); /* what is stored is measured */
            store_at<B, N>(y, i, n, v);
        }
#pragma unroll
        for (int k = 0; k < N; k++) {
            if (isfinite(v[k]))
                squares += (double)v[k] * (double)v[k];
            else
                odd += 1.0;
        }
    }
    squares = block_sum<BLOCK>(squares, shared);
    odd = block_sum<BLOCK>(odd, shared);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = squares;
        partial[gridDim.x + blockIdx.x] = odd;
    }
}

__global__ void add_up(const double *partial, int parts, double *sums, bool add)
{
    __shared__ double shared[BLOCK / 32];
    double squares = 0.0, odd = 0.0;
    for (int i = (int)threadIdx.x; i < parts; i += BLOCK) {
        squares += partial[i];
        odd += partial[parts + i];
    }
    squares = block_sum<BLOCK>(squares, shared);
    odd = block_sum<BLOCK>(odd, shared);
    if (threadIdx.x == 0) {
        sums[0] = add ? sums[0] + squares : squares;
        sums[1] = add ? sums[1] + odd : odd;
    }
}

template <class A, class B>
void launch_measure(cudaStream_t s, const void *x, void *y, int64_t n, bool add, double *partial, int *parts_out)
{
    constexpr int N = sizeof(A) > sizeof(B) ? pack_of<A> : pack_of<B>;
    bool whole = aligned(x) && aligned(y);
    int parts = blocks_for(n, (int64_t)BLOCK * (whole ? N : 1), PARTS);
    if (whole && add)
        ZRT__CUDA_LAUNCH((measure<A, B, N, true>), parts, BLOCK, 0, s, (const A *)x, (B *)y, n, partial);
    else if (whole)
        ZRT__CUDA_LAUNCH((measure<A, B, N, false>), parts, BLOCK, 0, s, (const A *)x, (B *)y, n, partial);
    else if (add)
        ZRT__CUDA_LAUNCH((measure<A, B, 1, true>), parts, BLOCK, 0, s, (const A *)x, (B *)y, n, partial);
    else
        ZRT__CUDA_LAUNCH((measure<A, B, 1, false>), parts, BLOCK, 0, s, (const A *)x, (B *)y, n, partial);
    *parts_out = parts;
}

zrt_status measure_call(zrt__stream *stream, const zrt_view *x, const zrt_view *y, bool add, double *sums,
                        bool add_sums)
{
    int64_t n = zrt_view_elements(x);
    cudaStream_t s = zrt__cuda_stream(stream);
    double *partial = NULL;
    int parts = 0;
    ZRT_TRY(zrt__cuda_scratch(stream, 2 * PARTS * sizeof *partial, "a norm", (void **)&partial));
    /* in place and not added to: only measured, unless the dtype is another */
    void *out = y != NULL && (add || y->data != x->data || y->dtype != x->dtype) ? y->data : NULL;
    zrt_dtype out_dtype = y != NULL ? y->dtype : x->dtype;
    if (n > 0)
        FOR_DTYPE(x->dtype, A,
                  FOR_DTYPE(out_dtype, B, (launch_measure<A, B>(s, x->data, out, n, add, partial, &parts))))
    if (sums != NULL)
        ZRT__CUDA_LAUNCH(add_up, 1, BLOCK, 0, s, partial, parts, sums, add_sums);
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_sum_squares(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    return measure_call(stream, &c->in[0], NULL, false, (double *)c->out[0].data, (c->accumulate & 1u) != 0);
}

extern "C" zrt_status zrt__cuda_gradient_reduced(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    return measure_call(stream, &c->in[0], &c->out[0], (c->accumulate & 1u) != 0, (double *)c->out[1].data,
                        (c->accumulate & 2u) != 0);
}
