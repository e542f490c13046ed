/* Update rules over a shard, fused with unscaling, clipping and the 16-bit copy: one pass. What changes from step to step
 * is in the step state, which each block reads. As src/device/cpu/cpu_optimizer.c. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

/* Constants of a call. rest1, rest2: 1 - beta, of the decimals that the betas were written as. */
struct job {
    const void *gradient;
    void *parameter; /* NULL when absent */
    float *master, *first, *second;
    const zrt__step_state *state;
    double exact1, exact2; /* the betas as decimals */
    float beta1, beta2, rest1, rest2, eps, weight_decay, momentum, dampening, lr_factor;
    bool decoupled, corrected, nesterov;
    int64_t n;
};

/* What a step makes of them. */
struct factors {
    float gradient_scale, coupled, decay, step_size, inverse_root, carried, dampening;
};

struct adamw {
    static constexpr int MOMENTS = 2;
    static __device__ factors prepare(const job &j)
    {
        factors f = {};
        double rate = (double)j.state->learning_rate * (double)j.lr_factor, t = (double)j.state->unskipped;
        double correction1 = j.corrected ? 1.0 - pow(j.exact1, t) : 1.0;
        double correction2 = j.corrected ? 1.0 - pow(j.exact2, t) : 1.0;
        f.decay = j.decoupled ? (float)(1.0 - rate * (double)j.weight_decay) : 1.0f;
        f.coupled = j.decoupled ? 0.0f : j.weight_decay;
        f.step_size = (float)(rate / correction1);
        f.inverse_root = (float)(1.0 / sqrt(correction2));
        return f;
    }
    static __device__ __forceinline__ void update(const job &j, const factors &f, float g, float &w, float &m, float &v)
    {
        g = fmaf(f.coupled, w, g * f.gradient_scale);
        m = fmaf(g - m, j.rest1, m);
        v = fmaf(g * j.rest2, g, v * j.beta2);
        w = w * f.decay - f.step_size * m / fmaf(sqrtf(v), f.inverse_root, j.eps);
    }
};

struct sgd {
    static constexpr int MOMENTS = 1;
    static __device__ factors prepare(const job &j)
    {
        factors f = {};
        bool first = j.state->unskipped <= 1; /* PyTorch: the first momentum is the gradient itself */
        f.step_size = (float)((double)j.state->learning_rate * (double)j.lr_factor);
        f.carried = first ? 0.0f : j.momentum;
        f.dampening = first ? 0.0f : j.dampening;
        return f;
    }
    static __device__ __forceinline__ void update(const job &j, const factors &f, float g, float &w, float &m, float &)
    {
        g = fmaf(j.weight_decay, w, g * f.gradient_scale);
        if (j.first != NULL) {
            float old = m;
            m = (1.0f - f.dampening) * g;
            if (f.carried > 0.0f)
                m = fmaf(f.carried, old, m);
            g = j.nesterov ? fmaf(j.momentum, m, g) : m;
        }
        w = fmaf(-f.step_size, g, w);
    }
};

struct lion {
    static constexpr int MOMENTS = 1;
    static __device__ factors prepare(const job &j)
    {
        factors f = {};
        double rate = (double)j.state->learning_rate * (double)j.lr_factor;
        f.step_size = (float)rate;
        f.decay = (float)(1.0 - rate * (double)j.weight_decay);
        return f;
    }
    static __device__ __forceinline__ void update(const job &j, const factors &f, float g, float &w, float &m, float &)
    {
        g *= f.gradient_scale;
        float direction = fmaf(g - m, j.rest1, m);
        float sign = direction > 0.0f ? 1.0f : direction < 0.0f ? -1.0f : 0.0f;
        w = w * f.decay - f.step_size * sign;
        m = fmaf(g - m, j.rest2, m);
    }
};

template <class G, class P, int N, class Rule> __global__ void update(job j)
{
    __shared__ factors shared;
    if (j.state->skip)
        return;
    if (threadIdx.x == 0) {
        shared = Rule::prepare(j);
        shared.gradient_scale = j.state->update_scale;
    }
    __syncthreads();
    factors f = shared;
    int64_t stride = (int64_t)gridDim.x * blockDim.x * N;
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < j.n; i += stride) {
        float g[N], w[N], m[N], v[N];
        load_at<G, N>((const G *)j.gradient, i, j.n, g);
        load_at<float, N>(j.master, i, j.n, w);
        if (j.first != NULL)
            load_at<float, N>(j.first, i, j.n, m);
        if (Rule::MOMENTS > 1)
            load_at<float, N>(j.second, i, j.n, v);
#pragma unroll
        for (int k = 0; k < N; k++)
            Rule::update(j, f, g[k], w[k], m[k], v[k]);
        store_at<float, N>(j.master, i, j.n, w);
        if (j.first != NULL)
            store_at<float, N>(j.first, i, j.n, m);
        if (Rule::MOMENTS > 1)
            store_at<float, N>(j.second, i, j.n, v);
        if (j.parameter != NULL)
            store_at<P, N>((P *)j.parameter, i, j.n, w);
    }
}

template <class G, class P, class Rule> void launch(cudaStream_t s, const job &j)
{
    bool whole =
        aligned(j.gradient) && aligned(j.master) && aligned(j.first) && aligned(j.second) && aligned(j.parameter);
    if (whole)
        ZRT__CUDA_LAUNCH((update<G, P, 4, Rule>), blocks_for(j.n, BLOCK * 4, GRID_MAX), BLOCK, 0, s, j);
    else
        ZRT__CUDA_LAUNCH((update<G, P, 1, Rule>), blocks_for(j.n, BLOCK, GRID_MAX), BLOCK, 0, s, j);
}

/* The decimal that an fp32 number was written as: 1 - 0.999f is off by 13 millionths from what 1 - 0.999 is. */
double decimal(float x)
{
    return nearbyint((double)x * 1e7) / 1e7;
}

template <class Rule> zrt_status run(zrt__stream *stream, const void *arg)
{
    const zrt__call *c = (const zrt__call *)arg;
    job j = {};
    j.gradient = c->in[0].data;
    j.state = (const zrt__step_state *)c->in[1].data;
    j.master = (float *)c->out[0].data;
    j.first = (float *)c->out[1].data;
    j.second = (float *)c->out[2].data;
    j.parameter = c->out[3].data;
    j.beta1 = c->attributes.optimizer.beta1;
    j.beta2 = c->attributes.optimizer.beta2;
    j.exact1 = decimal(j.beta1);
    j.exact2 = decimal(j.beta2);
    j.rest1 = (float)(1.0 - j.exact1);
    j.rest2 = (float)(1.0 - j.exact2);
    j.eps = c->attributes.optimizer.eps;
    j.weight_decay = c->attributes.optimizer.weight_decay;
    j.momentum = c->attributes.optimizer.momentum;
    j.dampening = c->attributes.optimizer.dampening;
    j.lr_factor = c->attributes.optimizer.lr_factor;
    j.decoupled = c->attributes.optimizer.adam_w_mode;
    j.corrected = c->attributes.optimizer.bias_correction;
    j.nesterov = c->attributes.optimizer.nesterov;
    j.n = zrt_view_elements(&c->in[0]);
    if (j.n == 0)
        return ZRT_OK;
    zrt_dtype copy = j.parameter != NULL ? c->out[3].dtype : ZRT_FLOAT32;
    FOR_DTYPE(c->in[0].dtype, G, FOR_DTYPE(copy, P, (launch<G, P, Rule>(zrt__cuda_stream(stream), j))))
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_adamw(zrt__stream *stream, const void *arg)
{
    return run<adamw>(stream, arg);
}

extern "C" zrt_status zrt__cuda_sgd(zrt__stream *stream, const void *arg)
{
    return run<sgd>(stream, arg);
}

extern "C" zrt_status zrt__cuda_lion(zrt__stream *stream, const void *arg)
{
    return run<lion>(stream, arg);
}
