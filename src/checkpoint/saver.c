#include "config.h"

#include "checkpoint/saver.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/commit.h"
#include "checkpoint/patient.h"
#include "checkpoint/run_checkpoints.h"

enum { MESSAGE_BYTES = 1024 };
#define LONGEST_TILE (4 * ZRT__CHECKPOINT_BLOCK)

typedef struct slot {
    zrt__event *event;
    int64_t tile;
} slot;

struct zrt__saver {
    zrt__saver_options options;
    slot *slots;
    zrt__event *copied; /* after the last copy */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool running; /* to be joined */
    /* of the one that runs */
    char *folder, *temporary;
    zrt__manifest manifest;
    zrt__tiles tiles;
    int64_t keep_last, keep_best;
    void *header;
    zrt__disk_file file;
    zrt__shard_sums sums;
    int64_t n_tiles;
    int rank;
    /* under the lock */
    enum { START_UNKNOWN, START_YES, START_NO } start;
    int64_t next_copy, next_taken, n_written;
    int *ring, n_free; /* free slots */
    int *order;        /* slots in the order of their tiles, by tile modulo n_slots */
    bool all_copied;   /* enqueued; or it has failed, and none runs any more */
    zrt_status status; /* of this rank's writers; then of all */
    char message[MESSAGE_BYTES];
};

int64_t zrt__saver_tile_bytes(const zrt__layout *layout)
{
    int64_t longest = zrt__layout_dataset_elements(layout, 0) * (int64_t)sizeof(float);
    return longest < LONGEST_TILE ? longest : LONGEST_TILE;
}

int64_t zrt__saver_ring_bytes(const zrt__layout *layout, int64_t most)
{
    int64_t tiles = 0, tile = zrt__saver_tile_bytes(layout), slots = most / tile;
    for (int d = 0; d < zrt__layout_n_datasets(layout); d++)
        tiles += (zrt__layout_dataset_elements(layout, d) * (int64_t)sizeof(float) + tile - 1) / tile;
    slots = slots < tiles ? slots : tiles;
    return (slots > 0 ? slots : 1) * tile;
}

zrt_status zrt__saver_create(const zrt__saver_options *options, zrt__saver **saver_out)
{
    zrt__saver *saver = zrt__calloc(1, sizeof *saver);
    if (saver == NULL)
        return ZRT_ERR_MEMORY;
    saver->options = *options;
    pthread_mutex_init(&saver->lock, NULL);
    pthread_cond_init(&saver->changed, NULL);
    saver->file = (zrt__disk_file){.fd = -1, .direct = -1};
    saver->rank = zrt__patient_rank(options->group);
    saver->slots = zrt__calloc((size_t)options->n_slots, sizeof *saver->slots);
    saver->ring = zrt__calloc((size_t)options->n_slots, sizeof *saver->ring);
    saver->order = zrt__calloc((size_t)options->n_slots, sizeof *saver->order);
    bool has_slots = saver->slots != NULL && saver->ring != NULL && saver->order != NULL;
    zrt_status status = has_slots ? ZRT_OK : ZRT_ERR_MEMORY;
    if (options->stream != NULL && has_slots) {
        zrt__device *device = options->stream->device;
        status = device->ops->event_create(device, &saver->copied);
        for (int i = 0; i < saver->options.n_slots && status == ZRT_OK; i++)
            status = device->ops->event_create(device, &saver->slots[i].event);
    }
    if (status != ZRT_OK)
        zrt__saver_destroy(&saver);
    *saver_out = saver;
    return status;
}

void zrt__saver_destroy(zrt__saver **saver)
{
    if (saver == NULL || *saver == NULL)
        return;
    zrt__saver *s = *saver;
    zrt__saver_wait(s);
    for (int i = 0; i < s->options.n_slots && s->slots != NULL; i++)
        if (s->slots[i].event != NULL)
            s->options.stream->device->ops->event_destroy(&s->slots[i].event);
    if (s->copied != NULL)
        s->options.stream->device->ops->event_destroy(&s->copied);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->slots);
    free(s->ring);
    free(s->order);
    free(s);
    *saver = NULL;
}

/* ---- tiles ---- */

static float *slot_memory(const zrt__saver *saver, int index)
{
    return (float *)(void *)((char *)saver->options.ring + (int64_t)index * saver->options.tile_bytes);
}

/* Under the lock: keeps the first failure, and lets whoever waits for the copies go on. */
static void note(zrt__saver *saver, zrt_status status)
{
    if (status == ZRT_OK || saver->status != ZRT_OK)
        return;
    saver->status = status;
    snprintf(saver->message, sizeof saver->message, "%s", zrt_error_message());
}

/* Under the lock: enqueues copies while there are slots. */
static void enqueue_copies(zrt__saver *saver)
{
    zrt__stream *stream = saver->options.stream;
    while (stream != NULL && saver->status == ZRT_OK && saver->next_copy < saver->n_tiles && saver->n_free > 0) {
        const zrt__device_ops *device = stream->device->ops;
        int index = saver->ring[--saver->n_free];
        saver->slots[index].tile = saver->next_copy;
        zrt_status status = zrt__tile_copy(&saver->tiles, saver->next_copy, stream, slot_memory(saver, index));
        if (status == ZRT_OK)
            status = device->event_record(saver->slots[index].event, stream);
        saver->order[saver->next_copy % saver->options.n_slots] = index;
        saver->next_copy++;
        if (status == ZRT_OK && saver->next_copy == saver->n_tiles)
            status = device->event_record(saver->copied, stream);
        note(saver, status);
    }
    /* What is written from where it is must not change before. */
    if (saver->status == ZRT_OK && saver->next_copy == saver->n_tiles &&
        (!saver->tiles.lends || saver->n_written == saver->n_tiles))
        saver->all_copied = true;
    pthread_cond_broadcast(&saver->changed);
}

static zrt_status write_tile(zrt__saver *saver, int index)
{
    const slot *from = &saver->slots[index];
    float *memory = slot_memory(saver, index);
    if (saver->options.stream != NULL)
        ZRT_TRY(saver->options.stream->device->ops->event_synchronize(from->event));
    else
        ZRT_TRY(zrt__tile_copy(&saver->tiles, from->tile, NULL, memory));
    return zrt__tile_write(&saver->tiles, from->tile, memory);
}

static void *write_tiles(void *argument)
{
    zrt__saver *saver = argument;
    pthread_mutex_lock(&saver->lock);
    while (saver->status == ZRT_OK && saver->next_taken < saver->n_tiles) {
        enqueue_copies(saver);
        int index;
        if (saver->options.stream == NULL && saver->n_free > 0) {
            index = saver->ring[--saver->n_free];
            saver->slots[index].tile = saver->next_taken;
        } else if (saver->options.stream != NULL && saver->next_taken < saver->next_copy)
            index = saver->order[saver->next_taken % saver->options.n_slots];
        else {
            if (saver->status == ZRT_OK)
                pthread_cond_wait(&saver->changed, &saver->lock);
            continue;
        }
        saver->next_taken++;
        pthread_mutex_unlock(&saver->lock);
        zrt_status status = write_tile(saver, index);
        pthread_mutex_lock(&saver->lock);
        note(saver, status);
        saver->n_written += status == ZRT_OK;
        saver->ring[saver->n_free++] = index;
        enqueue_copies(saver);
    }
    pthread_mutex_unlock(&saver->lock);
    return NULL;
}

/* ---- one checkpoint ---- */

static int start_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static zrt_status write_shard(zrt__saver *saver)
{
    char name[16];
    const zrt__shard_geometry *g = &saver->manifest.geometry;
    zrt__shard_name(saver->rank, name);
    char *path = zrt__format("%s/%s", saver->temporary, name);
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    zrt_status status = zrt__disk_create(path, g->file_bytes, &saver->file);
    free(path);
    ZRT_TRY(status);
    status = zrt__disk_write(&saver->file, saver->header, (size_t)g->header_bytes, 0);
    saver->sums.header = zrt__crc32c(0, saver->header, (size_t)g->header_bytes);
    pthread_t helpers[ZRT__SAVER_WRITERS - 1];
    int n_helpers = 0;
    if (status == ZRT_OK) {
        while (n_helpers < ZRT__SAVER_WRITERS - 1 && start_thread(&helpers[n_helpers], write_tiles, saver) == 0)
            n_helpers++;
        write_tiles(saver); /* what helpers there are is enough */
        for (int i = 0; i < n_helpers; i++)
            pthread_join(helpers[i], NULL);
        pthread_mutex_lock(&saver->lock);
        status = saver->status;
        if (status != ZRT_OK)
            zrt__fail_with(status, saver->message);
        pthread_mutex_unlock(&saver->lock);
    }
    /* What was enqueued before a failure still reads the shard. */
    if (status != ZRT_OK && saver->options.stream != NULL)
        saver->options.stream->device->ops->stream_synchronize(saver->options.stream);
    saver->sums.whole = zrt__shard_sum(g, &saver->sums);
    if (status == ZRT_OK)
        return zrt__disk_finish(&saver->file);
    zrt__disk_close(&saver->file);
    return status;
}

static zrt_status make_temporary(zrt__saver *saver)
{
    zrt__disk_remove_folder(saver->temporary); /* of a save that was cut off */
    return zrt__disk_make_folder(saver->temporary);
}

static zrt_status save(zrt__saver *saver)
{
    const zrt__group *group = saver->options.group;
    bool is_first = saver->rank == 0;
    ZRT_TRY(zrt__patient_agree(group, is_first ? make_temporary(saver) : ZRT_OK));
    zrt_status status = zrt__patient_agree(group, write_shard(saver));
    const zrt__save_commit commit = {group, saver->folder, saver->temporary, &saver->manifest, &saver->sums};
    if (status == ZRT_OK)
        status = zrt__save_commit_run(&commit);
    if (status != ZRT_OK && is_first)
        zrt__disk_remove_folder(saver->temporary);
    return status;
}

static void *run(void *argument)
{
    zrt__saver *saver = argument;
    pthread_mutex_lock(&saver->lock);
    while (saver->start == START_UNKNOWN)
        pthread_cond_wait(&saver->changed, &saver->lock);
    bool goes = saver->start == START_YES;
    pthread_mutex_unlock(&saver->lock);
    if (!goes)
        return NULL;
    zrt_status status = save(saver);
    if (saver->rank == 0 && status == ZRT_OK) {
        zrt__log(ZRT_LOG_INFO, "saved %s/" ZRT__CHECKPOINT_PREFIX "%" PRId64, saver->folder,
                 saver->manifest.state.step);
        zrt__checkpoint_prune(saver->folder, saver->manifest.state.step, saver->keep_last, saver->keep_best);
    } else if (saver->rank == 0)
        zrt__log(ZRT_LOG_WARNING,
                 "%s/" ZRT__CHECKPOINT_PREFIX "%" PRId64 " was not saved: %s; older checkpoints are as they were",
                 saver->folder, saver->manifest.state.step, zrt_error_message());
    pthread_mutex_lock(&saver->lock);
    saver->status = status;
    snprintf(saver->message, sizeof saver->message, "%s", status != ZRT_OK ? zrt_error_message() : "");
    saver->all_copied = true;
    pthread_cond_broadcast(&saver->changed);
    pthread_mutex_unlock(&saver->lock);
    return NULL;
}

static void release_request(zrt__saver *saver)
{
    zrt__disk_close(&saver->file);
    free(saver->header);
    free(saver->folder);
    free(saver->temporary);
    free(saver->sums.blocks);
    zrt__manifest_free(&saver->manifest);
    saver->header = saver->folder = saver->temporary = NULL;
    saver->sums.blocks = NULL;
}

static zrt_status prepare(zrt__saver *saver, const zrt__save_request *request)
{
    saver->manifest = *request->manifest;
    *request->manifest = (zrt__manifest){0};
    saver->keep_last = request->keep_last;
    saver->keep_best = request->keep_best;
    saver->folder = zrt__strdup(request->folder);
    saver->temporary = zrt__checkpoint_path(request->folder, ZRT__CHECKPOINT_TEMPORARY, saver->manifest.state.step);
    if (saver->folder == NULL || saver->temporary == NULL)
        return ZRT_ERR_MEMORY;
    ZRT_TRY(zrt__shard_header(&saver->manifest.layout, &saver->manifest.geometry, &saver->header));
    saver->sums.blocks = zrt__calloc((size_t)saver->manifest.geometry.n_blocks, sizeof *saver->sums.blocks);
    if (saver->sums.blocks == NULL)
        return ZRT_ERR_MEMORY;
    saver->tiles = (zrt__tiles){.manifest = &saver->manifest,
                                .source = request->source,
                                .file = &saver->file,
                                .sums = &saver->sums,
                                .tile_bytes = saver->options.tile_bytes};
    saver->n_tiles = zrt__tiles_count(&saver->tiles);
    saver->tiles.lends = request->source.lend != NULL && saver->n_tiles > saver->options.n_slots;
    saver->next_copy = saver->next_taken = saver->n_written = 0;
    saver->n_free = 0;
    for (int i = saver->options.n_slots; i-- > 0;)
        saver->ring[saver->n_free++] = i;
    saver->all_copied = false;
    saver->status = ZRT_OK;
    saver->start = START_UNKNOWN;
    int error = start_thread(&saver->thread, run, saver);
    if (error != 0)
        return zrt__fail(ZRT_ERR_MEMORY, "the thread that saves cannot be started: %s", strerror(error));
    saver->running = true;
    return ZRT_OK;
}

zrt_status zrt__saver_start(zrt__saver *saver, const zrt__save_request *request)
{
    zrt_status status = zrt__patient_agree(saver->options.group, prepare(saver, request));
    pthread_mutex_lock(&saver->lock);
    saver->start = status == ZRT_OK ? START_YES : START_NO;
    pthread_cond_broadcast(&saver->changed);
    pthread_mutex_unlock(&saver->lock);
    if (status == ZRT_OK)
        return ZRT_OK;
    if (saver->running)
        pthread_join(saver->thread, NULL);
    saver->running = false;
    release_request(saver);
    return status;
}

zrt_status zrt__saver_fence(zrt__saver *saver, zrt__stream *stream)
{
    if (!saver->running)
        return ZRT_OK;
    pthread_mutex_lock(&saver->lock);
    while (!saver->all_copied)
        pthread_cond_wait(&saver->changed, &saver->lock);
    pthread_mutex_unlock(&saver->lock);
    return saver->options.stream != NULL ? stream->device->ops->event_wait(saver->copied, stream) : ZRT_OK;
}

bool zrt__saver_is_busy(const zrt__saver *saver)
{
    return saver->running;
}

zrt_status zrt__saver_wait(zrt__saver *saver)
{
    if (!saver->running)
        return ZRT_OK;
    pthread_join(saver->thread, NULL);
    saver->running = false;
    release_request(saver);
    return saver->status == ZRT_OK ? ZRT_OK : zrt__fail_with(saver->status, saver->message);
}
