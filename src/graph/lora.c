/* Low-rank adapters: linear layers of the modules that are named get parameters of their own, the rest is frozen. */
#include "config.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "graph/graph.h"

/* A parameter's name without what follows the last dot. */
static size_t module_length(const char *parameter)
{
    const char *dot = strrchr(parameter, '.');
    return dot != NULL ? (size_t)(dot - parameter) : 0;
}

/* Whether `name`, of n characters, is the module or ends with ".module". */
static bool is_module(const char *name, size_t n, const char *module)
{
    size_t m = strlen(module);
    return m > 0 && n >= m && strncmp(name + n - m, module, m) == 0 && (n == m || name[n - m - 1] == '.');
}

static int find_module(const char *name, int n_modules, const char *const *modules)
{
    for (int i = 0; i < n_modules; i++)
        if (is_module(name, module_length(name), modules[i]))
            return i;
    return -1;
}

/* ---- in a description ---- */

static void columns_add_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    zrt__gradient_add(gradients, node->in[0], dy);
    if (!zrt__gradient_wanted(gradients, node->in[1]))
        return;
    zrt_tensor *d = zrt__gradient_like(gradients, node->in[1]);
    zrt__unit_node(
        unit,
        &(zrt__node_spec){.kernel = ZRT__KERNEL_columns_get, .in = {dy}, .out = {d}, .attributes = node->attributes});
    zrt__gradient_add(gradients, node->in[1], d);
}

/* y + d, where d is columns [first, first + its own) of it. */
static zrt_tensor *add_columns(zrt_unit *unit, zrt_tensor *y, zrt_tensor *d, int64_t first)
{
    if (unit->status != ZRT_OK || d == NULL || zrt__tensor_columns(y) == zrt__tensor_columns(d))
        return zrt_add(unit, y, d);
    zrt_tensor *sum = zrt__unit_value(unit, y->dtype, y->n_dims, y->dims);
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_columns_add,
                                           .in = {y, d},
                                           .out = {sum},
                                           .attributes = {.columns = {first}},
                                           .backward = columns_add_backward});
    return sum;
}

static zrt_tensor *declare(zrt_unit *unit, const char *module, size_t n, const char *part, const int64_t *dims,
                           zrt_initializer init, bool in_out)
{
    zrt_model *model = unit->build->model;
    size_t prefix = strlen(model->units[unit->index].prefix);
    if (prefix > 0)
        prefix++; /* and its dot */
    char *name = zrt__format("%.*s.%s", (int)(n - prefix), module + prefix, part);
    if (name == NULL)
        return zrt__unit_out_of_memory(unit);
    zrt_tensor *tensor = zrt_param(unit, name, 2, dims, init);
    free(name);
    if (tensor != NULL && unit->registering) {
        model->parameters[model->n_parameters - 1].adapter = true;
        model->parameters[model->n_parameters - 1].in_out = in_out;
    }
    return tensor;
}

zrt_tensor *zrt__lora_apply(zrt_unit *unit, zrt_tensor *x, zrt_tensor *y, const zrt_tensor *weight, bool in_out)
{
    const zrt_model *model = unit->build->model;
    const zrt__lora *lora = model->lora;
    const zrt__slot slot = model->slots[weight->index]; /* a copy: declaring moves the array */
    if (unit->status != ZRT_OK || slot.unit != unit->index)
        return y; /* another unit's: an embedding, used again as the head */
    int64_t first = 0;
    for (int i = 0; i < slot.n_parameters && unit->status == ZRT_OK; i++) {
        const zrt__parameter parameter = model->parameters[slot.first_parameter + i];
        int64_t n_in = parameter.dims[in_out ? 0 : 1], n_out = parameter.dims[in_out ? 1 : 0];
        int target = parameter.adapter
                         ? -1
                         : find_module(parameter.name, lora->spec.n_target_modules, lora->spec.target_modules);
        if (target >= 0) {
            const int64_t dims_a[2] = {lora->spec.r, n_in}, dims_b[2] = {n_out, lora->spec.r};
            size_t n = module_length(parameter.name);
            lora->matched[target] = true;
            zrt_tensor *a = declare(unit, parameter.name, n, "lora_A.weight", dims_a,
                                    (zrt_initializer){ZRT_INIT_UNIFORM, (float)(1.0 / sqrt((double)n_in))}, in_out);
            zrt_tensor *b = declare(unit, parameter.name, n, "lora_B.weight", dims_b,
                                    (zrt_initializer){ZRT_INIT_ZERO, 0.0f}, in_out);
            zrt_tensor *t = zrt_linear(unit, zrt_dropout(unit, x, lora->spec.lora_dropout), a, NULL, ZRT_WEIGHT_OUT_IN);
            if (lora->factor != 1.0f)
                t = zrt_scale(unit, t, lora->factor);
            y = add_columns(unit, y, zrt_linear(unit, t, b, NULL, ZRT_WEIGHT_OUT_IN), first);
        }
        first += n_out;
    }
    return y;
}

/* ---- a model's ---- */

static zrt_status copy_list(int n, const char *const *words, const char *const **copy_out)
{
    char **copy = zrt__calloc((size_t)n + 1, sizeof *copy);
    if (copy == NULL)
        return ZRT_ERR_MEMORY;
    *copy_out = (const char *const *)copy;
    for (int i = 0; i < n; i++) {
        copy[i] = zrt__strdup(words[i]);
        if (copy[i] == NULL)
            return ZRT_ERR_MEMORY;
    }
    return ZRT_OK;
}

static void free_list(const char *const *words)
{
    char **list = (char **)(uintptr_t)words;
    for (int i = 0; list != NULL && list[i] != NULL; i++)
        free(list[i]);
    free(list);
}

void zrt__lora_destroy(zrt__lora **lora)
{
    if (*lora == NULL)
        return;
    free_list((*lora)->spec.target_modules);
    free_list((*lora)->spec.modules_to_save);
    free((char *)(uintptr_t)(*lora)->spec.target_expression);
    free((*lora)->matched);
    free(*lora);
    *lora = NULL;
}

static zrt_status check(const zrt_model *model, const zrt_lora_spec *spec)
{
    if (model->lora != NULL)
        return zrt__fail(ZRT_ERR_USAGE, "model %s has LoRA already", model->name);
    if (spec->r < 1 || spec->r > 1 << 16)
        return zrt__fail(ZRT_ERR_CONFIG, "LoRA: r is %lld; it is from 1 to %d", (long long)spec->r, 1 << 16);
    if (!(spec->lora_dropout >= 0.0f && spec->lora_dropout < 1.0f))
        return zrt__fail(ZRT_ERR_CONFIG, "LoRA: lora_dropout is %g; it is at least 0 and below 1",
                         (double)spec->lora_dropout);
    if (!(spec->lora_alpha > 0.0f && spec->lora_alpha < INFINITY))
        return zrt__fail(ZRT_ERR_CONFIG, "LoRA: lora_alpha is %g; it is above 0", (double)spec->lora_alpha);
    if (spec->n_target_modules < 1)
        return zrt__fail(ZRT_ERR_CONFIG, "LoRA: no target_modules; name the linear layers that get adapters");
    return ZRT_OK;
}

/* Every linear layer's name once, "q_proj, k_proj", for messages. Best effort. */
static void list_modules(const zrt_model *model, char *text, size_t bytes)
{
    text[0] = '\0';
    for (size_t i = 0; i < model->n_parameters; i++) {
        const zrt__parameter *parameter = &model->parameters[i];
        size_t n = module_length(parameter->name), from = n;
        while (from > 0 && parameter->name[from - 1] != '.')
            from--;
        char word[128];
        snprintf(word, sizeof word, "%.*s", (int)(n - from), parameter->name + from);
        if (parameter->n_dims != 2 || parameter->adapter || strstr(text, word) != NULL ||
            strlen(text) + strlen(word) + 3 > bytes)
            continue;
        snprintf(text + strlen(text), bytes - strlen(text), "%s%s", *text != '\0' ? ", " : "", word);
    }
}

static zrt_status unmatched(const zrt_model *model, const char *key, const char *module)
{
    char modules[512];
    list_modules(model, modules, sizeof modules);
    for (size_t i = 0; i < model->n_parameters; i++)
        if (is_module(model->parameters[i].name, module_length(model->parameters[i].name), module))
            return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                             "LoRA: %s '%s' names %s of model %s, which is no linear layer of its own", key, module,
                             model->parameters[i].name, model->name);
    return zrt__fail(ZRT_ERR_CONFIG, "LoRA: %s '%s' matches nothing in model %s; its modules are %s", key, module,
                     model->name, modules);
}

/* Rows of new tokens would stay as they were drawn. */
static zrt_status new_tokens(const zrt_model *model, const zrt__parameter *parameter, bool tied)
{
    char names[256] = "";
    for (size_t i = 0; i < model->n_parameters; i++) {
        const zrt__parameter *other = &model->parameters[i];
        size_t n = module_length(other->name), used = strlen(names), from = n;
        while (from > 0 && other->name[from - 1] != '.')
            from--;
        if (zrt__parameter_is_vocabulary(model, other))
            snprintf(names + used, sizeof names - used, "%s\"%.*s\"", used > 0 ? ", " : "", (int)(n - from),
                     other->name + from);
    }
    if (tied)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "LoRA: %lld tokens are new, and %s, which model %s ties to its head, cannot be trained beside "
                         "adapters; train in full without LoRA, or use tokens that the tokenizer has",
                         (long long)(model->info.vocab_size - model->stored_vocab), parameter->name, model->name);
    return zrt__fail(ZRT_ERR_CONFIG,
                     "LoRA: %lld tokens are new, and without \"modules_to_save\": [%s] their rows of %s would stay as "
                     "they were drawn; add it to the LoRA configuration",
                     (long long)(model->info.vocab_size - model->stored_vocab), names, parameter->name);
}

/* Freezes what is neither an adapter nor of a module to save. */
static zrt_status freeze(zrt_model *model)
{
    const zrt_lora_spec *spec = &model->lora->spec;
    for (int m = 0; m < spec->n_modules_to_save; m++) {
        bool found = false;
        for (size_t i = 0; i < model->n_parameters && !found; i++)
            found = find_module(model->parameters[i].name, 1, &spec->modules_to_save[m]) == 0;
        if (!found)
            return unmatched(model, "modules_to_save", spec->modules_to_save[m]);
    }
    for (size_t i = 0; i < model->n_parameters; i++) {
        zrt__parameter *parameter = &model->parameters[i];
        const zrt__slot *slot = &model->slots[parameter->slot];
        bool saved = find_module(parameter->name, spec->n_modules_to_save, spec->modules_to_save) >= 0;
        if (saved && (slot->n_parameters > 1 || slot->shared))
            return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                             "LoRA: modules_to_save names %s, which model %s %s: it cannot be trained by itself",
                             parameter->name, model->name, slot->shared ? "ties to another module" : "packs");
        parameter->saved = saved && !parameter->adapter;
        parameter->trainable = parameter->adapter || parameter->saved;
        if (model->stored_vocab > 0 && zrt__parameter_is_vocabulary(model, parameter) && !saved)
            return new_tokens(model, parameter, slot->shared);
    }
    return ZRT_OK;
}

zrt_status zrt_model_add_lora(zrt_model *model, const zrt_lora_spec *spec)
{
    ZRT_TRY(check(model, spec));
    zrt__lora *lora = zrt__calloc(1, sizeof *lora);
    if (lora == NULL)
        return ZRT_ERR_MEMORY;
    model->lora = lora;
    lora->spec = *spec;
    lora->spec.target_modules = lora->spec.modules_to_save = NULL;
    lora->spec.target_expression = NULL;
    lora->factor = spec->use_rslora ? (float)((double)spec->lora_alpha / sqrt((double)spec->r))
                                    : (float)((double)spec->lora_alpha / (double)spec->r);
    lora->matched = zrt__calloc((size_t)spec->n_target_modules, sizeof *lora->matched);
    if (lora->matched == NULL)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(copy_list(spec->n_target_modules, spec->target_modules, &lora->spec.target_modules));
    if (spec->target_expression != NULL &&
        (lora->spec.target_expression = zrt__strdup(spec->target_expression)) == NULL)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(copy_list(spec->n_modules_to_save, spec->modules_to_save, &lora->spec.modules_to_save));
    ZRT_TRY(zrt__model_register(model));
    for (int i = 0; i < spec->n_target_modules; i++)
        if (!lora->matched[i])
            return unmatched(model, "target_modules", spec->target_modules[i]);
    return freeze(model);
}

const zrt_lora_spec *zrt_model_get_lora(const zrt_model *model)
{
    return model->lora != NULL ? &model->lora->spec : NULL;
}

bool zrt_model_parameter_is_adapter(const zrt_model *model, int index)
{
    return index >= 0 && (size_t)index < model->n_parameters && model->parameters[index].adapter;
}

bool zrt_model_parameter_is_trainable(const zrt_model *model, int index)
{
    return index >= 0 && (size_t)index < model->n_parameters && model->parameters[index].trainable;
}
