/* What an engine needs to save and load. */
#ifndef ZRT_ENGINE_SAVING_H
#define ZRT_ENGINE_SAVING_H

#include <zerort/checkpoint.h>

#include "checkpoint/restore.h"
#include "checkpoint/saver.h"
#include "engine/settings.h"
#include "plan/plan.h"

typedef struct zrt__saving {
    zrt__group *group; /* a communicator of its own */
    zrt__stream *stream;
    zrt__event *ready[ZRT__N_STREAMS]; /* the values of the last step, as each stream leaves them */
    zrt__saver *saver;
    zrt__layout layout;
    int *buffer_flat;    /* by buffer of the layout */
    char *configuration; /* resolved, JSON */
    char *folder;        /* that is claimed */
    int lock;            /* rank 0's */
    zrt__user_blob *blobs;
    size_t n_blobs, blobs_capacity;
} zrt__saving;

/* Opens what saving needs. Collective. */
zrt_status zrt__saving_open(zrt_engine *engine, const zrt_config *config);
void zrt__saving_close(zrt_engine *engine);

/* The layout of a checkpoint of this plan. buffer_flat (may be NULL): by buffer, the flat that it is; given, released with free(). */
zrt_status zrt__layout_from(const zrt__zero *zero, const zrt__settings *settings, zrt__layout *layout_out,
                            int **buffer_flat_out);
/* Rank 0's path on all ranks. Gives. Collective. */
zrt_status zrt__share_path(const zrt__group *group, const char *path, char **path_out);
/* Plans the ring. */
zrt_status zrt__plan_ring(const zrt__zero *zero, const zrt__settings *settings, zrt__memory *memory, zrt__ref *ring_out,
                          int64_t *bytes_out);
/* Rates of the table of learning rates as they are after engine->step steps. */
zrt_status zrt__engine_upload_rates(zrt_engine *engine);

#endif
