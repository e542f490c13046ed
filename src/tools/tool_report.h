/* What the programs say, and on which rank. */
#ifndef ZRT_TOOLS_TOOL_REPORT_H
#define ZRT_TOOLS_TOOL_REPORT_H

#include <stdbool.h>

#include <zerort/engine.h>

/* The rank that the launcher gave this process, known before MPI starts; 0 without a launcher. */
int tool_launcher_rank(void);

/* Sends the library's warnings to stderr as "PROGRAM: warning: ..."; other ranks than 0 are named. */
void tool_report_install(const char *program);
const char *tool_report_program(void);

/* "PROGRAM: error: ..." on stderr. */
void tool_report_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "PROGRAM: warning: ..." on stderr. */
void tool_report_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For the program's own errors after zrt_init: keeps the message and returns `status`, as the library's calls do. */
zrt_status tool_fail(zrt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All ranks meet with their own status; if any failed, one message is written, by rank 0, and all get the worst status. Collective. */
zrt_status tool_agree(const zrt_context *context, zrt_status status);

/* A rank hangs, or was lost by others. */
#define TOOL_EXIT_LOST 75

/* Ends the process of a job that hangs with TOOL_EXIT_LOST; a zrt_hang_fn. */
void tool_end_hang(void *user, const char *report, bool speaks);

/* Ends the process of a rank that lost another, with the message of that failure and TOOL_EXIT_LOST. Does not return. */
void tool_end_lost(const zrt_context *context);

/* The end of a program without ranks: writes the message of a failure. Returns the exit status. */
int tool_end(zrt_status status);

/* Ends with a wrong command line, before MPI: rank 0 says it. Another rank waits for rank 0 to end the job by the same
 * mistake and speaks only where rank 0's command line was a different one. Returns the exit status. */
int tool_end_usage(const char *message);

#endif
