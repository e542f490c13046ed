#include "config.h"

#include "optim/update.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

static const struct {
    const char *name;
    int type; /* -1: upstream's, not here */
} names[] = {
    {"AdamW", ZRT__OPTIMIZER_ADAMW},
    {"Adam", ZRT__OPTIMIZER_ADAM},
    {"SGD", ZRT__OPTIMIZER_SGD},
    {"Lion", ZRT__OPTIMIZER_LION},
    {"adamw_torch", ZRT__OPTIMIZER_ADAMW},
    {"adamw_hf", ZRT__OPTIMIZER_ADAMW},
    {"adamw_torch_fused", ZRT__OPTIMIZER_ADAMW},
    {"lion_32bit", ZRT__OPTIMIZER_LION},
    {"Adagrad", -1},
    {"Lamb", -1},
    {"Muon", -1},
    {"OneBitAdam", -1},
    {"ZeroOneAdam", -1},
    {"OneBitLamb", -1},
    {"MuAdam", -1},
    {"MuAdamW", -1},
    {"MuSGD", -1},
    {"adafactor", -1},
    {"rmsprop", -1},
    {"adamw_8bit", -1},
    {"adamw_bnb_8bit", -1},
    {"paged_adamw_8bit", -1},
    {"paged_adamw_32bit", -1},
    {"lion_8bit", -1},
};

zrt_status zrt__optimizer_type_find(const char *name, zrt__optimizer_type *type_out)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(names[i].name, name) != 0)
            continue;
        if (names[i].type < 0)
            return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "optimizer '%s' is not supported; AdamW, Adam, SGD and Lion are",
                             name);
        *type_out = (zrt__optimizer_type)names[i].type;
        return ZRT_OK;
    }
    return zrt__fail(ZRT_ERR_CONFIG, "optimizer '%.64s' is not known; there are AdamW, Adam, SGD and Lion", name);
}

const char *zrt__optimizer_type_name(zrt__optimizer_type type)
{
    static const char *const type_names[ZRT__N_OPTIMIZERS] = {"AdamW", "Adam", "SGD", "Lion"};
    return type_names[type];
}

void zrt__optimizer_init(zrt__optimizer *optimizer, zrt__optimizer_type type)
{
    *optimizer = (zrt__optimizer){
        .type = type,
        .learning_rate = type == ZRT__OPTIMIZER_LION ? 1e-4 : 1e-3,
        .beta1 = 0.9,
        .beta2 = type == ZRT__OPTIMIZER_LION ? 0.99 : 0.999,
        .eps = 1e-8,
        .adam_w_mode = true,
        .bias_correction = true,
    };
}

static bool in_unit_interval(double x)
{
    return x >= 0.0 && x < 1.0;
}

zrt_status zrt__optimizer_check(const zrt__optimizer *o)
{
    const char *name = zrt__optimizer_type_name(o->type);
    if (!(o->learning_rate >= 0.0) || isinf(o->learning_rate))
        return zrt__fail(ZRT_ERR_CONFIG, "%s: lr is %g; it is at least 0", name, o->learning_rate);
    if (!(o->weight_decay >= 0.0) || isinf(o->weight_decay))
        return zrt__fail(ZRT_ERR_CONFIG, "%s: weight_decay is %g; it is at least 0", name, o->weight_decay);
    if (o->type == ZRT__OPTIMIZER_SGD) {
        if (!(o->momentum >= 0.0) || isinf(o->momentum) || !isfinite(o->dampening))
            return zrt__fail(ZRT_ERR_CONFIG, "%s: momentum is %g and dampening %g; momentum is at least 0", name,
                             o->momentum, o->dampening);
        if (o->nesterov && (o->momentum == 0.0 || o->dampening != 0.0))
            return zrt__fail(ZRT_ERR_CONFIG, "%s: nesterov needs a momentum and no dampening", name);
        return ZRT_OK;
    }
    if (!in_unit_interval(o->beta1) || !in_unit_interval(o->beta2))
        return zrt__fail(ZRT_ERR_CONFIG, "%s: betas are [%g, %g]; each is at least 0 and below 1", name, o->beta1,
                         o->beta2);
    if (o->type != ZRT__OPTIMIZER_LION && (!(o->eps >= 0.0) || isinf(o->eps)))
        return zrt__fail(ZRT_ERR_CONFIG, "%s: eps is %g; it is at least 0", name, o->eps);
    return ZRT_OK;
}

int zrt__optimizer_n_states(const zrt__optimizer *optimizer)
{
    switch (optimizer->type) {
    case ZRT__OPTIMIZER_SGD:
        return optimizer->momentum != 0.0 ? 1 : 0;
    case ZRT__OPTIMIZER_LION:
        return 1;
    default:
        return 2;
    }
}

const char *zrt__optimizer_state_name(const zrt__optimizer *optimizer, int index)
{
    if (optimizer->type == ZRT__OPTIMIZER_SGD)
        return "momentum";
    return index == 0 ? "exp_avg" : "exp_avg_sq";
}

bool zrt__optimizer_decays(const zrt__optimizer *optimizer, int n_dims)
{
    return optimizer->weight_decay != 0.0 && (n_dims >= 2 || optimizer->decay_vectors);
}

zrt__kernel zrt__optimizer_kernel(const zrt__optimizer *optimizer)
{
    switch (optimizer->type) {
    case ZRT__OPTIMIZER_SGD:
        return ZRT__KERNEL_sgd;
    case ZRT__OPTIMIZER_LION:
        return ZRT__KERNEL_lion;
    default:
        return ZRT__KERNEL_adamw;
    }
}

void zrt__optimizer_attributes(const zrt__optimizer *optimizer, bool decays, zrt__attributes *attributes_out)
{
    memset(attributes_out, 0, sizeof *attributes_out);
    attributes_out->optimizer.beta1 = (float)optimizer->beta1;
    attributes_out->optimizer.beta2 = (float)optimizer->beta2;
    attributes_out->optimizer.eps = (float)optimizer->eps;
    attributes_out->optimizer.weight_decay = decays ? (float)optimizer->weight_decay : 0.0f;
    attributes_out->optimizer.momentum = (float)optimizer->momentum;
    attributes_out->optimizer.dampening = (float)optimizer->dampening;
    attributes_out->optimizer.lr_factor = 1.0f;
    attributes_out->optimizer.adam_w_mode = optimizer->adam_w_mode;
    attributes_out->optimizer.bias_correction = optimizer->bias_correction;
    attributes_out->optimizer.nesterov = optimizer->nesterov;
}
