/* From the options to a configuration. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool_report.h"
#include "tools/train_options.h"

/* What ./train does where nobody says otherwise: the default model learns in under two minutes on two cores. */
static const tool_argument recipe[] = {
    {"per_device_train_batch_size", "4"},
    {"per_device_eval_batch_size", "32"},
    {"max_steps", "1000"},
    {"learning_rate", "0.006"},
    {"lr_scheduler_type", "cosine"},
    {"warmup_steps", "50"},
    {"weight_decay", "0.1"},
    {"adam_beta2", "0.99"},
    {"logging_steps", "20"},
    {"eval_steps", "250"},
};
#define N_RECIPE (sizeof recipe / sizeof *recipe)
/* Without a file states are sharded, whatever the model. */
#define STAGE "3"

/* An engine is one that could train: as little of that as there is. */
static const tool_argument generation[] = {
    {"per_device_train_batch_size", "1"},
    {"per_device_eval_batch_size", "1"},
    {"max_steps", "1"},
};
#define N_GENERATION (sizeof generation / sizeof *generation)

/* The file and the command line. */
static zrt_status set_given(const train_options *options, zrt_config *config)
{
    if (options->deepspeed)
        ZRT_TRY(zrt_config_read_file(config, options->deepspeed));
    for (size_t i = 0; i < options->parsed.n_arguments; i++)
        ZRT_TRY(zrt_config_set_argument(config, options->parsed.arguments[i].name, options->parsed.arguments[i].value));
    return ZRT_OK;
}

static zrt_status resolves(const train_target *target, zrt_config *config)
{
    char *json = NULL;
    zrt_status status = zrt_config_print(config, target->n_ranks, target->hidden_size, &json);
    free(json);
    return status;
}

/* Whether the argument was given, by the file's zerort.arguments or the command line. */
static zrt_status is_given(const train_target *target, zrt_config *config, const char *name, bool *given_out)
{
    char *text = NULL, line[128];
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    *given_out = false;
    if (!memory)
        return tool_fail(ZRT_ERR_MEMORY, "out of memory for the configuration");
    /* The explanation has a line for each argument that was set. */
    zrt_status status = zrt_config_explain(config, target->n_ranks, target->hidden_size, memory);
    bool written = fclose(memory) == 0;
    snprintf(line, sizeof line, "  %s = ", name);
    *given_out = written && text && strstr(text, line) != NULL;
    free(text);
    return status;
}

/* Whether the file leaves room for this argument: one that contradicts it does not resolve. */
static zrt_status leaves_room(const train_options *options, const train_target *target, const tool_argument *argument,
                              bool *room_out)
{
    zrt_config *trial = NULL;
    bool given = false;
    *room_out = false;
    ZRT_TRY(zrt_config_create(&trial));
    zrt_status status = set_given(options, trial);
    if (status == ZRT_OK)
        status = is_given(target, trial, argument->name, &given);
    if (status == ZRT_OK && !given) {
        status = zrt_config_set_argument(trial, argument->name, argument->value);
        if (status == ZRT_OK)
            status = resolves(target, trial);
        *room_out = status == ZRT_OK;
        status = status == ZRT_ERR_MEMORY ? status : ZRT_OK;
    }
    zrt_config_destroy(&trial);
    return status;
}

/* These say the same in other words. */
static bool is_spoken_for(const train_options *options, const char *name)
{
    return (strcmp(name, "max_steps") == 0 && tool_options_given(&options->parsed, "num_train_epochs")) ||
           (strcmp(name, "warmup_steps") == 0 && tool_options_given(&options->parsed, "warmup_ratio"));
}

static zrt_status set_where_silent(const train_options *options, const train_target *target,
                                   const tool_argument *arguments, size_t n_arguments, zrt_config *config)
{
    for (size_t i = 0; i < n_arguments; i++) {
        bool room = !is_spoken_for(options, arguments[i].name);
        if (room)
            ZRT_TRY(leaves_room(options, target, &arguments[i], &room));
        if (room)
            ZRT_TRY(zrt_config_set_argument(config, arguments[i].name, arguments[i].value));
    }
    return ZRT_OK;
}

void train_recipe_print(FILE *file)
{
    fprintf(file, "\nThe model small sets what neither a file nor an option says:\n ");
    int column = 1;
    for (size_t i = 0; i < N_RECIPE; i++) {
        char text[96];
        int length = snprintf(text, sizeof text, " --%s %s", recipe[i].name, recipe[i].value);
        for (char *c = text + 3; *c; c++)
            *c = *c == '_' ? '-' : *c;
        if (column + length > 100)
            column = fprintf(file, "\n ") - 1;
        column += fprintf(file, "%s", text);
    }
    fprintf(file, "\nWithout --deepspeed the ZeRO stage is " STAGE ".\n");
}

static zrt_status configure(const train_options *options, const train_target *target, zrt_config *config)
{
    ZRT_TRY(set_given(options, config));
    ZRT_TRY(resolves(target, config)); /* what is wrong with it, before the rest comes in */
    if (!options->deepspeed)
        ZRT_TRY(zrt_config_set(config, "zero_optimization.stage", STAGE));
    if (options->generates)
        return set_where_silent(options, target, generation, N_GENERATION, config);
    return target->is_small ? set_where_silent(options, target, recipe, N_RECIPE, config) : ZRT_OK;
}

zrt_status train_options_configure(const train_options *options, const train_target *target, zrt_config **config_out)
{
    ZRT_TRY(zrt_config_create(config_out));
    zrt_status status = configure(options, target, *config_out);
    if (status != ZRT_OK)
        zrt_config_destroy(config_out);
    return status;
}
