#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "nn/nn.h"

/* The first name of a kind is the one that is written. */
static const struct {
    const char *name;
    zrt_activation_kind kind;
} activations[] = {
    {"gelu_new", ZRT_GELU_TANH},  {"gelu_pytorch_tanh", ZRT_GELU_TANH},
    {"gelu_fast", ZRT_GELU_TANH}, {"gelu", ZRT_GELU},
    {"gelu_python", ZRT_GELU},    {"relu", ZRT_RELU},
    {"silu", ZRT_SILU},           {"swish", ZRT_SILU},
    {"tanh", ZRT_TANH},           {"sigmoid", ZRT_SIGMOID},
};

#define N_ACTIVATIONS (sizeof activations / sizeof *activations)

zrt_status zrt__activation_find(const char *field, const char *name, zrt_activation_kind *kind_out)
{
    char list[256] = "";
    for (size_t i = 0; i < N_ACTIVATIONS; i++) {
        if (strcmp(activations[i].name, name) == 0) {
            *kind_out = activations[i].kind;
            return ZRT_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ", activations[i].name);
    }
    return zrt__fail(ZRT_ERR_NOT_SUPPORTED, "%s '%.64s' is not supported; %s are", field, name, list);
}

const char *zrt__activation_name(zrt_activation_kind kind)
{
    for (size_t i = 0; i < N_ACTIVATIONS; i++)
        if (activations[i].kind == kind)
            return activations[i].name;
    return "unknown";
}
