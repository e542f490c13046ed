/* Activations, gated activations, sums and products, conversions: one pass each, 16 bytes an access. */
#include "device/cuda/cuda_vector.cuh"

namespace
{

/* ---- functions of elements ---- */

#define GELU_K 0.79788456080286536f /* sqrt(2 / pi) */

DEVICE float sigmoid(float x)
{
    /* exp of what is not positive: no infinity over infinity */
    float e = expf(-fabsf(x));
    return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}

template <int KIND> struct activation {
    static __device__ __forceinline__ float value(float x)
    {
        switch (KIND) {
        case ZRT_RELU:
            return x < 0.0f ? 0.0f : x;
        case ZRT_GELU:
            return x * normcdff(x);
        case ZRT_GELU_TANH: /* (1 + tanh u) / 2 = sigmoid(2 u), which does not cancel */
            return x * sigmoid(2.0f * GELU_K * fmaf(0.044715f * x * x, x, x));
        case ZRT_SILU:
            return x * sigmoid(x);
        case ZRT_TANH:
            return tanhf(x);
        default:
            return sigmoid(x);
        }
    }
    /* The derivative; sets *value_out to the function. */
    static __device__ __forceinline__ float slope(float x, float *value_out)
    {
        float s, inner;
        switch (KIND) {
        case ZRT_RELU:
            *value_out = x < 0.0f ? 0.0f : x;
            return x > 0.0f ? 1.0f : 0.0f;
        case ZRT_GELU:
            s = normcdff(x);
            *value_out = x * s;
            return fmaf(x * 0.39894228040143268f, expf(-0.5f * x * x), s);
        case ZRT_GELU_TANH:
            s = sigmoid(2.0f * GELU_K * fmaf(0.044715f * x * x, x, x));
            *value_out = x * s;
            inner = 2.0f * GELU_K * fmaf(3.0f * 0.044715f * x, x, 1.0f);
            return fmaf(*value_out * (1.0f - s), inner, s);
        case ZRT_SILU:
            s = sigmoid(x);
            *value_out = x * s;
            return fmaf(*value_out, 1.0f - s, s);
        case ZRT_TANH:
            *value_out = tanhf(x);
            s = expf(-2.0f * fabsf(x)); /* 1 - tanh^2 would cancel */
            return 4.0f * s / ((1.0f + s) * (1.0f + s));
        default:
            *value_out = sigmoid(x);
            s = expf(-fabsf(x));
            return s / ((1.0f + s) * (1.0f + s));
        }
    }
};

template <int KIND> struct activation_forward {
    __device__ __forceinline__ float operator()(float x, float) const
    {
        return activation<KIND>::value(x);
    }
};

template <int KIND> struct activation_backward {
    __device__ __forceinline__ float operator()(float dy, float x) const
    {
        float value;
        return dy * activation<KIND>::slope(x, &value);
    }
};

struct sum {
    __device__ __forceinline__ float operator()(float a, float b) const
    {
        return a + b;
    }
};

struct multiply {
    __device__ __forceinline__ float operator()(float a, float b) const
    {
        return a * b;
    }
};

struct multiply_by {
    float factor;
    __device__ __forceinline__ float operator()(float a, float) const
    {
        return a * factor;
    }
};

/* ---- kernels ---- */

/* y = f(a, b); b may be NULL. y may be a or b: each element is read by the thread that writes it, before. */
template <class T, int N, bool TWO, class F> __global__ void map(F f, const T *a, const T *b, T *y, int64_t n)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x * N;
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < n; i += stride) {
        float p[N], q[N], out[N];
        load_at<T, N>(a, i, n, p);
        if (TWO)
            load_at<T, N>(b, i, n, q);
#pragma unroll
        for (int k = 0; k < N; k++)
            out[k] = f(p[k], TWO ? q[k] : 0.0f);
        store_at<T, N>(y, i, n, out);
    }
}

/* x [rows, 2 width]: y = act(gate) up */
template <class T, int N, int KIND> __global__ void gate_forward(const T *x, T *y, int64_t rows, int64_t width)
{
    int64_t packs = width / N, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * packs; i += stride) {
        int64_t row = i / packs, at = i % packs * N;
        float gate[N], up[N];
        load<T, N>(x + 2 * row * width + at, gate);
        load<T, N>(x + (2 * row + 1) * width + at, up);
#pragma unroll
        for (int k = 0; k < N; k++)
            up[k] *= activation<KIND>::value(gate[k]);
        store<T, N>(y + row * width + at, up);
    }
}

template <class T, int N, int KIND>
__global__ void gate_backward(const T *dy, const T *x, T *dx, int64_t rows, int64_t width)
{
    int64_t packs = width / N, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * packs; i += stride) {
        int64_t row = i / packs, at = i % packs * N, gate_at = 2 * row * width + at, up_at = gate_at + width;
        float g[N], gate[N], up[N];
        load<T, N>(dy + row * width + at, g);
        load<T, N>(x + gate_at, gate);
        load<T, N>(x + up_at, up);
#pragma unroll
        for (int k = 0; k < N; k++) {
            float value, slope = activation<KIND>::slope(gate[k], &value);
            gate[k] = g[k] * up[k] * slope;
            up[k] = g[k] * value;
        }
        store<T, N>(dx + gate_at, gate);
        store<T, N>(dx + up_at, up);
    }
}

/* dx [rows, length, width] is 0 but for position `index`, which is dy [rows, width]; in bytes of 1 or 16 */
template <class U>
__global__ void scatter_position(const U *dy, U *dx, int64_t n, int64_t length, int64_t width, int64_t index)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        int64_t at = i % width, position = i / width % length, row = i / width / length;
        U zero = {};
        dx[i] = position == index ? dy[row * width + at] : zero;
    }
}

template <class A, class B, int N, bool ADD> __global__ void convert(const A *x, B *y, int64_t n)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x * N;
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < n; i += stride) {
        float p[N], old[N];
        load_at<A, N>(x, i, n, p);
        if (ADD) {
            load_at<B, N>(y, i, n, old);
#pragma unroll
            for (int k = 0; k < N; k++)
                p[k] = old[k] + p[k];
        }
        store_at<B, N>(y, i, n, p);
    }
}

__global__ void accumulate_double(const double *x, double *y, int64_t n, bool add)
{
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        y[i] = add ? y[i] + x[i] : x[i];
}

template <class B> __global__ void from_double(const double *x, B *y, int64_t n)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        y[i] = element<B>::from((float)x[i]);
}

template <class A> __global__ void to_double(const A *x, double *y, int64_t n)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        y[i] = (double)to_float(x[i]);
}

/* ---- launches ---- */

template <class T, bool TWO, class F>
void launch_map(zrt__stream *stream, F f, const void *a, const void *b, void *y, int64_t n)
{
    constexpr int N = pack_of<T>;
    cudaStream_t s = zrt__cuda_stream(stream);
    if (aligned(a) && aligned(b) && aligned(y))
        ZRT__CUDA_LAUNCH((map<T, N, TWO, F>), blocks_for(n, BLOCK * N, GRID_MAX), BLOCK, 0, s, f, (const T *)a,
                         (const T *)b, (T *)y, n);
    else
        ZRT__CUDA_LAUNCH((map<T, 1, TWO, F>), blocks_for(n, BLOCK, GRID_MAX), BLOCK, 0, s, f, (const T *)a,
                         (const T *)b, (T *)y, n);
}

template <bool TWO, class F> zrt_status map_call(zrt__stream *stream, const zrt__call *call, F f)
{
    int64_t n = zrt_view_elements(&call->in[0]);
    if (n == 0)
        return ZRT_OK;
    FOR_DTYPE(call->in[0].dtype, T,
              (launch_map<T, TWO, F>(stream, f, call->in[0].data, TWO ? call->in[1].data : NULL, call->out[0].data, n)))
    return ZRT_OK;
}

template <int KIND> zrt_status act_call(zrt__stream *stream, const zrt__call *call, bool backward)
{
    return backward ? map_call<true>(stream, call, activation_backward<KIND>())
                    : map_call<false>(stream, call, activation_forward<KIND>());
}

template <int KIND> zrt_status glu_call(zrt__stream *stream, const zrt__call *call, bool backward)
{
    const zrt_view *narrow = backward ? &call->in[0] : &call->out[0];
    const void *x = backward ? call->in[1].data : call->in[0].data;
    int64_t width = last_dim(narrow), rows = rows_of(narrow);
    cudaStream_t s = zrt__cuda_stream(stream);
    if (rows * width == 0)
        return ZRT_OK;
    bool whole = aligned(x) && aligned(narrow->data) && aligned(call->out[0].data);
#define GATE(T, N)                                                                                                  \
    do {                                                                                                            \
        int blocks = blocks_for(rows * (width / (N)), BLOCK, GRID_MAX);                                             \
        if (backward)                                                                                               \
            ZRT__CUDA_LAUNCH((gate_backward<T, N, KIND>), blocks, BLOCK, 0, s, (const T *)call->in[0].data,         \
                             (const T *)x, (T *)call->out[0].data, rows, width);                                    \
        else                                                                                                        \
            ZRT__CUDA_LAUNCH((gate_forward<T, N, KIND>), blocks, BLOCK, 0, s, (const T *)x, (T *)call->out[0].data, \
                             rows, width);                                                                          \
    } while (0)
    FOR_DTYPE(narrow->dtype, T, if (whole && width % pack_of<T> == 0) GATE(T, pack_of<T>); else GATE(T, 1))
#undef GATE
    return ZRT_OK;
}

#define FOR_KIND(kind, call_of)        \
    switch (kind) {                    \
    case ZRT_RELU:                     \
        return call_of(ZRT_RELU);      \
    case ZRT_GELU:                     \
        return call_of(ZRT_GELU);      \
    case ZRT_GELU_TANH:                \
        return call_of(ZRT_GELU_TANH); \
    case ZRT_SILU:                     \
        return call_of(ZRT_SILU);      \
    case ZRT_TANH:                     \
        return call_of(ZRT_TANH);      \
    case ZRT_SIGMOID:                  \
        break;                         \
    }                                  \
    return call_of(ZRT_SIGMOID)

zrt_status act_of_kind(zrt__stream *stream, const zrt__call *call, bool backward)
{
#define CALL(kind) act_call<kind>(stream, call, backward)
    FOR_KIND(call->attributes.activation.kind, CALL);
#undef CALL
}

zrt_status glu_of_kind(zrt__stream *stream, const zrt__call *call, bool backward)
{
#define CALL(kind) glu_call<kind>(stream, call, backward)
    FOR_KIND(call->attributes.activation.kind, CALL);
#undef CALL
}

template <class A, class B> void launch_convert(zrt__stream *stream, const void *x, void *y, int64_t n, bool add)
{
    /* The wider one is 16 bytes an access. */
    constexpr int N = sizeof(A) > sizeof(B) ? pack_of<A> : pack_of<B>;
    cudaStream_t s = zrt__cuda_stream(stream);
#define CONVERT(N, ADD) \
    ZRT__CUDA_LAUNCH((convert<A, B, N, ADD>), blocks_for(n, BLOCK *(N), GRID_MAX), BLOCK, 0, s, (const A *)x, (B *)y, n)
    if (aligned(x) && aligned(y)) {
        if (add)
            CONVERT(N, true);
        else
            CONVERT(N, false);
    } else if (add) {
        CONVERT(1, true);
    } else {
        CONVERT(1, false);
    }
#undef CONVERT
}

zrt_status convert_call(zrt__stream *stream, const zrt_view *x, const zrt_view *y, bool add)
{
    int64_t n = zrt_view_elements(x);
    cudaStream_t s = zrt__cuda_stream(stream);
    if (n == 0)
        return ZRT_OK;
    if (x->dtype == y->dtype && !add)
        return zrt__cuda_check(
            stream->device,
            cudaMemcpyAsync(y->data, x->data, (size_t)n * zrt_dtype_bytes(x->dtype), cudaMemcpyDeviceToDevice, s),
            "a copy");
    if (x->dtype == ZRT_FLOAT64 && y->dtype == ZRT_FLOAT64) {
        ZRT__CUDA_LAUNCH(accumulate_double, 1, BLOCK, 0, s, (const double *)x->data, (double *)y->data, n, add);
        return ZRT_OK;
    }
    if (x->dtype == ZRT_FLOAT64) {
        FOR_DTYPE(y->dtype, B,
                  ZRT__CUDA_LAUNCH((from_double<B>), blocks_for(n, BLOCK, GRID_MAX), BLOCK, 0, s,
                                   (const double *)x->data, (B *)y->data, n))
        return ZRT_OK;
    }
    if (y->dtype == ZRT_FLOAT64) {
        FOR_DTYPE(x->dtype, A,
                  ZRT__CUDA_LAUNCH((to_double<A>), blocks_for(n, BLOCK, GRID_MAX), BLOCK, 0, s, (const A *)x->data,
                                   (double *)y->data, n))
        return ZRT_OK;
    }
    FOR_DTYPE(x->dtype, A, FOR_DTYPE(y->dtype, B, (launch_convert<A, B>(stream, x->data, y->data, n, add))))
    return ZRT_OK;
}

} // namespace

extern "C" zrt_status zrt__cuda_activation_forward(zrt__stream *stream, const void *arg)
{
    return act_of_kind(stream, (const zrt__call *)arg, false);
}

extern "C" zrt_status zrt__cuda_activation_backward(zrt__stream *stream, const void *arg)
{
    return act_of_kind(stream, (const zrt__call *)arg, true);
}

extern "C" zrt_status zrt__cuda_glu_forward(zrt__stream *stream, const void *arg)
{
    return glu_of_kind(stream, (const zrt__call *)arg, false);
}

extern "C" zrt_status zrt__cuda_glu_backward(zrt__stream *stream, const void *arg)
{
    return glu_of_kind(stream, (const zrt__call *)arg, true);
}

extern "C" zrt_status zrt__cuda_add(zrt__stream *stream, const void *arg)
{
    return map_call<true>(stream, (const zrt__call *)arg, sum());
}

extern "C" zrt_status zrt__cuda_mul(zrt__stream *stream, const void *arg)
{
    return map_call<true>(stream, (const zrt__call *)arg, multiply());
}

extern "C" zrt_status zrt__cuda_scale(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = (const zrt__call *)arg;
    multiply_by f = {call->attributes.scale.factor};
    return map_call<false>(stream, call, f);
}

extern "C" zrt_status zrt__cuda_last_position_forward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = (const zrt__call *)arg;
    const zrt_view *x = &call->in[0];
    size_t row = (size_t)x->dims[2] * zrt_dtype_bytes(x->dtype), pitch = row * (size_t)x->dims[1];
    if (x->dims[0] == 0 || row == 0)
        return ZRT_OK;
    return zrt__cuda_check(
        stream->device,
        cudaMemcpy2DAsync(call->out[0].data, row, (const char *)x->data + (size_t)call->attributes.last.index * row,
                          pitch, row, (size_t)x->dims[0], cudaMemcpyDeviceToDevice, zrt__cuda_stream(stream)),
        "a copy");
}

extern "C" zrt_status zrt__cuda_last_position_backward(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = (const zrt__call *)arg;
    const zrt_view *dx = &call->out[0];
    int64_t bytes = (int64_t)zrt_dtype_bytes(dx->dtype), width = dx->dims[2] * bytes;
    int64_t n = dx->dims[0] * dx->dims[1] * width, length = dx->dims[1], index = call->attributes.last.index;
    cudaStream_t s = zrt__cuda_stream(stream);
    if (n == 0)
        return ZRT_OK;
    if (width % 16 == 0 && aligned(dx->data) && aligned(call->in[0].data))
        ZRT__CUDA_LAUNCH((scatter_position<pack<float, 4>>), blocks_for(n / 16, BLOCK, GRID_MAX), BLOCK, 0, s,
                         (const pack<float, 4> *)call->in[0].data, (pack<float, 4> *)dx->data, n / 16, length,
                         width / 16, index);
    else
        ZRT__CUDA_LAUNCH((scatter_position<unsigned char>), blocks_for(n, BLOCK, GRID_MAX), BLOCK, 0, s,
                         (const unsigned char *)call->in[0].data, (unsigned char *)dx->data, n, length, width, index);
    return ZRT_OK;
}

extern "C" zrt_status zrt__cuda_zero(zrt__stream *stream, const void *arg)
{
    const zrt_view *x = &((const zrt__call *)arg)->out[0];
    size_t bytes = (size_t)zrt_view_elements(x) * zrt_dtype_bytes(x->dtype);
    if (bytes == 0)
        return ZRT_OK;
    return zrt__cuda_check(stream->device, cudaMemsetAsync(x->data, 0, bytes, zrt__cuda_stream(stream)), "zeroing");
}

extern "C" zrt_status zrt__cuda_convert(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = (const zrt__call *)arg;
    return convert_call(stream, &call->in[0], &call->out[0], false);
}

extern "C" zrt_status zrt__cuda_accumulate(zrt__stream *stream, const void *arg)
{
    const zrt__call *call = (const zrt__call *)arg;
    return convert_call(stream, &call->in[0], &call->out[0], call->accumulate & 1u);
}
