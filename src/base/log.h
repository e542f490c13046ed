/* Warnings and information for a person. The library prints nothing by itself: the sink decides (default: none). */
#ifndef ZRT_BASE_LOG_H
#define ZRT_BASE_LOG_H

#include <zerort/log.h>

void zrt__log(zrt_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
