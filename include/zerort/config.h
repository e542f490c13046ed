/* The configuration: DeepSpeed's JSON, the options of transformers' TrainingArguments, and a "zerort" block. */
#ifndef ZERORT_CONFIG_H
#define ZERORT_CONFIG_H

#include <stdint.h>

#include <zerort/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zrt_config zrt_config;

/* Gives an empty configuration: every key has its default. Local. */
ZRT_EXPORT zrt_status zrt_config_create(zrt_config **config_out);

/* Destroys *config and sets it to NULL. NULL is accepted. Local. */
ZRT_EXPORT void zrt_config_destroy(zrt_config **config);

/* Reads DeepSpeed's JSON from a file or a string over what is set. Unknown and duplicate keys, wrong types and
 * ranges are ZRT_ERR_CONFIG with the key and the nearest known one in the message. Local. */
ZRT_EXPORT zrt_status zrt_config_read_file(zrt_config *config, const char *path);
ZRT_EXPORT zrt_status zrt_config_read_string(zrt_config *config, const char *json);

/* Sets one key by its dotted name to a JSON value, for example ("zero_optimization.stage", "3") or
 * ("zero_optimization.offload_optimizer.device", "cpu"); a string needs no quotes. Local. */
ZRT_EXPORT zrt_status zrt_config_set(zrt_config *config, const char *key, const char *value);

/* Sets one training argument by its TrainingArguments name ("learning_rate", "max_steps"; '-' is taken for '_').
 * An argument that was set contradicts a file that says otherwise; a default does not. Local. */
ZRT_EXPORT zrt_status zrt_config_set_argument(zrt_config *config, const char *name, const char *value);

/* The resolved configuration as JSON text (the bytes of resolved.json), for the world size and the model's hidden
 * size given (0 where there is none). Read again it resolves to itself. Local.
 * Gives a string that the caller releases with free(). */
ZRT_EXPORT zrt_status zrt_config_print(zrt_config *config, int n_ranks, int64_t hidden_size, char **json_out);

#ifdef __cplusplus
}
#endif
#endif
