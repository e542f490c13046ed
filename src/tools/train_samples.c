/* JSONL files of samples and the tokenizer that they need. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool_report.h"
#include "tools/train_run.h"

/* Where it is looked for: what was named, else the model's folder. */
static const char *tokenizer_folder(const train_run *run)
{
    return run->options->tokenizer ? run->options->tokenizer : run->options->model;
}

static bool has_file(const char *folder, const char *name)
{
    char *path;
    bool found;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return false;
    found = access(path, F_OK) == 0;
    free(path);
    return found;
}

static zrt_status look_at_files(const tool_list *files, bool *is_jsonl)
{
    size_t n = 0;
    for (size_t i = 0; i < files->n_words; i++)
        n += zrt_path_is_jsonl(files->words[i]);
    if (n > 0 && n < files->n_words)
        return tool_fail(ZRT_ERR_INPUT,
                         "JSONL files and files of another kind are named together; give files of one kind");
    *is_jsonl = n > 0;
    return ZRT_OK;
}

/* The model is opened again where its vocabulary has no room for them. */
static zrt_status add_special_tokens(train_run *run)
{
    const tool_list *tokens = &run->options->special_tokens;
    int64_t vocab_size = zrt_model_get_info(run->model)->vocab_size;
    char *name;
    if (tokens->n_words == 0)
        return ZRT_OK;
    ZRT_TRY(zrt_tokenizer_add_special(run->tokenizer, tokens->words, (int)tokens->n_words, NULL));
    if (zrt_tokenizer_n_ids(run->tokenizer) <= vocab_size)
        return ZRT_OK;
    if (zrt_model_get_lora(run->model))
        return tool_fail(ZRT_ERR_NOT_SUPPORTED,
                         "--special-tokens that make the embedding grow are not supported with --model '%s', which is "
                         "an adapter; merge it into its base (zerort merge) and train the merged model",
                         run->options->model);
    if (asprintf(&name, "%s", zrt_model_get_name(run->model)) < 0)
        return tool_fail(ZRT_ERR_MEMORY, "out of memory");
    zrt_model_destroy(&run->model);
    zrt_status status = zrt_model_open_resized(name, zrt_tokenizer_n_ids(run->tokenizer), &run->model);
    if (status == ZRT_OK && zrt_rank(run->context) == 0)
        printf("vocabulary: %lld tokens, %lld of them new\n", (long long)zrt_tokenizer_n_ids(run->tokenizer),
               (long long)(zrt_tokenizer_n_ids(run->tokenizer) - vocab_size));
    free(name);
    return status;
}

zrt_status train_samples_open_tokenizer(train_run *run)
{
    const char *folder = tokenizer_folder(run);
    bool evaluates_jsonl = false;
    ZRT_TRY(look_at_files(&run->options->train_files, &run->is_jsonl));
    ZRT_TRY(look_at_files(&run->options->eval_files, &evaluates_jsonl));
    if (run->options->eval_files.n_words && evaluates_jsonl != run->is_jsonl)
        return tool_fail(ZRT_ERR_INPUT, "--train-file and --eval-file must be of one kind: JSONL both or neither");
    if (run->options->packing && !run->is_jsonl && !run->options->generates)
        return tool_fail(ZRT_ERR_INPUT, "--packing is for JSONL files; streams of tokens fill their rows anyway");
    if (run->options->special_tokens.n_words && !run->is_jsonl && !run->options->generates)
        return tool_fail(ZRT_ERR_INPUT, "--special-tokens is for JSONL files, which the tokenizer encodes here");
    bool has_tokenizer = folder && (run->options->tokenizer || has_file(folder, "tokenizer.json"));
    if (run->is_jsonl && !has_tokenizer)
        return tool_fail(ZRT_ERR_INPUT,
                         "JSONL files need a tokenizer: %s%s has no tokenizer.json; give --tokenizer FOLDER",
                         run->options->model ? "the model's folder " : "the default model",
                         run->options->model ? run->options->model : "");
    if (!has_tokenizer || !(run->is_jsonl || run->options->generates || run->options->prompt))
        return ZRT_OK;
    ZRT_TRY(zrt_tokenizer_open(folder, &run->tokenizer));
    return add_special_tokens(run);
}

static void say_counts(const train_run *run, const char *what, const zrt_jsonl_counts *counts, const zrt_dataset *data)
{
    int64_t n_kept = counts->n_read - counts->n_bad - counts->n_empty;
    printf("%s: %lld samples of %lld lines", what, (long long)n_kept, (long long)counts->n_read);
    if (counts->n_bad > 0)
        printf(", %lld bad lines skipped", (long long)counts->n_bad);
    if (counts->n_empty > 0)
        printf(", %lld skipped that have no label", (long long)counts->n_empty);
    printf(", %lld truncated, %lld tokens; %lld rows of %lld%s\n", (long long)counts->n_truncated,
           (long long)counts->n_tokens, (long long)zrt_dataset_n_rows(data), (long long)run->length,
           run->options->packing ? ", packed" : "");
}

zrt_status train_samples_open(train_run *run, const tool_list *files, double held_out_fraction, zrt_dataset **data_out,
                              zrt_dataset **held_out_out)
{
    const train_options *options = run->options;
    const zrt_model_info *info = zrt_model_get_info(run->model);
    zrt_jsonl_options jsonl = {
        .text_column = options->text_column,
        .prompt_column = options->prompt_column,
        .completion_column = options->completion_column,
        .chat_template = options->chat_template,
        .folder = tokenizer_folder(run),
        .length = run->length,
        .longest = info->max_length,
        .vocab_size = info->vocab_size,
        .n_classes = info->n_classes,
        .held_out_fraction = held_out_fraction,
        .split = held_out_fraction > 0 ? ZRT_SPLIT_TRAIN : ZRT_SPLIT_ALL,
        .packing = options->packing,
        .skip_bad_lines = options->skip_bad_lines,
        .context = run->context,
    };
    zrt_jsonl_counts counts;
    char text[32];
    ZRT_TRY(zrt_agree(run->context, zrt_tokenizer_end_token(run->tokenizer, &jsonl.end_token_id)));
    int n_files = (int)files->n_words;
    if (held_out_out)
        ZRT_TRY(zrt_dataset_open_jsonl_split(files->words, n_files, run->tokenizer, &jsonl, &counts, data_out,
                                             held_out_out));
    else
        ZRT_TRY(zrt_dataset_open_jsonl(files->words, n_files, run->tokenizer, &jsonl, &counts, data_out));
    if (run->length == 0) {
        run->length = zrt_dataset_length(*data_out);
        snprintf(text, sizeof text, "%lld", (long long)run->length);
        ZRT_TRY(zrt_config_set_argument(run->config, "seq_length", text));
    }
    if (zrt_rank(run->context) == 0)
        say_counts(run, files == &options->eval_files ? "evaluation" : "training", &counts, *data_out);
    if (zrt_rank(run->context) == 0 && held_out_out)
        printf("evaluation: %lld rows of %lld held out\n", (long long)zrt_dataset_n_rows(*held_out_out),
               (long long)run->length);
    return ZRT_OK;
}

/* ---- the tokenizer's files ---- */

zrt_status train_samples_copy_tokenizer(const train_run *run, const char *folder)
{
    const char *from = tokenizer_folder(run);
    if (from)
        ZRT_TRY(zrt_tokenizer_copy_files(from, folder));
    /* With the tokens that were added. */
    return run->tokenizer ? zrt_tokenizer_save(run->tokenizer, folder) : ZRT_OK;
}
