#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include <zerort/models.h>

#include "base/alloc.h"
#include "base/error.h"

typedef struct mlp_layer {
    int64_t n_in, n_out;
    const char *input;
    float dropout;
} mlp_layer;

/* "features" or, for later layers, "hidden": literals, so that a copied spec keeps them. */
static const char features[] = "features", hidden[] = "hidden";

/* x W^T + b, initialised as torch.nn.Linear: uniform within 1 / sqrt(inputs). */
static zrt_tensor *linear(zrt_unit *unit, const mlp_layer *layer)
{
    int64_t dims[2] = {layer->n_out, layer->n_in};
    zrt_initializer init = {ZRT_INIT_UNIFORM, 1.0f / sqrtf((float)layer->n_in)};
    zrt_tensor *weight = zrt_param(unit, "weight", 2, dims, init);
    zrt_tensor *bias = zrt_param(unit, "bias", 1, &layer->n_out, init);
    return zrt_linear(unit, zrt_input(unit, layer->input), weight, bias, ZRT_WEIGHT_OUT_IN);
}

static zrt_status describe_layer(zrt_unit *unit, const void *spec)
{
    const mlp_layer *layer = spec;
    zrt_tensor *h = zrt_activation(unit, linear(unit, layer), ZRT_RELU);
    zrt_output(unit, hidden, layer->dropout > 0.0f ? zrt_dropout(unit, h, layer->dropout) : h);
    return zrt_unit_status(unit);
}

static zrt_status describe_head(zrt_unit *unit, const void *spec)
{
    zrt_cross_entropy(unit, linear(unit, spec), zrt_input(unit, "labels"));
    return zrt_unit_status(unit);
}

static zrt_status check(const zrt_mlp_spec *s)
{
    if (s->n_features < 1 || s->n_features > 1 << 24 || s->n_classes < 1 || s->n_classes > 1 << 24 || s->n_hidden < 0 ||
        s->n_hidden > 10000)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "a perceptron of %" PRId64 " features, %" PRId64 " hidden layers and %" PRId64
                         " classes; at least 1, 0 and 1",
                         s->n_features, s->n_hidden, s->n_classes);
    if (s->n_hidden > 0 && (s->hidden_size < 1 || s->hidden_size > 1 << 20))
        return zrt__fail(ZRT_ERR_CONFIG, "hidden_size is %" PRId64 "; it is from 1 to %d", s->hidden_size, 1 << 20);
    if (!(s->dropout >= 0.0f && s->dropout < 1.0f))
        return zrt__fail(ZRT_ERR_CONFIG, "dropout is %g; it is at least 0 and below 1", (double)s->dropout);
    return ZRT_OK;
}

static zrt_status add_units(zrt_model *model, const zrt_mlp_spec *spec)
{
    ZRT_TRY(zrt_model_add_field(model, features, ZRT_FLOAT32, 1, &spec->n_features));
    ZRT_TRY(zrt_model_add_field(model, "labels", ZRT_INT32, 0, NULL));
    for (int64_t i = 0; i < spec->n_hidden; i++) {
        mlp_layer layer = {i == 0 ? spec->n_features : spec->hidden_size, spec->hidden_size, i == 0 ? features : hidden,
                           spec->dropout};
        char *prefix = zrt__format("layers.%" PRId64, i);
        if (prefix == NULL)
            return ZRT_ERR_MEMORY;
        zrt_status status = zrt_model_add_unit(model, prefix, describe_layer, &layer, sizeof layer);
        free(prefix);
        ZRT_TRY(status);
    }
    mlp_layer head = {spec->n_hidden == 0 ? spec->n_features : spec->hidden_size, spec->n_classes,
                      spec->n_hidden == 0 ? features : hidden, 0.0f};
    return zrt_model_add_unit(model, "head", describe_head, &head, sizeof head);
}

zrt_status zrt_model_mlp(const zrt_mlp_spec *spec, zrt_model **model_out)
{
    ZRT_TRY(check(spec));
    zrt_model *model;
    ZRT_TRY(zrt_model_create("mlp", &model));
    zrt_status status = add_units(model, spec);
    if (status != ZRT_OK) {
        zrt_model_destroy(&model);
        return status;
    }
    zrt_model_set_info(model,
                       &(zrt_model_info){.hidden_size = spec->n_hidden == 0 ? spec->n_features : spec->hidden_size,
                                         .bos_token_id = -1,
                                         .eos_token_id = -1});
    *model_out = model;
    return ZRT_OK;
}
