/* What the norms share. A row belongs to a warp or, where it is long, to a block, and stays in registers where it fits. */
#ifndef ZRT_DEVICE_CUDA_CUDA_NORM_CUH
#define ZRT_DEVICE_CUDA_CUDA_NORM_CUH

#include "device/cuda/cuda_columns.cuh"

/* Packs of a row that a thread keeps, in the operands' dtype; longer rows are read again. */
constexpr int HELD_MAX = 4;

template <int THREADS> DEVICE float group_sum(float x, float *shared)
{
    return THREADS == 32 ? warp_sum(x) : block_sum<THREADS>(x, shared);
}

/* Both sums with one meeting of the threads. */
template <int THREADS> DEVICE float2 group_sums(float2 x, float2 *shared)
{
    x.x = warp_sum(x.x);
    x.y = warp_sum(x.y);
    if (THREADS == 32)
        return x;
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    float2 sum = shared[0];
#pragma unroll
    for (int i = 1; i < THREADS / 32; i++) {
        sum.x += shared[i].x;
        sum.y += shared[i].y;
    }
    __syncthreads();
    return sum;
}

/* A warp a row, or a block; packs a thread; 0: the row is longer, or not aligned. */
struct shape {
    bool warps;
    int held;
};

template <class T> shape shape_of(int64_t width, bool whole)
{
    int64_t packs = width / pack_of<T>;
    shape s = {packs <= 32 * HELD_MAX, 0};
    int64_t threads = s.warps ? 32 : BLOCK, held = (packs + threads - 1) / threads;
    if (whole && width % pack_of<T> == 0 && held <= HELD_MAX)
        s.held = (int)held;
    return s;
}

/* Runs the statement with THREADS and H of a shape. */
#define FOR_SHAPE(s, ...)                    \
    do {                                     \
        if ((s).warps) {                     \
            constexpr int THREADS = 32;      \
            FOR_HELD((s).held, __VA_ARGS__); \
        } else {                             \
            constexpr int THREADS = BLOCK;   \
            FOR_HELD((s).held, __VA_ARGS__); \
        }                                    \
    } while (0)
#define FOR_HELD(held, ...)         \
    switch (held) {                 \
    case 1: {                       \
        constexpr int H = 1;        \
        __VA_ARGS__;                \
        break;                      \
    }                               \
    case 2: {                       \
        constexpr int H = 2;        \
        __VA_ARGS__;                \
        break;                      \
    }                               \
    case 3: {                       \
        constexpr int H = 3;        \
        __VA_ARGS__;                \
        break;                      \
    }                               \
    default: {                      \
        constexpr int H = HELD_MAX; \
        __VA_ARGS__;                \
    }                               \
    }

#endif
