/* adapter_config.json and the folders that peft writes. */
#ifndef ZRT_NN_LORA_CONFIG_H
#define ZRT_NN_LORA_CONFIG_H

#include <stdbool.h>

#include <zerort/lora.h>

/* What peft puts before a model's own names in adapter_model.safetensors. */
#define ZRT__ADAPTER_PREFIX "base_model.model."

/* Whether the folder holds an adapter (adapter_config.json) and no model of its own (config.json). */
bool zrt__is_adapter_folder(const char *folder);

/* The base model with this adapter's layers: both by their configurations, no weights. Local. */
zrt_status zrt__adapter_open(const char *folder, zrt_model **model_out);

/* The base model with as many tokens as the adapter's own embedding or head has. Local. */
zrt_status zrt__adapter_open_base(const char *adapter, const char *base, zrt_model **model_out);

/* base_model_name_or_path of an adapter_config.json. Gives a string to release with free(). Local. */
zrt_status zrt__lora_config_base(const char *path, char **base_out);

/* The text of adapter_config.json that peft opens, for a model with LoRA. Gives a string to release with free(). Local. */
zrt_status zrt__lora_config_text(const zrt_model *model, char **text_out);

#endif
