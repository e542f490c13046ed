/* Failures that nobody on the host waits for: NCCL's asynchronous errors, and ranks that failed or left. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "comm/nccl/comm_nccl.h"

enum { PERIOD_MS = 20, PATIENCE_S = 2 };

/* What a rank tells the others; the text fills the rest of the notice. */
typedef struct word {
    uint32_t failed; /* 0: it has closed the communicator */
    uint32_t unused0;
    uint64_t n_enqueued; /* collectives that it has taken part in */
    char text[ZRT__NOTICE_BYTES - 16];
} word;

void zrt__nccl_fail(zrt__comm_nccl *comm, const char *message)
{
    if (atomic_exchange(&comm->claimed, true))
        return;
    snprintf(comm->failure, sizeof comm->failure, "%s", message);
    atomic_store(&comm->failed, true);
    comm->platform->fail(comm->device, ZRT_ERR_COMM, comm->failure);
}

void zrt__nccl_abort(zrt__comm_nccl *comm)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += PATIENCE_S;
    /* Who holds the lock for so long waits inside NCCL for a rank that does not come; aborting is what ends that. */
    bool held = pthread_mutex_timedlock(&comm->lock, &t) == 0;
    ncclComm_t nccl = atomic_exchange(&comm->nccl, NULL);
    if (nccl != NULL)
        comm->library.ncclCommAbort(nccl);
    if (held)
        pthread_mutex_unlock(&comm->lock);
}

void zrt__nccl_tell(zrt__comm_nccl *comm, const char *failure)
{
    word w = {.failed = failure != NULL, .n_enqueued = atomic_load(&comm->n_enqueued)};
    if (comm->told || comm->notices == NULL)
        return;
    comm->told = true;
    if (failure != NULL)
        snprintf(w.text, sizeof w.text, "%.*s", (int)sizeof w.text - 1, failure);
    zrt__notices_send(comm->notices, &w, sizeof w);
}

/* Who has left is remembered: collectives that are enqueued after it left wait for ever too. */
static bool means_failure(zrt__comm_nccl *comm, int from, const word *w, char *message, size_t n_bytes)
{
    if (from < 0)
        return false;
    if (w->failed != 0)
        snprintf(message, n_bytes, "%s", w->text);
    else
        snprintf(message, n_bytes,
                 "%s: rank %d closed the communicator, for which this rank (%s) still waits: see that rank's message",
                 comm->label, from, comm->where);
    return w->failed != 0 || atomic_load(&comm->n_enqueued) > w->n_enqueued;
}

bool zrt__nccl_listen(zrt__comm_nccl *comm, char *message, size_t n_bytes)
{
    word w;
    int from;
    memset(&w, 0, sizeof w);
    if (comm->notices == NULL || zrt__notices_poll(comm->notices, &w, &from) != ZRT_OK)
        return false;
    return means_failure(comm, from, &w, message, n_bytes);
}

/* NCCL's own word on the communicator. */
static bool asynchronous_error(zrt__comm_nccl *comm, char *message, size_t n_bytes)
{
    ncclResult_t state = ncclSuccess, result = ncclSuccess;
    /* without the lock: only this thread takes the communicator away */
    if (comm->nccl != NULL)
        result = comm->library.ncclCommGetAsyncError(comm->nccl, &state);
    bool wrong = result != ncclSuccess || (state != ncclSuccess && state != ncclInProgress);
    if (wrong) {
        zrt__nccl_check(comm, result != ncclSuccess ? result : state, "a collective that runs");
        snprintf(message, n_bytes, "%s", zrt_error_message());
    }
    return wrong;
}

static void *watch_main(void *user)
{
    zrt__comm_nccl *comm = user;
    char message[sizeof comm->failure] = "";
    word gone = {0}, w;
    int gone_rank = -1, from;
    while (!atomic_load(&comm->stop)) {
        bool own = atomic_load(&comm->failed) || asynchronous_error(comm, message, sizeof message);
        memset(&w, 0, sizeof w);
        if (!own && zrt__notices_poll(comm->notices, &w, &from) == ZRT_OK && from >= 0 &&
            (gone_rank < 0 || w.failed != 0 || w.n_enqueued < gone.n_enqueued)) {
            gone = w;
            gone_rank = from;
        }
        if (own || means_failure(comm, gone_rank, &gone, message, sizeof message)) {
            zrt__nccl_fail(comm, message);
            if (own)
                zrt__nccl_tell(comm, atomic_load(&comm->failed) ? comm->failure : message);
            zrt__nccl_abort(comm);
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = PERIOD_MS * 1000000L}, NULL);
    }
    return NULL;
}

zrt_status zrt__nccl_watch_start(zrt__comm_nccl *comm)
{
    if (pthread_create(&comm->watch, NULL, watch_main, comm) != 0)
        return zrt__fail(ZRT_ERR_MEMORY, "%s: no thread to watch NCCL", comm->label);
    comm->watched = true;
    return ZRT_OK;
}

void zrt__nccl_watch_stop(zrt__comm_nccl *comm)
{
    if (!comm->watched)
        return;
    atomic_store(&comm->stop, true);
    pthread_join(comm->watch, NULL);
    comm->watched = false;
}
