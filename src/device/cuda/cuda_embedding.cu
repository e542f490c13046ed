/* Rows of a table by number, and the gradient of the table: the ids are sorted, so that each row of the table is summed by one
 * block, in an order that the ids alone decide. */
#include "device/cuda/cuda_vector.cuh"

#include <cub/device/device_radix_sort.cuh>

namespace
{

template <class T, int N>
__global__ void take_rows(const int32_t *ids, const T *table, const T *add, T *y, int64_t n, int64_t width,
                          int64_t n_rows, zrt__cuda_fault *fault)
{
    int64_t packs = width / N, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n * packs; i += stride) {
        int64_t row = i / packs, at = i % packs * N;
        int id = ids[row];
        float v[N], other[N];
        if (id < 0 || id >= n_rows) {
            report(fault, ZRT__CUDA_FAULT_TOKEN, id, row, n_rows);
            id = 0;
        }
        load<T, N>(table + (int64_t)id * width + at, v);
        if (add != NULL) {
            load<T, N>(add + row * width + at, other);
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] += other[k];
        }
        store<T, N>(y + row * width + at, v);
    }
}

template <class T, int N>
void launch_take(zrt__stream *stream, const zrt__call *c, int64_t n, int64_t width, int64_t n_rows)
{
    ZRT__CUDA_LAUNCH((take_rows<T, N>), blocks_for(n * (width / N), BLOCK, GRID_MAX), BLOCK, 0,
                     zrt__cuda_stream(stream), (const int32_t *)c->in[0].data, (const T *)c->in[1].data,
                     (const T *)c->in[2].data, (T *)c->out[0].data, n, width, n_rows,
                     zrt__cuda_device_of(stream)->fault);
}

/* ---- gradient ---- */

__global__ void number(const int32_t *ids, int32_t *places, int64_t n, int64_t n_rows, zrt__cuda_fault *fault)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        places[i] = (int32_t)i;
        if (ids[i] < 0 || ids[i] >= n_rows)
            report(fault, ZRT__CUDA_FAULT_TOKEN, ids[i], i, n_rows);
    }
}

enum { LANES = 32, TURNS = 8 }; /* threads along the columns, and along an id's places */

/* Blocks stand at sorted places; the one where an id begins sums all of its rows: TURNS sums, every TURNS-th place each, then
 * those in order. */
template <class T, class G, int N>
__global__ void sum_rows(const int32_t *ids, const int32_t *places, const T *dy, G *table, int64_t n, int64_t width,
                         int64_t n_rows)
{
    __shared__ float shared[TURNS][LANES * N];
    int64_t first = blockIdx.x;
    int32_t id = ids[first];
    if ((first > 0 && ids[first - 1] == id) || id < 0 || id >= n_rows)
        return;
    __shared__ int64_t end;
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        /* first place of a larger id */
        int64_t low = first + 1, high = n;
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (ids[middle] > id)
                high = middle;
            else
                low = middle + 1;
        }
        end = low;
    }
    __syncthreads();
    int64_t last = end;
    for (int64_t at = (int64_t)threadIdx.x * N; at - (int64_t)threadIdx.x * N < width; at += LANES * N) {
        float sum[N], v[N];
#pragma unroll
        for (int k = 0; k < N; k++)
            sum[k] = 0.0f;
        if (at < width) {
            for (int64_t i = first + threadIdx.y; i < last; i += TURNS) {
                load<T, N>(dy + (int64_t)places[i] * width + at, v);
#pragma unroll
                for (int k = 0; k < N; k++)
                    sum[k] += v[k];
            }
        }
        if (last - first > 1) {
#pragma unroll
            for (int k = 0; k < N; k++)
                shared[threadIdx.y][threadIdx.x * N + k] = sum[k];
            __syncthreads();
            if (threadIdx.y == 0)
#pragma unroll
                for (int k = 0; k < N; k++)
                    for (int turn = 1; turn < TURNS; turn++)
                        sum[k] += shared[turn][threadIdx.x * N + k];
            __syncthreads();
        }
        if (threadIdx.y == 0 && at < width) {
            G *out = table + (int64_t)id * width + at;
#pragma unroll
            for (int k = 0; k < N; k++)
                out[k] = element<G>::from(to_float(out[k]) + sum[k]);
        }
    }
}

template <class T, class G>
void launch_sum(cudaStream_t s, const int32_t *ids, const int32_t *places, const zrt_view *dy, const zrt_view *table,
                int64_t n)
{
    constexpr int N = pack_of<T>;
    int64_t width = table->dims[1];
    dim3 block(LANES, TURNS);
    if (aligned(dy->data) && width % N == 0)
        ZRT__CUDA_LAUNCH((sum_rows<T, G, N>), (unsigned)n, block, 0, s, ids, places, (const T *)dy->data,
                         (G *)table->data, n, width, table->dims[0]);
    else
        ZRT__CUDA_LAUNCH((sum_rows<T, G, 1>), (unsigned)n, block, 0, s, ids, places, (const T *)dy->data,
                         (G *)table->data, n, width, table->dims[0]);
}

size_t rounded(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Stable: equal ids stay in the order of their places. Leaves both in the stream's scratch memory. */
zrt_status sort_ids(zrt__stream *stream, const int32_t *ids, int64_t n, int64_t n_rows, const int32_t **ids_out,
                    const int32_t **places_out)
{
    cudaStream_t s = zrt__cuda_stream(stream);
    size_t each = rounded((size_t)n * sizeof *ids), temporary = 0;
    char *scratch = NULL;
    int bits = 32; /* all: an id that is too large must not pass for another */
    cudaError_t error = cub::DeviceRadixSort::SortPairs((void *)NULL, temporary, ids, (int32_t *)NULL,
                                                        (const int32_t *)NULL, (int32_t *)NULL, (int)n, 0, bits, s);
    if (error != cudaSuccess)
        return zrt__cuda_check(stream->device, error, "sorting tokens");
    ZRT_TRY(zrt__cuda_scratch(stream, 3 * each + temporary, "the embedding's gradient", (void **)&scratch));
    int32_t *sorted = (int32_t *)scratch, *places = (int32_t *)(scratch + each),
            *sorted_places = (int32_t *)(scratch + 2 * each);
    ZRT__CUDA_LAUNCH(number, blocks_for(n, BLOCK, GRID_MAX), BLOCK, 0, s, ids, places, n, n_rows,
                     zrt__cuda_device_of(stream)->fault);
    error = cub::DeviceRadixSort::SortPairs(scratch + 3 * each, temporary, ids, sorted, (const int32_t *)places,
                                            sorted_places, (int)n, 0, bits, s);
    *ids_out = sorted;
    *places_out = sorted_places;
    return zrt__cuda_check(stream->device, error, "sorting tokens");
}

} // namespace

extern "C" zrt_status zrt__cuda_embedding_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    int64_t n = zrt_view_elements(&c->in[0]), width = c->in[1].dims[1], n_rows = c->in[1].dims[0];
    bool whole = aligned(c->in[1].data) && aligned(c->in[2].data) && aligned(c->out[0].data);
    if (n * width == 0)
        return ZRT_OK;
    FOR_DTYPE(c->in[1].dtype, T,
              if (whole && width % pack_of<T> == 0) launch_take<T, pack_of<T>>(stream, c, n, width, n_rows);
              else launch_take<T, 1>(stream, c, n, width, n_rows))
    return ZRT_OK;
}

extern "C" zrt_status zrt__cuda_embedding_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    const zrt_view *dy = &c->in[0], *table = &c->out[0];
    int64_t n = zrt_view_elements(&c->in[1]);
    cudaStream_t s = zrt__cuda_stream(stream);
    size_t bytes = (size_t)zrt_view_elements(table) * zrt_dtype_bytes(table->dtype);
    if (!(c->accumulate & 1u) && bytes > 0)
        ZRT_TRY(zrt__cuda_check(stream->device, cudaMemsetAsync(table->data, 0, bytes, s), "zeroing"));
    if (n == 0 || bytes == 0)
        return ZRT_OK;
    const int32_t *ids = NULL, *places = NULL;
    ZRT_TRY(sort_ids(stream, (const int32_t *)c->in[1].data, n, table->dims[0], &ids, &places));
    FOR_DTYPE(dy->dtype, T, FOR_DTYPE(table->dtype, G, (launch_sum<T, G>(s, ids, places, dy, table, n))))
    return ZRT_OK;
}
