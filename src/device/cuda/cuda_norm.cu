/* Layer and root-mean-square normalisation of rows, fused with the residual sum before it. Statistics are of the values as
 * stored, in fp32. A row belongs to a warp or, where it is long, to a block; what of it fits stays in registers. */
#include "device/cuda/cuda_columns.cuh"

namespace
{

enum {
    HELD = 4,         /* packs of a row that a thread keeps in registers */
    WARP_WIDTH = 1024 /* rows of at most as many elements are a warp's */
};

struct forward {
    const void *x, *r, *w, *b; /* r, b NULL when absent */
    void *y, *sum;             /* sum NULL without r */
    float *mean, *rstd;        /* mean NULL: root mean square */
    int64_t rows, width;
    float eps;
};

template <int THREADS> DEVICE float group_sum(float x, float *shared)
{
    return THREADS == 32 ? warp_sum(x) : block_sum<THREADS>(x, shared);
}

/* ROWS = BLOCK / THREADS rows a block. Packs beyond HELD are read again. */
template <class T, int N, int THREADS> __global__ void norm_forward(forward job)
{
    __shared__ float shared[BLOCK / 32];
    int lane = (int)(threadIdx.x % THREADS);
    int64_t row = (int64_t)blockIdx.x * (BLOCK / THREADS) + threadIdx.x / THREADS;
    if (row >= job.rows) /* whole warps, or whole blocks */
        return;
    int64_t packs = job.width / N, at = row * job.width;
    const T *x = (const T *)job.x + at, *r = job.r != NULL ? (const T *)job.r + at : NULL;
    T *total = r != NULL ? (T *)job.sum + at : NULL;
    const T *stored = total != NULL ? total : x;
    float held[HELD][N], sum = 0.0f;
    int k = 0;
#pragma unroll
    for (int h = 0; h < HELD; h++) {
        int64_t p = lane + (int64_t)h * THREADS;
        if (p >= packs)
            break;
        load<T, N>(x + p * N, held[h]);
        if (r != NULL) {
            float other[N];
            load<T, N>(r + p * N, other);
#pragma unroll
            for (int i = 0; i < N; i++)
                held[h][i] = to_float(element<T>::from(held[h][i] + other[i]));
            store<T, N>(total + p * N, held[h]);
        }
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += held[h][i];
    }
    for (int64_t p = lane + (int64_t)HELD * THREADS; p < packs; p += THREADS) {
        float v[N];
        load<T, N>(x + p * N, v);
        if (r != NULL) {
            float other[N];
            load<T, N>(r + p * N, other);
#pragma unroll
            for (int i = 0; i < N; i++)
                v[i] = to_float(element<T>::from(v[i] + other[i]));
            store<T, N>(total + p * N, v);
        }
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += v[i];
    }
    float mean = job.mean != NULL ? group_sum<THREADS>(sum, shared) / (float)job.width : 0.0f, squares = 0.0f;
#pragma unroll
    for (int h = 0; h < HELD; h++) {
        if (lane + (int64_t)h * THREADS >= packs)
            break;
#pragma unroll
        for (int i = 0; i < N; i++)
            squares = fmaf(held[h][i] - mean, held[h][i] - mean, squares);
    }
    for (int64_t p = lane + (int64_t)HELD * THREADS; p < packs; p += THREADS) {
        float v[N];
        load<T, N>(stored + p * N, v);
#pragma unroll
        for (int i = 0; i < N; i++)
            squares = fmaf(v[i] - mean, v[i] - mean, squares);
    }
    float rstd = 1.0f / sqrtf(group_sum<THREADS>(squares, shared) / (float)job.width + job.eps);
    if (lane == 0) {
        if (job.mean != NULL)
            job.mean[row] = mean;
        job.rstd[row] = rstd;
    }
    for (int64_t p = lane; p < packs; p += THREADS, k++) {
        float v[N], w[N], b[N];
        load<T, N>((const T *)job.w + p * N, w);
        if (job.b != NULL)
            load<T, N>((const T *)job.b + p * N, b);
        if (k >= HELD)
            load<T, N>(stored + p * N, v);
#pragma unroll
        for (int h = 0; h < HELD; h++)
            if (h == k) {
#pragma unroll
                for (int i = 0; i < N; i++)
                    v[i] = held[h][i];
            }
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = (v[i] - mean) * rstd;
            v[i] = job.b != NULL ? fmaf(v[i], w[i], b[i]) : v[i] * w[i];
        }
        store<T, N>((T *)job.y + at + p * N, v);
    }
}

struct backward {
    const void *dy, *x, *w, *add; /* add NULL when absent */
    const float *mean, *rstd;     /* mean NULL: root mean square */
    void *dx;
    int64_t rows, width;
    float *partial_w, *partial_b; /* [gridDim.x, width]: sums over this block's rows; NULL: not wanted */
};

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy w; root mean square: without mean(g). A block takes rows
 * blockIdx.x, blockIdx.x + gridDim.x, .. (times its warps where a row is a warp's), and a thread the same columns of
 * each, so that sums over rows stay in registers. Columns beyond HELD packs have no sums: partial_w is NULL then. */
template <class T, int N, int THREADS, bool SUMS> __global__ void norm_backward(backward job)
{
    constexpr int ROWS = BLOCK / THREADS;
    __shared__ float shared[BLOCK / 32];
    int lane = (int)(threadIdx.x % THREADS), group = (int)(threadIdx.x / THREADS);
    int64_t packs = job.width / N;
    float sums_w[SUMS ? HELD : 1][N], sums_b[SUMS ? HELD : 1][N];
    if (SUMS) {
#pragma unroll
        for (int h = 0; h < HELD; h++)
#pragma unroll
            for (int i = 0; i < N; i++)
                sums_w[h][i] = sums_b[h][i] = 0.0f;
    }
    for (int64_t row = (int64_t)blockIdx.x * ROWS + group; row < job.rows; row += (int64_t)gridDim.x * ROWS) {
        int64_t at = row * job.width;
        const T *dy = (const T *)job.dy + at, *x = (const T *)job.x + at, *w = (const T *)job.w;
        float mean = job.mean != NULL ? job.mean[row] : 0.0f, rstd = job.rstd[row];
        float held_g[HELD][N], held_x[HELD][N], sum_g = 0.0f, sum_gx = 0.0f;
#pragma unroll
        for (int h = 0; h < HELD; h++) {
            int64_t p = lane + (int64_t)h * THREADS;
            if (p >= packs)
                break;
            float weight[N];
            load<T, N>(dy + p * N, held_g[h]);
            load<T, N>(x + p * N, held_x[h]);
            load<T, N>(w + p * N, weight);
#pragma unroll
            for (int i = 0; i < N; i++) {
                held_x[h][i] -= mean;
                if (SUMS) {
                    sums_w[h][i] = fmaf(held_g[h][i], held_x[h][i] * rstd, sums_w[h][i]);
                    sums_b[h][i] += held_g[h][i];
                }
                held_g[h][i] *= weight[i];
                sum_g += held_g[h][i];
                sum_gx = fmaf(held_g[h][i], held_x[h][i], sum_gx);
            }
        }
        for (int64_t p = lane + (int64_t)HELD * THREADS; p < packs; p += THREADS) {
            float g[N], v[N], weight[N];
            load<T, N>(dy + p * N, g);
            load<T, N>(x + p * N, v);
            load<T, N>(w + p * N, weight);
#pragma unroll
            for (int i = 0; i < N; i++) {
                sum_g = fmaf(g[i], weight[i], sum_g);
                sum_gx = fmaf(g[i] * weight[i], v[i] - mean, sum_gx);
            }
        }
        float g_mean = job.mean != NULL ? group_sum<THREADS>(sum_g, shared) / (float)job.width : 0.0f;
        float slope = group_sum<THREADS>(sum_gx, shared) * rstd * rstd / (float)job.width; /* of x - mean */
#pragma unroll
        for (int h = 0; h < HELD; h++) {
            int64_t p = lane + (int64_t)h * THREADS;
            if (p >= packs)
                break;
            float d[N], add[N];
            if (job.add != NULL)
                load<T, N>((const T *)job.add + at + p * N, add);
#pragma unroll
            for (int i = 0; i < N; i++) {
                d[i] = fmaf(held_x[h][i], -slope, held_g[h][i] - g_mean) * rstd;
                if (job.add != NULL)
                    d[i] += add[i];
            }
            store<T, N>((T *)job.dx + at + p * N, d);
        }
        for (int64_t p = lane + (int64_t)HELD * THREADS; p < packs; p += THREADS) {
            float g[N], v[N], weight[N], add[N];
            load<T, N>(dy + p * N, g);
            load<T, N>(x + p * N, v);
            load<T, N>(w + p * N, weight);
            if (job.add != NULL)
                load<T, N>((const T *)job.add + at + p * N, add);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] = fmaf(v[i] - mean, -slope, fmaf(g[i], weight[i], -g_mean)) * rstd;
                if (job.add != NULL)
                    v[i] += add[i];
            }
            store<T, N>((T *)job.dx + at + p * N, v);
        }
    }
    if (SUMS) {
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
                    for (int h = 0; h < HELD; h++) {
                        int64_t p = lane + (int64_t)h * THREADS;
                        if (p >= packs)
                            break;
#pragma unroll
                        for (int i = 0; i < N; i++) {
                            float s = which == 0 ? sums_w[h][i] : sums_b[h][i];
                            if (ROWS > 1 && turn > 0)
                                s += total[p * N + i];
                            if (turn == ROWS - 1)
                                out[first + p * N + i] = s;
                            else
                                total[p * N + i] = s;
                        }
                    }
                }
                __syncthreads();
            }
        }
    }
}

template <class T, int N> void launch_forward(cudaStream_t s, const forward &job)
{
    if (job.width <= WARP_WIDTH)
        ZRT__CUDA_LAUNCH((norm_forward<T, N, 32>), (unsigned)((job.rows + BLOCK / 32 - 1) / (BLOCK / 32)), BLOCK, 0, s,
                         job);
    else
        ZRT__CUDA_LAUNCH((norm_forward<T, N, BLOCK>), (unsigned)job.rows, BLOCK, 0, s, job);
}

zrt_status forward_call(zrt__stream *stream, forward job, const zrt_view *x)
{
    job.x = x->data;
    job.width = last_dim(x);
    job.rows = rows_of(x);
    if (job.rows * job.width == 0)
        return ZRT_OK;
    cudaStream_t s = zrt__cuda_stream(stream);
    bool whole =
        aligned(job.x) && aligned(job.r) && aligned(job.w) && aligned(job.b) && aligned(job.y) && aligned(job.sum);
    FOR_DTYPE(x->dtype, T, if (whole && job.width % pack_of<T> == 0)(launch_forward<T, pack_of<T>>(s, job));
              else(launch_forward<T, 1>(s, job)))
    return ZRT_OK;
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
    const zrt_view *dw, *db; /* NULL when absent */
    bool accumulate_dw, accumulate_db;
};

zrt_status finish(cudaStream_t s, const gradients &out, const float *partial_w, const float *partial_b, int64_t parts,
                  int64_t width)
{
    if (out.dw != NULL)
        ZRT_TRY(finish_columns(s, partial_w, parts, width, out.dw, out.accumulate_dw));
    return out.db != NULL ? finish_columns(s, partial_b, parts, width, out.db, out.accumulate_db) : ZRT_OK;
}

template <class T, int N> zrt_status launch_backward(zrt__stream *stream, backward job, const gradients &out)
{
    constexpr int64_t PARTS = 264;
    cudaStream_t s = zrt__cuda_stream(stream);
    bool warps = job.width <= WARP_WIDTH, sums = out.dw != NULL || out.db != NULL;
    bool fits = job.width <= (int64_t)(warps ? 32 : BLOCK) * HELD * N;
    int64_t groups = warps ? (job.rows + BLOCK / 32 - 1) / (BLOCK / 32) : job.rows;
    int64_t parts = groups < PARTS ? groups : PARTS;
    if (sums && !fits) {
        weight_terms<T> terms = {(const T *)job.dy, (const T *)job.x, job.mean, job.rstd, job.width};
        const float *partial = NULL;
        int64_t n_parts = 0;
        ZRT_TRY((sum_columns<N>(stream, terms, job.rows, job.width, &partial, &n_parts)));
        ZRT_TRY(finish(s, out, partial, partial + n_parts * job.width, n_parts, job.width));
    }
    if (job.rows == 0)
        return fits ? finish(s, out, NULL, NULL, 0, job.width) : ZRT_OK;
    if (!sums || !fits) {
        if (warps)
            ZRT__CUDA_LAUNCH((norm_backward<T, N, 32, false>), blocks_for(groups, 1, GRID_MAX), BLOCK, 0, s, job);
        else
            ZRT__CUDA_LAUNCH((norm_backward<T, N, BLOCK, false>), blocks_for(groups, 1, GRID_MAX), BLOCK, 0, s, job);
        return ZRT_OK;
    }
    float *partial = NULL;
    ZRT_TRY(zrt__cuda_scratch(stream, (size_t)(2 * parts * job.width) * sizeof *partial, "a norm's gradient",
                              (void **)&partial));
    job.partial_w = out.dw != NULL ? partial : NULL;
    job.partial_b = out.db != NULL ? partial + parts * job.width : NULL;
    if (warps)
        ZRT__CUDA_LAUNCH((norm_backward<T, N, 32, true>), (unsigned)parts, BLOCK, (size_t)job.width * sizeof(float), s,
                         job);
    else
        ZRT__CUDA_LAUNCH((norm_backward<T, N, BLOCK, true>), (unsigned)parts, BLOCK, 0, s, job);
    return finish(s, out, job.partial_w, job.partial_b, parts, job.width);
}

zrt_status backward_call(zrt__stream *stream, backward job, const gradients &out, const zrt_view *x)
{
    job.x = x->data;
    job.width = last_dim(x);
    job.rows = rows_of(x);
    if (job.width == 0)
        return ZRT_OK;
    bool whole = aligned(job.dy) && aligned(job.x) && aligned(job.w) && aligned(job.add) && aligned(job.dx);
    FOR_DTYPE(x->dtype, T,
              if (whole && job.width % pack_of<T> == 0) return (launch_backward<T, pack_of<T>>(stream, job, out));
              else return (launch_backward<T, 1>(stream, job, out)))
    return ZRT_OK;
}

const zrt_view *given(const zrt_view *v)
{
    return v->data != NULL ? v : NULL;
}

} // namespace

extern "C" zrt_status zrt__cuda_layernorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.w = c->in[1].data;
    job.b = c->in[2].data;
    job.y = c->out[0].data;
    job.mean = (float *)c->out[1].data;
    job.rstd = (float *)c->out[2].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}

extern "C" zrt_status zrt__cuda_rmsnorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.w = c->in[1].data;
    job.y = c->out[0].data;
    job.rstd = (float *)c->out[1].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}

extern "C" zrt_status zrt__cuda_add_layernorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.r = c->in[1].data;
    job.w = c->in[2].data;
    job.b = c->in[3].data;
    job.y = c->out[0].data;
    job.mean = (float *)c->out[1].data;
    job.rstd = (float *)c->out[2].data;
    job.sum = c->out[3].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}

extern "C" zrt_status zrt__cuda_add_rmsnorm_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    forward job = {};
    job.r = c->in[1].data;
    job.w = c->in[2].data;
    job.y = c->out[0].data;
    job.rstd = (float *)c->out[1].data;
    job.sum = c->out[2].data;
    job.eps = c->attributes.norm.eps;
    return forward_call(stream, job, &c->in[0]);
}

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
    gradients out = {given(&c->out[1]), given(&c->out[2]), (c->accumulate & 2u) != 0, (c->accumulate & 4u) != 0};
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
    gradients out = {given(&c->out[1]), NULL, (c->accumulate & 2u) != 0, false};
    return backward_call(stream, job, out, &c->in[1]);
}
