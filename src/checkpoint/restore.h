/* Reading a checkpoint: elements of parameters and states, each block of a file under its checksum, at any number of ranks. */
#ifndef ZRT_CHECKPOINT_RESTORE_H
#define ZRT_CHECKPOINT_RESTORE_H

#include "checkpoint/manifest.h"
#include "launch/launch.h"

typedef struct zrt__restore zrt__restore;

/* Opens FOLDER, a checkpoint. group: a communicator of its own, lent; NULL: this rank alone. Local; the manifest is lent by it.
 * Errors: ZRT_ERR_INPUT naming the file. */
zrt_status zrt__restore_open(const char *folder, const zrt__group *group, zrt__restore **restore_out);
void zrt__restore_close(zrt__restore **restore);
const zrt__manifest *zrt__restore_manifest(const zrt__restore *restore);

/* Elements [first, first + n) of a parameter (dataset 0) or a state. Local. Errors: ZRT_ERR_INPUT naming file and block. */
zrt_status zrt__restore_read(zrt__restore *restore, int dataset, const zrt__layout_parameter *parameter, int64_t first,
                             int64_t n, float *out);

/* Checks, shared out between the ranks, every byte that none of them has read. Collective over the group. */
zrt_status zrt__restore_verify_rest(zrt__restore *restore);

#endif
