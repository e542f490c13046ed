#include "config.h"

#include "tools/train_resume.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/run_folder.h"
#include "tools/tool_report.h"

#define POSITION "train.position"

bool train_run_saves(const train_run *run)
{
    return run->settings.save_steps > 0 || run->settings.saves_epochs || run->settings.save_minutes > 0;
}

static bool resumes(const train_run *run, const char *how)
{
    return strcmp(run->settings.resume, how) == 0;
}

bool train_resume_takes_folder(const train_run *run)
{
    return resumes(run, "auto") || resumes(run, "must");
}

zrt_status train_resume_check(const train_run *run)
{
    bool from_run = train_resume_takes_folder(run);
    if (from_run && !run->options->output_dir)
        return tool_fail(ZRT_ERR_USAGE,
                         "--resume-from-checkpoint %s needs --output-dir: the folder of the run to go on with",
                         run->settings.resume);
    if (!from_run && !resumes(run, "never") && access(run->settings.resume, F_OK) != 0)
        return tool_fail(ZRT_ERR_INPUT, "--resume-from-checkpoint '%s': %s; give auto, must, never, or a folder",
                         run->settings.resume, strerror(errno));
    if (run->options->resume_exclude.n_words > 0 && resumes(run, "never"))
        return tool_fail(ZRT_ERR_USAGE, "--resume-exclude needs --resume-from-checkpoint");
    if ((run->settings.keep_best > 0 || run->settings.load_best) && !train_run_saves(run))
        return tool_fail(ZRT_ERR_USAGE, "--save-best-limit and --load-best-model-at-end need --save-strategy epoch, "
                                        "--save-steps or --save-minutes");
    bool of_classes = run->settings.best_metric == TRAIN_EVAL_ACCURACY || run->settings.best_metric == TRAIN_EVAL_F1;
    if (of_classes && zrt_model_get_info(run->model)->n_classes == 0)
        return tool_fail(ZRT_ERR_CONFIG,
                         "--metric-for-best-model accuracy and f1 are of classifiers, which model '%s' is not; give "
                         "loss or perplexity",
                         zrt_model_get_name(run->model));
    if (run->settings.best_metric == TRAIN_EVAL_PERPLEXITY && zrt_model_get_info(run->model)->n_classes > 0)
        return tool_fail(ZRT_ERR_CONFIG,
                         "--metric-for-best-model perplexity is of language models, and model '%s' is a classifier; "
                         "give loss, accuracy or f1",
                         zrt_model_get_name(run->model));
    if ((run->settings.keep_best > 0 || run->settings.load_best) && run->options->eval_files.n_words == 0 &&
        run->options->validation_percent <= 0)
        return tool_fail(ZRT_ERR_USAGE, "--save-best-limit and --load-best-model-at-end need an evaluation: give "
                                        "--eval-file or --validation-split-percentage");
    return ZRT_OK;
}

/* ---- metrics.jsonl ---- */

static int64_t step_of_row(const char *line)
{
    const char *key = strstr(line, "\"step\":");
    return key ? strtoll(key + strlen("\"step\":"), NULL, 10) : -1;
}

/* Cuts off the rows of steps after `step`: they come again. */
static zrt_status cut_metrics(const char *folder, int64_t step)
{
    char *path = NULL, *line = NULL;
    size_t capacity = 0;
    ZRT_TRY(run_folder_path(folder, "metrics.jsonl", &path));
    FILE *file = fopen(path, "r");
    zrt_status status = ZRT_OK;
    if (!file && errno != ENOENT)
        status = tool_fail(ZRT_ERR_IO, "%s: %s", path, strerror(errno));
    off_t end = 0;
    bool cuts = false;
    while (file && !cuts && getline(&line, &capacity, file) > 0) {
        int64_t row = step_of_row(line);
        cuts = row < 0 || row > step || line[strlen(line) - 1] != '\n';
        if (!cuts)
            end = ftello(file);
    }
    if (file)
        fclose(file);
    if (cuts && truncate(path, end) != 0)
        status = tool_fail(ZRT_ERR_IO, "%s: cannot cut off what comes again: %s", path, strerror(errno));
    free(line);
    free(path);
    return status;
}

/* ---- going on ---- */

/* Numbers of the run that the engine does not know, as text in its user state. */
static zrt_status read_position(train_run *run)
{
    const void *data;
    size_t bytes;
    long long samples = 0, step = 0, skipped = 0;
    char text[128] = "";
    if (zrt_engine_get_user_state(run->engine, POSITION, &data, &bytes) != ZRT_OK)
        return ZRT_OK; /* of an imported model: from the start */
    memcpy(text, data, bytes < sizeof text - 1 ? bytes : sizeof text - 1);
    if (sscanf(text, "samples %lld row %lld skipped %lld", &samples, &step, &skipped) != 3 || samples < 0)
        return tool_fail(ZRT_ERR_INPUT, "the checkpoint was not saved by train: it has no position in the data");
    run->logged_step = step;
    run->logged_skipped = skipped;
    return zrt_loader_seek(run->train_loader, samples);
}

zrt_status train_resume(train_run *run)
{
    bool is_first = zrt_rank(run->context) == 0, from_run = train_resume_takes_folder(run);
    const tool_list *exclude = &run->options->resume_exclude;
    const zrt_load_options options = {
        .fall_back = resumes(run, "auto"), .n_excluded = (int)exclude->n_words, .excluded = exclude->words};
    if (resumes(run, "never"))
        return ZRT_OK;
    const char *from = from_run ? run->options->output_dir : run->settings.resume;
    zrt_status status = zrt_engine_load(run->engine, from, &options);
    if (status == ZRT_END && resumes(run, "auto")) /* nothing yet: a new run */
        return tool_agree(run->context, is_first ? cut_metrics(run->folder, 0) : ZRT_OK);
    if (status == ZRT_END)
        status = tool_fail(ZRT_ERR_INPUT, "'%s' holds no checkpoint to go on from", from);
    ZRT_TRY(tool_agree(run->context, status));
    run->first_step = zrt_engine_step_count(run->engine);
    status = read_position(run);
    if (status == ZRT_OK && is_first && from_run)
        status = cut_metrics(run->folder, run->first_step);
    if (status == ZRT_OK && is_first)
        printf("going on after step %" PRId64 "\n", run->first_step);
    return tool_agree(run->context, status);
}

/* ---- saving ---- */

/* What the best is best in, of the last evaluation. */
static double best_metric(const train_run *run)
{
    switch (run->settings.best_metric) {
    case TRAIN_EVAL_LOSS:
        break;
    case TRAIN_EVAL_PERPLEXITY:
        return exp(run->eval_loss);
    case TRAIN_EVAL_ACCURACY:
        return run->classification.accuracy;
    case TRAIN_EVAL_F1:
        return run->classification.f1;
    }
    return run->eval_loss;
}

zrt_status train_save_checkpoint(train_run *run, const train_progress *progress, bool evaluated)
{
    static const char *const names[] = {"eval_loss", "eval_perplexity", "eval_accuracy", "eval_f1"};
    const zrt_save_options options = {.has_metric = evaluated,
                                      .metric = best_metric(run),
                                      .metric_name = names[run->settings.best_metric],
                                      .greater_is_better = run->settings.greater_is_better,
                                      .keep_last = run->settings.keep_last,
                                      .keep_best = run->settings.keep_best};
    int64_t step = 0, skipped = 0;
    char text[128];
    train_progress_position(progress, &step, &skipped);
    int n = snprintf(text, sizeof text, "samples %" PRId64 " row %" PRId64 " skipped %" PRId64,
                     zrt_loader_position(run->train_loader), step, skipped);
    zrt_status status = zrt_agree(run->context, zrt_engine_set_user_state(run->engine, POSITION, text, (size_t)n));
    if (status == ZRT_OK)
        status = zrt_engine_save_async(run->engine, run->folder, &options);
    if (!run->preempted && (status == ZRT_ERR_IO || status == ZRT_ERR_MEMORY)) {
        /* Training is worth more than one checkpoint. */
        if (zrt_rank(run->context) == 0)
            tool_report_warning("no checkpoint after step %" PRId64 ": %s", zrt_engine_step_count(run->engine),
                                zrt_error_message());
        return ZRT_OK;
    }
    return status;
}

zrt_status train_load_best(train_run *run)
{
    char *best = NULL;
    if (!run->settings.load_best || run->stopped)
        return ZRT_OK;
    zrt_status status = zrt_rank(run->context) == 0 ? zrt_checkpoint_find_best(run->folder, &best) : ZRT_OK;
    /* Nothing to choose from where no checkpoint could be saved. */
    zrt_status agreed = zrt_agree(run->context, status == ZRT_END ? ZRT_ERR_USAGE : status);
    if (agreed == ZRT_ERR_USAGE) {
        free(best);
        if (zrt_rank(run->context) == 0)
            tool_report_warning("there is no checkpoint with an evaluation: the last weights stay");
        return ZRT_OK;
    }
    if (agreed == ZRT_OK)
        agreed = zrt_engine_load(run->engine, best, NULL);
    if (agreed == ZRT_OK && best)
        printf("best: %s\n", best);
    free(best);
    return tool_agree(run->context, agreed);
}
