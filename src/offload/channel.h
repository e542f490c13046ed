/* Lanes that share each transfer: the caller's own and threads. */
#ifndef ZRT_OFFLOAD_CHANNEL_H
#define ZRT_OFFLOAD_CHANNEL_H

#include "offload/lane.h"

#include <pthread.h>

typedef struct zrt__channel zrt__channel;

typedef struct zrt__channel_thread {
    zrt__channel *channel;
    zrt__lane lane;
    pthread_t thread;
    bool runs;
    int64_t offset, bytes; /* its part */
    char *data;
} zrt__channel_thread;

struct zrt__channel {
    zrt__channel_thread *threads; /* the first is the caller */
    int n_threads;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    bool is_open, stops;
    uint64_t turn; /* of the transfer that the threads are to run */
    int n_running, error;
    int fd;
    bool write;
};

/* As zrt__lane_open. What failed is closed by zrt__channel_close, too. */
zrt_status zrt__channel_open(zrt__channel *channel, const zrt__aio_options *aio, bool no_uring, const char **why_out);
void zrt__channel_close(zrt__channel *channel);
void zrt__channel_fail(zrt__channel *channel, int64_t fail_at, atomic_llong *n_requests);
/* 0 or an errno, when all of it is done. One caller at a time. */
int zrt__channel_run(zrt__channel *channel, int fd, bool write, int64_t offset, char *data, int64_t bytes);

#endif
