/* Models that come with zerort, written with model.h and ops.h alone. */
#ifndef ZERORT_MODELS_H
#define ZERORT_MODELS_H

#include <zerort/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/* GPT-2 (Radford et al. 2019), parameters named as transformers' GPT2LMHeadModel saves them. */
typedef struct zrt_gpt2_spec {
    int64_t vocab_size, n_positions, n_embd, n_layer, n_head;
    int64_t n_inner; /* 0: 4 n_embd */
    float layer_norm_epsilon, initializer_range;
    float resid_pdrop, embd_pdrop, attn_pdrop;
    zrt_activation_kind activation_function;
    bool tie_word_embeddings;
    bool scale_attn_weights; /* 1 / sqrt(head_dim) */
    bool scale_attn_by_inverse_layer_idx;
} zrt_gpt2_spec;
ZRT_EXPORT zrt_status zrt_model_gpt2(const zrt_gpt2_spec *spec, zrt_model **model_out);

/* Llama (Touvron et al. 2023), parameters named as transformers' LlamaForCausalLM saves them. */
typedef struct zrt_llama_spec {
    int64_t vocab_size, max_position_embeddings, hidden_size, intermediate_size, num_hidden_layers;
    int64_t num_attention_heads, num_key_value_heads, head_dim;
    float rms_norm_eps, initializer_range, attention_dropout;
    zrt_rope_spec rope; /* max_length is taken from max_position_embeddings */
    zrt_activation_kind hidden_act;
    bool tie_word_embeddings, attention_bias, mlp_bias;
    int32_t bos_token_id, eos_token_id;
} zrt_llama_spec;
ZRT_EXPORT zrt_status zrt_model_llama(const zrt_llama_spec *spec, zrt_model **model_out);

/* BERT (Devlin et al. 2019) as a classifier of sequences, parameters named as transformers' BertForSequenceClassification saves them.
 * Fields: input_ids, attention_mask (1: a token, 0: padding) and token_type_ids, int32 [length], and labels, int32 []. */
typedef struct zrt_bert_spec {
    int64_t vocab_size, max_position_embeddings, type_vocab_size, hidden_size, intermediate_size, num_hidden_layers;
    int64_t num_attention_heads, num_labels;
    float layer_norm_eps, initializer_range;
    float hidden_dropout_prob, attention_probs_dropout_prob, classifier_dropout;
    zrt_activation_kind hidden_act;
} zrt_bert_spec;
ZRT_EXPORT zrt_status zrt_model_bert(const zrt_bert_spec *spec, zrt_model **model_out);

/* A multi-layer perceptron classifier over the field "features" fp32 [n_features] and "labels" int32 []:
 * n_hidden layers of hidden_size with ReLU, then n_classes logits. */
typedef struct zrt_mlp_spec {
    int64_t n_features, hidden_size, n_hidden, n_classes;
    float dropout;
} zrt_mlp_spec;
ZRT_EXPORT zrt_status zrt_model_mlp(const zrt_mlp_spec *spec, zrt_model **model_out);

/* A model by preset name ("gpt2", "gpt2-medium", "llama-2-7b", ...) or from a Hugging Face folder's config.json. A field that changes the
 * mathematics and is not supported is refused by name. Local. */
ZRT_EXPORT zrt_status zrt_model_open(const char *name_or_folder, zrt_model **model_out);
/* The same with a vocabulary of at least vocab_size tokens, for tokens that were added to the tokenizer: zrt_engine_load_pretrained
 * reads the rows that the folder's embedding and head have, the rows after them stay as drawn. Local. */
ZRT_EXPORT zrt_status zrt_model_open_resized(const char *name_or_folder, int64_t vocab_size, zrt_model **model_out);
/* Lends the i-th preset's name, NULL after the last. */
ZRT_EXPORT const char *zrt_model_preset(int index);

#ifdef __cplusplus
}
#endif
#endif
