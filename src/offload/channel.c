#include "config.h"

#include "offload/channel.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

static void *run_thread(void *arg)
{
    zrt__channel_thread *me = arg;
    zrt__channel *channel = me->channel;
    uint64_t seen = 0;
    pthread_mutex_lock(&channel->lock);
    for (;;) {
        while (channel->turn == seen && !channel->stops)
            pthread_cond_wait(&channel->wake, &channel->lock);
        if (channel->stops)
            break;
        seen = channel->turn;
        pthread_mutex_unlock(&channel->lock);
        int error =
            me->bytes > 0 ? zrt__lane_run(&me->lane, channel->fd, channel->write, me->offset, me->data, me->bytes) : 0;
        pthread_mutex_lock(&channel->lock);
        if (error != 0)
            channel->error = error;
        if (--channel->n_running == 0)
            pthread_cond_signal(&channel->done);
    }
    pthread_mutex_unlock(&channel->lock);
    return NULL;
}

zrt_status zrt__channel_open(zrt__channel *channel, const zrt__aio_options *aio, bool no_uring, const char **why_out)
{
    if (pthread_mutex_init(&channel->lock, NULL) != 0 || pthread_cond_init(&channel->wake, NULL) != 0 ||
        pthread_cond_init(&channel->done, NULL) != 0)
        return zrt__fail(ZRT_ERR_INTERNAL, "no mutex for asynchronous files");
    channel->is_open = true;
    channel->threads = zrt__calloc((size_t)aio->n_threads, sizeof *channel->threads);
    if (channel->threads == NULL)
        return ZRT_ERR_MEMORY;
    for (; channel->n_threads < aio->n_threads; channel->n_threads++) {
        zrt__channel_thread *thread = &channel->threads[channel->n_threads];
        thread->channel = channel;
        zrt_status status = zrt__lane_open(&thread->lane, aio, no_uring || *why_out != NULL, why_out);
        int error = 0;
        if (status == ZRT_OK && channel->n_threads > 0) {
            error = pthread_create(&thread->thread, NULL, run_thread, thread);
            thread->runs = error == 0;
        }
        if (error != 0)
            status = zrt__fail(ZRT_ERR_DEVICE,
                               "a thread of asynchronous files could not be started: %s (see ulimit -u and "
                               "aio.intra_op_parallelism)",
                               strerror(error));
        if (status != ZRT_OK) {
            zrt__lane_close(&thread->lane);
            return status;
        }
    }
    return ZRT_OK;
}

void zrt__channel_close(zrt__channel *channel)
{
    if (!channel->is_open)
        return;
    pthread_mutex_lock(&channel->lock);
    channel->stops = true;
    pthread_cond_broadcast(&channel->wake);
    pthread_mutex_unlock(&channel->lock);
    for (int i = 0; i < channel->n_threads; i++) {
        if (channel->threads[i].runs)
            pthread_join(channel->threads[i].thread, NULL);
        zrt__lane_close(&channel->threads[i].lane);
    }
    free(channel->threads);
    pthread_cond_destroy(&channel->done);
    pthread_cond_destroy(&channel->wake);
    pthread_mutex_destroy(&channel->lock);
    memset(channel, 0, sizeof *channel);
}

void zrt__channel_fail(zrt__channel *channel, int64_t fail_at, atomic_llong *n_requests)
{
    for (int i = 0; i < channel->n_threads; i++) {
        channel->threads[i].lane.fail_at = fail_at;
        channel->threads[i].lane.n_requests = n_requests;
    }
}

int zrt__channel_run(zrt__channel *channel, int fd, bool write, int64_t offset, char *data, int64_t bytes)
{
    int n = channel->n_threads;
    if (n == 1)
        return zrt__lane_run(&channel->threads[0].lane, fd, write, offset, data, bytes);
    int64_t part = (bytes + n - 1) / n;
    part = (part + ZRT__TIER_ALIGNMENT - 1) / ZRT__TIER_ALIGNMENT * ZRT__TIER_ALIGNMENT;
    pthread_mutex_lock(&channel->lock);
    for (int i = 0; i < n; i++) {
        int64_t first = i * part < bytes ? i * part : bytes, last = first + part < bytes ? first + part : bytes;
        channel->threads[i].offset = offset + first;
        channel->threads[i].data = data + first;
        channel->threads[i].bytes = last - first;
    }
    channel->fd = fd;
    channel->write = write;
    channel->error = 0;
    channel->n_running = n - 1;
    channel->turn++;
    pthread_cond_broadcast(&channel->wake);
    pthread_mutex_unlock(&channel->lock);
    zrt__channel_thread *mine = &channel->threads[0];
    int error = zrt__lane_run(&mine->lane, fd, write, mine->offset, mine->data, mine->bytes);
    pthread_mutex_lock(&channel->lock);
    while (channel->n_running > 0)
        pthread_cond_wait(&channel->done, &channel->lock);
    if (error == 0)
        error = channel->error;
    pthread_mutex_unlock(&channel->lock);
    return error;
}
