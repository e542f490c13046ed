#include "config.h"

#include "launch/watchdog.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "launch/notices.h"

enum { HOST_BYTES = 64, REPORT_BYTES = 8192, MOST_TOLD = 16 };
#define PERIOD 0.1
/* Others look as often: who has not answered by then cannot. */
#define PATIENCE 2.0

struct zrt__watchdog {
    zrt__activity *activity;
    double seconds;
    zrt_hang_fn *hangs;
    void *user;
    int rank, size;
    char *hosts;   /* [size][HOST_BYTES] */
    char *answers; /* [size][ZRT__NOTICE_BYTES], "" of who has not answered */
    zrt__notices *notices;
    pthread_t thread;
    bool runs;
    pthread_mutex_t lock; /* over what follows, and notices */
    pthread_cond_t wake;
    bool stop;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static char *answer_of(const zrt__watchdog *w, int rank)
{
    return w->answers + (size_t)rank * ZRT__NOTICE_BYTES;
}

static const char *host_of(const zrt__watchdog *w, int rank)
{
    return w->hosts + (size_t)rank * HOST_BYTES;
}

/* ---- the report ---- */

typedef struct report {
    char text[REPORT_BYTES];
    size_t length;
} report;

static void __attribute__((format(printf, 2, 3))) add(report *r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(r->text + r->length, sizeof r->text - r->length, format, arguments);
    va_end(arguments);
    if (n > 0)
        r->length = r->length + (size_t)n < sizeof r->text ? r->length + (size_t)n : sizeof r->text - 1;
}

/* Silent ranks first: one of them is what the others wait for. */
static void write_report(const zrt__watchdog *w, report *r)
{
    int told = 0, n_silent = 0;
    for (int i = 0; i < w->size; i++)
        n_silent += answer_of(w, i)[0] == '\0';
    *r = (report){.length = 0};
    add(r, "no progress in %g s (--collective-timeout): rank %d (host %s) is %s", w->seconds, w->rank,
        host_of(w, w->rank), answer_of(w, w->rank));
    for (int i = 0; i < w->size; i++)
        if (answer_of(w, i)[0] == '\0' && told++ < MOST_TOLD)
            add(r, "\n  rank %d (host %s) does not answer: it was stopped, has ended or is cut off", i, host_of(w, i));
    for (int i = 0; i < w->size; i++)
        if (answer_of(w, i)[0] != '\0' && i != w->rank && told++ < MOST_TOLD)
            add(r, "\n  rank %d (host %s) is %s", i, host_of(w, i), answer_of(w, i));
    if (told > MOST_TOLD)
        add(r, "\n  and %d other ranks, of %d that do not answer in all", told - MOST_TOLD, n_silent);
}

/* ---- watching ---- */

/* Takes what has come. True when any has. */
static bool listen(zrt__watchdog *w)
{
    char notice[ZRT__NOTICE_BYTES];
    bool any = false;
    int from = -1;
    do {
        memset(notice, 0, sizeof notice);
        if (w->notices == NULL || zrt__notices_poll(w->notices, notice, &from) != ZRT_OK || from < 0)
            break;
        notice[sizeof notice - 1] = '\0';
        memcpy(answer_of(w, from), notice, sizeof notice);
        any = true;
    } while (true);
    return any;
}

/* Its own answer is there before it asks. */
static void speak(zrt__watchdog *w)
{
    char *own = answer_of(w, w->rank);
    zrt__activity_describe(w->activity, own, ZRT__NOTICE_BYTES);
    if (w->notices != NULL)
        zrt__notices_send(w->notices, own, strlen(own) + 1);
}

static bool all_have_answered(const zrt__watchdog *w)
{
    for (int i = 0; i < w->size; i++)
        if (answer_of(w, i)[0] == '\0')
            return false;
    return true;
}

static int lowest_answer(const zrt__watchdog *w)
{
    for (int i = 0; i < w->size; i++)
        if (answer_of(w, i)[0] != '\0')
            return i;
    return -1;
}

/* With the lock, until the time or the end. */
static void rest(zrt__watchdog *w, double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t nanoseconds = t.tv_nsec + (int64_t)(seconds * 1e9);
    t.tv_sec += (time_t)(nanoseconds / 1000000000);
    t.tv_nsec = (long)(nanoseconds % 1000000000);
    while (!w->stop && pthread_cond_timedwait(&w->wake, &w->lock, &t) == 0)
        ;
}

static void *watch(void *user)
{
    zrt__watchdog *w = user;
    static const report none = {.length = 0};
    double told_at = 0, looked_at = now(), period = w->seconds / 10 < PERIOD ? w->seconds / 10 : PERIOD;
    bool hangs = false, slept = false;
    pthread_mutex_lock(&w->lock);
    while (!w->stop && !hangs) {
        rest(w, period);
        /* Who was stopped itself, and is let go on to be ended, has nothing to say about the others. */
        slept = slept || (told_at <= 0 && now() - looked_at > PATIENCE);
        looked_at = now();
        bool late = zrt__activity_longest(w->activity, period) > w->seconds;
        if ((listen(w) || late) && told_at <= 0) {
            speak(w);
            told_at = now();
        } else if (told_at <= 0) {
            slept = false;
        }
        hangs = told_at > 0 && !w->stop && (now() - told_at > PATIENCE || all_have_answered(w));
    }
    pthread_mutex_unlock(&w->lock);
    if (hangs) {
        report r = none;
        write_report(w, &r);
        w->hangs(w->user, r.text, !slept && lowest_answer(w) == w->rank);
    }
    return NULL;
}

/* ---- starting, ending ---- */

static void watchdog_free(zrt__watchdog *w)
{
    if (w == NULL)
        return;
    zrt__notices_close(&w->notices);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w->hosts);
    free(w->answers);
    free(w);
}

static zrt_status gather(const zrt__group *group, double seconds, zrt__watchdog *w)
{
    char host[HOST_BYTES] = "";
    w->rank = zrt__group_rank(group);
    w->size = zrt__group_size(group);
    gethostname(host, sizeof host - 1);
    w->hosts = zrt__calloc((size_t)w->size, HOST_BYTES);
    w->answers = zrt__calloc((size_t)w->size, ZRT__NOTICE_BYTES);
    ZRT_TRY(zrt__group_agree(group, w->hosts != NULL && w->answers != NULL ? ZRT_OK : ZRT_ERR_MEMORY));
    ZRT_TRY(zrt__group_all_gather(group, host, w->hosts, HOST_BYTES));
    w->seconds = seconds;
    return zrt__notices_open(group, &w->notices);
}

zrt_status zrt__watchdog_start(const zrt__group *group, zrt__activity *activity, double seconds, zrt_hang_fn *hangs,
                               void *user, zrt__watchdog **watchdog_out)
{
    pthread_condattr_t monotonic;
    zrt__watchdog *w = zrt__calloc(1, sizeof *w);
    *watchdog_out = NULL;
    zrt_status status = zrt__group_agree(group, w != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status != ZRT_OK) {
        free(w);
        return status;
    }
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    w->activity = activity;
    w->hangs = hangs;
    w->user = user;
    status = gather(group, seconds, w);
    if (status == ZRT_OK) {
        zrt__activity_longest(activity, 0);
        w->runs = pthread_create(&w->thread, NULL, watch, w) == 0;
        status = zrt__group_agree(group, w->runs ? ZRT_OK : zrt__fail(ZRT_ERR_MEMORY, "no thread for the watchdog"));
    }
    if (status != ZRT_OK) {
        zrt__watchdog_stop(&w);
        return status;
    }
    *watchdog_out = w;
    return ZRT_OK;
}

void zrt__watchdog_leave_mpi(zrt__watchdog *watchdog)
{
    if (watchdog == NULL)
        return;
    pthread_mutex_lock(&watchdog->lock);
    zrt__notices_close(&watchdog->notices);
    pthread_mutex_unlock(&watchdog->lock);
}

void zrt__watchdog_stop(zrt__watchdog **watchdog)
{
    if (watchdog == NULL || *watchdog == NULL)
        return;
    zrt__watchdog *w = *watchdog;
    if (w->runs) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    watchdog_free(w);
    *watchdog = NULL;
}
