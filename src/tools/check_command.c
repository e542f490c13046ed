#include "config.h"

#include "tools/check_command.h"

#include <stdio.h>
#include <string.h>

#include <zerort/zerort.h>

#include "tools/tool_report.h"

#define NAME "zerort check"

/* No part takes longer where nothing hangs. */
enum { PATIENCE_SECONDS = 60 };

static int help(void)
{
    if (tool_launcher_rank() == 0)
        printf(
            "Usage: " NAME " [--output-dir DIR] [--device auto|cpu|cuda]\n"
            "Looks, under the launcher that will start the run, at what it needs: MPI, hosts, cores, GPUs, versions,\n"
            "clocks, memory, collectives and their bandwidth, and the folder of the checkpoints (the current one\n"
            "without --output-dir). Each line says ok, warning or error, and what to do.\n\n"
            "  mpirun -np 8 ./zerort check --output-dir runs\n"
            "  srun --mpi=pmix ./zerort check --output-dir runs\n\n"
            "Exit status: 0 without errors, 1 otherwise, 2 a wrong command line, 75 a rank hung.\n");
    return 0;
}

/* "--NAME VALUE" or "--NAME=VALUE". */
static bool takes(const char *name, int argc, char **argv, int *at, const char **value_out)
{
    size_t length = strlen(name);
    if (strncmp(argv[*at], name, length) != 0)
        return false;
    if (argv[*at][length] == '=') {
        *value_out = argv[*at] + length + 1;
        return true;
    }
    if (argv[*at][length] != '\0' || *at + 1 >= argc)
        return false;
    *value_out = argv[++*at];
    return true;
}

static void say(void *user, zrt_preflight_level level, const char *subject, const char *text)
{
    static const char *const words[] = {"ok", "warning", "error"};
    (void)user;
    printf("%-8s %-22s %s\n", words[level], subject, text);
    fflush(stdout);
}

static zrt_status check(zrt_context *context, const zrt_preflight_options *options, int *n_errors_out)
{
    int n_warnings = 0;
    zrt_status status = tool_agree(context, zrt_watchdog_start(context, PATIENCE_SECONDS, tool_end_hang, NULL));
    if (status == ZRT_OK)
        status = tool_agree(context, zrt_preflight(context, options, say, NULL, n_errors_out, &n_warnings));
    if (status == ZRT_OK && zrt_rank(context) == 0)
        printf("%d error%s, %d warning%s\n", *n_errors_out, *n_errors_out == 1 ? "" : "s", n_warnings,
               n_warnings == 1 ? "" : "s");
    return status;
}

int check_command(int argc, char **argv)
{
    zrt_preflight_options options = {0};
    zrt_context *context = NULL;
    int n_errors = 0;
    tool_report_install(NAME);
    for (int i = 2; i < argc; i++) {
        char message[256];
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help();
        if (takes("--output-dir", argc, argv, &i, &options.output_dir) ||
            takes("--device", argc, argv, &i, &options.device))
            continue;
        snprintf(message, sizeof message, NAME " takes --output-dir DIR and --device DEVICE, and there is '%.64s'",
                 argv[i]);
        return tool_end_usage(message);
    }
    if (options.device != NULL && strcmp(options.device, "auto") != 0 && strcmp(options.device, "cpu") != 0 &&
        strcmp(options.device, "cuda") != 0)
        return tool_end_usage(NAME " --device is auto, cpu or cuda");
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status != ZRT_OK) {
        if (tool_launcher_rank() == 0)
            tool_report_error("%s", zrt_error_message());
        return zrt_status_exit_code(status);
    }
    status = check(context, &options, &n_errors);
    zrt_finalize(&context);
    return status != ZRT_OK ? zrt_status_exit_code(status) : n_errors > 0 ? 1 : 0;
}
