/* Batch sizes and precision. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "config/resolve.h"

/* A batch size of the file or of an argument that was given; 0: neither. */
static zrt_status batch_value(zrt__resolution *resolution, const char *path, const char *argument, int64_t *out)
{
    json_t *file = zrt__tree_get(resolution->config->file, path);
    bool given = argument != NULL && zrt__argument_given(resolution, argument);
    *out = 0;
    if (file != NULL && !zrt__is_auto(file)) {
        *out = (int64_t)json_integer_value(file);
        if (given && *out != (int64_t)zrt__argument_number(resolution, argument))
            return zrt__fail(ZRT_ERR_CONFIG,
                             "%s is %lld in the file and %s is %lld: give one of them, or \"auto\" in the file", path,
                             (long long)*out, argument, (long long)zrt__argument_number(resolution, argument));
    } else if (given) {
        *out = (int64_t)zrt__argument_number(resolution, argument);
    }
    return ZRT_OK;
}

static const char *source_of(const zrt__resolution *resolution, const char *path, const char *argument)
{
    json_t *file = zrt__tree_get(resolution->config->file, path);
    if (file != NULL && !zrt__is_auto(file))
        return "file";
    if (argument != NULL && zrt__argument_given(resolution, argument))
        return "option";
    return file != NULL ? "auto rule" : "completed from the others";
}

/* train_batch_size = micro x accumulation x ranks, from any two or one of them, as DeepSpeed's _set_batch_related_parameters. */
zrt_status zrt__resolve_batch(zrt__resolution *resolution)
{
    zrt__resolved *r = resolution->out;
    int64_t total, micro, accumulation, ranks = r->n_ranks;
    static const char *const micro_argument = "per_device_train_batch_size", *const steps =
                                                                                 "gradient_accumulation_steps";
    ZRT_TRY(batch_value(resolution, "train_batch_size", NULL, &total));
    ZRT_TRY(batch_value(resolution, "train_micro_batch_size_per_gpu", micro_argument, &micro));
    ZRT_TRY(batch_value(resolution, steps, steps, &accumulation));
    int64_t given_micro = micro, given_accumulation = accumulation;
    if (total > 0 && micro == 0) {
        accumulation = accumulation > 0 ? accumulation : 1;
        micro = total / (accumulation * ranks);
    } else if (micro == 0) {
        micro = (int64_t)zrt__argument_number(resolution, micro_argument);
    }
    if (total > 0 && accumulation == 0)
        accumulation = micro > 0 ? total / (micro * ranks) : 0;
    else if (accumulation == 0)
        accumulation = (int64_t)zrt__argument_number(resolution, steps);
    if (total == 0)
        total = micro * accumulation * ranks;
    if (micro < 1 || accumulation < 1 || total != micro * accumulation * ranks)
        return zrt__fail(
            ZRT_ERR_CONFIG,
            "train_batch_size %lld is not train_micro_batch_size_per_gpu %lld x gradient_accumulation_steps "
            "%lld x %lld ranks%s",
            (long long)total, (long long)micro, (long long)accumulation, (long long)ranks,
            given_micro == 0 || given_accumulation == 0
                ? ": it cannot be divided so; give a train_batch_size that can, or leave it out"
                : "");
    r->train_batch = total;
    r->micro_batch = micro;
    r->accumulation = accumulation;
    ZRT_TRY(zrt__resolution_set(resolution, "train_batch_size", json_integer(total),
                                source_of(resolution, "train_batch_size", NULL)));
    ZRT_TRY(zrt__resolution_set(resolution, "train_micro_batch_size_per_gpu", json_integer(micro),
                                source_of(resolution, "train_micro_batch_size_per_gpu", micro_argument)));
    return zrt__resolution_set(resolution, steps, json_integer(accumulation), source_of(resolution, steps, steps));
}

static zrt_dtype dtype_named(const char *name, zrt_dtype otherwise)
{
    if (name == NULL)
        return otherwise;
    return strcmp(name, "fp32") == 0 ? ZRT_FLOAT32 : strcmp(name, "fp16") == 0 ? ZRT_FLOAT16 : ZRT_BFLOAT16;
}

zrt_status zrt__resolve_precision(zrt__resolution *resolution)
{
    zrt__resolved *r = resolution->out;
    json_t *fp16 = NULL, *bf16 = NULL;
    zrt_status status = zrt__resolution_value(resolution, "fp16.enabled", "fp16", &fp16);
    if (status == ZRT_OK)
        status = zrt__resolution_value(resolution, "bf16.enabled", "bf16", &bf16);
    bool half = json_is_true(fp16), brain = json_is_true(bf16);
    json_decref(fp16);
    json_decref(bf16);
    if (status != ZRT_OK)
        return status;
    if (half && brain)
        return zrt__fail(ZRT_ERR_CONFIG, "fp16.enabled and bf16.enabled are both true: choose one");
    r->compute_dtype = half ? ZRT_FLOAT16 : brain ? ZRT_BFLOAT16 : ZRT_FLOAT32;
    r->reduce_dtype =
        dtype_named(json_string_value(zrt__tree_get(resolution->tree, "communication_data_type")), r->compute_dtype);
    const json_t *tree = resolution->tree;
    r->accumulate_dtype =
        dtype_named(json_string_value(zrt__tree_get(tree, "data_types.grad_accum_dtype")), ZRT_FLOAT32);
    if (r->accumulate_dtype != r->compute_dtype && r->accumulate_dtype != ZRT_FLOAT32)
        return zrt__fail(ZRT_ERR_CONFIG,
                         "data_types.grad_accum_dtype %s with %s compute: gradients are added up in fp32 or in the "
                         "compute dtype",
                         zrt_dtype_name(r->accumulate_dtype), zrt_dtype_name(r->compute_dtype));
    double fixed = json_number_value(zrt__tree_get(tree, "fp16.loss_scale"));
    r->dynamic_loss_scale = half && fixed == 0;
    r->initial_loss_scale = !half ? 1
                            : fixed != 0
                                ? fixed
                                : ldexp(1, (int)json_integer_value(zrt__tree_get(tree, "fp16.initial_scale_power")));
    r->loss_scale_window = (int64_t)json_integer_value(zrt__tree_get(tree, "fp16.loss_scale_window"));
    r->hysteresis = (int)json_integer_value(zrt__tree_get(tree, "fp16.hysteresis"));
    r->consecutive_hysteresis = json_is_true(zrt__tree_get(tree, "fp16.consecutive_hysteresis"));
    r->min_loss_scale = json_number_value(zrt__tree_get(tree, "fp16.min_loss_scale"));
    return ZRT_OK;
}
