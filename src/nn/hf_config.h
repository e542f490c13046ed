/* config.json of Hugging Face folders. */
#ifndef ZRT_NN_HF_CONFIG_H
#define ZRT_NN_HF_CONFIG_H

#include <zerort/models.h>

/* A model from the text of a config.json as transformers 4 or 5 writes it. `path` is for messages, `name` becomes the model's. Fields that
 * change the mathematics and are not supported are refused by name; fields that are not used are logged. Local.
 * Errors: ZRT_ERR_INPUT, ZRT_ERR_CONFIG (a size that cannot be), ZRT_ERR_NOT_SUPPORTED. */
zrt_status zrt__hf_config_read(const char *path, const char *name, const char *text, size_t bytes,
                               zrt_model **model_out);

/* The config.json that opens this model's safetensors with transformers' AutoModelForCausalLM: the original bytes where
 * the model came from a folder, generated otherwise; stored is the dtype of the weights beside it. Local. Gives a
 * string that the caller releases with free(). ZRT_ERR_NOT_SUPPORTED where transformers has no such model. */
zrt_status zrt__hf_config_text(const zrt_model *model, zrt_dtype stored, char **text_out);

/* The dtype that a config.json names; fp32 where it names none. Errors: ZRT_ERR_NOT_SUPPORTED (another than fp32, fp16, bf16). */
zrt_status zrt__hf_config_dtype(const char *text, zrt_dtype *dtype_out);
/* The same text, or one that names `stored` where it names another dtype. Gives. */
zrt_status zrt__hf_config_with_dtype(const char *text, zrt_dtype stored, char **text_out);

/* Writes it, naming `stored`, to FOLDER/config.json, through a temporary file. Local. */
zrt_status zrt__hf_config_write(const zrt_model *model, zrt_dtype stored, const char *folder);

#endif
