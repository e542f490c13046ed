/* The parts of a monitor. */
#ifndef ZRT_MONITOR_MONITOR_H
#define ZRT_MONITOR_MONITOR_H

#include <stddef.h>

#include <zerort/monitor.h>

#include "monitor/append_file.h"

/* One point of a metric, named as DeepSpeed's monitors do: "Train/Samples/train_loss". */
typedef struct zrt__point {
    const char *tag;
    double value;
    int64_t step;
} zrt__point;

enum { ZRT__NUMBER_BYTES = 32 };
/* The shortest decimal that reads back as the same double, as Python's repr ("0.001", "1e-05", "nan"); no locale. */
void zrt__number_text(double value, char text[ZRT__NUMBER_BYTES]);

/* A row as one line of JSON with its newline; the length. */
enum { ZRT__METRICS_LINE_BYTES = 768 };
size_t zrt__metrics_line(const zrt_metrics_row *row, char line[ZRT__METRICS_LINE_BYTES]);

/* The progress line without its end; `compact` for a narrow terminal. seconds_left < 0: unknown. */
enum { ZRT__PROGRESS_BYTES = 512 };
void zrt__progress_text(const zrt_metrics_row *row, int64_t n_steps, double seconds_left, bool compact,
                        char text[ZRT__PROGRESS_BYTES]);

/* One file for each tag in `folder`, a header and lines of "step,value", as csv.writer ends them. */
typedef struct zrt__csv zrt__csv;
zrt_status zrt__csv_create(const char *folder, zrt__csv **csv_out);
zrt_status zrt__csv_write(zrt__csv *csv, const zrt__point *points, size_t n);
void zrt__csv_destroy(zrt__csv **csv);

/* A new event file in `folder`. */
typedef struct zrt__tensorboard zrt__tensorboard;
zrt_status zrt__tensorboard_create(const char *folder, zrt__tensorboard **tensorboard_out);
zrt_status zrt__tensorboard_write(zrt__tensorboard *tensorboard, double wall_time, const zrt__point *points, size_t n);
void zrt__tensorboard_destroy(zrt__tensorboard **tensorboard);

/* The TFRecord of one Event; the bytes written, 0 where they do not fit. point NULL: the event that begins a file. */
size_t zrt__tensorboard_record(double wall_time, const zrt__point *point, unsigned char *record, size_t capacity);

/* Collectives by kind and bytes. */
typedef struct zrt__comm_entry {
    zrt_comm_kind kind;
    const char *caller; /* static; "": not told apart */
    int64_t bytes, count;
    double seconds, tput, busbw; /* sums; the latter two of Gbit/s */
} zrt__comm_entry;
typedef struct zrt__comm_log {
    zrt__comm_entry *entries;
    size_t n, capacity;
} zrt__comm_log;
/* The rates of one collective in Gbit/s, as DeepSpeed counts them. */
void zrt__comm_rates(zrt_comm_kind kind, int64_t bytes, int n_ranks, double seconds, double *tput_out,
                     double *busbw_out);
zrt_status zrt__comm_log_add(zrt__comm_log *log, zrt_comm_kind kind, const char *caller, int64_t bytes, int n_ranks,
                             double seconds, FILE *verbose);
void zrt__comm_log_print(zrt__comm_log *log, FILE *stream);

/* Where the monitor prints, with no progress line open; NULL: nowhere, or another rank than 0. */
FILE *zrt__monitor_stream(zrt_monitor *monitor);
/* Whether csv_monitor or tensorboard is on. */
bool zrt__monitor_has_points(const zrt_monitor *monitor);
/* The metrics of a step as points; a row of the same step does not write them again. */
zrt_status zrt__monitor_step(zrt_monitor *monitor, const zrt_metrics_row *row);
/* As zrt_monitor_add_comm, told apart by the caller (static, comms_logger.debug). */
zrt_status zrt__monitor_add_comm(zrt_monitor *monitor, zrt_comm_kind kind, const char *caller, int64_t bytes,
                                 int n_ranks, double seconds, bool verbose);
/* bwd_inner and bwd_allreduce of wall_clock_breakdown: parts of ZRT_TIMER_BACKWARD and ZRT_TIMER_STEP. */
void zrt__monitor_add_reduction(zrt_monitor *monitor, double seconds);

#endif
