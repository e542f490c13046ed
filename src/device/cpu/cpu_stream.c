/* Streams of the CPU: one thread each with a ring of entries; events are tickets. */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "device/cpu/cpu_futex.h"
#include "device/cpu/cpu_product.h"
#include "device/host_events.h"

enum { RING_ENTRIES = 8192, MESSAGE_BYTES = 1024 };

typedef struct cpu_event {
    zrt__event base;
    uint32_t recorded;     /* tickets given out; only the host writes it */
    _Atomic uint32_t done; /* the last ticket that a stream has reached; also where waiters sleep */
    _Atomic uint32_t waiters;
    uint32_t *copy; /* NULL: nobody else looks at the tickets */
} cpu_event;

typedef enum entry_kind { ENTRY_LAUNCH, ENTRY_RECORD, ENTRY_WAIT, ENTRY_COPY, ENTRY_TIMESTAMP, ENTRY_STOP } entry_kind;

typedef struct ring_entry {
    entry_kind kind;
    uint32_t ticket;
    union {
        zrt__launch_fn *fn;
        cpu_event *event;
        void *dst;
        uint64_t *slot;
    } what;
    const void *arg; /* or the source of a copy */
    size_t bytes;
} ring_entry;

typedef struct cpu_stream {
    zrt__stream base;
    bool computes;
    pthread_t thread;
    ring_entry *ring;
    _Atomic uint32_t head, tail; /* taken, put; the thread sleeps on tail, the host (ring full) on head */
    _Atomic bool asleep, host_asleep;
    cpu_event drained;
    _Atomic int status; /* zrt_status of the first failure */
    char message[MESSAGE_BYTES];
} cpu_stream;

static _Thread_local _Alignas(64) char thread_scratch[ZRT__CPU_PRODUCT_SCRATCH_BYTES];

void *zrt__cpu_thread_scratch(size_t *bytes_out)
{
    *bytes_out = sizeof thread_scratch;
    return thread_scratch;
}

bool zrt__cpu_stream_computes(const zrt__stream *stream)
{
    return ((const cpu_stream *)stream)->computes;
}

void zrt__cpu_parallel(zrt__stream *stream, int64_t n, int64_t grain, zrt__cpu_range_fn *fn, void *arg)
{
    if (n <= 0)
        return;
    if (zrt__cpu_stream_computes(stream))
        zrt__cpu_pool_run(((zrt__cpu_device *)stream->device)->pool, n, grain, fn, arg);
    else
        fn(arg, 0, n);
}

static bool reached(const cpu_event *event, uint32_t ticket)
{
    return (int32_t)(atomic_load(&event->done) - ticket) >= 0;
}

static void wait_for(cpu_event *event, uint32_t ticket)
{
    for (int i = 0; i < ZRT__CPU_SPINS; i++) {
        if (reached(event, ticket))
            return;
        zrt__cpu_pause();
    }
    atomic_fetch_add(&event->waiters, 1);
    for (uint32_t done; done = atomic_load(&event->done), (int32_t)(done - ticket) < 0;)
        zrt__cpu_futex_wait(&event->done, done);
    atomic_fetch_sub(&event->waiters, 1);
}

static void complete(cpu_event *event, uint32_t ticket)
{
    atomic_store(&event->done, ticket);
    if (event->copy != NULL)
        __atomic_store_n(event->copy, ticket, __ATOMIC_RELEASE);
    if (atomic_load(&event->waiters) > 0)
        zrt__cpu_futex_wake(&event->done);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* After a failure nothing runs any more, but events go on so that nobody waits for ever. */
static void run_entry(cpu_stream *stream, const ring_entry *entry)
{
    bool failed = atomic_load(&stream->status) != ZRT_OK;
    switch (entry->kind) {
    case ENTRY_LAUNCH:
        if (!failed) {
            zrt_status status = entry->what.fn(&stream->base, entry->arg);
            if (status != ZRT_OK) {
                snprintf(stream->message, sizeof stream->message, "%s", zrt_error_message());
                atomic_store(&stream->status, (int)status);
            }
        }
        break;
    case ENTRY_RECORD:
        complete(entry->what.event, entry->ticket);
        break;
    case ENTRY_WAIT:
        wait_for(entry->what.event, entry->ticket);
        break;
    case ENTRY_COPY:
        if (!failed)
            memmove(entry->what.dst, entry->arg, entry->bytes);
        break;
    case ENTRY_TIMESTAMP:
        *entry->what.slot = now();
        break;
    case ENTRY_STOP:
        break;
    }
}

static void wait_for_entry(cpu_stream *stream, uint32_t head)
{
    for (int i = 0; i < ZRT__CPU_SPINS; i++) {
        if (atomic_load(&stream->tail) != head)
            return;
        zrt__cpu_pause();
    }
    atomic_store(&stream->asleep, true);
    while (atomic_load(&stream->tail) == head)
        zrt__cpu_futex_wait(&stream->tail, head);
    atomic_store(&stream->asleep, false);
}

static void *stream_main(void *arg)
{
    cpu_stream *stream = arg;
    zrt__cpu_bind((const zrt__cpu_device *)stream->base.device);
    for (uint32_t head = 0;; head++) {
        wait_for_entry(stream, head);
        ring_entry entry = stream->ring[head % RING_ENTRIES];
        atomic_store(&stream->head, head + 1);
        if (atomic_load(&stream->host_asleep))
            zrt__cpu_futex_wake(&stream->head);
        if (entry.kind == ENTRY_STOP)
            return NULL;
        run_entry(stream, &entry);
    }
}

static void put(cpu_stream *stream, const ring_entry *entry)
{
    uint32_t tail = atomic_load_explicit(&stream->tail, memory_order_relaxed), head;
    if (tail - atomic_load(&stream->head) >= RING_ENTRIES) {
        atomic_store(&stream->host_asleep, true);
        while (head = atomic_load(&stream->head), tail - head >= RING_ENTRIES)
            zrt__cpu_futex_wait(&stream->head, head);
        atomic_store(&stream->host_asleep, false);
    }
    stream->ring[tail % RING_ENTRIES] = *entry;
    atomic_store(&stream->tail, tail + 1);
    if (atomic_load(&stream->asleep))
        zrt__cpu_futex_wake(&stream->tail);
}

zrt_status zrt__cpu_stream_create(zrt__device *device, const char *name, bool computes, zrt__stream **stream_out)
{
    cpu_stream *stream = zrt__calloc(1, sizeof *stream);
    ring_entry *ring = zrt__calloc(RING_ENTRIES, sizeof *ring);
    if (stream == NULL || ring == NULL) {
        free(stream);
        free(ring);
        return ZRT_ERR_MEMORY;
    }
    stream->base = (zrt__stream){device, name};
    stream->computes = computes;
    stream->ring = ring;
    stream->drained.base.device = device;
    int error = pthread_create(&stream->thread, NULL, stream_main, stream);
    if (error != 0) {
        free(ring);
        free(stream);
        return zrt__fail(ZRT_ERR_DEVICE, "the thread of stream %s could not be started: %s (see ulimit -u)", name,
                         strerror(error));
    }
    *stream_out = &stream->base;
    return ZRT_OK;
}

void zrt__cpu_stream_destroy(zrt__stream **stream)
{
    if (stream == NULL || *stream == NULL)
        return;
    cpu_stream *s = (cpu_stream *)*stream;
    put(s, &(ring_entry){.kind = ENTRY_STOP});
    pthread_join(s->thread, NULL);
    free(s->ring);
    free(s);
    *stream = NULL;
}

zrt_status zrt__cpu_stream_launch(zrt__stream *stream, zrt__launch_fn *fn, const void *arg)
{
    put((cpu_stream *)stream, &(ring_entry){.kind = ENTRY_LAUNCH, .what.fn = fn, .arg = arg});
    return ZRT_OK;
}

zrt_status zrt__cpu_stream_synchronize(zrt__stream *stream)
{
    cpu_stream *s = (cpu_stream *)stream;
    zrt__cpu_event_record(&s->drained.base, stream);
    wait_for(&s->drained, s->drained.recorded);
    return zrt__cpu_stream_failure(stream);
}

zrt_status zrt__cpu_stream_failure(zrt__stream *stream)
{
    cpu_stream *s = (cpu_stream *)stream;
    zrt_status status = (zrt_status)atomic_load(&s->status);
    return status == ZRT_OK ? ZRT_OK : zrt__fail_with(status, s->message);
}

zrt_status zrt__cpu_event_create(zrt__device *device, zrt__event **event_out)
{
    cpu_event *event = zrt__calloc(1, sizeof *event);
    if (event == NULL)
        return ZRT_ERR_MEMORY;
    event->base.device = device;
    *event_out = &event->base;
    return ZRT_OK;
}

void zrt__cpu_event_destroy(zrt__event **event)
{
    if (event == NULL || *event == NULL)
        return;
    free(*event);
    *event = NULL;
}

zrt_status zrt__cpu_event_record(zrt__event *event, zrt__stream *stream)
{
    cpu_event *e = (cpu_event *)event;
    e->recorded++;
    put((cpu_stream *)stream, &(ring_entry){.kind = ENTRY_RECORD, .ticket = e->recorded, .what.event = e});
    return ZRT_OK;
}

zrt_status zrt__cpu_event_wait(zrt__event *event, zrt__stream *stream)
{
    cpu_event *e = (cpu_event *)event;
    if (!reached(e, e->recorded))
        put((cpu_stream *)stream, &(ring_entry){.kind = ENTRY_WAIT, .ticket = e->recorded, .what.event = e});
    return ZRT_OK;
}

zrt_status zrt__cpu_event_synchronize(zrt__event *event)
{
    cpu_event *e = (cpu_event *)event;
    wait_for(e, e->recorded);
    return ZRT_OK;
}

zrt_status zrt__cpu_copy(zrt__stream *stream, void *dst, const void *src, size_t bytes)
{
    put((cpu_stream *)stream, &(ring_entry){.kind = ENTRY_COPY, .what.dst = dst, .arg = src, .bytes = bytes});
    return ZRT_OK;
}

zrt_status zrt__cpu_timestamp(zrt__stream *stream, uint64_t *slot)
{
    put((cpu_stream *)stream, &(ring_entry){.kind = ENTRY_TIMESTAMP, .what.slot = slot});
    return ZRT_OK;
}

/* ---- for other backends ---- */

uint32_t zrt__host_event_begin(zrt__event *event)
{
    return ++((cpu_event *)event)->recorded;
}

void zrt__host_event_complete(zrt__event *event, uint32_t ticket)
{
    complete((cpu_event *)event, ticket);
}

uint32_t zrt__host_event_last(const zrt__event *event)
{
    return ((const cpu_event *)event)->recorded;
}

void zrt__host_event_mirror(zrt__event *event, uint32_t *copy)
{
    ((cpu_event *)event)->copy = copy;
}
