/* What a run is asked to do: the command line of train, of zerort plan and of zerort generate. */
#ifndef ZRT_TOOLS_TRAIN_OPTIONS_H
#define ZRT_TOOLS_TRAIN_OPTIONS_H

#include <zerort/config.h>

#include "tools/tool_options.h"

#define TRAIN_MAX_OPTIONS 48

typedef struct train_options {
    const char *deepspeed, *model, *output_dir, *trace, *prompt, *lora_config, *task;
    const char *tokenizer, *text_column, *prompt_column, *completion_column, *chat_template;
    tool_list train_files, eval_files, freeze;
    int64_t plan_ranks, sample_tokens, top_k;
    double validation_percent, temperature, top_p;
    tool_list special_tokens, resume_exclude;
    bool packing, skip_bad_lines;
    bool plan, print_config, help, version;
    bool generates; /* zerort generate: the sample is all */
    tool_option table[TRAIN_MAX_OPTIONS];
    tool_options parsed;
} train_options;

/* Fills the table and the defaults. */
void train_options_init(train_options *options, bool generates);
void train_options_release(train_options *options);

/* Writes what the default model's recipe sets, for --help. */
void train_recipe_print(FILE *file);

/* What the configuration is asked about: the ranks and the model that it is resolved for. */
typedef struct train_target {
    int n_ranks;
    int64_t hidden_size; /* of the model, 0: unknown */
    bool is_small;       /* the default model, which has a recipe */
} train_target;

/* Gives a configuration with everything set: the file first, then what the command line says, then the recipe of the default
 * model where neither speaks. Local. */
zrt_status train_options_configure(const train_options *options, const train_target *target, zrt_config **config_out);

#endif
