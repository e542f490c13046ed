/* kernel_ops: the mathematics of a device, one slot an operation, all of one form: a call with operands and attributes.
 * Operands are dense row-major views; n is the product of the leading dimensions. An optional operand has data == NULL.
 * `accumulate` has bit i set where out[i] is added to instead of overwritten. T stands for the compute dtype (fp32, fp16, bf16):
 * 16-bit values are stored in 16 bits and accumulated in fp32. "in place: a <- b" says that out a may be the memory of in b.
 * Results depend on shapes and values alone: neither on the number of threads nor on earlier calls. */
#ifndef ZRT_DEVICE_KERNELS_H
#define ZRT_DEVICE_KERNELS_H

#include <zerort/ops.h>

#include "device/device.h"

#define ZRT__MAX_INPUTS 8
#define ZRT__MAX_OUTPUTS 4

/* Attributes of a call; which member counts follows from the kernel. */
typedef union zrt__attributes {
    struct {
        bool weight_in_out;             /* W is [K, M] instead of [M, K] */
        zrt_activation_kind activation; /* of linear_activation_.. */
    } linear;
    struct {
        float eps;
    } norm;
    struct {
        int n_heads, n_kv_heads, head_dim;
        bool inverse; /* rotates back */
    } rope;
    struct {
        int n_heads, n_kv_heads, head_dim;
        bool causal;
        float scale;                   /* of the scores, never 0 */
        float dropout;                 /* 0: none */
        uint32_t unit_index, op_index; /* with dropout */
    } attention;
    struct {
        zrt_activation_kind kind;
    } activation;
    struct {
        float factor;
    } scale;
    struct {
        float probability;
        uint32_t unit_index, op_index;
    } dropout;
    struct {
        int64_t index; /* which row of the middle dimension */
    } last;
    struct {
        int64_t first; /* column of the wide operand that the narrow one's first is */
    } columns;
    struct {
        float beta1, beta2, eps, weight_decay, momentum, dampening, lr_factor;
        bool adam_w_mode, bias_correction, nesterov;
    } optimizer;
    struct {
        const zrt_op *op;
        const void *attributes;
        int n_inputs;
    } user;
    struct {
        int64_t step, seed; /* unused fields are 0 */
    } none;
} zrt__attributes;

typedef struct zrt__call {
    zrt_view in[ZRT__MAX_INPUTS];
    zrt_view out[ZRT__MAX_OUTPUTS];
    uint32_t accumulate;
    zrt__attributes attributes;
} zrt__call;

/* Scalars of a step, in the memory of the device, so that no step waits for the host. All of them are written by kernels
 * but those marked (host), which a copy writes before the step. One struct a device. */
typedef struct zrt__step_state {
    /* (host) of this micro-step and step */
    uint64_t seed; /* key of dropout */
    int64_t step;  /* number of this step from 0, skipped ones counted */
    double
        capacity; /* label positions of all ranks and micro-steps of this step, by which backward's sums were divided in all */
    float grad_scale; /* what backward multiplies by: loss_scale / this rank's static capacity; by scale_begin */
    float unused0;
    /* sums, all-reduced together once a step (the first ZRT__N_REDUCED doubles from `sums`) */
    double sums
        [8]; /* [0] loss, [1] counted labels, [2] squared norm of reduced gradients, [3] non-finite count, [4] stop request, .. */
    double micro_sums[2]; /* loss and counted of the last forward pass (this rank) */
    /* decided by step_decide */
    double grad_norm; /* global, unscaled, normalised, before clipping */
    double loss;      /* mean over counted labels */
    double used_loss_scale, used_learning_rate;
    double counted;
    float update_scale; /* gradient times this is what the optimizer sees: unscale, normalise and clip in one */
    float learning_rate;
    int32_t skip;      /* 1: this step changes nothing */
    int32_t stop;      /* some rank asked to stop */
    int64_t unskipped; /* optimizer steps done, this one counted after step_decide unless skipped: Adam's t */
    int64_t skipped;
    /* dynamic loss scaling (DeepSpeed's DynamicLossScaler) */
    double loss_scale;
    int64_t scaler_iteration, last_overflow;
    int32_t hysteresis_left, scale_at_minimum;
} zrt__step_state;

/* Constants of step_decide, in host memory that lives as long as the engine. */
typedef struct zrt__step_rules {
    double max_grad_norm; /* 0: no clipping */
    bool dynamic_loss_scale;
    double min_loss_scale;
    int64_t scale_window;
    int32_t hysteresis;
    bool consecutive_hysteresis;
    const double *learning_rates; /* device memory: by unskipped steps, modulo n_learning_rates */
    int64_t n_learning_rates;
} zrt__step_rules;

/* name: operands.
 *
 * embedding_forward         in ids i32 [n], table T [V,C], add? T [n,C]; out y T [n,C]
 * embedding_backward        in dy T [n,C], ids i32 [n]; out dtable T|f32 [V,C] (acc; zeroed first otherwise). Ids repeat: summed in order of n.
 * linear_forward            in x T [n,K], w, b? T [M]; out y T [n,M].  attributes.linear
 * linear_backward_input     in dy T [n,M], w, add? T [n,K]; out dx T [n,K] = dy W + add. in place: dx <- add
 * linear_activation_forward in x T [n,K], w, b? T [M]; out y T [n,M] = act(h), h? T [n,M] = x W^T + b
 * linear_activation_backward in dy T [n,M], w, h T [n,K]; out dh T [n,K] = (dy W) act'(h)
 * linear_backward_weight    in dy T [n,M], x T [n,K]; out dw T|f32 (acc), db? T|f32 [M] (acc)
 * layernorm_forward         in x T [n,C], w T [C], b? T [C]; out y T [n,C], mean f32 [n], rstd f32 [n].  attributes.norm
 * layernorm_backward        in dy, x, w, mean, rstd, add? T [n,C]; out dx T [n,C] = .. + add, dw? (acc), db? (acc). in place: dx <- add, dx <- dy
 * rmsnorm_forward           in x, w; out y, rstd f32 [n]
 * rmsnorm_backward          in dy, x, w, rstd, add?; out dx, dw? (acc). in place: dx <- add, dx <- dy
 * add_layernorm_forward     in x, r T [n,C], w, b?; out y, mean, rstd, sum T [n,C] = x + r (rounded to T, then normalised). in place: sum <- x or r
 * add_rmsnorm_forward       in x, r, w; out y, rstd, sum. in place: sum <- x or r
 * rope                      in qkv T [B,T,(H+2Hk)D], positions i32 [B,T], table f32 [P,D] (cos of D/2 frequencies, then sin); out T, v part copied. in place: out <- qkv.  attributes.rope
 *                           Pair (i, i + D/2) of each query and key head: (a cos - b sin, b cos + a sin); inverse: sin negated.
 * attention_forward         in qkv T [B,T,(H+2Hk)D], lengths? i32 [B], segment_ids? i32 [B,T], sample_ids? i64 [B], state? (1 element u8 view of zrt__step_state; with dropout);
 *                           out o T [B,T,H D], lse f32 [B,H,T].  attributes.attention. Streaming softmax: no T x T matrix kept. A query that sees no key gives 0.
 * attention_backward        in do T, qkv, o, lse, lengths?, segment_ids?, sample_ids?, state?; out dqkv T [B,T,(H+2Hk)D]
 * attention_cached          in qkv T [B,S,(H+2Hk)D] (S new tokens), positions i32 [B,S] (of the new tokens, consecutive); out o T [B,S,H D], keys T [B,P,Hk,D], values T [B,P,Hk,D]:
 *                           writes the new keys and values at their positions, then attends causally over positions 0..own.
 * activation_forward        in x T [n]; out y. in place: y <- x.  attributes.activation
 * activation_backward       in dy, x; out dx. in place: dx <- dy
 * glu_forward               in x T [n,2F] (gate, up); out y T [n,F]
 * glu_backward              in dy T [n,F], x T [n,2F]; out dx T [n,2F]. in place: dx <- x
 * add                       in a, b T [n]; out y. in place: y <- a or b
 * mul                       in a, b; out y. in place: y <- a or b
 * scale                     in x; out y. in place.  attributes.scale
 * dropout                   in x T [B,..], add? T, sample_ids i64 [B], state u8; out y = add + keep ? x / (1 - p) : 0. in place: y <- x or add.  attributes.dropout
 *                           keep of element e of row b: uniform(philox counter (e / 4 low, e / 4 high, unit_index << 16 | op_index, step low), key
 *                           hash_mix(seed, sample_ids[b])), word e % 4, >= p. Its own backward pass is the same call on dy. Attention's dropout draws the same way with e = (h T + tq) T + tk.
 * last_position_forward     in x T [B,T,C]; out y T [B,1,C]
 * last_position_backward    in dy T [B,1,C]; out dx T [B,T,C]
 * columns_get               in x T [n,M]; out y T [n,m] = columns first .. first + m of x.  attributes.columns
 * columns_add               in x T [n,M], d T [n,m]; out y T [n,M] = x, with d added to columns first .. first + m. in place: y <- x.  attributes.columns
 * cross_entropy_forward     in logits T [n,V], labels i32 [n]; out sums f64 [2] (acc: loss sum, counted), lse f32 [n]. A label outside [0,V) other than -100 counts as non-finite loss.
 * cross_entropy_backward    in logits T [n,V], labels, lse, scale f32 [1]; out dlogits T [n,V] = (softmax - onehot) * scale, 0 where not counted. in place: dlogits <- logits
 * cross_entropy             in logits T [n,V], labels, scale f32 [1]; out sums f64 [2] (acc), dlogits T [n,V]: both of the above in one pass. in place: dlogits <- logits
 * user_forward              in inputs.., out y.  attributes.user
 * user_backward             in inputs.., y, dy (n_inputs + 2 of them); out: dx of the first 4 inputs, data NULL where not asked for
 *
 * zero                      out x: all bytes 0
 * convert                   in x; out y of another floating dtype, same count
 * accumulate                in x T|f32; out y T|f32 (acc): y += x, y = x without
 * sum_squares               in x T|f32 [n]; out sums f64 [2] (acc): sum of squares of the finite elements, count of non-finite ones. Summed in fp64.
 * gradient_reduced          in g T|f32 [n] (a reduced gradient); out shard f32|T [n] (acc), sums? f64 [2] (acc) as sum_squares of the resulting shard: one pass. in place: shard <- g
 * scale_begin               in capacity f64 [1] (rank's static); out state: grad_scale = loss_scale / capacity; if accumulate bit 0 is clear (first micro-step) sums[] = 0
 * micro_begin               out micro_sums f64[2] = 0 is `zero`; micro_end: in micro_sums f64 [2]; out sums f64 [2] (acc): an `accumulate`
 * step_decide               in rules (u8 view of zrt__step_rules in host memory); out state. After the all-reduce of sums: overflow = sums[3] > 0; loss = sums[0] / counted;
 *                           norm = sqrt(sums[2]) / loss_scale * capacity / counted; update_scale = capacity / (counted * loss_scale) * min(1, max_norm / (norm + 1e-6));
 *                           used_*; the scaler's update; unskipped or skipped + 1; learning_rate = learning_rates[unskipped before]. counted 0: a skip without overflow: gradients are 0.
 * adamw                     in gradient f32|T [n], state, then (CPU only) master?, exp_avg?, exp_avg_sq?: read instead of the outputs; out master f32 [n], exp_avg f32 [n], exp_avg_sq f32 [n], parameter? T|f32 [n] (a copy).  attributes.optimizer (adam_w_mode false: L2 in the gradient)
 *                           PyTorch's AdamW; nothing when state.skip. Learning rate state.learning_rate * lr_factor.
 * sgd                       in gradient, state; out master, momentum? f32, unused, parameter?
 * lion                      in gradient, state; out master, exp_avg, unused, parameter? (Chen et al. 2023)
 */
/* clang-format off */
#define ZRT__KERNEL_TABLE(X)                                                              \
    X(embedding_forward) X(embedding_backward)                                            \
    X(linear_forward) X(linear_backward_input) X(linear_backward_weight)                  \
    X(linear_activation_forward) X(linear_activation_backward)                            \
    X(layernorm_forward) X(layernorm_backward) X(rmsnorm_forward) X(rmsnorm_backward)     \
    X(add_layernorm_forward) X(add_rmsnorm_forward)                                       \
    X(rope) X(attention_forward) X(attention_backward) X(attention_cached)                \
    X(activation_forward) X(activation_backward) X(glu_forward) X(glu_backward)           \
    X(add) X(mul) X(scale) X(dropout) X(last_position_forward) X(last_position_backward)  \
    X(columns_get) X(columns_add)                                                         \
    X(cross_entropy_forward) X(cross_entropy_backward) X(cross_entropy)                   \
    X(user_forward) X(user_backward)                                                      \
    X(zero) X(convert) X(accumulate) X(sum_squares) X(gradient_reduced)                   \
    X(scale_begin) X(step_decide) X(adamw) X(sgd) X(lion)
/* clang-format on */

/* Enqueueing is zrt__launch_fn's: through device_ops.launch with a zrt__call that stays valid until it ran. */
typedef struct zrt__kernel_ops {
#define ZRT__KERNEL_SLOT(name) zrt__launch_fn *name;
    ZRT__KERNEL_TABLE(ZRT__KERNEL_SLOT)
#undef ZRT__KERNEL_SLOT
} zrt__kernel_ops;

typedef enum zrt__kernel {
#define ZRT__KERNEL_ENUM(name) ZRT__KERNEL_##name,
    ZRT__KERNEL_TABLE(ZRT__KERNEL_ENUM)
#undef ZRT__KERNEL_ENUM
        ZRT__N_KERNELS
} zrt__kernel;

/* Slot by number, and its name. */
zrt__launch_fn *zrt__kernel_get(const zrt__kernel_ops *ops, zrt__kernel kernel);
const char *zrt__kernel_name(zrt__kernel kernel);

extern const zrt__kernel_ops zrt__kernel_cpu_ops;
extern const zrt__kernel_ops zrt__kernel_cuda_ops; /* where CUDA was found: ZRT_HAVE_CUDA */

#endif
