/* The checkpoints of a run folder: checkpoint-<step>, and latest, which names one of them. Local; rank 0 writes. */
#ifndef ZRT_CHECKPOINT_RUN_CHECKPOINTS_H
#define ZRT_CHECKPOINT_RUN_CHECKPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

#define ZRT__CHECKPOINT_PREFIX "checkpoint-"
#define ZRT__CHECKPOINT_TEMPORARY ".tmp-checkpoint-"
#define ZRT__LATEST_NAME "latest"

/* FOLDER/checkpoint-<step>. Gives; NULL for want of memory. */
char *zrt__checkpoint_path(const char *folder, const char *prefix, int64_t step);

/* Steps of the checkpoints there are: the one that `latest` names first, then from the newest on. Valid or not. Gives the list. */
zrt_status zrt__checkpoint_list(const char *folder, int64_t **steps_out, size_t *n_out);

/* True for a folder that is a checkpoint itself. */
bool zrt__is_checkpoint(const char *folder);

/* Makes a finished temporary folder the checkpoint of its step, and `latest` name it; all of it survives a loss of power. One
 * that is there already is replaced in one move. */
zrt_status zrt__checkpoint_commit(const char *folder, int64_t step);

/* Removes checkpoints but the `last` newest (0: all stay) and the `best` by metric; never that of `saved`, nor what is not valid. */
void zrt__checkpoint_prune(const char *folder, int64_t saved, int64_t last, int64_t best);

/* Takes the folder for this process, or ZRT_ERR_USAGE where another has it; the end of the process gives it back. Then removes what an
 * earlier one left unfinished. */
zrt_status zrt__run_folder_claim(const char *folder, int *lock_out);
void zrt__run_folder_release(int *lock);

#endif
