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
    {"learning_rate", "0.003"},
    {"lr_scheduler_type", "cosine"},
    {"warmup_steps", "50"},
    {"weight_decay", "0.1"},
    {"adam_beta2", "0.99"},
    {"logging_steps", "20"},
    {"eval_steps", "250"},
};
#define N_RECIPE (sizeof recipe / sizeof *recipe)
#define RECIPE_STAGE "3"

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

/* Whether the file leaves room for this argument: one that contradicts it does not resolve. */
static zrt_status leaves_room(const train_options *options, const train_target *target, const tool_argument *argument,
                              bool *room_out)
{
    zrt_config *trial = NULL;
    *room_out = false;
    ZRT_TRY(zrt_config_create(&trial));
    zrt_status status = set_given(options, trial);
    if (status == ZRT_OK) {
        status = zrt_config_set_argument(trial, argument->name, argument->value);
        if (status == ZRT_OK)
            status = resolves(target, trial);
        *room_out = status == ZRT_OK;
        status = status == ZRT_ERR_MEMORY ? status : ZRT_OK;
    }
    zrt_config_destroy(&trial);
    return status;
}

static bool is_spoken_for(const train_options *options, const char *name)
{
    const tool_options *parsed = &options->parsed;
    if (strcmp(name, "max_steps") == 0 && tool_options_given(parsed, "num_train_epochs"))
        return true;
    if (strcmp(name, "warmup_steps") == 0 && tool_options_given(parsed, "warmup_ratio"))
        return true;
    return tool_options_given(parsed, name);
}

static zrt_status set_recipe(const train_options *options, const train_target *target, zrt_config *config)
{
    if (!options->deepspeed)
        ZRT_TRY(zrt_config_set(config, "zero_optimization.stage", RECIPE_STAGE));
    for (size_t i = 0; i < N_RECIPE; i++) {
        bool room = !is_spoken_for(options, recipe[i].name);
        if (room && options->deepspeed)
            ZRT_TRY(leaves_room(options, target, &recipe[i], &room));
        if (room)
            ZRT_TRY(zrt_config_set_argument(config, recipe[i].name, recipe[i].value));
    }
    return ZRT_OK;
}

static zrt_status configure(const train_options *options, const train_target *target, zrt_config *config)
{
    ZRT_TRY(set_given(options, config));
    ZRT_TRY(resolves(target, config)); /* what is wrong with it, before the recipe comes in */
    return target->is_small ? set_recipe(options, target, config) : ZRT_OK;
}

zrt_status train_options_configure(const train_options *options, const train_target *target, zrt_config **config_out)
{
    ZRT_TRY(zrt_config_create(config_out));
    zrt_status status = configure(options, target, *config_out);
    if (status != ZRT_OK)
        zrt_config_destroy(config_out);
    return status;
}
