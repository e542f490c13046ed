/* LoRA (Hu et al. 2021): a trained model's linear layers stay as they are, and each that is named gets a low-rank term of
 * its own, y = W x + (lora_alpha / r) B A dropout(x). Names, files and defaults are those of peft. */
#ifndef ZERORT_LORA_H
#define ZERORT_LORA_H

#include <stdbool.h>

#include <zerort/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zrt_lora_spec {
    int64_t r;
    float lora_alpha, lora_dropout;
    bool use_rslora; /* the factor is lora_alpha / sqrt(r) (Kalajdzievski 2023) */
    /* Modules by the end of their name, whole components: "q_proj" is model.layers.0.self_attn.q_proj. */
    int n_target_modules;
    const char *const *target_modules;
    /* The regular expression that they were matched by, for adapter_config.json; NULL: none. */
    const char *target_expression;
    /* Modules that are trained whole. */
    int n_modules_to_save;
    const char *const *modules_to_save;
} zrt_lora_spec;

/* Adds adapters MODULE.lora_A.weight [r, in] and MODULE.lora_B.weight [out, r] (uniform in 1 / sqrt(in), and zeros) to the linear
 * layers of these modules, and freezes every other parameter but those of modules_to_save. Once a model, before its engine and before
 * zrt_model_freeze. The spec is copied. Local.
 * Errors: ZRT_ERR_CONFIG (a name that matches nothing, or a layer that is none of the kind, named; a value out of range). The model
 * can then only be destroyed. */
ZRT_EXPORT zrt_status zrt_model_add_lora(zrt_model *model, const zrt_lora_spec *spec);

/* The same from a JSON file of peft's LoraConfig (adapter_config.json, or a few keys of it). A key that zerort does not have is
 * accepted at peft's default and refused by name (ZRT_ERR_NOT_SUPPORTED) at another value. target_modules is a list of names, or a regular
 * expression that a module's whole name matches (re.fullmatch, by PCRE2); null is peft's choice for this kind of model, "all-linear" every
 * linear layer but the output's. Local. */
ZRT_EXPORT zrt_status zrt_model_read_lora(zrt_model *model, const char *path);

/* What it was given; NULL where the model has no LoRA. Lends. Local. */
ZRT_EXPORT const zrt_lora_spec *zrt_model_get_lora(const zrt_model *model);
/* Whether parameter `index` is an adapter's, and whether it is trained. Local. */
ZRT_EXPORT bool zrt_model_parameter_is_adapter(const zrt_model *model, int index);
ZRT_EXPORT bool zrt_model_parameter_is_trainable(const zrt_model *model, int index);

/* The folder of the base model that ADAPTER/adapter_config.json names: the path as it is, and, where that is relative and not there, in
 * the adapter's folder and in its parent. Gives a string to release with free(). Local. ZRT_ERR_INPUT where there is none. */
ZRT_EXPORT zrt_status zrt_adapter_find_base(const char *adapter, char **base_out);

/* Writes to the folder `out` the model of the folder `base` with the adapter of the folder `adapter` merged in, each tensor in the dtype that it
 * has in `base`, with the tokenizer's files. One tensor's chunk is in memory at a time. Local.
 * Errors: ZRT_ERR_INPUT (the adapter is for another base: the tensor named), ZRT_ERR_NOT_SUPPORTED, ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_adapter_merge(const char *base, const char *adapter, const char *out);

#ifdef __cplusplus
}
#endif
#endif
