/* Attention as graphs of cuDNN: the patterns that its fused engines take. */
#ifndef ZRT_DEVICE_CUDA_CUDNN_SDPA_H
#define ZRT_DEVICE_CUDA_CUDNN_SDPA_H

#include "device/cuda/cudnn_graph.h"

/* Packed query, key and value [rows, length, (n_heads + 2 n_kv_heads) head_dim]; output [rows, length, n_heads head_dim]. */
typedef struct zrt__cudnn_shape {
    int64_t rows, length, n_heads, n_kv_heads, head_dim;
    cudnnDataType_t dtype; /* fp16, bf16 */
    bool causal, backward;
    bool deterministic; /* backward: sums in one order, for rows x n_heads x length^2 x 2 bytes of workspace */
} zrt__cudnn_shape;

/* Numbers of the tensors in memory. */
enum {
    ZRT__SDPA_Q = 1,
    ZRT__SDPA_K,
    ZRT__SDPA_V,
    ZRT__SDPA_O,
    ZRT__SDPA_LSE,      /* fp32 [rows, n_heads, length] */
    ZRT__SDPA_SCALE,    /* numbers */
    ZRT__SDPA_INFINITY, /* -inf */
    ZRT__SDPA_ONE,
    ZRT__SDPA_DO,
    ZRT__SDPA_DQ,
    ZRT__SDPA_DK,
    ZRT__SDPA_DV,
    ZRT__SDPA_DELTA, /* fp32 [rows, n_heads, length]: row sums of dO O; scratch */
    ZRT__SDPA_SUM    /* fp32 [rows, n_heads, length, head_dim]: dQ as it grows; scratch, absent where deterministic */
};

/* Appends the operations of a shape. Failures stick to the graph. */
void zrt__cudnn_sdpa_build(zrt__cudnn_graph *graph, const zrt__cudnn_shape *shape);

#endif
