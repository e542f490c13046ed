/* What a run tells while it trains: metrics.jsonl, the progress line, DeepSpeed's lines, csv_monitor and tensorboard. */
#ifndef ZERORT_MONITOR_H
#define ZERORT_MONITOR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <zerort/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zrt_context zrt_context;
typedef struct zrt_monitor zrt_monitor;

/* All of it happens on rank 0; on other ranks every function returns ZRT_OK at once. Strings are copied. */
typedef struct zrt_monitor_options {
    const char *metrics_path;       /* of metrics.jsonl, appended to; NULL: none */
    FILE *stream;                   /* of the progress line and DeepSpeed's lines, lent; NULL: none is printed */
    bool progress;                  /* print the progress line at each row: in place where `stream` is a terminal */
    int64_t n_steps;                /* of the whole run; 0: unknown */
    const char *csv_folder;         /* output_path/job_name of csv_monitor, made where missing; NULL: off */
    const char *tensorboard_folder; /* output_path/job_name of tensorboard, made where missing; NULL: off */
} zrt_monitor_options;

/* context may be NULL: one rank. Local. Errors: ZRT_ERR_IO (the file or folder that cannot be made or written). */
ZRT_EXPORT zrt_status zrt_monitor_create(const zrt_context *context, const zrt_monitor_options *options,
                                         zrt_monitor **monitor_out);
/* Ends the progress line and closes the files. Local. */
ZRT_EXPORT void zrt_monitor_destroy(zrt_monitor **monitor);

/* One logged step. */
typedef struct zrt_metrics_row {
    int64_t step; /* counted from 1 */
    double epoch;
    double loss;      /* mean since the row before, or of the step: the caller's choice */
    double eval_loss; /* NAN: not evaluated at this step */
    bool classifies;  /* the evaluation is of a classifier and has these instead of a perplexity */
    double eval_accuracy, eval_f1;
    double grad_norm, learning_rate, loss_scale;
    int64_t skipped; /* steps skipped since the row before */
    int64_t tokens;  /* trained on so far, all ranks */
    double tokens_per_second;
    double step_seconds;
    int64_t memory_bytes;
    double
        mfu; /* share of the device's peak that the model's products reach (zrt_engine_model_flops); 0: unknown, not shown */
    int64_t samples; /* trained on so far, all ranks: the x axis of csv_monitor and tensorboard, as DeepSpeed's */
} zrt_metrics_row;

/* Writes the row to everything that is on: one line of metrics.jsonl in one write, whole or not at all (keys step, epoch, loss,
 * eval_loss and eval_perplexity (of a classifier eval_accuracy and eval_f1) where there is one, grad_norm, learning_rate, loss_scale, skipped, tokens, tokens_per_second, step_seconds, memory_bytes, mfu where it is known;
 * a number that is not finite is null); the progress line; a point of each metric. Local. Errors: ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_monitor_log(zrt_monitor *monitor, const zrt_metrics_row *row);

/* Ends a progress line that stands in place, so that the program can print below it. Local. */
ZRT_EXPORT void zrt_monitor_end_line(zrt_monitor *monitor);

/* DeepSpeed's steps_per_print line, "step=10, skipped=0, lr=[0.001], mom=[(0.9, 0.999)]", with one learning rate and one or two
 * momenta (n_momenta) for each parameter group. Local. */
ZRT_EXPORT void zrt_monitor_print_step(zrt_monitor *monitor, int64_t step, int64_t skipped, int n_groups,
                                       const double *learning_rates, int n_momenta, const double *momenta);

/* wall_clock_breakdown: what was spent, added up until it is printed. */
typedef enum zrt_timer { ZRT_TIMER_FORWARD, ZRT_TIMER_BACKWARD, ZRT_TIMER_STEP, ZRT_N_TIMERS } zrt_timer;
ZRT_EXPORT void zrt_monitor_add_time(zrt_monitor *monitor, zrt_timer timer, double seconds);
/* "time (ms) | fwd_microstep: .. | bwd_microstep: .. | step_microstep: .." of what was added since the last such line. Local. */
ZRT_EXPORT void zrt_monitor_print_micro_times(zrt_monitor *monitor);
/* "time (ms) | fwd: .. | bwd: .. | step: .." since the last such line, also to csv_monitor and tensorboard
 * (elapsed_time_ms_forward ..). Local. Errors: ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_monitor_print_times(zrt_monitor *monitor, int64_t samples);

/* comms_logger: collectives by kind and size. `bytes` is one rank's part of an all-gather or reduce-scatter and the whole buffer
 * of the others. */
typedef enum zrt_comm_kind {
    ZRT_COMM_ALL_GATHER,
    ZRT_COMM_REDUCE_SCATTER,
    ZRT_COMM_ALL_REDUCE,
    ZRT_COMM_BROADCAST,
    ZRT_N_COMM_KINDS
} zrt_comm_kind;
/* Adds one; `verbose` prints it. Local. */
ZRT_EXPORT zrt_status zrt_monitor_add_comm(zrt_monitor *monitor, zrt_comm_kind kind, int64_t bytes, int n_ranks,
                                           double seconds, bool verbose);
/* DeepSpeed's table (log_summary): for each kind and size the count, latencies and bandwidths in Gbit/s. Local. */
ZRT_EXPORT void zrt_monitor_print_comms(zrt_monitor *monitor);

#ifdef __cplusplus
}
#endif
#endif
