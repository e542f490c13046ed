#include "config.h"

#include "data/encode_threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { MOST_THREADS = 256, MESSAGE_BYTES = 1024 };

typedef struct worker {
    struct zrt__encode_threads *all;
    zrt_encoder *encoder;
    pthread_t thread;
    bool has_thread;
} worker;

struct zrt__encode_threads {
    worker *workers; /* the first is the caller */
    int n_workers;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    uint64_t round;
    size_t next, n;
    int n_busy;
    bool stopping;
    zrt__encode_item *item;
    void *argument;
    zrt_status status;
    size_t failed; /* the item */
    char message[MESSAGE_BYTES];
};

/* Takes items until none is left. Enters and leaves with the lock. */
static void work(struct zrt__encode_threads *all, zrt_encoder *encoder)
{
    all->n_busy++;
    while (all->next < all->n) {
        size_t index = all->next++;
        zrt_status status;
        pthread_mutex_unlock(&all->lock);
        status = all->item(all->argument, encoder, index);
        pthread_mutex_lock(&all->lock);
        if (status != ZRT_OK && (all->status == ZRT_OK || index < all->failed)) {
            all->status = status;
            all->failed = index;
            snprintf(all->message, sizeof all->message, "%s", zrt_error_message());
            all->next = all->n; /* those before it are taken already */
        }
    }
    all->n_busy--;
    if (all->n_busy == 0)
        pthread_cond_broadcast(&all->changed);
}

static void *run(void *argument)
{
    worker *self = argument;
    struct zrt__encode_threads *all = self->all;
    uint64_t seen = 0;

    pthread_mutex_lock(&all->lock);
    while (!all->stopping) {
        if (all->round == seen) {
            pthread_cond_wait(&all->changed, &all->lock);
            continue;
        }
        seen = all->round;
        work(all, self->encoder);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

static int processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n < 1 ? 1 : (n > MOST_THREADS ? MOST_THREADS : n);
}

zrt_status zrt__encode_threads_create(const zrt_tokenizer *tokenizer, int n_threads, zrt__encode_threads **threads_out)
{
    zrt__encode_threads *all = zrt__calloc(1, sizeof *all);
    zrt_status status = ZRT_OK;
    sigset_t every, before;

    *threads_out = NULL;
    if (all == NULL)
        return ZRT_ERR_MEMORY;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->changed, NULL);
    all->n_workers = n_threads > 0 && n_threads < MOST_THREADS ? n_threads : processors();
    all->workers = zrt__calloc((size_t)all->n_workers, sizeof *all->workers);
    if (all->workers == NULL)
        status = ZRT_ERR_MEMORY;
    sigfillset(&every); /* signals are for the program's threads */
    pthread_sigmask(SIG_SETMASK, &every, &before);
    for (int i = 0; status == ZRT_OK && i < all->n_workers; i++) {
        all->workers[i].all = all;
        status = zrt_encoder_create(tokenizer, &all->workers[i].encoder);
        if (status == ZRT_OK && i > 0) {
            int error = pthread_create(&all->workers[i].thread, NULL, run, &all->workers[i]);
            all->workers[i].has_thread = error == 0;
            if (error != 0)
                status = zrt__fail(ZRT_ERR_MEMORY, "a thread for encoding cannot be started: %s", strerror(error));
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != ZRT_OK)
        zrt__encode_threads_destroy(&all);
    *threads_out = all;
    return status;
}

void zrt__encode_threads_destroy(zrt__encode_threads **threads)
{
    zrt__encode_threads *all = *threads;

    if (all == NULL)
        return;
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->lock);
    for (int i = 0; all->workers != NULL && i < all->n_workers; i++) {
        if (all->workers[i].has_thread)
            pthread_join(all->workers[i].thread, NULL);
        zrt_encoder_destroy(&all->workers[i].encoder);
    }
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all->workers);
    free(all);
    *threads = NULL;
}

int zrt__encode_threads_n(const zrt__encode_threads *threads)
{
    return threads->n_workers;
}

zrt_status zrt__encode_threads_run(zrt__encode_threads *all, size_t n, zrt__encode_item *item, void *argument)
{
    zrt_status status;

    pthread_mutex_lock(&all->lock);
    all->status = ZRT_OK;
    all->item = item;
    all->argument = argument;
    all->next = 0;
    all->n = n;
    all->round++;
    pthread_cond_broadcast(&all->changed);
    work(all, all->workers[0].encoder);
    while (all->n_busy > 0)
        pthread_cond_wait(&all->changed, &all->lock);
    status = all->status;
    pthread_mutex_unlock(&all->lock);
    return status == ZRT_OK ? ZRT_OK : zrt__fail_with(status, all->message);
}
