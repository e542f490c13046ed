/* Where warnings and information go. */
#ifndef ZERORT_LOG_H
#define ZERORT_LOG_H

#include <zerort/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum zrt_log_level { ZRT_LOG_ERROR, ZRT_LOG_WARNING, ZRT_LOG_INFO, ZRT_LOG_DEBUG } zrt_log_level;
typedef void zrt_log_fn(zrt_log_level level, const char *message, void *user);

/* Sets the sink of all messages of this process; NULL (the default): none is shown. Local; not thread-safe against logging. */
ZRT_EXPORT void zrt_log_set_sink(zrt_log_fn *sink, void *user);

#ifdef __cplusplus
}
#endif
#endif
