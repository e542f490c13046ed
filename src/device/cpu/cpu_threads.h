/* The threads that the kernels of a rank share. */
#ifndef ZRT_DEVICE_CPU_CPU_THREADS_H
#define ZRT_DEVICE_CPU_CPU_THREADS_H

#include <stdint.h>

#include <zerort/status.h>

typedef struct zrt__cpu_pool zrt__cpu_pool;
typedef void zrt__cpu_range_fn(void *arg, int64_t begin, int64_t end);
typedef void zrt__cpu_thread_start_fn(void *user); /* called first in every thread of the pool */

/* n_threads counts the caller of parallel, so n_threads - 1 are made. */
zrt_status zrt__cpu_pool_create(int n_threads, zrt__cpu_thread_start_fn *start, void *user, zrt__cpu_pool **pool_out);
void zrt__cpu_pool_destroy(zrt__cpu_pool **pool);
/* As zrt__cpu_parallel. One caller at a time. */
void zrt__cpu_pool_run(zrt__cpu_pool *pool, int64_t n, int64_t grain, zrt__cpu_range_fn *fn, void *arg);

#endif
