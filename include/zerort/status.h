/* Status codes and the error message that goes with them. */
#ifndef ZERORT_STATUS_H
#define ZERORT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define ZRT_EXPORT __attribute__((visibility("default")))

/* name, value, process exit status, text. Input and configuration end a program with 2, the machine with 1. */
#define ZRT_STATUS_TABLE(X)                                       \
    X(ZRT_OK, 0, 0, "success")                                    \
    X(ZRT_END, 1, 0, "end of data")                               \
    X(ZRT_ERR_USAGE, -1, 2, "wrong use of an option or function") \
    X(ZRT_ERR_CONFIG, -2, 2, "wrong configuration")               \
    X(ZRT_ERR_INPUT, -3, 2, "wrong input")                        \
    X(ZRT_ERR_NOT_SUPPORTED, -4, 2, "not supported")              \
    X(ZRT_ERR_MEMORY, -5, 1, "out of memory")                     \
    X(ZRT_ERR_IO, -6, 1, "input or output failed")                \
    X(ZRT_ERR_COMM, -7, 1, "communication failed")                \
    X(ZRT_ERR_DEVICE, -8, 1, "device failed")                     \
    X(ZRT_ERR_INTERNAL, -9, 1, "internal error")

typedef enum zrt_status {
#define ZRT_STATUS_ENUM(name, value, exit_status, text) name = value,
    ZRT_STATUS_TABLE(ZRT_STATUS_ENUM)
#undef ZRT_STATUS_ENUM
} zrt_status;

/* Text of a status code. Local. Lends a static string. */
ZRT_EXPORT const char *zrt_status_text(zrt_status status);

/* The exit status that a program should end with: 0, 1 or 2. Local. */
ZRT_EXPORT int zrt_status_exit_code(zrt_status status);

/* The message of the last error this thread saw: what, where, which rank, what to do. Local.
 * Lends a string that is valid until the next failing call of this thread; "" when there was none. */
ZRT_EXPORT const char *zrt_error_message(void);

/* Returns from the calling function with the status of `expression` unless it is ZRT_OK.
 * Only for places that hold nothing to release. */
#define ZRT_TRY(expression)                        \
    do {                                           \
        zrt_status zrt_try_status_ = (expression); \
        if (zrt_try_status_ != ZRT_OK)             \
            return zrt_try_status_;                \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
