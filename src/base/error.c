#include "config.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* A buffer of the thread: recording that memory is out must not need memory. Plans and tables of what would fit are
 * told in messages, hence the room. */
enum { MESSAGE_BYTES = 8192 };

static _Thread_local char message[MESSAGE_BYTES];
static atomic_int message_rank = -1;

const char *zrt_status_text(zrt_status status)
{
    switch (status) {
#define STATUS_TEXT(name, value, exit_status, text) \
    case name:                                      \
        return text;
        ZRT_STATUS_TABLE(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

int zrt_status_exit_code(zrt_status status)
{
    switch (status) {
#define STATUS_EXIT(name, value, exit_status, text) \
    case name:                                      \
        return exit_status;
        ZRT_STATUS_TABLE(STATUS_EXIT)
#undef STATUS_EXIT
    }
    return 1;
}

const char *zrt_error_message(void)
{
    return message;
}

void zrt__error_set_rank(int rank)
{
    atomic_store(&message_rank, rank);
}

/* The arguments of a message may be the message before it, so it is made beside it. */
static void record(const char *tail, const char *format, va_list args)
{
    char text[MESSAGE_BYTES];
    int length = vsnprintf(text, sizeof text, format, args);

    if (length < 0)
        length = 0;
    if (tail != NULL && (size_t)length < sizeof text)
        snprintf(text + length, sizeof text - (size_t)length, "%s", tail);
    memcpy(message, text, strlen(text) + 1);
}

zrt_status zrt__fail(zrt_status status, const char *format, ...)
{
    char rank_text[32] = "";
    int rank = atomic_load(&message_rank);
    va_list args;

    if (rank >= 0)
        snprintf(rank_text, sizeof rank_text, " (rank %d)", rank);
    va_start(args, format);
    record(rank_text, format, args);
    va_end(args);
    return status;
}

zrt_status zrt__fail_context(zrt_status status, const char *format, ...)
{
    char before[MESSAGE_BYTES];
    va_list args;

    memcpy(before, message, strlen(message) + 1);
    va_start(args, format);
    record(before, format, args);
    va_end(args);
    return status;
}

zrt_status zrt__fail_with(zrt_status status, const char *text)
{
    if (text != message)
        snprintf(message, sizeof message, "%s", text);
    return status;
}
