/* The configuration: DeepSpeed's JSON, the options of transformers' TrainingArguments, and a "zerort" block. */
#ifndef ZERORT_CONFIG_H
#define ZERORT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

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

/* One value of the resolved configuration by its dotted key, as JSON text ("3", "true", "\"cpu\""), for example
 * "train_micro_batch_size_per_gpu" or "zerort.arguments.max_steps". Local. ZRT_ERR_USAGE where there is none. */
ZRT_EXPORT zrt_status zrt_config_get(zrt_config *config, int n_ranks, int64_t hidden_size, const char *key, char *value,
                                     size_t capacity);

/* Prints every key that was given or resolved: its value, where it came from (file, option, auto rule, default), and whether it acts, is
 * accepted without effect and why, or is refused if it is switched on; then a table of roles and their dtypes. Local. */
ZRT_EXPORT zrt_status zrt_config_explain(zrt_config *config, int n_ranks, int64_t hidden_size, FILE *file);

/* The training arguments there are, for a program's --help. False after the last. Local. Lends static strings. */
typedef struct zrt_argument_info {
    const char *name, *group, *placeholder;
    const char *default_text; /* NULL: none */
    const char *help;
    bool is_switch; /* true or false */
} zrt_argument_info;
ZRT_EXPORT bool zrt_config_argument(int index, zrt_argument_info *info_out);

#ifdef __cplusplus
}
#endif
#endif
