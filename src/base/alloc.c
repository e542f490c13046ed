#include "config.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* ZERORT_FAIL_ALLOC=N: the N-th call from the start of the process fails. 0 where it is not set. */
static bool chosen_to_fail(void)
{
    static atomic_llong limit = -1;
    static atomic_llong n_calls;
    long long fail_at = atomic_load_explicit(&limit, memory_order_relaxed);

    if (fail_at < 0) {
        const char *text = getenv("ZERORT_FAIL_ALLOC");
        fail_at = text != NULL ? strtoll(text, NULL, 10) : 0;
        if (fail_at < 0)
            fail_at = 0;
        atomic_store_explicit(&limit, fail_at, memory_order_relaxed);
    }
    return fail_at != 0 && atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed) + 1 == fail_at;
}

static void *out_of_memory(size_t bytes)
{
    zrt__fail(ZRT_ERR_MEMORY, "out of host memory: cannot have %zu bytes", bytes);
    return NULL;
}

void *zrt__malloc(size_t bytes)
{
    void *data = chosen_to_fail() ? NULL : malloc(bytes != 0 ? bytes : 1);

    return data != NULL ? data : out_of_memory(bytes);
}

void *zrt__calloc(size_t n, size_t bytes)
{
    void *data = chosen_to_fail() ? NULL : calloc(n != 0 ? n : 1, bytes != 0 ? bytes : 1);

    return data != NULL ? data : out_of_memory(bytes != 0 && n > SIZE_MAX / bytes ? SIZE_MAX : n * bytes);
}

void *zrt__realloc(void *old, size_t bytes)
{
    void *data = chosen_to_fail() ? NULL : realloc(old, bytes != 0 ? bytes : 1);

    return data != NULL ? data : out_of_memory(bytes);
}

char *zrt__strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = zrt__malloc(bytes);

    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

char *zrt__format(const char *format, ...)
{
    va_list args, again;
    char *text = NULL;
    int length;

    va_start(args, format);
    va_copy(again, args);
    length = vsnprintf(NULL, 0, format, args);
    if (length >= 0 && (text = zrt__malloc((size_t)length + 1)) != NULL)
        vsnprintf(text, (size_t)length + 1, format, again);
    else if (length < 0)
        zrt__fail(ZRT_ERR_INTERNAL, "a text could not be formatted: %s", format);
    va_end(again);
    va_end(args);
    return text;
}

zrt_status zrt__grow(void *array, size_t *capacity, size_t n, size_t bytes)
{
    size_t wanted = *capacity != 0 ? *capacity : 8;
    void *old, *grown;

    if (n < *capacity)
        return ZRT_OK;
    while (wanted <= n) {
        if (wanted > SIZE_MAX / 2) {
            out_of_memory(SIZE_MAX);
            return ZRT_ERR_MEMORY;
        }
        wanted *= 2;
    }
    if (wanted > SIZE_MAX / bytes) {
        out_of_memory(SIZE_MAX);
        return ZRT_ERR_MEMORY;
    }
    /* `array` is the address of a pointer of any type. */
    memcpy(&old, array, sizeof old);
    grown = zrt__realloc(old, wanted * bytes);
    if (grown == NULL)
        return ZRT_ERR_MEMORY;
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return ZRT_OK;
}
