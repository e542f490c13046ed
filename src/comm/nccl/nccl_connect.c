/* Connecting with a deadline. NCCL's own waiting has none that is short, so it waits in a thread of its own, which is left
 * behind when the time is over. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "comm/nccl/comm_nccl.h"

enum { DEFAULT_SECONDS = 10, RANKS_A_SECOND = 64, SLICE_MS = 20 };

typedef struct attempt {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done, abandoned; /* the one who comes last releases */
    zrt__nccl library;
    const zrt__nccl_platform *platform;
    zrt__device *device;
    ncclUniqueId id;
    int rank, size;
    char name[64];
    ncclComm_t nccl;
    zrt_status status; /* of the device */
    ncclResult_t result;
    char text[512]; /* NCCL's, or the device's */
} attempt;

static void attempt_free(attempt *a)
{
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static void *connect_main(void *user)
{
    attempt *a = user;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    config.commName = a->name;
    if (a->library.version >= ZRT__NCCL_ZERO_CTA)
        config.CTAPolicy = NCCL_CTA_POLICY_ZERO;
    ncclComm_t nccl = NULL;
    ncclResult_t result = ncclInternalError;
    char text[sizeof a->text] = "";
    zrt_status status = a->platform->enter(a->device);
    if (status == ZRT_OK)
        result = a->library.ncclCommInitRankConfig(&nccl, a->size, a->id, a->rank, &config);
    if (status != ZRT_OK || result != ncclSuccess)
        snprintf(text, sizeof text, "%s", status != ZRT_OK ? zrt_error_message() : a->library.ncclGetLastError(NULL));
    pthread_mutex_lock(&a->lock);
    a->nccl = result == ncclSuccess ? nccl : NULL;
    a->status = status;
    a->result = result;
    memcpy(a->text, text, sizeof text);
    a->done = true;
    bool abandoned = a->abandoned;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    if (abandoned) {
        if (a->nccl != NULL)
            a->library.ncclCommAbort(a->nccl);
        attempt_free(a);
    }
    return NULL;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double limit_seconds(const zrt__comm_nccl *comm)
{
    const char *text = getenv("ZERORT_NCCL_TIMEOUT");
    double seconds = text != NULL ? strtod(text, NULL) : 0;
    return seconds > 0 ? seconds : DEFAULT_SECONDS + (double)comm->base.size / RANKS_A_SECOND;
}

/* Until the thread is through, a rank has failed, or the time is over. With the lock held. */
static zrt_status wait_for(zrt__comm_nccl *comm, attempt *a)
{
    char message[ZRT__NOTICE_BYTES + 128];
    double limit = limit_seconds(comm), end = now() + limit;
    while (!a->done) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += SLICE_MS * 1000000L;
        t.tv_sec += t.tv_nsec / 1000000000L;
        t.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&a->changed, &a->lock, &t);
        if (a->done)
            break;
        if (zrt__nccl_listen(comm, message, sizeof message))
            return zrt__fail(ZRT_ERR_COMM, "%s", message);
        if (now() > end)
            return zrt__fail(ZRT_ERR_COMM,
                             "%s: NCCL has not connected this rank (%s) with the others within %.0f s; NCCL_DEBUG=INFO "
                             "shows what it tries, NCCL_SOCKET_IFNAME names the network to use, ZERORT_NCCL_TIMEOUT "
                             "the seconds to wait",
                             comm->label, comm->where, limit);
    }
    return ZRT_OK;
}

static zrt_status connect_with(zrt__comm_nccl *comm, const ncclUniqueId *id)
{
    pthread_t thread;
    attempt *a = zrt__calloc(1, sizeof *a);
    if (a == NULL)
        return ZRT_ERR_MEMORY;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->library = comm->library;
    a->platform = comm->platform;
    a->device = comm->device;
    a->id = *id;
    a->rank = comm->base.rank;
    a->size = comm->base.size;
    snprintf(a->name, sizeof a->name, "zerort %s", comm->label);
    if (pthread_create(&thread, NULL, connect_main, a) != 0) {
        attempt_free(a);
        return zrt__fail(ZRT_ERR_MEMORY, "%s: no thread to connect NCCL in", comm->label);
    }
    pthread_mutex_lock(&a->lock);
    zrt_status status = wait_for(comm, a);
    a->abandoned = status != ZRT_OK && !a->done;
    bool abandoned = a->abandoned;
    pthread_mutex_unlock(&a->lock);
    if (abandoned) {
        pthread_detach(thread);
        return status;
    }
    pthread_join(thread, NULL);
    comm->nccl = a->nccl;
    if (status == ZRT_OK && a->status != ZRT_OK)
        status = zrt__fail_with(a->status, a->text);
    else if (status == ZRT_OK && a->result != ncclSuccess)
        status = zrt__fail(ZRT_ERR_COMM, "%s: NCCL cannot connect this rank (%s): %s%s%s", comm->label, comm->where,
                           comm->library.ncclGetErrorString(a->result), *a->text != '\0' ? ": " : "", a->text);
    attempt_free(a);
    return status;
}

zrt_status zrt__nccl_connect(zrt__comm_nccl *comm)
{
    ncclUniqueId id;
    memset(&id, 0, sizeof id);
    zrt_status status = ZRT_OK;
    if (comm->base.rank == 0)
        status = zrt__nccl_check(comm, comm->library.ncclGetUniqueId(&id), "making an id");
    ZRT_TRY(zrt__group_agree(comm->group, status));
    ZRT_TRY(zrt__group_broadcast(comm->group, &id, sizeof id, 0));
    status = connect_with(comm, &id);
    if (status != ZRT_OK)
        zrt__nccl_tell(comm, zrt_error_message());
    return zrt__group_agree(comm->group, status);
}
