/* Rotary positions on packed query, key and value. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

struct rotation {
    const void *in;
    void *out;
    const int32_t *positions;
    const float *table; /* [n_positions, 2 half] */
    int64_t n, n_positions;
    int rotated, heads, half; /* rotated: query and key heads */
    bool inverse;
    zrt__cuda_fault *fault;
};

/* An item is N pairs of a rotated head, or 2 N values that are copied. */
template <class T, int N> __global__ void rotate(rotation job)
{
    int packs = job.half / N;
    int64_t each = (int64_t)job.heads * packs, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < job.n * each; i += stride) {
        int64_t row = i / each;
        int head = (int)(i % each / packs), at = (int)(i % packs) * N;
        int64_t first = (row * job.heads + head) * 2 * job.half + at, second = first + job.half;
        float a[N], b[N], cosine[N], sine[N];
        load<T, N>((const T *)job.in + first, a);
        load<T, N>((const T *)job.in + second, b);
        if (head < job.rotated) {
            int position = job.positions[row];
            if (position < 0 || position >= job.n_positions) {
                report(job.fault, ZRT__CUDA_FAULT_POSITION, position, row, job.n_positions);
                position = 0;
            }
            const float *entry = job.table + (int64_t)position * 2 * job.half + at;
#pragma unroll
            for (int k = 0; k < N; k++) {
                cosine[k] = entry[k];
                sine[k] = job.inverse ? -entry[job.half + k] : entry[job.half + k];
            }
#pragma unroll
            for (int k = 0; k < N; k++) {
                float x = a[k], y = b[k];
                a[k] = x * cosine[k] - y * sine[k];
                b[k] = y * cosine[k] + x * sine[k];
            }
        } else if (job.in == job.out) {
            continue;
        }
        store<T, N>((T *)job.out + first, a);
        store<T, N>((T *)job.out + second, b);
    }
}

template <class T, int N> void launch_rotate(zrt__stream *stream, const rotation &job)
{
    int64_t items = job.n * job.heads * (job.half / N);
    ZRT__CUDA_LAUNCH((rotate<T, N>), blocks_for(items, BLOCK, GRID_MAX), BLOCK, 0, zrt__cuda_stream(stream), job);
}

} // namespace

extern "C" zrt_status zrt__cuda_rope(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    rotation job = {};
    job.in = c->in[0].data;
    job.out = c->out[0].data;
    job.positions = (const int32_t *)c->in[1].data;
    job.table = (const float *)c->in[2].data;
    job.n = zrt_view_elements(&c->in[1]);
    job.n_positions = c->in[2].dims[0];
    job.rotated = c->attributes.rope.n_heads + c->attributes.rope.n_kv_heads;
    job.heads = job.rotated + c->attributes.rope.n_kv_heads;
    job.half = c->attributes.rope.head_dim / 2;
    job.inverse = c->attributes.rope.inverse;
    job.fault = zrt__cuda_device_of(stream)->fault;
    if (job.n * job.heads * job.half == 0)
        return ZRT_OK;
    bool whole = aligned(job.in) && aligned(job.out);
    FOR_DTYPE(c->in[0].dtype, T, if (whole && job.half % pack_of<T> == 0) launch_rotate<T, pack_of<T>>(stream, job);
              else launch_rotate<T, 1>(stream, job))
    return ZRT_OK;
}
