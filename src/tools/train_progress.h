/* What a run tells while it trains: rows of metrics.jsonl and the progress line. */
#ifndef ZRT_TOOLS_TRAIN_PROGRESS_H
#define ZRT_TOOLS_TRAIN_PROGRESS_H

#include "tools/train_run.h"

typedef struct train_progress train_progress;

/* Opens the run folder's metrics.jsonl. Local; only rank 0 writes. */
zrt_status train_progress_open(const train_run *run, train_progress **progress_out);
/* Ends the line and closes the file. */
void train_progress_close(train_progress **progress);

/* What is said at the end: the table of comms_logger, where it is on. Local. */
void train_progress_summary(train_progress *progress);

/* One row of a step; eval_loss NULL: not evaluated there. Local. */
zrt_status train_progress_log(train_progress *progress, const zrt_metrics *metrics, const double *eval_loss);

/* The step of the last row, and the steps skipped up to it. */
void train_progress_position(const train_progress *progress, int64_t *step_out, int64_t *skipped_out);

/* Time between these is not a step's. */
void train_progress_pause(train_progress *progress);
void train_progress_resume(train_progress *progress);

#endif
