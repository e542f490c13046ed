/* Recording the one message of an error where it is first detected. */
#ifndef ZRT_BASE_ERROR_H
#define ZRT_BASE_ERROR_H

#include <zerort/status.h>

/* Records a printf-style message for this thread and returns `status`: `return zrt__fail(ZRT_ERR_IO, "...", ...)`.
 * Whoever only passes a status up does not call it. */
zrt_status zrt__fail(zrt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts text before the recorded message ("train.json: "), keeping the status. */
zrt_status zrt__fail_context(zrt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Records a message verbatim: an error that another thread or rank detected. */
zrt_status zrt__fail_with(zrt_status status, const char *message);

/* The rank that messages name; -1 (the default) leaves it out. */
void zrt__error_set_rank(int rank);

#endif
