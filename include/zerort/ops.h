/* Ops: the mathematics a unit is described with.
 *
 * All return a tensor lent by the unit, or NULL after an error (sticky, see model.h). n stands for the product of the leading
 * dimensions. Values are in the compute dtype of the run; statistics of norms, softmax and losses are fp32. */
#ifndef ZERORT_OPS_H
#define ZERORT_OPS_H

#include <zerort/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of table [V, C] by ids (int32, any dims): [dims of ids, C]. `add`, of the result's dims, is added when not NULL. */
ZRT_EXPORT zrt_tensor *zrt_embedding(zrt_unit *unit, zrt_tensor *ids, zrt_tensor *table, zrt_tensor *add);

/* y = x W^T + b, x [.., K] -> [.., M]. b [M] may be NULL. */
typedef enum zrt_weight_layout {
    ZRT_WEIGHT_OUT_IN, /* W [M, K], torch.nn.Linear */
    ZRT_WEIGHT_IN_OUT  /* W [K, M], transformers' Conv1D (GPT-2) */
} zrt_weight_layout;
ZRT_EXPORT zrt_tensor *zrt_linear(zrt_unit *unit, zrt_tensor *x, zrt_tensor *weight, zrt_tensor *bias,
                                  zrt_weight_layout layout);

/* Layer normalisation over the last dimension (Ba et al. 2016), weight and bias [C]. */
ZRT_EXPORT zrt_tensor *zrt_layernorm(zrt_unit *unit, zrt_tensor *x, zrt_tensor *weight, zrt_tensor *bias, float eps);
/* Root-mean-square normalisation (Zhang and Sennrich 2019), weight [C]. */
ZRT_EXPORT zrt_tensor *zrt_rmsnorm(zrt_unit *unit, zrt_tensor *x, zrt_tensor *weight, float eps);

/* Rotary positions (Su et al. 2021) on packed query, key and value, in the half-split order of transformers' Llama. */
typedef struct zrt_rope_spec {
    float theta;
    /* Llama 3's scaling of the frequencies; factor 0 or 1: none. */
    float factor, low_freq_factor, high_freq_factor;
    int64_t original_max_length;
    int64_t max_length; /* positions in the table */
} zrt_rope_spec;

/* Attention over packed query, key and value: qkv [B, T, (heads + 2 kv_heads) * head_dim], all query heads first,
 * then the key heads, then the value heads. Result [B, T, heads * head_dim].
 * In a generation plan the same op keeps its own key/value cache. */
typedef struct zrt_attention_spec {
    int n_heads, n_kv_heads; /* n_heads a multiple of n_kv_heads */
    int head_dim;
    bool causal;
    float scale;               /* 0: 1 / sqrt(head_dim) */
    float dropout;             /* of the probabilities, in training only */
    const zrt_rope_spec *rope; /* NULL: none; copied */
    zrt_tensor *lengths;       /* int32 [B]: keys at and beyond it are not seen; NULL: all */
    zrt_tensor *segment_ids;   /* int32 [B, T]: only equal ids see one another; NULL: all */
} zrt_attention_spec;
ZRT_EXPORT zrt_tensor *zrt_attention(zrt_unit *unit, zrt_tensor *qkv, const zrt_attention_spec *spec);

typedef enum zrt_activation_kind {
    ZRT_RELU,
    ZRT_GELU /* erf */,
    ZRT_GELU_TANH /* gelu_new, Hendrycks and Gimpel 2016 */,
    ZRT_SILU,
    ZRT_TANH,
    ZRT_SIGMOID
} zrt_activation_kind;
ZRT_EXPORT zrt_tensor *zrt_activation(zrt_unit *unit, zrt_tensor *x, zrt_activation_kind kind);

/* Gated activation (Shazeer 2020): x [.., 2F] holds gate then up; kind(gate) * up, [.., F]. SwiGLU with ZRT_SILU. */
ZRT_EXPORT zrt_tensor *zrt_glu(zrt_unit *unit, zrt_tensor *x, zrt_activation_kind kind);

/* a + b and a * b, of equal dims, and factor * x. */
ZRT_EXPORT zrt_tensor *zrt_add(zrt_unit *unit, zrt_tensor *a, zrt_tensor *b);
ZRT_EXPORT zrt_tensor *zrt_mul(zrt_unit *unit, zrt_tensor *a, zrt_tensor *b);
ZRT_EXPORT zrt_tensor *zrt_scale(zrt_unit *unit, zrt_tensor *x, float factor);

/* Dropout (Srivastava et al. 2014) in training, x itself otherwise. x [B, ..]: the first dimension is the row of the batch.
 * Drawn by a counter-based generator keyed by (seed, step, sample, unit, op, element). */
ZRT_EXPORT zrt_tensor *zrt_dropout(zrt_unit *unit, zrt_tensor *x, float probability);

/* The same elements with other dims. */
ZRT_EXPORT zrt_tensor *zrt_reshape(zrt_unit *unit, zrt_tensor *x, int n_dims, const int64_t *dims);

/* x [B, T, C] -> [B, 1, C], the last position: what a head of a generation plan needs. */
ZRT_EXPORT zrt_tensor *zrt_last_position(zrt_unit *unit, zrt_tensor *x);

/* x [B, T, C] -> [B, 1, C], the first position: what BERT's pooler reads. */
ZRT_EXPORT zrt_tensor *zrt_first_position(zrt_unit *unit, zrt_tensor *x);

/* The loss: sum over counted positions of -log softmax(logits)[label], logits [.., V], labels int32 of the leading dims,
 * -100 is not counted. It ends the model; a model has one loss. The engine divides by the global count of counted labels.
 * Also names `logits` as the output "logits". In a generation plan only that. */
ZRT_EXPORT void zrt_cross_entropy(zrt_unit *unit, zrt_tensor *logits, zrt_tensor *labels);

/* ---- an op of one's own ---- */

/* Where an op runs: the CPU (pointers are host memory, the calling thread runs the op), or a CUDA stream. */
typedef struct zrt_op_context {
    bool is_cuda;
    void *cuda_stream; /* cudaStream_t; NULL on the CPU */
} zrt_op_context;

typedef struct zrt_op {
    const char *name;
    int n_inputs; /* at most 6 */
    /* Sets dtype and dims of the one output from the inputs'. */
    zrt_status (*shape)(const zrt_view *inputs, const void *attributes, zrt_view *output);
    /* Writes output. */
    zrt_status (*forward)(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                          const void *attributes);
    /* Writes grad_inputs[i] (overwriting; data is NULL where no gradient is asked for). NULL: no gradient flows. */
    zrt_status (*backward)(const zrt_op_context *context, const zrt_view *inputs, const zrt_view *output,
                           const zrt_view *grad_output, const zrt_view *grad_inputs, const void *attributes);
} zrt_op;

/* Applies an op. `op` must outlive the model; attributes (attribute_bytes of it) is copied. */
ZRT_EXPORT zrt_tensor *zrt_apply(zrt_unit *unit, const zrt_op *op, zrt_tensor *const *inputs, const void *attributes,
                                 size_t attribute_bytes);

#ifdef __cplusplus
}
#endif
#endif
