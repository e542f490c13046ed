#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/tool_report.h"
#include "tools/train_progress.h"
#include "tools/train_resume.h"
#include "tools/train_run.h"
#include "tools/train_signals.h"

/* Late enough that everything is warm, early enough that a short run has it. */
#define TRACED_STEP 3
/* Ranks are compared at step 8, when everything is warm, and at every 64th from there: no price that shows. */
#define TIMED_FIRST 8
#define TIMED_EVERY 64
/* Of the median rank's time; processors that share their clock differ by less. */
#define STRAGGLER_FACTOR 1.3
#define TOLD_SECONDS 600
/* How a rank that was signalled says so where all ranks meet: the least bad statuses, which reading data never gives. */
#define STOP ZRT_ERR_USAGE
#define PREEMPT ZRT_ERR_CONFIG

typedef struct loop {
    train_run *run;
    train_progress *progress;
    int64_t step;   /* done */
    int64_t logged; /* the last of them with a row */
    int64_t saved;  /* the last of them with a checkpoint */
    double saved_at;
    int suspect; /* the rank that was slow at the last look, or -1 */
    int told;    /* the one that was warned of last, or -1 */
    double told_at;
} loop;

static zrt_status micro_step(loop *l, bool first)
{
    train_run *run = l->run;
    const zrt_batch *batch;
    zrt_loss *loss;
    int64_t position = zrt_loader_position(run->train_loader);
    zrt_status status = zrt_loader_next(run->train_loader, &batch);
    if (status == ZRT_OK)
        status = zrt_engine_check(run->engine);
    /* One meeting for what only some ranks know: a file that cannot be read, a signal. */
    if (status == ZRT_OK && first && train_signal() != TRAIN_SIGNAL_NONE)
        status = train_signal() == TRAIN_SIGNAL_PREEMPT ? PREEMPT : STOP;
    status = zrt_agree(run->context, status);
    run->preempted = status == PREEMPT;
    run->stopped = status == STOP || run->preempted;
    if (run->stopped) /* the batch comes again, in the run that goes on */
        ZRT_TRY(zrt_loader_seek(run->train_loader, position));
    if (status != ZRT_OK)
        return status;
    ZRT_TRY(zrt_engine_forward(run->engine, batch, &loss));
    ZRT_TRY(zrt_engine_backward(run->engine, loss));
    return zrt_engine_step(run->engine);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Whether a checkpoint follows this step; of the minutes rank 0's clock decides. */
static zrt_status find_save(loop *l, int64_t number, bool *saves_out)
{
    const train_run *run = l->run;
    const train_settings *settings = &run->settings;
    *saves_out = train_run_saves(run) &&
                 (number == run->n_steps || (settings->save_steps > 0 && number % settings->save_steps == 0));
    if (*saves_out || settings->save_minutes <= 0)
        return ZRT_OK;
    bool is_late = zrt_rank(run->context) == 0 && now() - l->saved_at >= 60 * settings->save_minutes;
    zrt_status status = zrt_agree(run->context, is_late ? STOP : ZRT_OK);
    *saves_out = status == STOP;
    return *saves_out ? ZRT_OK : status;
}

static bool is_due(int64_t step, int64_t every, int64_t last)
{
    return step == last || (every > 0 && step % every == 0);
}

/* One slow look may be chance; the same rank twice in a row is told, and told again after a while. */
static zrt_status look_for_straggler(loop *l)
{
    zrt_straggler s;
    ZRT_TRY(zrt_engine_find_straggler(l->run->engine, &s));
    if (s.step == 0)
        return ZRT_OK;
    bool slow = s.seconds > STRAGGLER_FACTOR * s.median_seconds, again = slow && l->suspect == s.rank;
    l->suspect = slow ? s.rank : -1;
    if (!again || (l->told == s.rank && now() - l->told_at < TOLD_SECONDS))
        return ZRT_OK;
    l->told = s.rank;
    l->told_at = now();
    if (zrt_rank(l->run->context) == 0)
        tool_report_warning(
            "rank %d on host %s is slow: it computed %.3g s of step %lld, the median rank %.3g s, and all wait "
            "for it; look at its clock rate and temperature, and at what else runs there",
            s.rank, s.host, s.seconds, (long long)s.step, s.median_seconds);
    return ZRT_OK;
}

/* The row of a step: its metrics, and the evaluation when there is one. */
static zrt_status log_step(loop *l, bool evaluates)
{
    train_run *run = l->run;
    zrt_metrics metrics;
    double eval_loss = 0;
    int64_t counted;
    ZRT_TRY(zrt_agree(run->context, zrt_engine_metrics(run->engine, &metrics)));
    train_progress_pause(l->progress);
    if (evaluates) {
        ZRT_TRY(zrt_loader_seek(run->eval_loader, 0));
        if (zrt_model_get_info(run->model)->n_classes > 0) {
            ZRT_TRY(zrt_engine_evaluate_classes(run->engine, run->eval_loader, &run->classification));
            eval_loss = run->classification.loss;
        } else {
            ZRT_TRY(zrt_engine_evaluate(run->engine, run->eval_loader, &eval_loss, &counted));
        }
        run->eval_loss = eval_loss;
    }
    ZRT_TRY(train_progress_log(l->progress, &metrics, evaluates ? &eval_loss : NULL));
    ZRT_TRY(look_for_straggler(l));
    train_progress_resume(l->progress);
    l->logged = l->step;
    return ZRT_OK;
}

static zrt_status save(loop *l, bool evaluated)
{
    l->saved = l->step;
    l->saved_at = now();
    return train_save_checkpoint(l->run, l->progress, evaluated);
}

static zrt_status one_step(loop *l)
{
    train_run *run = l->run;
    const train_settings *settings = &run->settings;
    int64_t number = l->step + 1;
    int64_t traced = run->n_steps < TRACED_STEP ? run->n_steps : TRACED_STEP;
    if (run->options->trace && number == traced)
        ZRT_TRY(zrt_engine_trace(run->engine, run->options->trace));
    if (number % TIMED_EVERY == TIMED_FIRST && zrt_size(run->context) > 1)
        ZRT_TRY(zrt_engine_time_step(run->engine));
    for (int64_t i = 0; i < settings->accumulation; i++)
        ZRT_TRY(micro_step(l, i == 0));
    l->step = number;
    bool saves;
    ZRT_TRY(find_save(l, number, &saves));
    bool evaluates =
        run->eval_loader && (is_due(number, settings->eval_steps, run->n_steps) || (saves && settings->keep_best > 0));
    if (evaluates || is_due(number, settings->logging_steps, run->n_steps))
        ZRT_TRY(log_step(l, evaluates));
    return saves ? save(l, evaluates) : ZRT_OK;
}

static zrt_status steps(loop *l)
{
    zrt_status status = ZRT_OK;
    while (l->step < l->run->n_steps && status == ZRT_OK)
        status = one_step(l);
    if (!l->run->stopped)
        return status;
    /* Stopped by a signal: what was trained is still worth a number. */
    train_run *run = l->run;
    if (zrt_rank(run->context) == 0)
        fprintf(stderr, "%s: %s by a signal after step %lld of %lld\n", tool_report_program(),
                run->preempted ? "preempted" : "stopped", (long long)l->step, (long long)run->n_steps);
    /* A row that only a signal makes would not be in a run without one, and its successor's speed would be another. */
    if (l->step > l->logged && !run->preempted)
        ZRT_TRY(log_step(l, false));
    if (l->step > l->saved && (run->preempted || train_run_saves(run)))
        ZRT_TRY(save(l, false));
    /* Whoever is told that a run can go on relies on it. */
    return run->preempted && l->step > run->first_step ? zrt_engine_save_wait(run->engine) : ZRT_OK;
}

zrt_status train_loop(train_run *run)
{
    loop l = {.run = run,
              .step = run->first_step,
              .logged = run->first_step,
              .saved = run->first_step,
              .saved_at = now(),
              .suspect = -1,
              .told = -1};
    zrt_status status = tool_agree(run->context, train_progress_open(run, &l.progress));
    if (status == ZRT_OK) {
        status = steps(&l);
        if (status == ZRT_ERR_COMM) /* whom this rank lost cannot meet it */
            tool_end_lost(run->context);
        status = tool_agree(run->context, status);
        zrt_engine_save_wait(run->engine); /* a failure has been told as a warning */
        if (status == ZRT_OK)
            train_progress_summary(l.progress);
    }
    train_progress_close(&l.progress);
    return status;
}
