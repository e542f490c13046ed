#include "config.h"

#include "tools/train_options.h"

#include <string.h>

#define RUN "What is run"
#define DATA "Data"
#define MACHINE "Memory and machine"
#define SAMPLE "Sample text"
#define OUTPUT "Output"

static void add(train_options *o, tool_option option)
{
    o->table[o->parsed.n_options++] = option;
}

static void add_run(train_options *o)
{
    add(o, (tool_option){
               "model", TOOL_TEXT, &o->model, 0, RUN, "NAME|FOLDER", "small",
               "A preset (small is a byte-level GPT; zerort models lists them), or a Hugging Face folder: config.json, "
               "and its safetensors to start from.",
               false});
    add(o, (tool_option){"deepspeed", TOOL_TEXT, &o->deepspeed, 0, RUN, "FILE", NULL,
                         "Configuration: DeepSpeed's JSON.", false});
}

static void add_data(train_options *o)
{
    static const char train_help[] = "Files to train on, any number, wildcards allowed. By extension: .bin (llm.c's "
                                     "tokens), .npy (NumPy integers), .h5 and .hdf5 "
                                     "(a dataset of integers), anything else is text, byte by byte.";
    add(o, (tool_option){"train-file", TOOL_LIST, &o->train_files, 0, DATA, "FILE...", "sources on this machine",
                         train_help, false});
    add(o, (tool_option){"data", TOOL_LIST, &o->train_files, 0, DATA, "FILE...", NULL, "The same as --train-file.",
                         false});
    add(o, (tool_option){"eval-file", TOOL_LIST, &o->eval_files, 0, DATA, "FILE...", "a part of the training files",
                         "Files to evaluate on.", false});
    add(o, (tool_option){"eval-data", TOOL_LIST, &o->eval_files, 0, DATA, "FILE...", NULL, "The same as --eval-file.",
                         false});
    add(o, (tool_option){"validation-split-percentage", TOOL_REAL, &o->validation_percent, 0, DATA, "PERCENT", "5",
                         "The end of each training file that is held out where there is no --eval-file; 0: nothing.",
                         false});
}

static void add_machine(train_options *o)
{
    add(o, (tool_option){"plan", TOOL_SWITCH, &o->plan, 0, MACHINE, NULL, NULL,
                         "Print the memory plan and the schedule of this run and end.", false});
    add(o, (tool_option){"plan-ranks", TOOL_INTEGER, &o->plan_ranks, 1, MACHINE, "N", "the ranks there are",
                         "The same for N pretended ranks; implies --plan unless --print-config is given.", false});
}

static void add_sample(train_options *o)
{
    add(o, (tool_option){"prompt", TOOL_TEXT, &o->prompt, 0, SAMPLE, "TEXT", "static int ",
                         "What is continued: text for a model of bytes, otherwise token numbers with spaces between.",
                         false});
    add(o, (tool_option){o->generates ? "max-new-tokens" : "sample-tokens", TOOL_INTEGER, &o->sample_tokens, 0, SAMPLE,
                         "N", "200",
                         o->generates ? "Tokens to generate." : "Tokens to generate after the run; 0: none.", false});
    add(o, (tool_option){"temperature", TOOL_REAL, &o->temperature, 0, SAMPLE, "T", "0.7",
                         "0: always the likeliest token.", false});
    add(o,
        (tool_option){"top-k", TOOL_INTEGER, &o->top_k, 0, SAMPLE, "K", "0", "Among the K likeliest; 0: all.", false});
    add(o, (tool_option){"top-p", TOOL_REAL, &o->top_p, 0, SAMPLE, "P", "0.95",
                         "Within the likeliest tokens that together reach probability P.", false});
}

static void add_output(train_options *o)
{
    add(o, (tool_option){"output-dir", TOOL_TEXT, &o->output_dir, 0, OUTPUT, "FOLDER", "zerort-runs/DATE-TIME",
                         "Gets resolved.json, metrics.jsonl and plan.txt; must not hold a run.", false});
    add(o, (tool_option){"trace", TOOL_TEXT, &o->trace, 0, OUTPUT, "FILE", NULL,
                         "A trace of step 3 (or the last) for Perfetto or chrome://tracing, one row a stream.", false});
    add(o, (tool_option){"print-config", TOOL_SWITCH, &o->print_config, 0, OUTPUT, NULL, NULL,
                         "Print the resolved configuration as JSON and end.", false});
    add(o, (tool_option){"help", TOOL_SWITCH, &o->help, 0, OUTPUT, NULL, NULL, "Print this and end.", false});
    add(o,
        (tool_option){"version", TOOL_SWITCH, &o->version, 0, OUTPUT, NULL, NULL, "Print the version and end.", false});
}

void train_options_init(train_options *options, bool generates)
{
    *options = (train_options){
        .validation_percent = 5, .sample_tokens = 200, .temperature = 0.7, .top_p = 0.95, .generates = generates};
    options->parsed.options = options->table;
    options->parsed.takes_arguments = true;
    add_run(options);
    if (!generates)
        add_data(options);
    add_machine(options);
    add_sample(options);
    add_output(options);
}

void train_options_release(train_options *options)
{
    tool_options_release(&options->parsed);
}
