/* The weights that a run folder ends with. */
#ifndef ZRT_TOOLS_TRAIN_WEIGHTS_H
#define ZRT_TOOLS_TRAIN_WEIGHTS_H

#include "tools/train_run.h"

/* Refuses what cannot be written, before anything is trained. Local. */
zrt_status train_weights_check(const train_run *run);

/* Writes them, with the tokenizer's files. Collective. */
zrt_status train_weights_save(train_run *run);

#endif
