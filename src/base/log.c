#include "config.h"

#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

/* The one global of the library. The lock keeps a sink and its user pointer together and lets a sink be used by one
 * thread at a time. */
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static zrt_log_fn *sink;
static void *sink_user;

void zrt_log_set_sink(zrt_log_fn *new_sink, void *user)
{
    pthread_mutex_lock(&sink_lock);
    sink = new_sink;
    sink_user = user;
    pthread_mutex_unlock(&sink_lock);
}

void zrt__log(zrt_log_level level, const char *format, ...)
{
    char text[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&sink_lock);
    if (sink != NULL)
        sink(level, text, sink_user);
    pthread_mutex_unlock(&sink_lock);
}
