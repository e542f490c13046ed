#include "config.h"

#include "tools/train_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/run_folder.h"
#include "tools/tool_report.h"
#include "tools/train_resume.h"
#include "tools/train_weights.h"

#define DEFAULT_MODEL "small"
#define LONGEST_DEFAULT_LENGTH 1024
/* 256 bytes and room for special tokens and padding. */
#define LARGEST_BYTE_VOCABULARY 512
/* A plan without data has a schedule all the same. */
#define PLANNED_STEPS "1000"

static int n_planned_ranks(const train_run *run)
{
    return run->options->plan_ranks > 0 ? (int)run->options->plan_ranks : zrt_size(run->context);
}

/* The model's longest row where nobody says another, but not so long that a newcomer's memory ends. */
static zrt_status choose_length(train_run *run)
{
    int64_t longest = zrt_model_get_info(run->model)->max_length;
    char text[32];
    run->length = run->settings.length;
    if (longest > 0 && run->length > longest)
        return tool_fail(ZRT_ERR_CONFIG,
                         "--seq-length %lld is longer than what model '%s' takes, %lld; give at most that",
                         (long long)run->length, zrt_model_get_name(run->model), (long long)longest);
    if (run->length > 0 || (run->is_jsonl && !run->options->print_config)) /* samples have their own */
        return ZRT_OK;
    run->length = longest > 0 && longest < LONGEST_DEFAULT_LENGTH ? longest : LONGEST_DEFAULT_LENGTH;
    snprintf(text, sizeof text, "%lld", (long long)run->length);
    return zrt_config_set_argument(run->config, "seq_length", text);
}

/* LoRA, and what is frozen besides. */
static zrt_status restrict_training(train_run *run)
{
    const train_options *options = run->options;
    if (options->lora_config && zrt_model_get_lora(run->model))
        return tool_fail(ZRT_ERR_CONFIG,
                         "--lora-config with --model '%s', which is an adapter and has a configuration of its own; "
                         "leave one of them out",
                         options->model);
    if (options->lora_config)
        ZRT_TRY(zrt_model_read_lora(run->model, options->lora_config));
    for (size_t i = 0; i < options->freeze.n_words; i++)
        ZRT_TRY(zrt_model_freeze(run->model, options->freeze.words[i]));
    for (int i = 0; i < zrt_model_n_parameters(run->model); i++)
        if (zrt_model_parameter_is_trainable(run->model, i))
            return ZRT_OK;
    return tool_fail(ZRT_ERR_CONFIG, "--freeze leaves no parameter of model '%s' to train",
                     zrt_model_get_name(run->model));
}

/* What the model is for is what it was asked for. */
static zrt_status check_task(const train_run *run)
{
    const char *task = run->options->task, *name = zrt_model_get_name(run->model);
    bool classifies = zrt_model_get_info(run->model)->n_classes > 0;
    bool wants = task && strcmp(task, "classification") == 0;
    if (task && !wants && strcmp(task, "causal-lm") != 0)
        return tool_fail(ZRT_ERR_CONFIG, "--task '%s'; there are causal-lm and classification", task);
    if (task && wants != classifies)
        return tool_fail(ZRT_ERR_NOT_SUPPORTED, "--task %s is not supported for model '%s'; %s", task, name,
                         wants ? "name a folder of BERT" : "it is a classifier");
    return ZRT_OK;
}

static zrt_status check_samples(const train_run *run, const zrt_dataset *data)
{
    bool classifies = zrt_model_get_info(run->model)->n_classes > 0;
    if (zrt_dataset_is_classification(data) == classifies)
        return ZRT_OK;
    return tool_fail(ZRT_ERR_INPUT, "%s; model '%s' is %s",
                     classifies ? "the lines are no samples of classification (text1, text2 and label)"
                                : "the lines have labels of classes",
                     zrt_model_get_name(run->model),
                     classifies ? "a classifier" : "no classifier: name a folder of BERT");
}

static zrt_status configure(train_run *run)
{
    const char *name = run->options->model ? run->options->model : DEFAULT_MODEL;
    ZRT_TRY(zrt_model_open(name, &run->model));
    ZRT_TRY(check_task(run));
    ZRT_TRY(train_samples_open_tokenizer(run)); /* which may open the model again, with more tokens */
    ZRT_TRY(restrict_training(run));
    const zrt_model_info *info = zrt_model_get_info(run->model);
    const train_target target = {n_planned_ranks(run), info->hidden_size, strcmp(name, DEFAULT_MODEL) == 0};
    run->is_text = info->vocab_size == 256;
    if (run->options->packing && run->is_jsonl)
        ZRT_TRY(zrt_model_set_packing(run->model));
    ZRT_TRY(train_options_configure(run->options, &target, &run->config));
    ZRT_TRY(train_settings_read(run->config, target.n_ranks, target.hidden_size, &run->settings));
    ZRT_TRY(train_weights_check(run));
    return choose_length(run);
}

zrt_status train_run_configure(train_run *run)
{
    return tool_agree(run->context, configure(run));
}

/* ---- data ---- */

static zrt_status choose_files(train_run *run)
{
    const tool_list *files = &run->options->train_files;
    if (files->n_words == 0) {
        ZRT_TRY(default_text_collect(&run->text));
        run->paths = (const char **)run->text.paths;
        run->n_paths = (int)run->text.n_paths;
        if (zrt_rank(run->context) == 0)
            printf("text: %zu files, %.1f MB, of %s\n", run->text.n_paths, (double)run->text.bytes / 1e6,
                   run->text.places);
    } else {
        run->paths = files->words;
        run->n_paths = (int)files->n_words;
    }
    return ZRT_OK;
}

static zrt_status open_loader(train_run *run, const zrt_dataset *data, bool training, zrt_loader **loader_out)
{
    const zrt_loader_options options = {
        .micro_batch_rows = training ? run->settings.micro_rows : run->settings.eval_rows,
        .accumulation_steps = training ? run->settings.accumulation : 1,
        .seed = run->settings.seed,
        .shuffle = training,
        .drop_last = training && run->settings.drop_last,
        .n_epochs = training ? 0 : 1,
    };
    return zrt_loader_create(run->context, data, &options, loader_out);
}

/* How many steps there are, where the epochs say it: the schedule of the learning rate wants to know. */
static zrt_status count_steps(train_run *run)
{
    const train_settings *settings = &run->settings;
    int64_t step_rows = settings->micro_rows * settings->accumulation * n_planned_ranks(run);
    int64_t n_rows = zrt_dataset_n_rows(run->train_data);
    int64_t epoch_steps = settings->drop_last ? n_rows / step_rows : (n_rows + step_rows - 1) / step_rows;
    run->n_steps = settings->max_steps;
    if (run->is_jsonl && settings->eval_steps == 0) /* fine-tuning is looked at after every epoch */
        run->settings.eval_steps = epoch_steps;
    if (settings->saves_epochs)
        run->settings.save_steps = epoch_steps;
    if (run->n_steps > 0)
        return ZRT_OK;
    run->n_steps = (int64_t)ceil(settings->epochs * (double)epoch_steps);
    if (run->n_steps < 1)
        run->n_steps = 1;
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)run->n_steps);
    return zrt_config_set_argument(run->config, "max_steps", text);
}

/* Bytes are tokens only of a model that was made for them. */
static void check_vocabulary(train_run *run)
{
    int64_t vocab_size = zrt_model_get_info(run->model)->vocab_size;
    run->is_text = zrt_dataset_is_text(run->train_data);
    if (run->is_text && vocab_size > LARGEST_BYTE_VOCABULARY && zrt_rank(run->context) == 0)
        tool_report_warning(
            "text is read byte by byte, and model '%s' has %lld tokens of its own; give files of its tokens (.bin, "
            ".npy, .h5) to --train-file, or --model small",
            zrt_model_get_name(run->model), (long long)vocab_size);
}

/* A first batch finds what is wrong with the first rows before anything is made. */
static zrt_status try_first_batch(zrt_loader *loader)
{
    const zrt_batch *batch;
    zrt_status status = zrt_loader_next(loader, &batch);
    return status < 0 ? status : zrt_loader_seek(loader, 0);
}

static zrt_dataset_options part_of(const train_run *run)
{
    return (zrt_dataset_options){
        .length = run->length,
        .vocab_size = zrt_model_get_info(run->model)->vocab_size,
        .held_out_fraction = run->options->eval_files.n_words ? 0 : run->options->validation_percent / 100,
    };
}

static zrt_status open_samples(train_run *run)
{
    const train_options *options = run->options;
    bool has_files = options->eval_files.n_words > 0;
    double held_out = has_files ? 0 : options->validation_percent / 100;
    ZRT_TRY(train_samples_open(run, &options->train_files, held_out, &run->train_data,
                               held_out > 0 ? &run->eval_data : NULL));
    zrt_status status = check_samples(run, run->train_data);
    if (status == ZRT_OK)
        status = open_loader(run, run->train_data, true, &run->train_loader);
    if (status == ZRT_OK)
        status = count_steps(run);
    ZRT_TRY(zrt_agree(run->context, status)); /* before ranks read together again */
    if (has_files)
        ZRT_TRY(train_samples_open(run, &options->eval_files, 0, &run->eval_data, NULL));
    if (has_files)
        ZRT_TRY(check_samples(run, run->eval_data));
    return run->eval_data ? open_loader(run, run->eval_data, false, &run->eval_loader) : ZRT_OK;
}

static zrt_status open_data(train_run *run)
{
    const train_options *options = run->options;
    zrt_dataset_options part = part_of(run);
    bool splits = part.held_out_fraction > 0;
    if (run->is_jsonl)
        return open_samples(run);
    if (zrt_model_get_info(run->model)->n_classes > 0)
        return tool_fail(ZRT_ERR_INPUT,
                         "model '%s' is a classifier: give --train-file a JSONL file with text1, text2 and label",
                         zrt_model_get_name(run->model));
    ZRT_TRY(choose_files(run));
    part.split = splits ? ZRT_SPLIT_TRAIN : ZRT_SPLIT_ALL;
    ZRT_TRY(zrt_dataset_open(run->paths, run->n_paths, &part, &run->train_data));
    check_vocabulary(run);
    ZRT_TRY(open_loader(run, run->train_data, true, &run->train_loader));
    ZRT_TRY(try_first_batch(run->train_loader));
    ZRT_TRY(count_steps(run));
    part.split = splits ? ZRT_SPLIT_EVALUATION : ZRT_SPLIT_ALL;
    if (splits)
        ZRT_TRY(zrt_dataset_open(run->paths, run->n_paths, &part, &run->eval_data));
    else if (options->eval_files.n_words)
        ZRT_TRY(zrt_dataset_open(options->eval_files.words, (int)options->eval_files.n_words, &part, &run->eval_data));
    return run->eval_data ? open_loader(run, run->eval_data, false, &run->eval_loader) : ZRT_OK;
}

zrt_status train_run_open_data(train_run *run)
{
    return tool_agree(run->context, open_data(run));
}

static zrt_status plan_steps(train_run *run)
{
    zrt_dataset_options part = part_of(run);
    part.split = part.held_out_fraction > 0 ? ZRT_SPLIT_TRAIN : ZRT_SPLIT_ALL;
    if (run->is_jsonl) { /* whose samples say how long a row is */
        ZRT_TRY(train_samples_open(run, &run->options->train_files, part.held_out_fraction, &run->train_data, NULL));
        return count_steps(run);
    }
    if (run->settings.max_steps > 0)
        return ZRT_OK;
    if (run->options->train_files.n_words == 0)
        return zrt_config_set_argument(run->config, "max_steps", PLANNED_STEPS);
    ZRT_TRY(choose_files(run));
    ZRT_TRY(zrt_dataset_open(run->paths, run->n_paths, &part, &run->train_data));
    return count_steps(run);
}

zrt_status train_run_plan_steps(train_run *run)
{
    return tool_agree(run->context, plan_steps(run));
}

/* ---- engine ---- */

/* Whether the model's folder has weights to start from; a preset or a bare config.json starts from drawn ones. */
static bool has_weights(const char *model)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "adapter_model.safetensors"};
    bool found = false;
    for (size_t i = 0; model && i < sizeof names / sizeof *names && !found; i++) {
        char *path;
        if (asprintf(&path, "%s/%s", model, names[i]) < 0)
            return false;
        found = access(path, F_OK) == 0;
        free(path);
    }
    return found;
}

zrt_status train_run_create_engine(train_run *run)
{
    zrt_status status = ZRT_OK;
    if (zrt_rank(run->context) == 0 && !run->options->generates) {
        printf("configuration\n");
        status = zrt_config_explain(run->config, zrt_size(run->context), zrt_model_get_info(run->model)->hidden_size,
                                    stdout);
        fflush(stdout);
    }
    ZRT_TRY(zrt_agree(run->context, status));
    status = zrt_engine_create(run->context, run->model, run->config, &run->engine);
    if (status == ZRT_OK && !run->options->generates)
        status = zrt_engine_print_ranks(run->engine, zrt_rank(run->context) == 0 ? stdout : NULL);
    if (status == ZRT_OK && has_weights(run->options->model))
        status = zrt_engine_load_pretrained(run->engine, run->options->model);
    return tool_agree(run->context, status);
}

/* ---- folder ---- */

static zrt_status write_plan(train_run *run)
{
    FILE *file;
    ZRT_TRY(run_folder_begin(run->folder, "plan.txt", &file));
    zrt_status status = zrt_engine_print_plan(run->engine, file);
    zrt_status written = run_folder_commit(run->folder, "plan.txt", file);
    return status != ZRT_OK ? status : written;
}

static zrt_status begin_folder(train_run *run)
{
    char *json = NULL;
    ZRT_TRY(zrt_config_print(run->config, zrt_size(run->context), zrt_model_get_info(run->model)->hidden_size, &json));
    zrt_status status = write_plan(run);
    /* At once, so that a checkpoint of a run that did not end is exported with it. */
    if (status == ZRT_OK && run->is_jsonl)
        status = train_samples_copy_tokenizer(run, run->folder);
    /* Last, because it is what marks the folder as a run's. */
    if (status == ZRT_OK)
        status = run_folder_write(run->folder, "resolved.json", json);
    free(json);
    return status;
}

zrt_status train_run_begin_folder(train_run *run)
{
    bool is_first = zrt_rank(run->context) == 0;
    zrt_status status = ZRT_OK;
    if (is_first)
        status = run_folder_create(run->options->output_dir, train_resume_takes_folder(run), &run->folder);
    ZRT_TRY(tool_agree(run->context, status));
    ZRT_TRY(tool_agree(run->context, zrt_engine_claim_folder(run->engine, run->folder)));
    ZRT_TRY(train_resume(run));
    return tool_agree(run->context, is_first ? begin_folder(run) : ZRT_OK);
}

void train_run_release(train_run *run)
{
    zrt_loader_destroy(&run->eval_loader);
    zrt_loader_destroy(&run->train_loader);
    zrt_dataset_destroy(&run->eval_data);
    zrt_dataset_destroy(&run->train_data);
    zrt_engine_destroy(&run->engine);
    zrt_model_destroy(&run->model);
    zrt_tokenizer_destroy(&run->tokenizer);
    zrt_config_destroy(&run->config);
    default_text_release(&run->text);
    free(run->folder);
    run->folder = NULL;
}
