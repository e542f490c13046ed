/* Checkpoints: saving behind the training, loading at any number of ranks.
 *
 * A checkpoint is a folder RUN/checkpoint-<step>: rank00000.h5 .. with each rank's shard, index.h5 in which HDF5's tools see every
 * parameter and optimizer state as one tensor (/parameters/NAME, /exp_avg/NAME, ..), and manifest.json, which is written last and
 * has a checksum of every block of every file. RUN/latest is a text file with the name of the newest. A folder of that name is
 * whole: it is renamed into place once all of it is on the disk. */
#ifndef ZERORT_CHECKPOINT_H
#define ZERORT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <zerort/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zrt_save_options {
    bool has_metric; /* whether `metric` says something */
    double metric;   /* what the best are chosen by, among those with the same name and direction */
    const char *metric_name;
    bool greater_is_better; /* false: smaller is */
    int64_t keep_last;      /* checkpoints that stay, the newest first; 0: all */
    int64_t keep_best;      /* and the best of the others by metric; 0: none */
    /* Only the parameters (PyTorch FSDP's SHARDED_STATE_DICT), as FOLDER/checkpoint-0: what zrt_checkpoint_import makes of a Hugging Face
     * folder, from which training starts, and zrt_checkpoint_export turns back. */
    bool parameters_only;
} zrt_save_options;

/* Makes a run folder this process's own until the engine is destroyed, and removes what a run that was cut off left unfinished there.
 * Rank 0's path counts, here and below: the others may give NULL. All ranks must reach it. Saving does it where it has not been done. Collective. Errors: ZRT_ERR_USAGE where another run that lives has it, ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_engine_claim_folder(zrt_engine *engine, const char *folder);

/* Saves the whole state after a step (not between micro-steps) as FOLDER/checkpoint-<step>: parameters, optimizer states, counters,
 * loss scaler, configuration, user state. options NULL: all zeros. Collective. On an error, the same on all ranks, nothing of it is
 * left and the checkpoints that were there are as they were. Errors: ZRT_ERR_IO (no space, no permission), ZRT_ERR_USAGE. */
ZRT_EXPORT zrt_status zrt_engine_save(zrt_engine *engine, const char *folder, const zrt_save_options *options);

/* The same, written by threads while training goes on: returns once it has begun (after the one before, if that still runs). The
 * next zrt_engine_step waits until its shard has been copied out. An error is a warning to the log at once, and
 * what zrt_engine_save_wait returns. Collective. */
ZRT_EXPORT zrt_status zrt_engine_save_async(zrt_engine *engine, const char *folder, const zrt_save_options *options);
/* Waits for the last zrt_engine_save_async; its status. ZRT_OK where there is none. Collective. */
ZRT_EXPORT zrt_status zrt_engine_save_wait(zrt_engine *engine);

typedef struct zrt_load_options {
    /* Of a run folder whose newest checkpoint is damaged: take the next older one that is not, with a warning. */
    bool fall_back;
    /* Shell patterns of STATE/NAME (as in index.h5: "exp_avg*", "parameters/lm_head.weight") that keep what the engine has and may be
     * missing. */
    int n_excluded;
    const char *const *excluded;
} zrt_load_options;

/* Loads FOLDER, a checkpoint or a run folder (its newest). Number of ranks, stage and precision may be others than when it was
 * saved. Every byte is checked against its checksum; an engine whose load failed must load again or be destroyed. options NULL: all
 * zeros. Collective. ZRT_END: a run folder without checkpoints, and nothing has changed. Errors: ZRT_ERR_INPUT (damaged, not a
 * checkpoint, another model's: the file or first differing parameter named), ZRT_ERR_NOT_SUPPORTED (a newer format). */
ZRT_EXPORT zrt_status zrt_engine_load(zrt_engine *engine, const char *folder, const zrt_load_options *options);

/* Blobs that are saved and loaded with the engine, by name: a data position, say. data NULL removes; copied. Those of rank 0 are
 * saved, and every rank loads them. At most 16 MiB in all. Local. */
ZRT_EXPORT zrt_status zrt_engine_set_user_state(zrt_engine *engine, const char *name, const void *data, size_t bytes);
/* ZRT_END where there is none of that name. Lends until the next call of set or load. Local. */
ZRT_EXPORT zrt_status zrt_engine_get_user_state(const zrt_engine *engine, const char *name, const void **data_out,
                                                size_t *bytes_out);

/* Steps so far, skipped ones too. Local. */
ZRT_EXPORT int64_t zrt_engine_step_count(const zrt_engine *engine);

/* The path of the checkpoint with the best metric in a run folder, by the name and direction of the newest that has one; of equal ones the oldest. Gives, released with free(); ZRT_END where none has one. Local. */
ZRT_EXPORT zrt_status zrt_checkpoint_find_best(const char *folder, char **path_out);

/* ---- without an engine, on one rank; local ---- */

/* Describes a checkpoint, or every one of a run folder: step, ranks, model, sizes, and whether it is whole (read in full) and why
 * not. ZRT_ERR_INPUT where one is damaged or the folder has none, after all have been printed. */
ZRT_EXPORT zrt_status zrt_checkpoint_inspect(const char *folder, FILE *file);
/* Only whether they are whole. */
ZRT_EXPORT zrt_status zrt_checkpoint_verify(const char *folder, FILE *file);

/* Writes the parameters of a checkpoint, or of a run folder's newest, as a folder that transformers opens: config.json and safetensors,
 * in several files with an index when large; a piece at a time. dtype "fp32", "fp16", "bf16"; NULL: that of its config.json. */
ZRT_EXPORT zrt_status zrt_checkpoint_export(const char *folder, const char *out, const char *dtype);
/* Makes a run folder with checkpoint-0 of a Hugging Face folder, from which training starts; it has no optimizer states. */
ZRT_EXPORT zrt_status zrt_checkpoint_import(const char *hf_folder, const char *out);

#ifdef __cplusplus
}
#endif
#endif
