/* Dropout, drawn by counters: its own backward pass. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

struct job {
    const void *x, *add; /* add NULL when absent */
    void *y;
    const int64_t *samples;
    const zrt__step_state *state;
    int64_t rows, row; /* row: elements of one */
    draw d;
};

/* An item is one word block of the counter: four elements of a row. `whole`: rows are multiples of four. */
template <class T, bool WHOLE> __global__ void drop(job j)
{
    int64_t blocks = (j.row + 3) / 4, stride = (int64_t)gridDim.x * blockDim.x;
    uint64_t seed = j.state->seed;
    uint32_t step = (uint32_t)j.state->step;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < j.rows * blocks; i += stride) {
        int64_t row = i / blocks, block = i % blocks, at = row * j.row + 4 * block;
        int n = WHOLE || j.row - 4 * block >= 4 ? 4 : (int)(j.row - 4 * block);
        uint32_t words[4];
        float x[4], add[4];
        philox(hash_mix(seed, (uint64_t)j.samples[row]), (uint64_t)block, j.d.op, step, words);
        if (WHOLE)
            load<T, 4>((const T *)j.x + at, x);
        else
            load_some<T, 4>((const T *)j.x + at, n, x);
        if (j.add != NULL && WHOLE)
            load<T, 4>((const T *)j.add + at, add);
        else if (j.add != NULL)
            load_some<T, 4>((const T *)j.add + at, n, add);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            /* a dropped value is 0 even where it is infinite */
            float factor = draw_factor(j.d, words[k]), kept = factor > 0.0f ? x[k] * factor : 0.0f;
            x[k] = j.add != NULL ? kept + add[k] : kept;
        }
        if (WHOLE)
            store<T, 4>((T *)j.y + at, x);
        else
            store_some<T, 4>((T *)j.y + at, n, x);
    }
}

} // namespace

extern "C" zrt_status zrt__cuda_dropout(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    job j = {};
    int64_t n = zrt_view_elements(&c->in[0]);
    if (n == 0)
        return ZRT_OK;
    j.x = c->in[0].data;
    j.add = c->in[1].data;
    j.y = c->out[0].data;
    j.samples = (const int64_t *)c->in[2].data;
    j.state = (const zrt__step_state *)c->in[3].data;
    j.rows = c->in[0].dims[0];
    j.row = n / j.rows;
    j.d =
        make_draw(c->attributes.dropout.probability, c->attributes.dropout.unit_index, c->attributes.dropout.op_index);
    int blocks = blocks_for(j.rows * ((j.row + 3) / 4), BLOCK, GRID_MAX);
    cudaStream_t s = zrt__cuda_stream(stream);
    bool whole = j.row % 4 == 0 && aligned(j.x) && aligned(j.add) && aligned(j.y);
    FOR_DTYPE(c->in[0].dtype, T, if (whole) ZRT__CUDA_LAUNCH((drop<T, true>), blocks, BLOCK, 0, s, j);
              else ZRT__CUDA_LAUNCH((drop<T, false>), blocks, BLOCK, 0, s, j))
    return ZRT_OK;
}
