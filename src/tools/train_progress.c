#include "config.h"

#include "tools/train_progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zerort/monitor.h>

#include "tools/run_folder.h"
#include "tools/tool_report.h"

struct train_progress {
    const train_run *run;
    zrt_monitor *monitor;
    double begin;                   /* of the time that counts since the last row */
    double paused;                  /* when; 0: not paused */
    int64_t step, skipped, samples; /* at the last row */
    int64_t timed_step;             /* since when time counts: the last row's, or where this run went on */
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* output_path/job_name of csv_monitor or tensorboard; NULL where it is off. Upstream's folder without an output_path. */
static zrt_status monitor_folder(const train_run *run, const char *block, const char *otherwise, char **folder_out)
{
    char key[64], values[3][512] = {"", "", ""};
    static const char *const names[] = {"enabled", "output_path", "job_name"};
    *folder_out = NULL;
    for (int i = 0; i < 3; i++) {
        snprintf(key, sizeof key, "%s.%s", block, names[i]);
        ZRT_TRY(zrt_config_get(run->config, zrt_size(run->context), zrt_model_get_info(run->model)->hidden_size, key,
                               values[i], sizeof values[i]));
        if (i == 0 && strcmp(values[0], "true") != 0)
            return ZRT_OK;
        size_t length = strlen(values[i]);
        if (values[i][0] == '"') { /* JSON text: without its quotes and backslashes */
            char *to = values[i];
            for (const char *from = values[i] + 1; from < values[i] + length - 1; from++) {
                from += *from == '\\' && from[1] != '\0';
                *to++ = *from;
            }
            *to = '\0';
        }
    }
    size_t length = strlen(values[1]);
    const char *slash = length > 0 && values[1][length - 1] == '/' ? "" : "/";
    if (asprintf(folder_out, "%s%s%s", length > 0 ? values[1] : otherwise, slash, values[2]) < 0) {
        *folder_out = NULL;
        return tool_fail(ZRT_ERR_MEMORY, "out of memory for the log");
    }
    return ZRT_OK;
}

zrt_status train_progress_open(const train_run *run, train_progress **progress_out)
{
    char *path = NULL, *csv = NULL, *tensorboard = NULL;
    train_progress *progress = calloc(1, sizeof *progress);
    *progress_out = progress;
    if (!progress)
        return tool_fail(ZRT_ERR_MEMORY, "out of memory for the log");
    progress->run = run;
    zrt_status status = run->folder ? run_folder_path(run->folder, "metrics.jsonl", &path) : ZRT_OK;
    if (status == ZRT_OK)
        status = monitor_folder(run, "csv_monitor", "csv_monitor", &csv);
    if (status == ZRT_OK)
        status = monitor_folder(run, "tensorboard", "tensorboard", &tensorboard);
    const zrt_monitor_options options = {.metrics_path = path,
                                         .stream = stdout,
                                         .progress = true,
                                         .n_steps = run->n_steps,
                                         .csv_folder = csv,
                                         .tensorboard_folder = tensorboard};
    if (status == ZRT_OK)
        status = zrt_monitor_create(run->context, &options, &progress->monitor);
    if (status == ZRT_OK)
        status = zrt_engine_set_monitor(run->engine, progress->monitor);
    free(path);
    free(csv);
    free(tensorboard);
    progress->begin = now();
    progress->step = run->logged_step;
    progress->skipped = run->logged_skipped;
    progress->samples = zrt_loader_position(run->train_loader);
    progress->timed_step = run->first_step;
    return status;
}

void train_progress_summary(train_progress *progress)
{
    char value[8], mode[32];
    const train_run *run = progress->run;
    if (zrt_config_get(run->config, zrt_size(run->context), zrt_model_get_info(run->model)->hidden_size,
                       "comms_logger.enabled", value, sizeof value) == ZRT_OK &&
        strcmp(value, "true") == 0)
        zrt_monitor_print_comms(progress->monitor);
    zrt_metrics metrics;
    if (zrt_config_get(run->config, zrt_size(run->context), zrt_model_get_info(run->model)->hidden_size,
                       "zerort.overlapped_step", mode, sizeof mode) == ZRT_OK &&
        strstr(mode, "speculative") != NULL && zrt_engine_metrics(run->engine, &metrics) == ZRT_OK &&
        metrics.step > run->first_step && zrt_rank(run->context) == 0)
        printf("updates during backward: %lld of %lld steps, %lld of them thrown away (clipped or skipped)\n",
               (long long)metrics.speculated, (long long)(metrics.step - run->first_step),
               (long long)metrics.discarded);
}

void train_progress_close(train_progress **progress)
{
    if (*progress && (*progress)->run->engine)
        zrt_engine_set_monitor((*progress)->run->engine, NULL);
    if (*progress)
        zrt_monitor_destroy(&(*progress)->monitor);
    free(*progress);
    *progress = NULL;
}

zrt_status train_progress_log(train_progress *progress, const zrt_metrics *metrics, const double *eval_loss)
{
    const train_run *run = progress->run;
    double end = progress->paused > 0 ? progress->paused : now();
    double seconds = end - progress->begin;
    int64_t samples = zrt_loader_position(run->train_loader), n_rows = zrt_dataset_n_rows(run->train_data);
    int64_t n_steps = metrics->step - progress->timed_step;
    double flops = 0, peak = 0;
    zrt_engine_model_flops(run->engine, &flops, &peak);
    const zrt_metrics_row row = {
        .step = metrics->step,
        .epoch = n_rows > 0 ? (double)samples / (double)n_rows : 0,
        .loss = metrics->loss,
        .eval_loss = eval_loss ? *eval_loss : (double)NAN,
        .classifies = zrt_model_get_info(run->model)->n_classes > 0,
        .eval_accuracy = run->classification.accuracy,
        .eval_f1 = run->classification.f1,
        .grad_norm = metrics->grad_norm,
        .learning_rate = metrics->learning_rate,
        .loss_scale = metrics->loss_scale,
        .skipped = metrics->skipped - progress->skipped,
        .tokens = samples * run->length,
        .tokens_per_second = seconds > 0 ? (double)((samples - progress->samples) * run->length) / seconds : 0,
        .step_seconds = n_steps > 0 ? seconds / (double)n_steps : 0,
        .memory_bytes = (int64_t)zrt_engine_memory_bytes(run->engine),
        .samples = samples,
        .mfu = peak > 0 && seconds > 0 ? flops * (double)n_steps / seconds / peak : 0,
    };
    progress->step = progress->timed_step = metrics->step;
    progress->skipped = metrics->skipped;
    progress->samples = samples;
    progress->begin = progress->paused > 0 ? progress->paused : end;
    return zrt_monitor_log(progress->monitor, &row);
}

void train_progress_position(const train_progress *progress, int64_t *step_out, int64_t *skipped_out)
{
    *step_out = progress->step;
    *skipped_out = progress->skipped;
}

void train_progress_pause(train_progress *progress)
{
    progress->paused = now();
}

void train_progress_resume(train_progress *progress)
{
    progress->begin += now() - progress->paused;
    progress->paused = 0;
}
