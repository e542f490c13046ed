#include "config.h"

#include "device/cpu/cpu_threads.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cpu/cpu_futex.h"

struct zrt__cpu_pool {
    int n_threads;
    pthread_t *threads;
    int n_started;
    zrt__cpu_thread_start_fn *start;
    void *user;
    pthread_mutex_t turn; /* streams that compute take it in turns */
    /* One job: threads take chunks of it from `next` until none is left. */
    zrt__cpu_range_fn *fn;
    void *arg;
    int64_t n, chunk;
    _Atomic int64_t next;
    _Atomic uint32_t generation; /* of jobs; also where threads sleep */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t running; /* threads that have not finished the job; also where the caller sleeps */
    _Atomic bool stopping;
};

static void take_chunks(zrt__cpu_pool *pool)
{
    for (;;) {
        int64_t begin = atomic_fetch_add_explicit(&pool->next, pool->chunk, memory_order_relaxed);
        if (begin >= pool->n)
            return;
        int64_t end = pool->n - begin < pool->chunk ? pool->n : begin + pool->chunk;
        pool->fn(pool->arg, begin, end);
    }
}

static void wait_for_job(zrt__cpu_pool *pool, uint32_t seen)
{
    for (int i = 0; i < ZRT__CPU_SPINS; i++) {
        if (atomic_load(&pool->generation) != seen)
            return;
        zrt__cpu_pause();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen)
        zrt__cpu_futex_wait(&pool->generation, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void *thread_main(void *arg)
{
    zrt__cpu_pool *pool = arg;
    uint32_t seen = 0;
    if (pool->start != NULL)
        pool->start(pool->user);
    for (;;) {
        wait_for_job(pool, seen);
        seen++; /* the caller starts no job before this one is finished */
        if (atomic_load(&pool->stopping))
            return NULL;
        take_chunks(pool);
        if (atomic_fetch_sub(&pool->running, 1) == 1)
            zrt__cpu_futex_wake(&pool->running);
    }
}

zrt_status zrt__cpu_pool_create(int n_threads, zrt__cpu_thread_start_fn *start, void *user, zrt__cpu_pool **pool_out)
{
    zrt__cpu_pool *pool = zrt__calloc(1, sizeof *pool);
    if (pool == NULL)
        return ZRT_ERR_MEMORY;
    pthread_mutex_init(&pool->turn, NULL);
    pool->n_threads = n_threads < 1 ? 1 : n_threads;
    pool->start = start;
    pool->user = user;
    pool->threads = zrt__calloc((size_t)pool->n_threads, sizeof *pool->threads);
    if (pool->threads == NULL) {
        pthread_mutex_destroy(&pool->turn);
        free(pool);
        return ZRT_ERR_MEMORY;
    }
    for (int i = 1; i < pool->n_threads; i++) {
        int error = pthread_create(&pool->threads[pool->n_started], NULL, thread_main, pool);
        if (error != 0) {
            zrt__cpu_pool_destroy(&pool);
            return zrt__fail(ZRT_ERR_DEVICE, "compute thread %d of %d could not be started: %s (see ulimit -u)", i,
                             n_threads, strerror(error));
        }
        pool->n_started++;
    }
    *pool_out = pool;
    return ZRT_OK;
}

void zrt__cpu_pool_destroy(zrt__cpu_pool **pool)
{
    if (pool == NULL || *pool == NULL)
        return;
    zrt__cpu_pool *p = *pool;
    atomic_store(&p->stopping, true);
    atomic_fetch_add(&p->generation, 1);
    zrt__cpu_futex_wake(&p->generation);
    for (int i = 0; i < p->n_started; i++)
        pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->turn);
    free(p->threads);
    free(p);
    *pool = NULL;
}

void zrt__cpu_pool_run(zrt__cpu_pool *pool, int64_t n, int64_t grain, zrt__cpu_range_fn *fn, void *arg)
{
    if (n <= 0)
        return;
    if (grain < 1)
        grain = 1;
    if (pool->n_started == 0 || n <= grain) {
        fn(arg, 0, n);
        return;
    }
    pthread_mutex_lock(&pool->turn);
    /* About four chunks a thread, so that one that is held up does not hold up the job. */
    int64_t chunks = 4 * (int64_t)pool->n_threads, chunk = (n + chunks - 1) / chunks;
    pool->chunk = (chunk + grain - 1) / grain * grain;
    pool->n = n;
    pool->fn = fn;
    pool->arg = arg;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->running, (uint32_t)pool->n_started);
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0)
        zrt__cpu_futex_wake(&pool->generation);
    take_chunks(pool);
    for (int i = 0; i < ZRT__CPU_SPINS && atomic_load(&pool->running) != 0; i++)
        zrt__cpu_pause();
    for (uint32_t left; (left = atomic_load(&pool->running)) != 0;)
        zrt__cpu_futex_wait(&pool->running, left);
    pthread_mutex_unlock(&pool->turn);
}
