#include "config.h"

#include "launch/activity.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"

/* Streams that communicate, the thread of the program, and those of checkpoints; who finds no place is not watched. */
enum { N_PLACES = 16, TEXT_BYTES = 128 };
/* A look that comes later than this many seconds beyond its period: the process was stopped, or its machine. */
#define LATE 2.0

typedef struct place {
    bool taken;
    double since;
    char text[TEXT_BYTES];
} place;

struct zrt__activity {
    pthread_mutex_t lock;
    place places[N_PLACES];
    char last[TEXT_BYTES]; /* what ended last */
    double last_at, looked_at;
    int64_t step;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

zrt_status zrt__activity_create(zrt__activity **activity_out)
{
    zrt__activity *activity = zrt__calloc(1, sizeof *activity);
    *activity_out = activity;
    if (activity == NULL)
        return ZRT_ERR_MEMORY;
    pthread_mutex_init(&activity->lock, NULL);
    activity->step = -1;
    activity->last_at = activity->looked_at = now();
    return ZRT_OK;
}

void zrt__activity_destroy(zrt__activity **activity)
{
    if (activity == NULL || *activity == NULL)
        return;
    pthread_mutex_destroy(&(*activity)->lock);
    free(*activity);
    *activity = NULL;
}

int zrt__activity_begin(zrt__activity *activity, const char *where, const char *what)
{
    int found = -1;
    if (activity == NULL)
        return -1;
    double begin = now();
    pthread_mutex_lock(&activity->lock);
    for (int i = 0; i < N_PLACES && found < 0; i++)
        if (!activity->places[i].taken)
            found = i;
    if (found >= 0) {
        place *p = &activity->places[found];
        p->taken = true;
        p->since = begin;
        snprintf(p->text, sizeof p->text, "%s%s%s", where, what != NULL ? ": " : "", what != NULL ? what : "");
    }
    pthread_mutex_unlock(&activity->lock);
    return found;
}

void zrt__activity_end(zrt__activity *activity, int number)
{
    if (activity == NULL || number < 0)
        return;
    double end = now();
    pthread_mutex_lock(&activity->lock);
    place *p = &activity->places[number];
    p->taken = false;
    activity->last_at = end;
    snprintf(activity->last, sizeof activity->last, "%s", p->text);
    pthread_mutex_unlock(&activity->lock);
}

void zrt__activity_step(zrt__activity *activity, int64_t step)
{
    if (activity == NULL)
        return;
    pthread_mutex_lock(&activity->lock);
    activity->step = step;
    pthread_mutex_unlock(&activity->lock);
}

static const place *oldest(const zrt__activity *activity)
{
    const place *best = NULL;
    for (int i = 0; i < N_PLACES; i++)
        if (activity->places[i].taken && (best == NULL || activity->places[i].since < best->since))
            best = &activity->places[i];
    return best;
}

double zrt__activity_longest(zrt__activity *activity, double period)
{
    pthread_mutex_lock(&activity->lock);
    double time = now(), missing = time - activity->looked_at - period;
    activity->looked_at = time;
    for (int i = 0; i < N_PLACES && missing > LATE; i++) {
        double *since = &activity->places[i].since;
        *since = *since + missing > time ? time : *since + missing;
    }
    const place *p = oldest(activity);
    double seconds = p != NULL ? time - p->since : 0;
    pthread_mutex_unlock(&activity->lock);
    return seconds;
}

void zrt__activity_describe(zrt__activity *activity, char *text, size_t n_bytes)
{
    char step[40] = "before the first step";
    pthread_mutex_lock(&activity->lock);
    const place *p = oldest(activity);
    if (activity->step >= 0)
        snprintf(step, sizeof step, "in step %lld", (long long)activity->step);
    if (p != NULL)
        snprintf(text, n_bytes, "%s, waits for others in %s for %.1f s", step, p->text, now() - p->since);
    else if (activity->last[0] != '\0')
        snprintf(text, n_bytes, "%s, waits for nobody since %.1f s; the last was %s", step, now() - activity->last_at,
                 activity->last);
    else
        snprintf(text, n_bytes, "%s", step);
    pthread_mutex_unlock(&activity->lock);
}
