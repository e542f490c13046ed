/* Between the files of nn: how a model carries the config.json that it came from. */
#ifndef ZRT_NN_NN_H
#define ZRT_NN_NN_H

#include <zerort/models.h>

/* As zrt_model_gpt2 and zrt_model_llama, for a model read from a folder: config_json (NULL: none) is copied and handed
 * out again by zrt__hf_config_text. name (NULL: the model type) is copied. */
zrt_status zrt__gpt2_create(const char *name, const zrt_gpt2_spec *spec, const char *config_json,
                            zrt_model **model_out);
zrt_status zrt__llama_create(const char *name, const zrt_llama_spec *spec, const char *config_json,
                             zrt_model **model_out);
zrt_status zrt__bert_create(const char *name, const zrt_bert_spec *spec, const char *config_json,
                            zrt_model **model_out);

/* The spec and the text that a model was made with; false where it is not of that kind. Lends. */
bool zrt__gpt2_get(const zrt_model *model, const zrt_gpt2_spec **spec_out, const char **config_json_out);
bool zrt__llama_get(const zrt_model *model, const zrt_llama_spec **spec_out, const char **config_json_out);
bool zrt__bert_get(const zrt_model *model, const zrt_bert_spec **spec_out, const char **config_json_out);
/* Whether a folder of a pretrained BERT may lack this parameter: the classifier's, which fine-tuning makes, and the pooler's. */
bool zrt__bert_begins_anew(const zrt_model *model, const char *parameter);

/* transformers' name of an activation (hidden_act, activation_function). */
zrt_status zrt__activation_find(const char *field, const char *name, zrt_activation_kind *kind_out);
const char *zrt__activation_name(zrt_activation_kind kind);

/* Presets: by name; *spec_out of the kind that holds is set, the other NULL. False where there is none of that name. */
bool zrt__preset_find(const char *name, const zrt_gpt2_spec **gpt2_out, const zrt_llama_spec **llama_out);

#endif
