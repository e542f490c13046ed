/* The end of a save: checksums to rank 0, index and manifest, the move into place. Only for the files of this folder. */
#ifndef ZRT_CHECKPOINT_COMMIT_H
#define ZRT_CHECKPOINT_COMMIT_H

#include "checkpoint/manifest.h"
#include "launch/launch.h"

typedef struct zrt__save_commit {
    const zrt__group *group;
    const char *folder, *temporary; /* FOLDER, FOLDER/.tmp-checkpoint-<step> */
    zrt__manifest *manifest;
    const zrt__shard_sums *sums; /* of this rank's file, which is on the disk */
} zrt__save_commit;

/* Collective over the group. */
zrt_status zrt__save_commit_run(const zrt__save_commit *commit);

#endif
