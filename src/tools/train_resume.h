/* Checkpoints of a run: when one is due, what goes into it beside the engine's state, and going on from one. */
#ifndef ZRT_TOOLS_TRAIN_RESUME_H
#define ZRT_TOOLS_TRAIN_RESUME_H

#include "tools/train_progress.h"

/* Whether --resume-from-checkpoint makes sense with the rest. Local. */
zrt_status train_resume_check(const train_run *run);
/* True when the run folder may hold a run already. */
bool train_resume_takes_folder(const train_run *run);
/* Loads what the options ask for: engine, position of the data, and the rows of metrics.jsonl after it go. Collective. */
zrt_status train_resume(train_run *run);

/* Begins to save. A failure is a warning. Collective. */
zrt_status train_save_checkpoint(train_run *run, const train_progress *progress, bool evaluated);
/* Loads the best checkpoint where the options ask for it. Collective. */
zrt_status train_load_best(train_run *run);

#endif
