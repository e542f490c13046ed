#include "config.h"

#include "tools/tool_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zerort/log.h>

/* A program has one command line and one place where it speaks, so this is kept here. */
static const char *program_name = "zerort";
static char failure[2048];
static bool failed;

int tool_launcher_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = getenv(names[i]);
        if (text && *text)
            return atoi(text);
    }
    return 0;
}

const char *tool_report_program(void)
{
    return program_name;
}

static void write_log(zrt_log_level level, const char *message, void *user)
{
    (void)user;
    int rank = tool_launcher_rank();
    if (level > ZRT_LOG_WARNING && !(level == ZRT_LOG_INFO && rank == 0))
        return;
    const char *kind = level == ZRT_LOG_WARNING ? "warning: " : level == ZRT_LOG_ERROR ? "error: " : "";
    if (rank == 0)
        fprintf(stderr, "%s: %s%s\n", program_name, kind, message);
    else
        fprintf(stderr, "%s: %srank %d: %s\n", program_name, kind, rank, message);
}

void tool_report_install(const char *program)
{
    program_name = program;
    zrt_log_set_sink(write_log, NULL);
}

static void write_error(const char *rank_text, const char *message)
{
    fflush(stdout);
    fprintf(stderr, "%s: error: %s%s\n", program_name, rank_text, message);
}

void tool_report_error(const char *format, ...)
{
    char message[sizeof failure];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    write_error("", message);
}

void tool_report_warning(const char *format, ...)
{
    char message[sizeof failure];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: warning: %s\n", program_name, message);
}

zrt_status tool_fail(zrt_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure, sizeof failure, format, arguments);
    va_end(arguments);
    failed = true;
    return status;
}

int tool_end(zrt_status status)
{
    if (status < 0)
        tool_report_error("%s", failed ? failure : zrt_error_message());
    return zrt_status_exit_code(status);
}

zrt_status tool_agree(const zrt_context *context, zrt_status status)
{
    bool own = failed && status < 0;
    failed = false;
    zrt_status agreed = zrt_agree(context, status);
    if (agreed >= 0)
        return agreed;
    int rank = zrt_rank(context);
    zrt_status first = zrt_agree(context, rank == 0 ? status : ZRT_OK);
    if (rank == 0)
        own ? write_error("", failure) : write_error("", first < 0 || *zrt_error_message() ? zrt_error_message() : "");
    else if (first >= 0 && own) {
        char text[32];
        snprintf(text, sizeof text, "rank %d: ", rank);
        write_error(text, failure);
    }
    return agreed;
}

/* No handler and no destructor runs: what they would wait for hangs. The launcher ends what is left of the job. */
void tool_end_hang(void *user, const char *report, bool speaks)
{
    (void)user;
    if (speaks)
        fprintf(stderr, "%s: error: %s\n", program_name, report);
    else
        sleep(1); /* the report first */
    _exit(TOOL_EXIT_LOST);
}

void tool_end_lost(const zrt_context *context)
{
    char message[sizeof failure];
    snprintf(message, sizeof message, "%s", zrt_error_message());
    /* One that knows is enough; the lowest of them is first, and the launcher then ends the others. */
    if (zrt_rank(context) > 0)
        sleep(1);
    tool_end_hang(NULL, message, true);
}

int tool_end_usage(const char *message)
{
    int rank = tool_launcher_rank();
    char text[32] = "";
    if (rank > 0) {
        snprintf(text, sizeof text, "rank %d: ", rank);
        sleep(2);
    }
    write_error(text, message);
    return zrt_status_exit_code(ZRT_ERR_USAGE);
}
