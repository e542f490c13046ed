/* zerort: what is done beside a run. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <zerort/zerort.h>

#include "tools/check_command.h"
#include "tools/checkpoint_command.h"
#include "tools/merge_command.h"
#include "tools/tokenize_command.h"
#include "tools/tool_options.h"
#include "tools/tool_report.h"
#include "tools/train_command.h"

typedef struct subcommand {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} subcommand;

static int run_generate(int argc, char **argv)
{
    return train_command("zerort generate", argc, argv, 2, TRAIN_COMMAND_GENERATE);
}

static int run_plan(int argc, char **argv)
{
    return train_command("zerort plan", argc, argv, 2, TRAIN_COMMAND_PLAN);
}

static int run_models(int argc, char **argv)
{
    if (argc > 2) {
        char message[256];
        snprintf(message, sizeof message, "models takes no argument, and there is '%s'", argv[2]);
        return tool_end_usage(message);
    }
    for (int i = 0; tool_launcher_rank() == 0 && zrt_model_preset(i); i++)
        printf("%s\n", zrt_model_preset(i));
    return 0;
}

static int run_tokenize(int argc, char **argv)
{
    return tokenize_command(argc, argv);
}

static const subcommand subcommands[] = {
    {"check", "look at the machines, under the launcher that will start a run", check_command},
    {"export", "write a Hugging Face folder out of a checkpoint or a run", export_command},
    {"generate", "continue a prompt with a model", run_generate},
    {"import", "make a run folder with a checkpoint out of a Hugging Face folder", import_command},
    {"inspect", "tell what is in a checkpoint, or in all of a run, and whether it is whole", inspect_command},
    {"merge", "merge a LoRA adapter into its base model", merge_command},
    {"models", "list the presets of --model", run_models},
    {"plan", "print the memory plan and the schedule of a run, for any number of ranks", run_plan},
    {"tokenize", "encode text into a file of tokens", run_tokenize},
    {"verify", "read every byte of a checkpoint, or of all of a run", verify_command},
};
#define N_SUBCOMMANDS (sizeof subcommands / sizeof *subcommands)

static int print_help(void)
{
    if (tool_launcher_rank() != 0)
        return 0;
    printf("Usage: zerort SUBCOMMAND [OPTION]...\n\n");
    for (size_t i = 0; i < N_SUBCOMMANDS; i++)
        printf("  %-10s %s\n", subcommands[i].name, subcommands[i].help);
    printf(
        "\nzerort SUBCOMMAND --help lists the options; --version prints the version. Training is the program train.\n");
    return 0;
}

static const char *next_subcommand(void *state)
{
    size_t *next = state;
    return *next < N_SUBCOMMANDS ? subcommands[(*next)++].name : NULL;
}

static int refuse(const char *word)
{
    char message[512];
    size_t cursor = 0, used;
    const char *nearest = tool_nearest(word, next_subcommand, &cursor);
    snprintf(message, sizeof message, "unknown subcommand '%.64s'%s%s%s; there are", word,
             nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'" : "");
    for (size_t i = 0; i < N_SUBCOMMANDS; i++) {
        used = strlen(message);
        snprintf(message + used, sizeof message - used, "%s %s", i ? "," : "", subcommands[i].name);
    }
    return tool_end_usage(message);
}

int main(int argc, char **argv)
{
    tool_report_install("zerort");
    if (argc < 2)
        return tool_end_usage("no subcommand; zerort --help lists them");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return print_help();
    if (strcmp(argv[1], "--version") == 0) {
        if (tool_launcher_rank() == 0)
            printf("zerort %s\n", zrt_version());
        return 0;
    }
    for (size_t i = 0; i < N_SUBCOMMANDS; i++)
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return subcommands[i].run(argc, argv);
    return refuse(argv[1]);
}
