#include "config.h"

#include "data/loader.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zerort/engine.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/dataset.h"
#include "data/sampler.h"

/* One batch lent and three ahead of it: a slow read is hidden by the steps that these last for. */
enum { N_SLOTS = ZRT__LOADER_SLOTS, MESSAGE_BYTES = 1024 };

typedef struct loader_slot {
    zrt_batch batch;
    int64_t *sample_ids;
    int64_t position;  /* of the counter, once this batch is handed out */
    zrt_status status; /* ZRT_END or an error: there is no batch, and nothing after it */
    char message[MESSAGE_BYTES];
} loader_slot;

struct zrt_loader {
    const zrt_dataset *dataset;
    loader_slot slots[N_SLOTS];
    int32_t *scratch;
    zrt__sampler sampler; /* of the thread while it fills a slot, otherwise under the lock */
    pthread_t thread;
    bool has_thread;
    /* Under the lock. Slots are numbered without end: n is slots[n % N_SLOTS]. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t n_filled, n_handed, n_released;
    int64_t position;
    bool filling, finished, stopping;
};

static zrt_status fill_rows(zrt_loader *loader, loader_slot *slot, const zrt__share *share)
{
    const zrt_dataset *dataset = loader->dataset;

    for (int64_t row = 0; row < share->n; row++) {
        void *destinations[ZRT_BATCH_MAX_FIELDS];

        for (int i = 0; i < dataset->n_fields; i++)
            destinations[i] = (char *)slot->batch.fields[i].data + (size_t)row * dataset->row_bytes[i];
        slot->sample_ids[row] = share->first + row;
        ZRT_TRY(zrt__dataset_read_row(dataset, zrt__sampler_row(&loader->sampler, share->first + row), destinations,
                                      loader->scratch));
    }
    return ZRT_OK;
}

static void fill_slot(zrt_loader *loader, loader_slot *slot)
{
    zrt__share share;

    if (!zrt__sampler_next(&loader->sampler, &share)) {
        slot->status = ZRT_END;
        return;
    }
    slot->position = loader->sampler.position;
    slot->batch.n_rows = share.n;
    for (int i = 0; i < slot->batch.n_fields; i++)
        slot->batch.fields[i].dims[0] = share.n;
    slot->status = fill_rows(loader, slot, &share);
    if (slot->status != ZRT_OK)
        snprintf(slot->message, sizeof slot->message, "%s", zrt_error_message());
}

static void *run(void *argument)
{
    zrt_loader *loader = argument;

    pthread_mutex_lock(&loader->lock);
    while (!loader->stopping) {
        loader_slot *slot = &loader->slots[loader->n_filled % N_SLOTS];

        if (loader->finished || loader->n_filled - loader->n_released == N_SLOTS) {
            pthread_cond_wait(&loader->changed, &loader->lock);
            continue;
        }
        loader->filling = true;
        pthread_mutex_unlock(&loader->lock);
        fill_slot(loader, slot);
        pthread_mutex_lock(&loader->lock);
        loader->filling = false;
        loader->finished = slot->status != ZRT_OK;
        loader->n_filled++;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static zrt_status allocate_slots(zrt_loader *loader, int64_t rows)
{
    const zrt_dataset *dataset = loader->dataset;

    loader->scratch = zrt__malloc(((size_t)dataset->length + 1) * sizeof *loader->scratch);
    if (loader->scratch == NULL)
        return ZRT_ERR_MEMORY;
    for (int s = 0; s < N_SLOTS; s++) {
        loader_slot *slot = &loader->slots[s];

        slot->sample_ids = zrt__calloc((size_t)rows, sizeof *slot->sample_ids);
        if (slot->sample_ids == NULL)
            return ZRT_ERR_MEMORY;
        slot->batch.length = dataset->length;
        slot->batch.sample_ids = slot->sample_ids;
        slot->batch.label_positions = dataset->label_positions;
        for (int i = 0; i < dataset->n_fields; i++) {
            zrt_view *view = &slot->batch.fields[i];

            if (dataset->fields[i].n_dims + 1 > ZRT_MAX_DIMS)
                return zrt__fail(ZRT_ERR_USAGE, "the array '%s' has more than %d dimensions", dataset->names[i],
                                 ZRT_MAX_DIMS);
            *view = dataset->fields[i];
            view->n_dims++;
            memmove(view->dims + 1, view->dims, (size_t)dataset->fields[i].n_dims * sizeof *view->dims);
            view->dims[0] = rows;
            view->data = zrt__calloc((size_t)rows, dataset->row_bytes[i]);
            if (view->data == NULL)
                return ZRT_ERR_MEMORY;
            slot->batch.names[i] = dataset->names[i];
            slot->batch.n_fields++;
        }
    }
    return ZRT_OK;
}

static zrt_status start_thread(zrt_loader *loader)
{
    sigset_t all, before;
    int error;

    /* Signals are for the program's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&loader->thread, NULL, run, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return zrt__fail(ZRT_ERR_MEMORY, "the loader's thread cannot be started: %s", strerror(error));
    loader->has_thread = true;
    return ZRT_OK;
}

zrt_status zrt__loader_create(int rank, int n_ranks, const zrt_dataset *dataset, const zrt_loader_options *options,
                              zrt_loader **loader_out)
{
    zrt_loader *loader;
    int64_t rows;
    zrt_status status;

    *loader_out = NULL;
    loader = zrt__calloc(1, sizeof *loader);
    if (loader == NULL)
        return ZRT_ERR_MEMORY;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    loader->dataset = dataset;
    loader->sampler = (zrt__sampler){
        .n_rows = dataset->n_rows,
        .rank = rank,
        .n_ranks = n_ranks,
        .micro_rows = options->micro_batch_rows,
        .accumulation = options->accumulation_steps != 0 ? options->accumulation_steps : 1,
        .seed = options->seed,
        .shuffle = options->shuffle,
        .drop_last = options->drop_last,
        .n_epochs = options->n_epochs,
    };
    status = zrt__sampler_start(&loader->sampler);
    if (status == ZRT_OK) {
        /* A rank never gets more rows than the data has. */
        rows = options->micro_batch_rows < dataset->n_rows ? options->micro_batch_rows : dataset->n_rows;
        status = allocate_slots(loader, rows);
    }
    if (status == ZRT_OK)
        status = start_thread(loader);
    if (status != ZRT_OK) {
        zrt_loader_destroy(&loader);
        return status;
    }
    *loader_out = loader;
    return ZRT_OK;
}

zrt_status zrt_loader_create(const zrt_context *context, const zrt_dataset *dataset, const zrt_loader_options *options,
                             zrt_loader **loader_out)
{
    return zrt__loader_create(context != NULL ? zrt_rank(context) : 0, context != NULL ? zrt_size(context) : 1, dataset,
                              options, loader_out);
}

void zrt_loader_destroy(zrt_loader **loader)
{
    zrt_loader *old = loader != NULL ? *loader : NULL;

    if (old == NULL)
        return;
    if (old->has_thread) {
        pthread_mutex_lock(&old->lock);
        old->stopping = true;
        pthread_cond_broadcast(&old->changed);
        pthread_mutex_unlock(&old->lock);
        pthread_join(old->thread, NULL);
    }
    for (int s = 0; s < N_SLOTS; s++) {
        for (int i = 0; i < old->slots[s].batch.n_fields; i++)
            free(old->slots[s].batch.fields[i].data);
        free(old->slots[s].sample_ids);
    }
    pthread_cond_destroy(&old->changed);
    pthread_mutex_destroy(&old->lock);
    free(old->scratch);
    free(old);
    *loader = NULL;
}

zrt_status zrt_loader_next(zrt_loader *loader, const zrt_batch **batch_out)
{
    zrt_status status;
    loader_slot *slot;

    *batch_out = NULL;
    pthread_mutex_lock(&loader->lock);
    if (loader->n_released < loader->n_handed) { /* what was lent */
        loader->n_released++;
        pthread_cond_broadcast(&loader->changed);
    }
    while (loader->n_filled == loader->n_handed)
        pthread_cond_wait(&loader->changed, &loader->lock);
    slot = &loader->slots[loader->n_handed % N_SLOTS];
    status = slot->status;
    if (status == ZRT_OK) {
        loader->n_handed++;
        loader->position = slot->position;
        *batch_out = &slot->batch;
    }
    pthread_mutex_unlock(&loader->lock);
    return status == ZRT_OK || status == ZRT_END ? status : zrt__fail_with(status, slot->message);
}

int64_t zrt_loader_position(const zrt_loader *loader)
{
    return loader->position; /* only changed by the caller's own zrt_loader_next */
}

zrt_status zrt_loader_seek(zrt_loader *loader, int64_t position)
{
    if (position < 0)
        return zrt__fail(ZRT_ERR_USAGE, "a loader cannot go to sample %" PRId64, position);
    pthread_mutex_lock(&loader->lock);
    loader->finished = true; /* keeps the thread from the next slot */
    while (loader->filling)
        pthread_cond_wait(&loader->changed, &loader->lock);
    zrt__sampler_seek(&loader->sampler, position);
    loader->n_filled = loader->n_handed = loader->n_released = 0;
    loader->position = position;
    loader->finished = false;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
    return ZRT_OK;
}

int64_t zrt_loader_batches_per_epoch(const zrt_loader *loader)
{
    return zrt__sampler_micro_steps_per_epoch(&loader->sampler);
}
