/* Update rules: what state a rule keeps and which kernel applies it. No communication, no memory. */
#ifndef ZRT_OPTIM_UPDATE_H
#define ZRT_OPTIM_UPDATE_H

#include "device/kernels.h"

typedef enum zrt__optimizer_type {
    ZRT__OPTIMIZER_ADAMW, /* Loshchilov and Hutter 2019 */
    ZRT__OPTIMIZER_ADAM,  /* Kingma and Ba 2015; weight decay as DeepSpeed's: decoupled unless adam_w_mode is false */
    ZRT__OPTIMIZER_SGD,
    ZRT__OPTIMIZER_LION, /* Chen et al. 2023 */
    ZRT__N_OPTIMIZERS
} zrt__optimizer_type;

typedef struct zrt__optimizer {
    zrt__optimizer_type type;
    double learning_rate;
    double beta1, beta2, eps, weight_decay;
    double momentum, dampening; /* SGD */
    bool nesterov;
    bool adam_w_mode, bias_correction;
    bool
        decay_vectors; /* weight decay for parameters of fewer than 2 dimensions too, as DeepSpeed does when it makes the
                         * optimizer itself; transformers does not */
} zrt__optimizer;

/* By DeepSpeed's or transformers' name ("AdamW", "adamw_torch", "SGD", "lion_32bit"; DeepSpeed's ignore case). Errors: ZRT_ERR_CONFIG,
 * ZRT_ERR_NOT_SUPPORTED for rules of theirs that are not here. */
zrt_status zrt__optimizer_type_find(const char *name, zrt__optimizer_type *type_out);
const char *zrt__optimizer_type_name(zrt__optimizer_type type);

/* DeepSpeed's defaults of that type. */
void zrt__optimizer_init(zrt__optimizer *optimizer, zrt__optimizer_type type);
/* Ranges and combinations. Errors: ZRT_ERR_CONFIG naming the parameter. */
zrt_status zrt__optimizer_check(const zrt__optimizer *optimizer);

/* State tensors, fp32, one element a parameter element, in the order of the kernel's outputs after the master;
 * and the name of the i-th in checkpoints: "exp_avg", "exp_avg_sq", "momentum". */
int zrt__optimizer_n_states(const zrt__optimizer *optimizer);
const char *zrt__optimizer_state_name(const zrt__optimizer *optimizer, int index);

/* Parameters of one group share the attributes: decayed and not decayed ones. */
bool zrt__optimizer_decays(const zrt__optimizer *optimizer, int n_dims);
zrt__kernel zrt__optimizer_kernel(const zrt__optimizer *optimizer);
void zrt__optimizer_attributes(const zrt__optimizer *optimizer, bool decays, zrt__attributes *attributes_out);

#endif
