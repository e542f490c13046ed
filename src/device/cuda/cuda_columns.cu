/* Some columns of a matrix: taken out, or added to. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

template <class T>
__global__ void add_columns(const T *x, const T *d, T *y, int64_t rows, int64_t wide, int64_t some, int64_t first)
{
    bool in_place = x == y;
    int64_t width = in_place ? some : wide, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * width; i += stride) {
        int64_t row = i / width, column = i % width + (in_place ? first : 0), at = row * wide + column;
        float value = to_float(x[at]);
        if (column >= first && column < first + some)
            value += to_float(d[row * some + column - first]);
        y[at] = element<T>::from(value);
    }
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
    size_t element = zrt_dtype_bytes(x->dtype), wide = (size_t)last_dim(x) * element,
           some = (size_t)last_dim(y) * element, rows = (size_t)rows_of(x);
    ZRT_TRY(check_range(c, x, y));
    if (rows * some == 0)
        return ZRT_OK;
    const char *from = (const char *)x->data + (size_t)c->attributes.columns.first * element;
    return zrt__cuda_check(
        stream->device,
        cudaMemcpy2DAsync(y->data, some, from, wide, some, rows, cudaMemcpyDeviceToDevice, zrt__cuda_stream(stream)),
        "a copy");
}

extern "C" zrt_status zrt__cuda_columns_add(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    const zrt_view *x = &c->in[0], *d = &c->in[1];
    int64_t rows = rows_of(x), wide = last_dim(x), some = last_dim(d);
    ZRT_TRY(check_range(c, x, d));
    int64_t n = rows * (x->data == c->out[0].data ? some : wide);
    if (n == 0)
        return ZRT_OK;
    FOR_DTYPE(x->dtype, T,
              ZRT__CUDA_LAUNCH((add_columns<T>), blocks_for(n, BLOCK, GRID_MAX), BLOCK, 0, zrt__cuda_stream(stream),
                               (const T *)x->data, (const T *)d->data, (T *)c->out[0].data, rows, wide, some,
                               c->attributes.columns.first))
    return ZRT_OK;
}
