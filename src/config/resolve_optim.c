/* Optimizer and scheduler: the file's blocks with "auto" filled from the arguments, or the arguments alone. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "config/resolve.h"

/* Parameters whose "auto" comes from an argument. */
static const char *const optimizer_auto[][2] = {
    {"lr", "learning_rate"},
    {"eps", "adam_epsilon"},
    {"weight_decay", "weight_decay"},
};

static zrt_status add(const char *block, zrt__named_value *list, int *n, const char *name, const json_t *value)
{
    if (*n == ZRT__MAX_PARAMETERS || strlen(name) >= sizeof list->name)
        return zrt__fail(ZRT_ERR_CONFIG, "%s has too many or too long parameters, at %.60s", block, name);
    zrt__named_value *out = &list[*n];
    *out = (zrt__named_value){.is_text = json_is_string(value), .number = json_number_value(value)};
    if (json_is_boolean(value))
        out->number = json_is_true(value);
    else if (json_is_string(value) && strlen(json_string_value(value)) < sizeof out->text)
        snprintf(out->text, sizeof out->text, "%s", json_string_value(value));
    else if (!json_is_number(value))
        return zrt__fail(ZRT_ERR_CONFIG, "%s.%.60s must be a number, true, false or a short string", block, name);
    snprintf(out->name, sizeof out->name, "%s", name);
    (*n)++;
    return ZRT_OK;
}

static zrt_status contradiction(const zrt__resolution *resolution, const char *path, const json_t *value,
                                const char *argument)
{
    if (!zrt__argument_given(resolution, argument) || !json_is_number(value) ||
        json_number_value(value) == zrt__argument_number(resolution, argument))
        return ZRT_OK;
    return zrt__fail(ZRT_ERR_CONFIG, "%s is %g in the file and %s is %g: give one of them, or \"auto\" in the file",
                     path, json_number_value(value), argument, zrt__argument_number(resolution, argument));
}

/* The argument says what the file said, so that what is printed resolves to itself. */
static zrt_status mirror(zrt__resolution *resolution, const char *argument, const json_t *value)
{
    char path[128];
    snprintf(path, sizeof path, "zerort.arguments.%s", argument);
    return zrt__tree_set(resolution->tree, path, json_deep_copy(value));
}

/* Betas are a list of two in the file. */
static zrt_status add_betas(zrt__resolution *resolution, const json_t *value)
{
    static const char *const names[] = {"beta1", "beta2"}, *const arguments[] = {"adam_beta1", "adam_beta2"};
    zrt__resolved *r = resolution->out;
    json_t *betas = json_array();
    for (int i = 0; i < 2; i++) {
        json_t *beta = json_is_array(value) ? json_array_get(value, (size_t)i)
                                            : zrt__argument_value(resolution, arguments[i], NULL);
        if (!json_is_number(beta)) {
            json_decref(betas);
            return zrt__fail(ZRT_ERR_CONFIG, "optimizer.params.betas must be two numbers or \"auto\"");
        }
        json_array_append(betas, beta);
        zrt_status status =
            json_is_array(value) ? contradiction(resolution, "optimizer.params.betas", beta, arguments[i]) : ZRT_OK;
        if (status == ZRT_OK)
            status = mirror(resolution, arguments[i], beta);
        if (status == ZRT_OK)
            status = add("optimizer.params", r->optimizer_parameters, &r->n_optimizer_parameters, names[i], beta);
        if (status != ZRT_OK) {
            json_decref(betas);
            return status;
        }
    }
    return zrt__resolution_set(resolution, "optimizer.params.betas", betas, zrt__is_auto(value) ? "auto rule" : "file");
}

static zrt_status optimizer_of_file(zrt__resolution *resolution, json_t *block)
{
    zrt__resolved *r = resolution->out;
    json_t *type = json_object_get(block, "type"), *params = json_object_get(block, "params"), *value;
    const char *name;
    if (type == NULL || zrt__is_auto(type))
        type = zrt__argument_value(resolution, "optim", NULL);
    snprintf(r->optimizer, sizeof r->optimizer, "%s", json_string_value(type));
    ZRT_TRY(zrt__resolution_set(resolution, "optimizer.type", json_string(r->optimizer), "file"));
    r->optimizer_of_file = true;
    json_object_foreach(params, name, value)
    {
        if (strcmp(name, "betas") == 0) {
            ZRT_TRY(add_betas(resolution, value));
            continue;
        }
        char path[128];
        snprintf(path, sizeof path, "optimizer.params.%.60s", name);
        const char *argument = NULL;
        for (size_t i = 0; i < sizeof optimizer_auto / sizeof *optimizer_auto; i++)
            if (strcmp(optimizer_auto[i][0], name) == 0)
                argument = optimizer_auto[i][1];
        if (zrt__is_auto(value)) {
            if (argument == NULL)
                return zrt__fail(ZRT_ERR_CONFIG, "configuration key %s cannot be \"auto\": give a value", path);
            value = zrt__argument_value(resolution, argument, NULL);
            ZRT_TRY(zrt__resolution_set(resolution, path, json_deep_copy(value), "auto rule"));
        } else if (argument != NULL) {
            ZRT_TRY(contradiction(resolution, path, value, argument));
            ZRT_TRY(mirror(resolution, argument, value));
        }
        ZRT_TRY(add("optimizer.params", r->optimizer_parameters, &r->n_optimizer_parameters, name, value));
        if (strcmp(name, "lr") == 0)
            r->learning_rate = json_number_value(value);
    }
    return ZRT_OK;
}

zrt_status zrt__resolve_optimizer(zrt__resolution *resolution)
{
    static const char *const arguments[][2] = {
        {"beta1", "adam_beta1"}, {"beta2", "adam_beta2"}, {"eps", "adam_epsilon"}, {"weight_decay", "weight_decay"}};
    zrt__resolved *r = resolution->out;
    json_t *block = json_object_get(resolution->config->file, "optimizer");
    r->learning_rate = zrt__argument_number(resolution, "learning_rate");
    if (block != NULL && json_object_size(block) > 0)
        return optimizer_of_file(resolution, block);
    snprintf(r->optimizer, sizeof r->optimizer, "%s",
             json_string_value(zrt__argument_value(resolution, "optim", NULL)));
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
        ZRT_TRY(add("arguments", r->optimizer_parameters, &r->n_optimizer_parameters, arguments[i][0],
                    zrt__argument_value(resolution, arguments[i][1], NULL)));
    json_t *more = zrt__argument_value(resolution, "optim_args", NULL), *value;
    const char *name;
    json_object_foreach(more, name, value)
        ZRT_TRY(add("optim_args", r->optimizer_parameters, &r->n_optimizer_parameters, name, value));
    return ZRT_OK;
}

/* The value that "auto" stands for in scheduler.params; NULL: none. */
static json_t *schedule_auto(const zrt__resolution *resolution, const char *name)
{
    const zrt__resolved *r = resolution->out;
    if (strcmp(name, "warmup_min_lr") == 0)
        return json_integer(0);
    if (strcmp(name, "warmup_max_lr") == 0)
        return json_real(r->learning_rate);
    if (strcmp(name, "warmup_num_steps") == 0)
        return json_integer(r->warmup_steps > 1 ? r->warmup_steps : 1); /* as transformers */
    if (strcmp(name, "total_num_steps") == 0 && r->max_steps > 0)
        return json_integer(r->max_steps);
    return NULL;
}

static zrt_status schedule_of_file(zrt__resolution *resolution, json_t *block)
{
    zrt__resolved *r = resolution->out;
    json_t *type = json_object_get(block, "type"), *params = json_object_get(block, "params"), *value;
    const char *name;
    if (type == NULL || zrt__is_auto(type))
        return zrt__fail(ZRT_ERR_CONFIG,
                         "scheduler.type is missing: name a scheduler, or leave the block out for lr_scheduler_type");
    snprintf(r->schedule, sizeof r->schedule, "%s", json_string_value(type));
    json_object_foreach(params, name, value)
    {
        char path[128];
        snprintf(path, sizeof path, "scheduler.params.%.60s", name);
        json_t *resolved = json_incref(value);
        if (zrt__is_auto(value)) {
            json_decref(resolved);
            resolved = schedule_auto(resolution, name);
            if (resolved == NULL)
                return zrt__fail(ZRT_ERR_CONFIG, "configuration key %s cannot be \"auto\" here: give a value%s", path,
                                 strcmp(name, "total_num_steps") == 0 ? ", or max_steps" : "");
            ZRT_TRY(zrt__resolution_set(resolution, path, json_deep_copy(resolved), "auto rule"));
        } else if (strcmp(name, "warmup_num_steps") == 0) {
            ZRT_TRY(contradiction(resolution, path, value, "warmup_steps"));
            ZRT_TRY(mirror(resolution, "warmup_steps", value));
        }
        zrt_status status = add("scheduler.params", r->schedule_parameters, &r->n_schedule_parameters, name, resolved);
        json_decref(resolved);
        if (status != ZRT_OK)
            return status;
    }
    return ZRT_OK;
}

zrt_status zrt__resolve_schedule(zrt__resolution *resolution)
{
    zrt__resolved *r = resolution->out;
    json_t *block = json_object_get(resolution->config->file, "scheduler");
    r->warmup_steps = (int64_t)zrt__argument_number(resolution, "warmup_steps");
    double ratio = zrt__argument_number(resolution, "warmup_ratio");
    if (r->warmup_steps == 0 && ratio > 0 && r->max_steps > 0)
        r->warmup_steps = (int64_t)ceil((double)r->max_steps * ratio);
    if (block != NULL && json_object_size(block) > 0)
        return schedule_of_file(resolution, block);
    const char *type = json_string_value(zrt__argument_value(resolution, "lr_scheduler_type", NULL));
    /* "linear" is transformers' default and needs the number of steps; a program that does not say it gets what DeepSpeed
     * gives without a scheduler. */
    if (r->max_steps <= 0 && !zrt__argument_given(resolution, "lr_scheduler_type")) {
        type = r->warmup_steps > 0 ? "constant_with_warmup" : "constant";
        ZRT_TRY(zrt__resolution_set(resolution, "zerort.arguments.lr_scheduler_type", json_string(type), "default"));
    }
    snprintf(r->schedule, sizeof r->schedule, "%s", type);
    json_t *more = zrt__argument_value(resolution, "lr_scheduler_kwargs", NULL), *value;
    const char *name;
    json_object_foreach(more, name, value)
        ZRT_TRY(add("lr_scheduler_kwargs", r->schedule_parameters, &r->n_schedule_parameters, name, value));
    return ZRT_OK;
}
