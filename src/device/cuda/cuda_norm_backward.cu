/* Gradients of the norms, fused with the sum of gradients after them and with those of weights and biases. */
#include "device/cuda/cuda_norm.cuh"

namespace
{

struct backward {
    const void *dy, *x, *w, *add; /* add NULL when absent */
    const float *mean, *rstd;     /* mean NULL: root mean square */
    void *dx;
    int64_t rows, width;
    float *partial_w, *partial_b; /* [gridDim.x, width]: sums over this block's rows; NULL: not wanted */
};

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy w; root mean square: without mean(g). A block takes rows
 * blockIdx.x, blockIdx.x + gridDim.x, .. (times its warps where a row is a warp's), and a thread the same columns of
 * each, so that sums over rows stay in registers. The next row is under way while this one is summed. */
template <class T, int THREADS, int H> __global__ void __launch_bounds__(BLOCK) norm_backward(backward job)
{
    constexpr int N = pack_of<T>, ROWS = BLOCK / THREADS;
    __shared__ float2 shared[BLOCK / 32];
    int lane = (int)(threadIdx.x % THREADS), group = (int)(threadIdx.x / THREADS), packs = (int)(job.width / N);
    const T *dy = (const T *)job.dy, *x = (const T *)job.x, *add = (const T *)job.add;
    pack<T, N> w[H], g[H], v[H];
    float sums_w[H][N], sums_b[H][N];
    int64_t row = (int64_t)blockIdx.x * ROWS + group, stride = (int64_t)gridDim.x * ROWS;
#pragma unroll
    for (int h = 0; h < H; h++) {
        int place = (lane + h * THREADS) * N;
#pragma unroll
        for (int i = 0; i < N; i++)
            sums_w[h][i] = sums_b[h][i] = 0.0f;
        if (lane + h * THREADS >= packs)
            continue;
        w[h] = load_pack<T, N>((const T *)job.w + place);
        if (row < job.rows) {
            g[h] = load_pack<T, N>(dy + row * job.width + place);
            v[h] = load_pack<T, N>(x + row * job.width + place);
        }
    }
    float mean = row < job.rows && job.mean != NULL ? job.mean[row] : 0.0f,
          rstd = row < job.rows ? job.rstd[row] : 0.0f;
    for (; row < job.rows; row += stride) {
        int64_t at = row * job.width, next = row + stride;
        pack<T, N> next_g[H], next_v[H], more[H];
        float2 sums = {0.0f, 0.0f};
        float next_mean = 0.0f, next_rstd = 0.0f;
#pragma unroll
        for (int h = 0; h < H; h++) {
            int place = (lane + h * THREADS) * N;
            if (lane + h * THREADS >= packs)
                continue;
            if (add != NULL)
                more[h] = load_pack<T, N>(add + at + place);
            if (next < job.rows) {
                next_g[h] = load_pack<T, N>(dy + next * job.width + place);
                next_v[h] = load_pack<T, N>(x + next * job.width + place);
            }
        }
        if (next < job.rows) {
            next_mean = job.mean != NULL ? job.mean[next] : 0.0f;
            next_rstd = job.rstd[next];
        }
#pragma unroll
        for (int h = 0; h < H; h++)
            if (lane + h * THREADS < packs)
#pragma unroll
                for (int i = 0; i < N; i++) {
                    float d = to_float(g[h].v[i]), centred = to_float(v[h].v[i]) - mean;
                    sums_w[h][i] = fmaf(d, centred * rstd, sums_w[h][i]);
                    sums_b[h][i] += d;
                    d *= to_float(w[h].v[i]);
                    sums.x += d;
                    sums.y = fmaf(d, centred, sums.y);
                }
        sums = group_sums<THREADS>(sums, shared);
        float g_mean = job.mean != NULL ? sums.x / (float)job.width : 0.0f;
        float slope = sums.y * rstd * rstd / (float)job.width; /* of x - mean */
#pragma unroll
        for (int h = 0; h < H; h++) {
            if (lane + h * THREADS >= packs)
                continue;
            float out[N];
#pragma unroll
            for (int i = 0; i < N; i++) {
                float d = to_float(g[h].v[i]) * to_float(w[h].v[i]), centred = to_float(v[h].v[i]) - mean;
                out[i] = fmaf(centred, -slope, d - g_mean) * rstd;
                if (add != NULL)
                    out[i] += to_float(more[h].v[i]);
            }
            store<T, N>((T *)job.dx + at + (lane + h * THREADS) * N, out);
            g[h] = next_g[h];
            v[h] = next_v[h];
        }
        mean = next_mean;
        rstd = next_rstd;
    }
    /* The block's warps add up one after the other, in shared memory where each row is a warp's. */
    ZRT__CUDA_SHARED(float, total);
    int64_t first = (int64_t)blockIdx.x * job.width;
    for (int which = 0; which < 2; which++) {
        float *out = which == 0 ? job.partial_w : job.partial_b;
        if (out == NULL)
            continue;
        for (int turn = 0; turn < ROWS; turn++) {
            if (group == turn) {
#pragma unroll
                for (int h = 0; h < H; h++) {
                    int place = (lane + h * THREADS) * N;
                    if (lane + h * THREADS >= packs)
                        continue;
#pragma unroll
                    for (int i = 0; i < N; i++) {
                        float s = which == 0 ? sums_w[h][i] : sums_b[h][i];
                        if (ROWS > 1 && turn > 0)
                            s += total[place + i];
                        if (turn == ROWS - 1)
                            out[first + place + i] = s;
                        else
                            total[place + i] = s;
                    }
                }
            }
            __syncthreads();
        }
    }
}

/* A row a block, of any width; without sums over rows. */
template <class T, int N> __global__ void __launch_bounds__(BLOCK) norm_backward_wide(backward job)
{
    __shared__ float2 shared[BLOCK / 32];
    int64_t at = (int64_t)blockIdx.x * job.width;
    float mean = job.mean != NULL ? job.mean[blockIdx.x] : 0.0f, rstd = job.rstd[blockIdx.x];
    float2 sums = {0.0f, 0.0f};
    for (int64_t i = (int64_t)threadIdx.x * N; i < job.width; i += BLOCK * N) {
        float g[N], v[N], w[N];
        load<T, N>((const T *)job.dy + at + i, g);
        load<T, N>((const T *)job.x + at + i, v);
        load<T, N>((const T *)job.w + i, w);
#pragma unroll
        for (int k = 0; k < N; k++) {
            sums.x = fmaf(g[k], w[k], sums.x);
            sums.y = fmaf(g[k] * w[k], v[k] - mean, sums.y);
        }
    }
    sums = group_sums<BLOCK>(sums, shared);
    float g_mean = job.mean != NULL ? sums.x / (float)job.width : 0.0f, slope = sums.y * rstd * rstd / (float)job.width;
    for (int64_t i = (int64_t)threadIdx.x * N; i < job.width; i += BLOCK * N) {
        float g[N], v[N], w[N], more[N];
        load<T, N>((const T *)job.dy + at + i, g);
        load<T, N>((const T *)job.x + at + i, v);
        load<T, N>((const T *)job.w + i, w);
        if (job.add != NULL)
            load<T, N>((const T *)job.add + at + i, more);
#pragma unroll
        for (int k = 0; k < N; k++) {
            v[k] = fmaf(v[k] - mean, -slope, fmaf(g[k], w[k], -g_mean)) * rstd;
            if (job.add != NULL)
                v[k] += more[k];
        }
        store<T, N>((T *)job.dx + at + i, v);
    }
}

/* dw and db of a column: in one pass over rows, where they do not stay in registers beside dx. */
template <class T> struct weight_terms {
    static constexpr int OUTPUTS = 2;
    const T *dy, *x;
    const float *mean, *rstd;
    int64_t width;
    template <int N> __device__ __forceinline__ void add(int64_t row, int64_t column, float sums[OUTPUTS][N]) const
    {
        float g[N], v[N];
        load<T, N>(dy + row * width + column, g);
        load<T, N>(x + row * width + column, v);
        float m = mean != NULL ? mean[row] : 0.0f, r = rstd[row];
#pragma unroll
        for (int i = 0; i < N; i++) {
            sums[0][i] = fmaf(g[i], (v[i] - m) * r, sums[0][i]);
            sums[1][i] += g[i];
        }
    }
};

struct gradients {
    zrt_dtype dtype;
    column_target dw, db;
};

template <class T, int N> zrt_status launch_wide(zrt__stream *stream, const backward &job, const gradients &out)
{
    cudaStream_t s = zrt__cuda_stream(stream);
    if (out.dw.data != NULL || out.db.data != NULL) {
        weight_terms<T> terms = {(const T *)job.dy, (const T *)job.x, job.mean, job.rstd, job.width};
        const float *partial = NULL;
        int64_t parts = 0;
        ZRT_TRY((sum_columns<N>(stream, terms, job.rows, job.width, &partial, &parts)));
        ZRT_TRY(finish_columns(s, partial, parts, job.width, out.dtype, out.dw, out.db));
    }
    ZRT__CUDA_LAUNCH((norm_backward_wide<T, N>), (unsigned)job.rows, BLOCK, 0, s, job);
    return ZRT_OK;
}

template <class T> zrt_status launch_backward(zrt__stream *stream, backward job, const gradients &out, bool whole)
{
    constexpr int64_t PARTS = 528;
    cudaStream_t s = zrt__cuda_stream(stream);
    shape z = shape_of<T>(job.width, whole);
    int64_t groups = z.warps ? (job.rows + BLOCK / 32 - 1) / (BLOCK / 32) : job.rows;
    int64_t parts = groups < PARTS ? groups : PARTS;
    if (job.rows == 0)
        return finish_columns(s, NULL, 0, job.width, out.dtype, out.dw, out.db);
    if (z.held == 0 && whole && job.width % pack_of<T> == 0)
        return launch_wide<T, pack_of<T>>(stream, job, out);
    if (z.held == 0)
        return launch_wide<T, 1>(stream, job, out);
    float *partial = NULL;
    ZRT_TRY(zrt__cuda_scratch(stream, (size_t)(2 * parts * job.width) * sizeof *partial, "a norm's gradient",
                              (void **)&partial));
    job.partial_w = out.dw.data != NULL ? partial : NULL;
    job.partial_b = out.db.data != NULL ? partial + parts * job.width : NULL;
    size_t shared = z.warps ? (size_t)job.width * sizeof(float) : 0;
    FOR_SHAPE(z, ZRT__CUDA_LAUNCH((norm_backward<T, THREADS, H>), (unsigned)parts, BLOCK, shared, s, job));
    return finish_columns(s, partial, parts, job.width, out.dtype, out.dw, out.db);
}

zrt_status backward_call(zrt__stream *stream, backward job, const gradients &out, const zrt_view *x)
{
    job.x = x->data;
    job.width = last_dim(x);
    job.rows = rows_of(x);
    if (job.width == 0)
        return ZRT_OK;
    bool whole = aligned(job.dy) && aligned(job.x) && aligned(job.w) && aligned(job.add) && aligned(job.dx);
    FOR_DTYPE(x->dtype, T, return launch_backward<T>(stream, job, out, whole))
    return ZRT_OK;
}

column_target target_of(const zrt_view *v, bool add)
{
    column_target target = {v->data, add};
    return target;
}

} // namespace

extern "C" zrt_status zrt__cuda_layernorm_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    backward job = {};
    job.dy = c->in[0].data;
    job.w = c->in[2].data;
    job.mean = (const float *)c->in[3].data;
    job.rstd = (const float *)c->in[4].data;
    job.add = c->in[5].data;
    job.dx = c->out[0].data;
    gradients out = {c->out[1].data != NULL ? c->out[1].dtype : c->out[2].dtype,
                     target_of(&c->out[1], (c->accumulate & 2u) != 0),
                     target_of(&c->out[2], (c->accumulate & 4u) != 0)};
    return backward_call(stream, job, out, &c->in[1]);
}

extern "C" zrt_status zrt__cuda_rmsnorm_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    backward job = {};
    job.dy = c->in[0].data;
    job.w = c->in[2].data;
    job.rstd = (const float *)c->in[3].data;
    job.add = c->in[4].data;
    job.dx = c->out[0].data;
    gradients out = {c->out[1].dtype, target_of(&c->out[1], (c->accumulate & 2u) != 0), {}};
    return backward_call(stream, job, out, &c->in[1]);
}
