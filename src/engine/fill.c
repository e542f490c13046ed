/* Parameters in: drawn or read in pieces by the rank's threads, because one alone takes seconds for a billion parameters. */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/half.h"
#include "engine/engine.h"

enum { PIECE = 262144, MOST_THREADS = 64, MESSAGE_BYTES = 8192 };

typedef struct fill {
    zrt_engine *engine;
    zrt__source_fn *source;
    zrt__wanted_fn *wanted;
    void *user;
    pthread_mutex_t taking, copying;
    /* Under `taking`: the next piece is of parameter `p`, from element `at` on, where at >= 0. */
    size_t p;
    int64_t at, end, start;
    const zrt__flat *flat;
    zrt_status status;
    char message[MESSAGE_BYTES];
} fill;

typedef struct piece {
    const zrt__parameter *parameter;
    const zrt__flat *flat;
    int64_t first, n; /* elements of the parameter */
    int64_t start;    /* of the parameter in its flat */
} piece;

typedef struct worker {
    fill *all;
    float *values;
    void *converted;
    pthread_t thread;
    bool has_thread;
} worker;

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Elements [first, first + n) of a flat to the master shard and the compute copy, each where this rank holds them. */
static zrt_status store(fill *all, const zrt__flat *flat, int64_t first, int64_t n, const worker *w)
{
    zrt_engine *engine = all->engine;
    const zrt__device_ops *device = engine->runtime.device->ops;
    zrt_dtype dtype = engine->settings.zero.compute_dtype;
    size_t element = zrt_dtype_bytes(dtype);
    zrt__stream *stream = zrt__engine_stream(engine);
    bool resident = flat->kind == ZRT__FLAT_RESIDENT;
    int64_t from = max64(first, flat->shard_first), to = min64(first + n, flat->shard_first + flat->shard_elements);
    int64_t held_from = resident ? first : from, held_to = resident ? first + n : to,
            base = resident ? 0 : flat->shard_first;
    zrt_status status = ZRT_OK;
    if (held_from < held_to)
        zrt__convert(w->converted, dtype, w->values + (held_from - first), ZRT_FLOAT32, (size_t)(held_to - held_from));
    if (from < to && flat->on_host && !flat->in_file) {
        /* A skipped step sends up what is there. */
        char *host = zrt__engine_address(engine, NULL, flat->host_parameter);
        zrt__convert(host + (size_t)(from - flat->shard_first) * element, dtype, w->values + (from - first),
                     ZRT_FLOAT32, (size_t)(to - from));
    }
    pthread_mutex_lock(&all->copying);
    if (held_from < held_to) {
        char *parameter = zrt__engine_address(engine, NULL, flat->parameter);
        status = device->copy(stream, parameter + (size_t)(held_from - base) * element, w->converted,
                              (size_t)(held_to - held_from) * element);
    }
    if (status == ZRT_OK && from < to && flat->in_file) {
        status =
            zrt__file_state_write(engine, flat, 0, from - flat->shard_first, to - from, w->values + (from - first));
    } else if (status == ZRT_OK && from < to && flat->trainable && (dtype != ZRT_FLOAT32 || flat->on_host)) {
        float *master = zrt__engine_address(engine, NULL, zrt__engine_state_shard(engine, flat, 0));
        status = device->copy(stream, master + (from - flat->shard_first), w->values + (from - first),
                              (size_t)(to - from) * sizeof(float));
    }
    if (status == ZRT_OK)
        status = device->stream_synchronize(stream);
    pthread_mutex_unlock(&all->copying);
    return status;
}

/* Only what this rank holds is made or read. */
static void enter_parameter(fill *all)
{
    const zrt__parameter *parameter = &all->engine->model->parameters[all->p];
    int index = 0;
    zrt__zero_locate(all->engine->compiled.zero, (int)all->p, &index, &all->start);
    const zrt__flat *flat = all->flat = &all->engine->compiled.zero->flats[index];
    bool resident = flat->kind == ZRT__FLAT_RESIDENT;
    all->at = resident ? 0 : max64(0, flat->shard_first - all->start);
    all->end = resident ? parameter->n_elements
                        : min64(parameter->n_elements, flat->shard_first + flat->shard_elements - all->start);
}

/* False when there is none left, or a thread failed. */
static bool take(fill *all, piece *piece_out)
{
    const zrt_model *model = all->engine->model;
    bool taken = false;
    pthread_mutex_lock(&all->taking);
    while (!taken && all->status == ZRT_OK && all->p < model->n_parameters) {
        const zrt__parameter *parameter = &model->parameters[all->p];
        if (all->at < 0 && (all->wanted == NULL || all->wanted(all->user, parameter)))
            enter_parameter(all);
        if (all->at < 0 || all->at >= all->end) {
            all->p++;
            all->at = -1;
            continue;
        }
        *piece_out = (piece){.parameter = parameter,
                             .flat = all->flat,
                             .first = all->at,
                             .n = min64(PIECE, all->end - all->at),
                             .start = all->start};
        all->at += piece_out->n;
        taken = true;
    }
    pthread_mutex_unlock(&all->taking);
    return taken;
}

/* The first failure counts. */
static void fail(fill *all, zrt_status status)
{
    pthread_mutex_lock(&all->taking);
    if (all->status == ZRT_OK) {
        all->status = status;
        snprintf(all->message, sizeof all->message, "%s", zrt_error_message());
    }
    pthread_mutex_unlock(&all->taking);
}

static void *work(void *argument)
{
    worker *w = argument;
    piece p;
    while (take(w->all, &p)) {
        zrt_status status = w->all->source(w->all->user, p.parameter, p.first, p.n, w->values);
        if (status == ZRT_OK)
            status = store(w->all, p.flat, p.start + p.first, p.n, w);
        if (status != ZRT_OK)
            fail(w->all, status);
    }
    return NULL;
}

static zrt_status start(fill *all, worker *w, bool in_thread)
{
    w->all = all;
    w->values = zrt__malloc(PIECE * sizeof(float));
    w->converted = zrt__malloc(PIECE * sizeof(float));
    if (w->values == NULL || w->converted == NULL)
        return ZRT_ERR_MEMORY;
    /* Fewer threads do it too. */
    w->has_thread = in_thread && pthread_create(&w->thread, NULL, work, w) == 0;
    return ZRT_OK;
}

zrt_status zrt__parameters_fill(zrt_engine *engine, zrt__source_fn *source, zrt__wanted_fn *wanted, void *user,
                                bool concurrent)
{
    fill *all = zrt__calloc(1, sizeof *all);
    int n = concurrent ? zrt__context_placement(engine->context)->n_threads : 1;
    worker *workers = zrt__calloc((size_t)(n = n > MOST_THREADS ? MOST_THREADS : n), sizeof *workers);
    sigset_t every, before;
    zrt_status status = ZRT_ERR_MEMORY;

    if (all == NULL || workers == NULL)
        goto release;
    *all = (fill){.engine = engine, .source = source, .wanted = wanted, .user = user, .at = -1};
    pthread_mutex_init(&all->taking, NULL);
    pthread_mutex_init(&all->copying, NULL);
    sigfillset(&every); /* signals are for the program's threads */
    pthread_sigmask(SIG_SETMASK, &every, &before);
    status = ZRT_OK;
    for (int i = n; status == ZRT_OK && i-- > 0;)
        status = start(all, &workers[i], i > 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != ZRT_OK)
        fail(all, status);
    else
        work(&workers[0]);
    for (int i = 0; i < n; i++) {
        if (workers[i].has_thread)
            pthread_join(workers[i].thread, NULL);
        free(workers[i].values);
        free(workers[i].converted);
    }
    status = all->status == ZRT_OK ? ZRT_OK : zrt__fail_with(all->status, all->message);
    pthread_mutex_destroy(&all->taking);
    pthread_mutex_destroy(&all->copying);
release:
    free(workers);
    free(all);
    return status;
}
