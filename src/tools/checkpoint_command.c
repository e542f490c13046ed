#include "config.h"

#include "tools/checkpoint_command.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <zerort/zerort.h>

#include "tools/tool_options.h"
#include "tools/tool_report.h"

enum { MAX_FOLDERS = 2 };

typedef struct command {
    const char *name, *folders, *purpose;
    int n_folders;
    bool has_dtype;
} command;

typedef struct request {
    const char *folders[MAX_FOLDERS], *dtype;
    bool help;
} request;

static void print_help(const command *c, const tool_options *options)
{
    printf("Usage: zerort %s %s [OPTION]...\n%s\n\n", c->name, c->folders, c->purpose);
    tool_options_print(options, stdout);
    printf("\nExit status: 0 done (and whole), 1 the machine, input and output or memory failed, 2 options or input "
           "are wrong.\n");
}

/* Reads the command line. False where the program ends, with *exit_out. */
static bool parse(const command *c, int argc, char **argv, request *r, int *exit_out)
{
    tool_option table[] = {
        {.name = "dtype",
         .kind = TOOL_TEXT,
         .value = &r->dtype,
         .group = "Output",
         .placeholder = "fp32|fp16|bf16",
         .fallback = "that of config.json",
         .help = "dtype of the weights"},
        {.name = "help", .kind = TOOL_SWITCH, .value = &r->help, .group = "Output", .help = "print this and end"}};
    tool_options options = {.options = c->has_dtype ? table : table + 1, .n_options = c->has_dtype ? 2 : 1};
    char message[1024];
    int first = 2, n = 0;
    while (first < argc && argv[first][0] != '-' && n < c->n_folders)
        r->folders[n++] = argv[first++];
    if (!tool_options_parse(&options, argc, argv, first, message, sizeof message)) {
        *exit_out = tool_end_usage(message);
    } else if (r->help) {
        if (tool_launcher_rank() == 0)
            print_help(c, &options);
        *exit_out = 0;
    } else if (n < c->n_folders) {
        snprintf(message, sizeof message, "%s needs %s; zerort %s --help explains", c->name, c->folders, c->name);
        *exit_out = tool_end_usage(message);
    } else
        *exit_out = -1;
    tool_options_release(&options);
    return *exit_out == -1;
}

static int end(zrt_status status)
{
    fflush(stdout);
    if (status != ZRT_OK)
        tool_report_error("%s", zrt_error_message());
    return zrt_status_exit_code(status);
}

int inspect_command(int argc, char **argv)
{
    static const command c = {"inspect", "FOLDER",
                              "Tells what is in a checkpoint, or in each of a run folder, and whether it is whole.", 1,
                              false};
    request r = {0};
    int status;
    return parse(&c, argc, argv, &r, &status) ? end(zrt_checkpoint_inspect(r.folders[0], stdout)) : status;
}

int verify_command(int argc, char **argv)
{
    static const command c = {"verify", "FOLDER",
                              "Reads every byte of a checkpoint, or of each of a run folder, and checks it.", 1, false};
    request r = {0};
    int status;
    return parse(&c, argc, argv, &r, &status) ? end(zrt_checkpoint_verify(r.folders[0], stdout)) : status;
}

int export_command(int argc, char **argv)
{
    static const command c = {"export", "FOLDER OUT",
                              "Writes the weights of a checkpoint, or of a run's newest, as a folder that transformers "
                              "opens:\nconfig.json and safetensors.",
                              2, true};
    request r = {0};
    int status;
    return parse(&c, argc, argv, &r, &status) ? end(zrt_checkpoint_export(r.folders[0], r.folders[1], r.dtype))
                                              : status;
}

int import_command(int argc, char **argv)
{
    static const command c = {"import", "HF_FOLDER OUT",
                              "Makes a run folder with checkpoint-0 of a Hugging Face folder, to go on from with\n"
                              "train --model HF_FOLDER --resume-from-checkpoint OUT.",
                              2, false};
    request r = {0};
    int status;
    return parse(&c, argc, argv, &r, &status) ? end(zrt_checkpoint_import(r.folders[0], r.folders[1])) : status;
}
