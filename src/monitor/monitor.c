#include "config.h"

#include "monitor/monitor.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <zerort/engine.h>

#include "base/alloc.h"
#include "monitor/terminal.h"

struct zrt_monitor {
    bool active; /* rank 0 */
    bool has_metrics, shows_progress, in_place, line_open;
    zrt__append_file metrics;
    FILE *stream;
    int64_t n_steps;
    zrt__csv *csv;
    zrt__tensorboard *tensorboard;
    /* For the time left: the clock at the first row. */
    bool has_first;
    double first_seconds;
    int64_t first_step;
    double micro_times[ZRT_N_TIMERS], times[ZRT_N_TIMERS], micro_reduction, reduction;
    bool times_reductions;
    int64_t point_step, point_samples; /* the last step whose metrics were written as points */
    zrt__comm_log comms;
};

static double clock_seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static zrt_status open_sinks(zrt_monitor *monitor, const zrt_monitor_options *options)
{
    if (options->metrics_path != NULL) {
        ZRT_TRY(zrt__append_file_open(options->metrics_path, true, &monitor->metrics));
        monitor->has_metrics = true;
    }
    if (options->csv_folder != NULL)
        ZRT_TRY(zrt__csv_create(options->csv_folder, &monitor->csv));
    if (options->tensorboard_folder != NULL)
        ZRT_TRY(zrt__tensorboard_create(options->tensorboard_folder, &monitor->tensorboard));
    return ZRT_OK;
}

zrt_status zrt_monitor_create(const zrt_context *context, const zrt_monitor_options *options, zrt_monitor **monitor_out)
{
    zrt_monitor *monitor = zrt__calloc(1, sizeof *monitor);
    zrt_status status;

    *monitor_out = NULL;
    if (monitor == NULL)
        return ZRT_ERR_MEMORY;
    monitor->metrics.fd = -1;
    monitor->active = context == NULL || zrt_rank(context) == 0;
    if (monitor->active) {
        monitor->stream = options->stream;
        monitor->shows_progress = options->progress && options->stream != NULL;
        monitor->in_place = monitor->shows_progress && zrt__is_terminal(options->stream);
        monitor->n_steps = options->n_steps;
        status = open_sinks(monitor, options);
        if (status != ZRT_OK) {
            zrt_monitor_destroy(&monitor);
            return status;
        }
    }
    *monitor_out = monitor;
    return ZRT_OK;
}

void zrt_monitor_destroy(zrt_monitor **monitor)
{
    if (monitor == NULL || *monitor == NULL)
        return;
    zrt_monitor_end_line(*monitor);
    zrt__append_file_close(&(*monitor)->metrics);
    zrt__csv_destroy(&(*monitor)->csv);
    zrt__tensorboard_destroy(&(*monitor)->tensorboard);
    free((*monitor)->comms.entries);
    free(*monitor);
    *monitor = NULL;
}

void zrt_monitor_end_line(zrt_monitor *monitor)
{
    if (!monitor->line_open)
        return;
    fputc('\n', monitor->stream);
    fflush(monitor->stream);
    monitor->line_open = false;
}

/* By the clock, so that evaluation and checkpoints count too; the first row has only its own step. */
static double seconds_left(zrt_monitor *monitor, const zrt_metrics_row *row)
{
    double now = clock_seconds(CLOCK_MONOTONIC), each = row->step_seconds;

    if (monitor->n_steps <= 0)
        return -1.0;
    if (!monitor->has_first) {
        monitor->has_first = true;
        monitor->first_seconds = now;
        monitor->first_step = row->step;
    } else if (row->step > monitor->first_step) {
        each = (now - monitor->first_seconds) / (double)(row->step - monitor->first_step);
    }
    return row->step < monitor->n_steps ? each * (double)(monitor->n_steps - row->step) : 0.0;
}

static size_t columns_of(FILE *stream)
{
    struct winsize window;

    return ioctl(fileno(stream), TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col : 80;
}

static void print_progress(zrt_monitor *monitor, const zrt_metrics_row *row)
{
    char text[ZRT__PROGRESS_BYTES];
    double left = seconds_left(monitor, row);

    zrt__progress_text(row, monitor->n_steps, left, false, text);
    if (!monitor->in_place) {
        fprintf(monitor->stream, "%s\n", text);
    } else {
        /* A line that wraps cannot be overwritten. "\033[K" erases what is left of a longer one. */
        size_t columns = columns_of(monitor->stream);

        if (strlen(text) >= columns)
            zrt__progress_text(row, monitor->n_steps, left, true, text);
        fprintf(monitor->stream, "\r%.*s\033[K", (int)columns - 1, text);
        monitor->line_open = true;
        if (!isnan(row->eval_loss))
            zrt_monitor_end_line(monitor); /* evaluations stay to be read */
    }
    fflush(monitor->stream);
}

static zrt_status write_points(zrt_monitor *monitor, const zrt__point *points, size_t n)
{
    if (monitor->csv != NULL)
        ZRT_TRY(zrt__csv_write(monitor->csv, points, n));
    if (monitor->tensorboard != NULL)
        ZRT_TRY(zrt__tensorboard_write(monitor->tensorboard, clock_seconds(CLOCK_REALTIME), points, n));
    return ZRT_OK;
}

zrt_status zrt__monitor_step(zrt_monitor *monitor, const zrt_metrics_row *row)
{
    const zrt__point points[] = {
        {"Train/Samples/train_loss", row->loss, row->samples},
        {"Train/Samples/lr", row->learning_rate, row->samples},
        {"Train/Samples/loss_scale", row->loss_scale, row->samples},
        {"Train/Samples/grad_norm", row->grad_norm, row->samples},
    };

    if (!monitor->active || row->step == monitor->point_step)
        return ZRT_OK;
    monitor->point_step = row->step;
    monitor->point_samples = row->samples;
    return write_points(monitor, points, sizeof points / sizeof *points);
}

bool zrt__monitor_has_points(const zrt_monitor *monitor)
{
    return monitor->csv != NULL || monitor->tensorboard != NULL;
}

FILE *zrt__monitor_stream(zrt_monitor *monitor)
{
    if (!monitor->active || monitor->stream == NULL)
        return NULL;
    zrt_monitor_end_line(monitor);
    return monitor->stream;
}

zrt_status zrt_monitor_log(zrt_monitor *monitor, const zrt_metrics_row *row)
{
    /* The points of a step share one x, whoever counted its samples. */
    int64_t samples = row->step == monitor->point_step ? monitor->point_samples : row->samples;
    const zrt__point points[] = {
        {"Train/Samples/tokens_per_second", row->tokens_per_second, samples},
        {"Eval/Samples/eval_loss", row->eval_loss, samples},
    };
    size_t n_points = isnan(row->eval_loss) ? 1 : 2;

    if (!monitor->active)
        return ZRT_OK;
    if (monitor->shows_progress)
        print_progress(monitor, row);
    if (monitor->has_metrics) {
        char line[ZRT__METRICS_LINE_BYTES];
        size_t length = zrt__metrics_line(row, line);

        ZRT_TRY(zrt__append_file_write(&monitor->metrics, line, length));
    }
    ZRT_TRY(zrt__monitor_step(monitor, row));
    return write_points(monitor, points, n_points);
}

/* Python's list of numbers or of tuples. */
static void print_list(FILE *stream, int n, int n_each, const double *values)
{
    char number[ZRT__NUMBER_BYTES];

    for (int i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", stream);
        fputs(n_each > 1 ? "(" : "", stream);
        for (int j = 0; j < n_each; j++) {
            zrt__number_text(values[i * n_each + j], number);
            fprintf(stream, "%s%s", j > 0 ? ", " : "", number);
        }
        fputs(n_each > 1 ? ")" : "", stream);
    }
}

void zrt_monitor_print_step(zrt_monitor *monitor, int64_t step, int64_t skipped, int n_groups,
                            const double *learning_rates, int n_momenta, const double *momenta)
{
    if (!monitor->active || monitor->stream == NULL)
        return;
    zrt_monitor_end_line(monitor);
    fprintf(monitor->stream, "[Rank 0] step=%" PRId64 ", skipped=%" PRId64 ", lr=[", step, skipped);
    print_list(monitor->stream, n_groups, 1, learning_rates);
    fputs("], mom=[", monitor->stream);
    if (n_momenta > 0)
        print_list(monitor->stream, n_groups, n_momenta, momenta);
    fputs("]\n", monitor->stream);
    fflush(monitor->stream);
}

void zrt_monitor_add_time(zrt_monitor *monitor, zrt_timer timer, double seconds)
{
    monitor->micro_times[timer] += seconds;
    monitor->times[timer] += seconds;
}

void zrt__monitor_add_reduction(zrt_monitor *monitor, double seconds)
{
    monitor->times_reductions = true;
    monitor->micro_reduction += seconds;
    monitor->reduction += seconds;
}

static void print_times(zrt_monitor *monitor, const double *times, double reduction, const char *suffix)
{
    static const char *const names[ZRT_N_TIMERS] = {"fwd", "bwd", "step"};

    if (monitor->stream == NULL)
        return;
    zrt_monitor_end_line(monitor);
    fputs("[Rank 0] time (ms)", monitor->stream);
    for (int i = 0; i < ZRT_N_TIMERS; i++) {
        fprintf(monitor->stream, " | %s%s: %.2f", names[i], suffix, times[i] * 1e3);
        if (i == ZRT_TIMER_BACKWARD && monitor->times_reductions)
            fprintf(monitor->stream, " | bwd_allreduce%s: %.2f", suffix, reduction * 1e3);
    }
    fputc('\n', monitor->stream);
    fflush(monitor->stream);
}

void zrt_monitor_print_micro_times(zrt_monitor *monitor)
{
    if (monitor->active)
        print_times(monitor, monitor->micro_times, monitor->micro_reduction, "_microstep");
    monitor->micro_reduction = 0;
    memset(monitor->micro_times, 0, sizeof monitor->micro_times);
}

zrt_status zrt_monitor_print_times(zrt_monitor *monitor, int64_t samples)
{
    const zrt__point points[] = {
        {"Train/Samples/elapsed_time_ms_forward", monitor->times[ZRT_TIMER_FORWARD] * 1e3, samples},
        {"Train/Samples/elapsed_time_ms_backward", monitor->times[ZRT_TIMER_BACKWARD] * 1e3, samples},
        {"Train/Samples/elapsed_time_ms_step", monitor->times[ZRT_TIMER_STEP] * 1e3, samples},
        {"Train/Samples/elapsed_time_ms_backward_allreduce", monitor->reduction * 1e3, samples},
    };

    if (monitor->active)
        print_times(monitor, monitor->times, monitor->reduction, "");
    memset(monitor->times, 0, sizeof monitor->times);
    monitor->reduction = 0;
    return monitor->active
               ? write_points(monitor, points, sizeof points / sizeof *points - (monitor->times_reductions ? 0 : 1))
               : ZRT_OK;
}

zrt_status zrt__monitor_add_comm(zrt_monitor *monitor, zrt_comm_kind kind, const char *caller, int64_t bytes,
                                 int n_ranks, double seconds, bool verbose)
{
    if (!monitor->active)
        return ZRT_OK;
    if (verbose)
        zrt_monitor_end_line(monitor);
    return zrt__comm_log_add(&monitor->comms, kind, caller, bytes, n_ranks, seconds, verbose ? monitor->stream : NULL);
}

zrt_status zrt_monitor_add_comm(zrt_monitor *monitor, zrt_comm_kind kind, int64_t bytes, int n_ranks, double seconds,
                                bool verbose)
{
    return zrt__monitor_add_comm(monitor, kind, "", bytes, n_ranks, seconds, verbose);
}

void zrt_monitor_print_comms(zrt_monitor *monitor)
{
    if (!monitor->active || monitor->stream == NULL)
        return;
    zrt_monitor_end_line(monitor);
    zrt__comm_log_print(&monitor->comms, monitor->stream);
}
