/* Gradients of biases: sums down the columns. */
#include "device/cuda/cuda_column_sums.h"
#include "device/cuda/cuda_columns.cuh"

namespace
{

template <class T> struct values {
    static constexpr int OUTPUTS = 1;
    const T *x;
    int64_t width;
    template <int N> __device__ __forceinline__ void add(int64_t row, int64_t column, float sums[OUTPUTS][N]) const
    {
        float v[N];
        load<T, N>(x + row * width + column, v);
#pragma unroll
        for (int i = 0; i < N; i++)
            sums[0][i] += v[i];
    }
};

template <class T, int N>
zrt_status sum(zrt__stream *stream, const zrt_view *x, int64_t rows, int64_t width, const zrt_view *out,
               bool accumulate)
{
    values<T> terms = {(const T *)x->data, width};
    const float *partial = NULL;
    int64_t parts = 0;
    ZRT_TRY((sum_columns<N>(stream, terms, rows, width, &partial, &parts)));
    column_target target = {out->data, accumulate}, none = {};
    return finish_columns(zrt__cuda_stream(stream), partial, parts, width, out->dtype, target, none);
}

} // namespace

extern "C" zrt_status zrt__cuda_column_sums(zrt__stream *stream, const zrt_view *x, const zrt_view *out,
                                            bool accumulate)
{
    int64_t rows = rows_of(x), width = last_dim(x);
    if (width == 0)
        return ZRT_OK;
    FOR_DTYPE(x->dtype, T,
              if (aligned(x->data) &&
                  width % pack_of<T> == 0) return (sum<T, pack_of<T>>(stream, x, rows, width, out, accumulate));
              else return (sum<T, 1>(stream, x, rows, width, out, accumulate)))
    return ZRT_OK;
}
