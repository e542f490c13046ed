/* Sums down the columns of a matrix, in an order that depends on its shape alone: each block takes some columns of some
 * rows, and a second kernel adds up the blocks' sums. */
#ifndef ZRT_DEVICE_CUDA_CUDA_COLUMNS_CUH
#define ZRT_DEVICE_CUDA_CUDA_COLUMNS_CUH

#include "device/cuda/cuda_vector.cuh"

constexpr int COLUMNS_X = 32, COLUMNS_Y = 8, COLUMN_PARTS = 264, FINISH_Y = 32;

/* Terms::add<N>(row, column, sums) adds what row gives to N columns. partial: [OUTPUTS][gridDim.y][width]. */
template <int N, class Terms>
__global__ void sum_columns_kernel(Terms terms, float *partial, int64_t rows, int64_t width)
{
    constexpr int OUTPUTS = Terms::OUTPUTS;
    __shared__ float shared[COLUMNS_Y][COLUMNS_X * N];
    int64_t column = ((int64_t)blockIdx.x * COLUMNS_X + threadIdx.x) * N;
    int64_t each = (rows + gridDim.y - 1) / gridDim.y, first = blockIdx.y * each;
    int64_t end = first + each < rows ? first + each : rows;
    float sums[OUTPUTS][N];
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++)
#pragma unroll
        for (int i = 0; i < N; i++)
            sums[o][i] = 0.0f;
    if (column < width)
#pragma unroll 4
        for (int64_t row = first + threadIdx.y; row < end; row += COLUMNS_Y)
            terms.template add<N>(row, column, sums);
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++) {
#pragma unroll
        for (int i = 0; i < N; i++)
            shared[threadIdx.y][threadIdx.x * N + i] = sums[o][i];
        __syncthreads();
        int thread = (int)(threadIdx.y * COLUMNS_X + threadIdx.x);
        for (int i = thread; i < COLUMNS_X * N; i += COLUMNS_X * COLUMNS_Y) {
            int64_t at = (int64_t)blockIdx.x * COLUMNS_X * N + i;
            float sum = 0.0f;
            for (int y = 0; y < COLUMNS_Y; y++)
                sum += shared[y][i];
            if (at < width)
                partial[((int64_t)o * gridDim.y + blockIdx.y) * width + at] = sum;
        }
        __syncthreads();
    }
}

/* Where sums go, [width]; data NULL: nowhere. */
struct column_target {
    void *data;
    bool add;
};

/* target (or +=) the sums of partial [parts, width] down the columns, for each of gridDim.y that lie one after the other. A block
 * has FINISH_Y threads a column, so that few wait for much. */
template <class T>
__global__ void __launch_bounds__(COLUMNS_X *FINISH_Y)
    finish_columns_kernel(const float *partial, int64_t parts, int64_t width, column_target first, column_target second)
{
    __shared__ float shared[FINISH_Y][COLUMNS_X + 1];
    column_target target = blockIdx.y == 0 ? first : second;
    int64_t column = (int64_t)blockIdx.x * COLUMNS_X + threadIdx.x;
    float sum = 0.0f;
    if (target.data == NULL)
        return;
    partial += blockIdx.y * parts * width;
    if (column < width)
#pragma unroll 4
        for (int64_t part = threadIdx.y; part < parts; part += FINISH_Y)
            sum += partial[part * width + column];
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    sum = warp_sum(shared[threadIdx.x][threadIdx.y]);
    column = (int64_t)blockIdx.x * COLUMNS_X + threadIdx.y;
    if (threadIdx.x == 0 && column < width) {
        T *out = (T *)target.data + column;
        *out = element<T>::from(target.add ? to_float(*out) + sum : sum);
    }
}

static inline zrt_status finish_columns(cudaStream_t s, const float *partial, int64_t parts, int64_t width,
                                        zrt_dtype dtype, column_target first, column_target second)
{
    dim3 block(COLUMNS_X, FINISH_Y), grid((unsigned)((width + COLUMNS_X - 1) / COLUMNS_X), second.data != NULL ? 2 : 1);
    FOR_DTYPE(dtype, T,
              ZRT__CUDA_LAUNCH((finish_columns_kernel<T>), grid, block, 0, s, partial, parts, width, first, second))
    return ZRT_OK;
}

/* Leaves partial sums in the stream's scratch memory: [OUTPUTS][parts][width]. */
template <int N, class Terms>
zrt_status sum_columns(zrt__stream *stream, const Terms &terms, int64_t rows, int64_t width, const float **partial_out,
                       int64_t *parts_out)
{
    int64_t parts = (rows + 4 * COLUMNS_Y - 1) / (4 * COLUMNS_Y);
    parts = parts < 1 ? 1 : parts > COLUMN_PARTS ? COLUMN_PARTS : parts;
    float *partial = NULL;
    ZRT_TRY(zrt__cuda_scratch(stream, (size_t)(Terms::OUTPUTS * parts * width) * sizeof *partial, "a sum over rows",
                              (void **)&partial));
    dim3 grid((unsigned)((width + COLUMNS_X * N - 1) / (COLUMNS_X * N)), (unsigned)parts), block(COLUMNS_X, COLUMNS_Y);
    ZRT__CUDA_LAUNCH((sum_columns_kernel<N, Terms>), grid, block, 0, zrt__cuda_stream(stream), terms, partial, rows,
                     width);
    *partial_out = partial;
    *parts_out = parts;
    return ZRT_OK;
}

#endif
