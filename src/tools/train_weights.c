#include "config.h"

#include "tools/train_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/run_folder.h"
#include "tools/tool_report.h"

#define SHARDED_FOLDER "sharded_model"

static bool is_set(const train_run *run, const char *key)
{
    char value[16];
    return zrt_config_get(run->config, zrt_size(run->context), zrt_model_get_info(run->model)->hidden_size, key, value,
                          sizeof value) == ZRT_OK &&
           strcmp(value, "true") == 0;
}

static bool is_adapter(const train_run *run)
{
    return zrt_model_get_lora(run->model) != NULL;
}

zrt_status train_weights_check(const train_run *run)
{
    if (run->settings.state_dict != TRAIN_STATE_DICT_SHARDED || !is_adapter(run))
        return ZRT_OK;
    return tool_fail(
        ZRT_ERR_NOT_SUPPORTED,
        "--state-dict-type sharded is not supported with LoRA: the run folder ends with the adapter, which "
        "is small; leave the option out, or give full");
}

static zrt_status save_full(train_run *run)
{
    zrt_dtype dtype = is_adapter(run)               ? ZRT_FLOAT32
                      : is_set(run, "fp16.enabled") ? ZRT_FLOAT16
                      : is_set(run, "bf16.enabled") ? ZRT_BFLOAT16
                                                    : ZRT_FLOAT32;
    zrt_status status = zrt_engine_save_pretrained(run->engine, run->folder ? run->folder : "", dtype);
    if (status == ZRT_OK && zrt_rank(run->context) == 0 && !run->is_jsonl)
        status = train_samples_copy_tokenizer(run, run->folder);
    return tool_agree(run->context, status);
}

/* A folder of its own: the run's checkpoints have optimizer states, and stay. */
static zrt_status save_sharded(train_run *run)
{
    const zrt_save_options options = {.parameters_only = true};
    char *folder = NULL;
    bool is_first = zrt_rank(run->context) == 0;
    zrt_status status = is_first ? run_folder_path(run->folder, SHARDED_FOLDER, &folder) : ZRT_OK;
    status = tool_agree(run->context, status);
    if (status == ZRT_OK)
        status = zrt_engine_save(run->engine, folder, &options);
    if (status == ZRT_OK && is_first)
        status = train_samples_copy_tokenizer(run, folder);
    if (status == ZRT_OK && is_first)
        printf("weights: %s (zerort export makes a folder for transformers of it)\n", folder);
    free(folder);
    return tool_agree(run->context, status);
}

zrt_status train_weights_save(train_run *run)
{
    bool wanted = is_adapter(run) || run->is_jsonl || /* an adapter is small, and all that there is of the run */
                  is_set(run, "zero_optimization.stage3_gather_16bit_weights_on_model_save");
    if (run->settings.state_dict == TRAIN_STATE_DICT_SHARDED)
        return save_sharded(run);
    return wanted || run->settings.state_dict == TRAIN_STATE_DICT_FULL ? save_full(run) : ZRT_OK;
}
