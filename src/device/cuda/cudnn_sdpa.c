/* The order of operations is what cuDNN's pattern matching knows (cudnn-frontend, include/cudnn_frontend/node:
 * scaled_dot_product_flash_attention.h, softmax.h, diagonal_band_mask.h). */
#include "config.h"

#include "device/cuda/cudnn_sdpa.h"

typedef zrt__cudnn_descriptor tensor;
typedef zrt__cudnn_graph graph;

/* Layouts of a shape. */
typedef struct layouts {
    zrt__cudnn_dims q, k, k_transposed, o; /* in the packed buffers; v as k */
    zrt__cudnn_dims scores, scores_transposed, row;
    zrt__cudnn_dims heads;    /* [rows, n_heads, length, head_dim], dense */
    zrt__cudnn_dims products; /* of dO and O */
} layouts;

static layouts layouts_of(const zrt__cudnn_shape *z)
{
    int64_t b = z->rows, h = z->n_heads, k = z->n_kv_heads, s = z->length, d = z->head_dim, w = (h + 2 * k) * d;
    return (layouts){
        .q = {{b, h, s, d}, {s * w, d, w, 1}},
        .k = {{b, k, s, d}, {s * w, d, w, 1}},
        .k_transposed = {{b, k, d, s}, {s * w, d, 1, w}},
        .o = {{b, h, s, d}, {s * h * d, d, h * d, 1}},
        .scores = {{b, h, s, s}, {h * s * s, s * s, s, 1}},
        .scores_transposed = {{b, h, s, s}, {h * s * s, s * s, 1, s}},
        .row = {{b, h, s, 1}, {h * s, s, 1, 1}},
        .heads = {{b, h, s, d}, {h * s * d, s * d, d, 1}},
        .products = {{b, h, s, d}, {h * s * d, s * d, h * d, 1}},
    };
}

static tensor virtual_fp32(graph *g, const zrt__cudnn_dims *dims)
{
    return zrt__cudnn_tensor(g, ZRT__CUDNN_VIRTUAL, CUDNN_DATA_FLOAT, dims);
}

static tensor pointwise(graph *g, cudnnPointwiseMode_t mode, tensor x, tensor b, const zrt__cudnn_dims *dims)
{
    tensor y = virtual_fp32(g, dims);
    zrt__cudnn_pointwise(g, mode, CUDNN_DATA_FLOAT, -1, x, b, NULL, y);
    return y;
}

/* Keeps the scores whose row is not before their column; others become -inf. */
static tensor mask(graph *g, tensor scores, const zrt__cudnn_dims *dims, tensor infinity)
{
    tensor row = zrt__cudnn_tensor(g, ZRT__CUDNN_VIRTUAL, CUDNN_DATA_INT32, dims),
           column = zrt__cudnn_tensor(g, ZRT__CUDNN_VIRTUAL, CUDNN_DATA_INT32, dims),
           seen = zrt__cudnn_tensor(g, ZRT__CUDNN_VIRTUAL, CUDNN_DATA_BOOLEAN, dims), masked = virtual_fp32(g, dims);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, 2, scores, NULL, NULL, row);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, 3, scores, NULL, NULL, column);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, -1, row, column, NULL, seen);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, -1, scores, infinity, seen, masked);
    return masked;
}

static void build_forward(graph *g, const zrt__cudnn_shape *z)
{
    layouts l = layouts_of(z);
    tensor q = zrt__cudnn_tensor(g, ZRT__SDPA_Q, z->dtype, &l.q),
           k = zrt__cudnn_tensor(g, ZRT__SDPA_K, z->dtype, &l.k_transposed),
           v = zrt__cudnn_tensor(g, ZRT__SDPA_V, z->dtype, &l.k), o = zrt__cudnn_tensor(g, ZRT__SDPA_O, z->dtype, &l.o),
           lse = zrt__cudnn_tensor(g, ZRT__SDPA_LSE, CUDNN_DATA_FLOAT, &l.row),
           scale = zrt__cudnn_number(g, ZRT__SDPA_SCALE);
    tensor products = virtual_fp32(g, &l.scores);
    zrt__cudnn_matmul(g, q, k, products);
    tensor scores = pointwise(g, CUDNN_POINTWISE_MUL, products, scale, &l.scores);
    if (z->causal)
        scores = mask(g, scores, &l.scores, zrt__cudnn_number(g, ZRT__SDPA_INFINITY));
    tensor most = virtual_fp32(g, &l.row), sum = virtual_fp32(g, &l.row);
    zrt__cudnn_reduce(g, CUDNN_REDUCE_TENSOR_MAX, scores, most);
    tensor below = pointwise(g, CUDNN_POINTWISE_SUB, scores, most, &l.scores);
    tensor powers = pointwise(g, CUDNN_POINTWISE_EXP, below, NULL, &l.scores);
    zrt__cudnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, powers, sum);
    tensor logarithm = pointwise(g, CUDNN_POINTWISE_LOG, sum, NULL, &l.row);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, -1, most, logarithm, NULL, lse);
    tensor p = zrt__cudnn_tensor(g, ZRT__CUDNN_VIRTUAL, z->dtype, &l.scores);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_DIV, CUDNN_DATA_FLOAT, -1, powers, sum, NULL, p);
    zrt__cudnn_matmul(g, p, v, o);
}

/* transposed x y, summed over the query heads of each key head where they share one */
static void key_gradient(graph *g, const zrt__cudnn_shape *z, const layouts *l, tensor x, tensor y, tensor gradient)
{
    tensor transposed = zrt__cudnn_tensor(g, ZRT__CUDNN_VIRTUAL, z->dtype, &l->scores_transposed);
    zrt__cudnn_reshape(g, x, transposed);
    if (z->n_kv_heads == z->n_heads) {
        zrt__cudnn_matmul(g, transposed, y, gradient);
        return;
    }
    tensor full = zrt__cudnn_tensor(g, ZRT__CUDNN_VIRTUAL, z->dtype, &l->heads);
    zrt__cudnn_matmul(g, transposed, y, full);
    zrt__cudnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, full, gradient);
}

static void build_backward(graph *g, const zrt__cudnn_shape *z)
{
    layouts l = layouts_of(z);
    tensor q = zrt__cudnn_tensor(g, ZRT__SDPA_Q, z->dtype, &l.q),
           k = zrt__cudnn_tensor(g, ZRT__SDPA_K, z->dtype, &l.k_transposed),
           v = zrt__cudnn_tensor(g, ZRT__SDPA_V, z->dtype, &l.k_transposed),
           o = zrt__cudnn_tensor(g, ZRT__SDPA_O, z->dtype, &l.o),
           d_o = zrt__cudnn_tensor(g, ZRT__SDPA_DO, z->dtype, &l.o),
           lse = zrt__cudnn_tensor(g, ZRT__SDPA_LSE, CUDNN_DATA_FLOAT, &l.row),
           scale = zrt__cudnn_number(g, ZRT__SDPA_SCALE), one = zrt__cudnn_number(g, ZRT__SDPA_ONE),
           dq = zrt__cudnn_tensor(g, ZRT__SDPA_DQ, z->dtype, &l.q),
           dk = zrt__cudnn_tensor(g, ZRT__SDPA_DK, z->dtype, &l.k),
           dv = zrt__cudnn_tensor(g, ZRT__SDPA_DV, z->dtype, &l.k);
    /* delta: row sums of dO O */
    tensor product = pointwise(g, CUDNN_POINTWISE_MUL, d_o, o, &l.products), sums = virtual_fp32(g, &l.row),
           delta = zrt__cudnn_tensor(g, ZRT__SDPA_DELTA, CUDNN_DATA_FLOAT, &l.row);
    zrt__cudnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, product, sums);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_MUL, CUDNN_DATA_FLOAT, -1, sums, one, NULL, delta);
    /* p = exp(scale q k' - lse) */
    tensor products = virtual_fp32(g, &l.scores);
    zrt__cudnn_matmul(g, q, k, products);
    tensor scores = pointwise(g, CUDNN_POINTWISE_MUL, products, scale, &l.scores);
    scores = pointwise(g, CUDNN_POINTWISE_SUB, scores, lse, &l.scores);
    if (z->causal)
        scores = mask(g, scores, &l.scores, zrt__cudnn_number(g, ZRT__SDPA_INFINITY));
    tensor p = pointwise(g, CUDNN_POINTWISE_EXP, scores, NULL, &l.scores);
    key_gradient(g, z, &l, p, d_o, dv);
    /* ds = scale p (dO v' - delta) */
    tensor dp = virtual_fp32(g, &l.scores);
    zrt__cudnn_matmul(g, d_o, v, dp);
    tensor ds = pointwise(g, CUDNN_POINTWISE_SUB, dp, delta, &l.scores);
    ds = pointwise(g, CUDNN_POINTWISE_MUL, ds, p, &l.scores);
    ds = pointwise(g, CUDNN_POINTWISE_MUL, ds, scale, &l.scores);
    key_gradient(g, z, &l, ds, q, dk);
    tensor plain_k = virtual_fp32(g, &l.k);
    zrt__cudnn_reshape(g, k, plain_k);
    if (z->deterministic) {
        zrt__cudnn_matmul(g, ds, plain_k, dq);
        return;
    }
    tensor sum = zrt__cudnn_tensor(g, ZRT__SDPA_SUM, CUDNN_DATA_FLOAT, &l.heads);
    zrt__cudnn_matmul(g, ds, plain_k, sum);
    zrt__cudnn_pointwise(g, CUDNN_POINTWISE_IDENTITY, CUDNN_DATA_FLOAT, -1, sum, NULL, NULL, dq);
}

void zrt__cudnn_sdpa_build(zrt__cudnn_graph *graph_to_fill, const zrt__cudnn_shape *shape)
{
    if (shape->backward)
        build_backward(graph_to_fill, shape);
    else
        build_forward(graph_to_fill, shape);
}
