#include "config.h"

#include "tools/train_options.h"

#include <stddef.h>
#include <string.h>

#define RUN "What is run"
#define DATA "Data"
#define MACHINE "Memory and machine"
#define SAMPLE "Sample text"
#define OUTPUT "Output"

typedef struct row {
    const char *name;
    tool_kind kind;
    size_t offset; /* of the value in train_options */
    double least;
    const char *group, *placeholder, *fallback, *help;
} row;

#define AT(member) offsetof(train_options, member)

static const row rows[] = {
    {"model", TOOL_TEXT, AT(model), 0, RUN, "NAME|FOLDER", "small",
     "a preset (small is a byte-level GPT; zerort models lists all), or a Hugging Face folder: config.json, and its "
     "safetensors to start from; a folder of a LoRA adapter is opened with the base model that it names"},
    {"lora-config", TOOL_TEXT, AT(lora_config), 0, RUN, "FILE", NULL,
     "train LoRA adapters on the frozen model: peft's JSON (r, lora_alpha, lora_dropout, target_modules, "
     "modules_to_save, use_rslora); the run folder is then an adapter that peft opens"},
    {"task", TOOL_TEXT, AT(task), 0, RUN, "TASK", "the model's",
     "causal-lm, or classification of sequences, by a BERT folder and JSONL with text1, text2 and label"},
    {"freeze", TOOL_LIST, AT(freeze), 0, RUN, "PATTERN...", NULL,
     "leave parameters as they are, by shell patterns of their names; they get no gradient and no optimizer state"},
    {"deepspeed", TOOL_TEXT, AT(deepspeed), 0, RUN, "FILE", NULL, "configuration: DeepSpeed's JSON"},

    {"train-file", TOOL_LIST, AT(train_files), 0, DATA, "FILE...", "sources on this machine",
     "what to train on, any number, wildcards allowed; by extension .bin (llm.c's tokens), .npy (NumPy integers), .h5 "
     "and .hdf5 (a dataset of integers), .jsonl, .json and their .gz (a sample a line, by the tokenizer of the model's "
     "folder), anything else is text, byte by byte"},
    {"data", TOOL_LIST, AT(train_files), 0, DATA, "FILE...", NULL, "the same as --train-file"},
    {"eval-file", TOOL_LIST, AT(eval_files), 0, DATA, "FILE...", "a part of the training files", "what to evaluate on"},
    {"eval-data", TOOL_LIST, AT(eval_files), 0, DATA, "FILE...", NULL, "the same as --eval-file"},
    {"validation-split-percentage", TOOL_REAL, AT(validation_percent), 0, DATA, "PERCENT", "5",
     "the end of each training file that is held out where there is no --eval-file; 0: nothing"},

    {"tokenizer", TOOL_TEXT, AT(tokenizer), 0, DATA, "FOLDER", "the model's folder", "where tokenizer.json is"},
    {"special-tokens", TOOL_LIST, AT(special_tokens), 0, DATA, "TOKEN...", NULL,
     "added to the tokenizer where they are new; the embedding grows with it"},
    {"text-column", TOOL_TEXT, AT(text_column), 0, DATA, "NAME", "text", "of JSONL: a text, all of which counts"},
    {"prompt-column", TOOL_TEXT, AT(prompt_column), 0, DATA, "NAME", "prompt",
     "of JSONL: a text that the completion follows; its tokens are no labels. Lines with messages (role and content) "
     "go "
     "through the chat template, those with text1, text2 and label are for classification"},
    {"completion-column", TOOL_TEXT, AT(completion_column), 0, DATA, "NAME", "completion", "of JSONL: what is learned"},
    {"chat-template", TOOL_TEXT, AT(chat_template), 0, DATA, "NAME", "that of tokenizer_config.json",
     "of messages: llama2, llama3 or chatml; what the assistant says counts"},
    {"packing", TOOL_SWITCH, AT(packing), 0, DATA, NULL, NULL,
     "several JSONL samples in a row, end to end; attention does not cross them, positions start again"},
    {"skip-bad-lines", TOOL_SWITCH, AT(skip_bad_lines), 0, DATA, NULL, NULL,
     "count lines of JSONL that cannot be read instead of ending"},

    {"plan", TOOL_SWITCH, AT(plan), 0, MACHINE, NULL, NULL,
     "print the memory plan and the schedule of this run and end"},
    {"plan-ranks", TOOL_INTEGER, AT(plan_ranks), 1, MACHINE, "N", "the ranks there are",
     "the same for N pretended ranks; without --print-config it implies --plan"},

    {"prompt", TOOL_TEXT, AT(prompt), 0, SAMPLE, "TEXT", "static int ",
     "what is continued: text for a folder with a tokenizer.json or a model of bytes, otherwise token numbers with "
     "spaces "
     "between"},
    {"sample-tokens", TOOL_INTEGER, AT(sample_tokens), 0, SAMPLE, "N", "200",
     "tokens to generate after the run; 0: none"},
    {"max-new-tokens", TOOL_INTEGER, AT(sample_tokens), 1, SAMPLE, "N", "200", "tokens to generate"},
    {"temperature", TOOL_REAL, AT(temperature), 0, SAMPLE, "T", "0.7", "0: always the likeliest token"},
    {"top-k", TOOL_INTEGER, AT(top_k), 0, SAMPLE, "K", "0", "among the K likeliest; 0: all"},
    {"top-p", TOOL_REAL, AT(top_p), 0, SAMPLE, "P", "0.95",
     "within the likeliest tokens that together reach probability P"},

    {"output-dir", TOOL_TEXT, AT(output_dir), 0, OUTPUT, "FOLDER", "zerort-runs/DATE-TIME",
     "gets resolved.json, metrics.jsonl and plan.txt; must not hold a run"},
    {"resume-exclude", TOOL_LIST, AT(resume_exclude), 0, OUTPUT, "PATTERN...", NULL,
     "what a resumed run need not find in the checkpoint and keeps as it is: shell patterns of STATE/NAME as in "
     "index.h5, 'exp_avg*' or 'parameters/lm_head.weight'"},
    {"trace", TOOL_TEXT, AT(trace), 0, OUTPUT, "FILE", NULL,
     "a trace of step 3 (or the last) for Perfetto or chrome://tracing, one row a stream"},
    {"print-config", TOOL_SWITCH, AT(print_config), 0, OUTPUT, NULL, NULL,
     "print the resolved configuration as JSON and end"},
    {"help", TOOL_SWITCH, AT(help), 0, OUTPUT, NULL, NULL, "print this and end"},
    {"version", TOOL_SWITCH, AT(version), 0, OUTPUT, NULL, NULL, "print the version and end"},
};
#define N_ROWS (sizeof rows / sizeof *rows)
_Static_assert(N_ROWS <= TRAIN_MAX_OPTIONS, "the table of train_options is too short");

/* Generating needs no data and leaves no folder. */
static bool is_for(const row *r, bool generates)
{
    static const char *const only_training[] = {"sample-tokens", "output-dir", "resume-exclude", "trace"};
    if (!generates)
        return strcmp(r->name, "max-new-tokens") != 0;
    for (size_t i = 0; i < sizeof only_training / sizeof *only_training; i++)
        if (strcmp(r->name, only_training[i]) == 0)
            return false;
    return strcmp(r->group, DATA) != 0 || strcmp(r->name, "tokenizer") == 0;
}

void train_options_init(train_options *options, bool generates)
{
    *options = (train_options){
        .validation_percent = 5, .sample_tokens = 200, .temperature = 0.7, .top_p = 0.95, .generates = generates};
    tool_options *parsed = &options->parsed;
    parsed->options = options->table;
    parsed->takes_arguments = true;
    for (size_t i = 0; i < N_ROWS; i++)
        if (is_for(&rows[i], generates))
            options->table[parsed->n_options++] = (tool_option){.name = rows[i].name,
                                                                .kind = rows[i].kind,
                                                                .value = (char *)options + rows[i].offset,
                                                                .least = rows[i].least,
                                                                .group = rows[i].group,
                                                                .placeholder = rows[i].placeholder,
                                                                .fallback = rows[i].fallback,
                                                                .help = rows[i].help};
}

void train_options_release(train_options *options)
{
    tool_options_release(&options->parsed);
}
