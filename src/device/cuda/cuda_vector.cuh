/* What the kernels share: 16-byte packs of elements, sums over a block, Philox, and how calls become launches. */
#ifndef ZRT_DEVICE_CUDA_CUDA_VECTOR_CUH
#define ZRT_DEVICE_CUDA_CUDA_VECTOR_CUH

#include "config.h"

#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

#include "device/cuda/cuda_kernels.h"
#include "device/cuda/cuda_launch.h"

extern "C" {
#include "base/error.h"
}

typedef __half zrt_half;
typedef __nv_bfloat16 zrt_bfloat;

#define DEVICE static __device__ __forceinline__

/* ---- elements ---- */

DEVICE float to_float(float x)
{
    return x;
}
DEVICE float to_float(zrt_half x)
{
    return __half2float(x);
}
DEVICE float to_float(zrt_bfloat x)
{
    return __bfloat162float(x);
}

template <class T> struct element;
template <> struct element<float> {
    static __device__ __forceinline__ float from(float x)
    {
        return x;
    }
};
template <> struct element<zrt_half> {
    static __device__ __forceinline__ zrt_half from(float x)
    {
        return __float2half_rn(x);
    }
};
template <> struct element<zrt_bfloat> {
    static __device__ __forceinline__ zrt_bfloat from(float x)
    {
        return __float2bfloat16_rn(x);
    }
};

/* N elements in one access, which must be aligned to their size. */
template <class T, int N> struct alignas(sizeof(T) * N) pack {
    T v[N];
};

template <class T> constexpr int pack_of = 16 / (int)sizeof(T);

template <class T, int N> DEVICE pack<T, N> load_pack(const T *p)
{
    return *reinterpret_cast<const pack<T, N> *>(p);
}

template <class T, int N> DEVICE void store_pack(T *p, const pack<T, N> &x)
{
    *reinterpret_cast<pack<T, N> *>(p) = x;
}

/* n elements from p on as floats; the rest of out is 0. `whole`: all N are there. */
template <class T, int N> DEVICE void load(const T *p, float out[N])
{
    pack<T, N> x = *reinterpret_cast<const pack<T, N> *>(p);
#pragma unroll
    for (int i = 0; i < N; i++)
        out[i] = to_float(x.v[i]);
}

template <class T, int N> DEVICE void store(T *p, const float in[N])
{
    pack<T, N> x;
#pragma unroll
    for (int i = 0; i < N; i++)
        x.v[i] = element<T>::from(in[i]);
    *reinterpret_cast<pack<T, N> *>(p) = x;
}

/* As load and store of the first `n` <= N elements. */
template <class T, int N> DEVICE void load_some(const T *p, int n, float out[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        out[i] = i < n ? to_float(p[i]) : 0.0f;
}

template <class T, int N> DEVICE void store_some(T *p, int n, const float in[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i < n)
            p[i] = element<T>::from(in[i]);
}

/* Of n elements, the pack at i: whole or what is left. */
template <class T, int N> DEVICE void load_at(const T *p, int64_t i, int64_t n, float out[N])
{
    if (i + N <= n)
        load<T, N>(p + i, out);
    else
        load_some<T, N>(p + i, (int)(n - i), out);
}

template <class T, int N> DEVICE void store_at(T *p, int64_t i, int64_t n, const float in[N])
{
    if (i + N <= n)
        store<T, N>(p + i, in);
    else
        store_some<T, N>(p + i, (int)(n - i), in);
}

/* ---- sums ---- */

DEVICE float warp_sum(float x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

DEVICE float warp_max(float x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

DEVICE double warp_sum(double x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Over the THREADS threads of a block, all of them; `shared` has THREADS / 32 elements. All get the sum. */
template <int THREADS, class T> DEVICE T block_sum(T x, T *shared)
{
    x = warp_sum(x);
    if (THREADS == 32)
        return x;
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    T sum = 0;
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++)
        sum += shared[i];
    __syncthreads();
    return sum;
}

/* ---- counter-based random numbers, as base/random.h ---- */

DEVICE uint64_t mix_bits(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

DEVICE uint64_t hash_mix(uint64_t a, uint64_t b)
{
    return mix_bits(mix_bits(a + 0x9E3779B97F4A7C15ull) ^ (b * 0xD6E8FEB86659FD93ull + 0xA0761D6478BD642Full));
}

/* What the draws of one dropout have in common. */
struct draw {
    uint32_t threshold; /* of 24 bits: below it is dropped */
    uint32_t op;        /* third word of the counter; the fourth is the step */
    float kept;
};

static inline draw make_draw(float probability, uint32_t unit_index, uint32_t op_index)
{
    draw d;
    d.threshold = (uint32_t)ceil((double)probability * 16777216.0);
    d.op = unit_index << 16 | op_index;
    d.kept = 1.0f / (1.0f - probability);
    return d;
}

/* Words of the counter: elements 4 `block` to 4 `block` + 3. */
DEVICE void philox(uint64_t key, uint64_t block, uint32_t op, uint32_t step, uint32_t words[4])
{
    uint32_t x0 = (uint32_t)block, x1 = (uint32_t)(block >> 32), x2 = op, x3 = step;
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * x0, p1 = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ key0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ key1;
        x3 = (uint32_t)p0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    words[0] = x0;
    words[1] = x1;
    words[2] = x2;
    words[3] = x3;
}

/* kept, or 0 where it is dropped */
DEVICE float draw_factor(const draw &d, uint32_t word)
{
    return (word >> 8) >= d.threshold ? d.kept : 0.0f;
}

/* ---- what a kernel cannot return ---- */

/* Keeps the first of what is reported; in pinned memory, which the host reads when it waits. */
DEVICE void report(zrt__cuda_fault *fault, int kind, int value, int64_t at, int64_t limit)
{
    if (atomicCAS_system(&fault->kind, 0, -1) != 0)
        return;
    fault->value = value;
    fault->at = at;
    fault->limit = limit;
    __threadfence_system();
    fault->kind = kind;
}

/* ---- from calls to launches ---- */

static inline bool aligned(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

static inline int64_t last_dim(const zrt_view *v)
{
    return v->n_dims > 0 ? v->dims[v->n_dims - 1] : 1;
}

static inline int64_t rows_of(const zrt_view *v)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < v->n_dims; i++)
        n *= v->dims[i];
    return n;
}

/* Blocks for n items, `at_once` a block, at most `most`. */
static inline int blocks_for(int64_t n, int64_t at_once, int64_t most)
{
    int64_t blocks = (n + at_once - 1) / at_once;
    return (int)(blocks < most ? blocks : most);
}

/* As many blocks of grid-stride loops as keep a large GPU busy. A number of its own, so that results depend on no GPU. */
enum { GRID_MAX = 2112, BLOCK = 256 };

static inline zrt_status launched(zrt__stream *stream, const char *what)
{
    return zrt__cuda_check(stream->device, cudaPeekAtLastError(), what);
}

/* Runs the statement with `T` as the element type of `dtype`. */
#define FOR_DTYPE(dtype, T, ...)                                                                        \
    switch (dtype) {                                                                                    \
    case ZRT_FLOAT32: {                                                                                 \
        typedef float T;                                                                                \
        __VA_ARGS__;                                                                                    \
        break;                                                                                          \
    }                                                                                                   \
    case ZRT_FLOAT16: {                                                                                 \
        typedef zrt_half T;                                                                             \
        __VA_ARGS__;                                                                                    \
        break;                                                                                          \
    }                                                                                                   \
    case ZRT_BFLOAT16: {                                                                                \
        typedef zrt_bfloat T;                                                                           \
        __VA_ARGS__;                                                                                    \
        break;                                                                                          \
    }                                                                                                   \
    default:                                                                                            \
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "the GPU's kernels have no %s", zrt_dtype_name(dtype)); \
    }

#endif
