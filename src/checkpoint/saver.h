/* Writing checkpoints behind the training. A tile of a rank's shard is copied into a slot of a ring of pinned memory on a stream of its
 * own; threads take it from there, checksum and write it. The next update may run as soon as the last tile has been copied. A shard that
 * is longer than the ring would be copied as slowly as it is written: what of it the host has is then written from where it is. */
#ifndef ZRT_CHECKPOINT_SAVER_H
#define ZRT_CHECKPOINT_SAVER_H

#include "checkpoint/tile.h"
#include "launch/launch.h"

typedef struct zrt__saver zrt__saver;

/* Bytes of a slot of the ring: a whole number of blocks, or the longest dataset where that is shorter. */
int64_t zrt__saver_tile_bytes(const zrt__layout *layout);
/* Threads that write. */
#define ZRT__SAVER_WRITERS 3

/* group: a communicator of the saver's own, lent; NULL: one rank. stream: where copies run, lent; NULL: in the writers. ring: slots of
 * tile_bytes, aligned to 4096, lent. */
typedef struct zrt__saver_options {
    const zrt__group *group;
    zrt__stream *stream;
    void *ring;
    int64_t tile_bytes;
    int n_slots;
} zrt__saver_options;
zrt_status zrt__saver_create(const zrt__saver_options *options, zrt__saver **saver_out);
/* Waits for what runs. */
void zrt__saver_destroy(zrt__saver **saver);

/* Bytes that a ring of at most `most` bytes, or one tile, needs for a rank's shard. */
int64_t zrt__saver_ring_bytes(const zrt__layout *layout, int64_t most);

typedef struct zrt__save_request {
    const char *folder;
    zrt__manifest *manifest; /* all but the checksums; taken: emptied */
    zrt__save_source source;
    int64_t keep_last, keep_best;
} zrt__save_request;
/* Starts writing FOLDER/checkpoint-<step>. No other may run. The values must stay as they are until zrt__saver_fence. Collective. */
zrt_status zrt__saver_start(zrt__saver *saver, const zrt__save_request *request);
/* What `stream` is given from now on runs after the last copy of what is being saved; the host waits until that is enqueued.
 * Nothing where nothing is being saved. */
zrt_status zrt__saver_fence(zrt__saver *saver, zrt__stream *stream);
/* True while one runs. */
bool zrt__saver_is_busy(const zrt__saver *saver);
/* Waits until it is committed or has failed; the same on all ranks. ZRT_OK where there is none. */
zrt_status zrt__saver_wait(zrt__saver *saver);

#endif
