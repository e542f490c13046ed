/* Some columns of a matrix: taken out, or added to. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

/* Columns `first` to `first` + `some` of rows `wide` long, N at a time; blocks go over the rows. ADD: y = x + d there; otherwise y
 * has these columns alone, and d is not read. */
template <class T, int N, bool ADD>
__global__ void some_columns(const T *x, const T *d, T *y, int64_t rows, int64_t wide, int64_t some, int64_t first)
{
    int64_t column = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (column >= some)
        return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        int64_t at = row * wide + first + column, narrow = row * some + column;
        if (ADD) {
            float a[N], b[N];
            load<T, N>(x + at, a);
            load<T, N>(d + narrow, b);
#pragma unroll
            for (int k = 0; k < N; k++)
                a[k] += b[k];
            store<T, N>(y + at, a);
        } else {
            store_pack<T, N>(y + narrow, load_pack<T, N>(x + at));
        }
    }
}

template <class T, bool ADD>
void launch(cudaStream_t s, const void *x, const void *d, void *y, int64_t rows, int64_t wide, int64_t some,
            int64_t first)
{
    constexpr int N = pack_of<T>;
    bool whole = aligned(x) && aligned(d) && aligned(y) && wide % N == 0 && some % N == 0 && first % N == 0;
    int64_t each = whole ? BLOCK * N : BLOCK;
    dim3 grid((unsigned)((some + each - 1) / each), (unsigned)blocks_for(rows, 1, GRID_MAX));
    if (whole)
        ZRT__CUDA_LAUNCH((some_columns<T, N, ADD>), grid, BLOCK, 0, s, (const T *)x, (const T *)d, (T *)y, rows, wide,
                         some, first);
    else
        ZRT__CUDA_LAUNCH((some_columns<T, 1, ADD>), grid, BLOCK, 0, s, (const T *)x, (const T *)d, (T *)y, rows, wide,
                         some, first);
}

zrt_status check_range(const zrt__call *c, const zrt_view *wide, const zrt_view *narrow)
{
    int64_t first = c->attributes.columns.first, end = first + last_dim(narrow);
    if (first < 0 || end > last_dim(wide))
        return zrt__fail(ZRT_ERR_USAGE, "columns %lld to %lld of a matrix of %lld", (long long)first, (long long)end,
                         (long long)last_dim(wide));
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_columns_get(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    const zrt_view *x = &c->in[0], *y = &c->out[0];
    int64_t rows = rows_of(x), wide = last_dim(x), some = last_dim(y);
    ZRT_TRY(check_range(c, x, y));
    if (rows * some == 0)
        return ZRT_OK;
    FOR_DTYPE(x->dtype, T,
              launch<T, false>(zrt__cuda_stream(stream), x->data, NULL, y->data, rows, wide, some,
                               c->attributes.columns.first))
    return ZRT_OK;
}

extern "C" zrt_status zrt__cuda_columns_add(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    const zrt_view *x = &c->in[0], *d = &c->in[1];
    int64_t rows = rows_of(x), wide = last_dim(x), some = last_dim(d);
    void *y = c->out[0].data;
    cudaStream_t s = zrt__cuda_stream(stream);
    size_t bytes = (size_t)(rows * wide) * zrt_dtype_bytes(x->dtype);
    ZRT_TRY(check_range(c, x, d));
    if (x->data != y && bytes > 0)
        ZRT_TRY(
            zrt__cuda_check(stream->device, cudaMemcpyAsync(y, x->data, bytes, cudaMemcpyDeviceToDevice, s), "a copy"));
    if (rows * some > 0)
        FOR_DTYPE(x->dtype, T, launch<T, true>(s, y, d->data, y, rows, wide, some, c->attributes.columns.first))
    return ZRT_OK;
}
