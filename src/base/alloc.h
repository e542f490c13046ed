/* Host memory for bookkeeping (not tensors). Every call can be made to fail in turn: ZERORT_FAIL_ALLOC=N fails the
 * N-th allocation of the process, which the fault tests walk through. */
#ifndef ZRT_BASE_ALLOC_H
#define ZRT_BASE_ALLOC_H

#include <stddef.h>

#include <zerort/status.h>

/* As malloc, calloc, realloc, strdup; they record ZRT_ERR_MEMORY's message and return NULL on failure. Released with free(). */
void *zrt__malloc(size_t bytes);
void *zrt__calloc(size_t n, size_t bytes);
void *zrt__realloc(void *old, size_t bytes);
char *zrt__strdup(const char *text);
/* printf into a new string. */
char *zrt__format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Grows *array (of elements of `bytes`) so that n + 1 fit; *capacity is doubled as needed. */
zrt_status zrt__grow(void *array, size_t *capacity, size_t n, size_t bytes);

#endif
