/* Forward, backward, step. */
#include "config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"
#include "launch/activity.h"

static zrt_status check_usable(const zrt_engine *engine, bool condition, const char *order)
{
    if (condition)
        return ZRT_OK;
    return zrt__fail(ZRT_ERR_USAGE,
                     "%s: the order is zrt_engine_forward, zrt_engine_backward, zrt_engine_step (step %lld, "
                     "micro-step %lld)",
                     order, (long long)engine->step, (long long)engine->micro_step);
}

static zrt_status run(zrt_engine *engine, int segment)
{
    int variant = zrt__variant_of(&engine->compiled, engine->micro_step, engine->settings.zero.micro_steps);
    bool traced = engine->trace_path != NULL && engine->trace_variant == variant && engine->trace.n > 0;
    return zrt__watch_run(engine, segment, traced ? &engine->trace : zrt__timed_trace(engine));
}

/* Scalars of the pass that the host knows: key of dropout, number of the step, capacities. */
static zrt_status stage_scalars(zrt_engine *engine, const zrt_batch *batch)
{
    const zrt__zero_options *options = &engine->settings.zero;
    const zrt__device_ops *device = engine->runtime.device->ops;
    int64_t positions = batch != NULL && batch->label_positions > 0 ? batch->label_positions : options->length;
    double *capacity = zrt__engine_address(engine, NULL, engine->compiled.staging.capacity);
    zrt__step_state *head = zrt__engine_address(engine, NULL, engine->compiled.staging.head);
    *capacity = (double)(options->rows * positions * options->micro_steps);
    head->seed = engine->settings.seed;
    head->step = engine->step;
    head->capacity = *capacity * options->n_ranks;
    ZRT_TRY(device->copy(zrt__engine_stream(engine), zrt__engine_address(engine, NULL, engine->compiled.zero->capacity),
                         capacity, sizeof *capacity));
    return device->copy(zrt__engine_stream(engine), zrt__engine_address(engine, NULL, engine->compiled.zero->state),
                        head, offsetof(zrt__step_state, grad_scale));
}

zrt_status zrt_engine_forward(zrt_engine *engine, const zrt_batch *batch, zrt_loss **loss_out)
{
    const zrt__zero_options *options = &engine->settings.zero;
    const zrt__device_ops *device = engine->runtime.device->ops;
    ZRT_TRY(check_usable(engine, !engine->backward_due && !engine->update_due, "zrt_engine_forward out of order"));
    zrt__activity_step(zrt__context_activity(engine->context), engine->step + 1);
    ZRT_TRY(zrt__batch_stage(engine, batch, options->rows, options->length));
    ZRT_TRY(stage_scalars(engine, batch));
    ZRT_TRY(device->event_record(engine->staged, zrt__engine_stream(engine)));
    ZRT_TRY(run(engine, ZRT__SEGMENT_FORWARD));
    zrt__ref sums = zrt__ref_at(engine->compiled.zero->state, offsetof(zrt__step_state, micro_sums));
    ZRT_TRY(device->copy(zrt__engine_stream(engine), zrt__engine_address(engine, NULL, engine->compiled.staging.loss),
                         zrt__engine_address(engine, NULL, sums), 2 * sizeof(double)));
    ZRT_TRY(device->event_record(engine->loss.event, zrt__engine_stream(engine)));
    engine->samples += options->rows * options->n_ranks;
    engine->loss.valid = true;
    engine->backward_due = true;
    *loss_out = &engine->loss;
    return ZRT_OK;
}

zrt_status zrt_engine_backward(zrt_engine *engine, zrt_loss *loss)
{
    ZRT_TRY(check_usable(engine, engine->backward_due && loss == &engine->loss,
                         "zrt_engine_backward without the loss of "
                         "the forward pass before it"));
    ZRT_TRY(run(engine, ZRT__SEGMENT_BACKWARD));
    engine->backward_due = false;
    engine->update_due = true;
    return ZRT_OK;
}

bool zrt_engine_is_accumulation_boundary(const zrt_engine *engine)
{
    return engine->micro_step + 1 == engine->settings.zero.micro_steps;
}

static zrt_status finish_trace(zrt_engine *engine)
{
    if (engine->trace_path == NULL || engine->trace.n == 0)
        return ZRT_OK;
    ZRT_TRY(zrt__engine_synchronize(engine));
    zrt_status status = ZRT_OK;
    if (engine->settings.zero.rank == 0) {
        const char **names = zrt__malloc((engine->model->n_units + 1) * sizeof *names);
        for (size_t i = 0; names != NULL && i < engine->model->n_units; i++)
            names[i] = engine->model->units[i].prefix;
        status = names == NULL ? ZRT_ERR_MEMORY
                               : zrt__trace_write(engine->compiled.train[engine->trace_variant], &engine->trace, names,
                                                  engine->settings.zero.rank, engine->trace_path);
        free(names);
    }
    zrt__trace_free(&engine->trace);
    free(engine->trace_path);
    engine->trace_path = NULL;
    return zrt__group_agree(zrt__context_world(engine->context), status);
}

/* Rates of the table's half that comes next, where the number of steps is not known (the table is a ring). */
static zrt_status refresh_rates(zrt_engine *engine)
{
    int64_t n = engine->settings.rules.n_learning_rates, half = n / 2;
    if (engine->settings.max_steps > 0 || engine->step % half != 0)
        return ZRT_OK;
    const zrt__device_ops *device = engine->runtime.device->ops;
    ZRT_TRY(zrt__engine_synchronize(engine));
    double *rates = zrt__engine_address(engine, NULL, engine->compiled.staging.rates);
    double *target = zrt__engine_address(engine, NULL, engine->compiled.zero->rates);
    for (int64_t i = engine->step + half; i < engine->step + n; i++)
        rates[i % n] = zrt__schedule_rate(&engine->settings.schedule, i);
    int64_t first = (engine->step + half) % n;
    return device->copy(zrt__engine_stream(engine), target + first, rates + first, (size_t)half * sizeof *rates);
}

zrt_status zrt_engine_step(zrt_engine *engine)
{
    const zrt__device_ops *device = engine->runtime.device->ops;
    ZRT_TRY(check_usable(engine, engine->update_due, "zrt_engine_step without a backward pass before it"));
    engine->update_due = false;
    if (!zrt_engine_is_accumulation_boundary(engine)) {
        engine->micro_step++;
        return zrt__watch_step(engine, false);
    }
    /* What is being saved must have been copied before it changes. */
    for (int i = 0; engine->saving.saver != NULL && i < ZRT__N_STREAMS; i++)
        if (engine->runtime.streams[i] != NULL)
            ZRT_TRY(zrt__saver_fence(engine->saving.saver, engine->runtime.streams[i]));
    ZRT_TRY(run(engine, ZRT__SEGMENT_STEP));
    ZRT_TRY(device->copy(zrt__engine_stream(engine), zrt__engine_address(engine, NULL, engine->compiled.staging.state),
                         zrt__engine_address(engine, NULL, engine->compiled.zero->state), sizeof(zrt__step_state)));
    ZRT_TRY(device->event_record(engine->metrics_ready, zrt__engine_stream(engine)));
    engine->micro_step = 0;
    engine->step++;
    ZRT_TRY(refresh_rates(engine));
    ZRT_TRY(zrt__watch_step(engine, true));
    ZRT_TRY(finish_trace(engine));
    return zrt__engine_check_scale(engine);
}

zrt_status zrt_loss_value(zrt_loss *loss, double *mean_out, int64_t *count_out)
{
    zrt_engine *engine = loss->engine;
    if (!loss->valid)
        return zrt__fail(ZRT_ERR_USAGE, "zrt_loss_value before the first forward pass");
    ZRT_TRY(engine->runtime.device->ops->event_synchronize(loss->event));
    const double *sums = zrt__engine_address(engine, NULL, engine->compiled.staging.loss);
    if (mean_out != NULL)
        *mean_out = sums[1] > 0 ? sums[0] / sums[1] : 0;
    if (count_out != NULL)
        *count_out = (int64_t)sums[1];
    return ZRT_OK;
}

zrt_status zrt_engine_metrics(zrt_engine *engine, zrt_metrics *metrics_out)
{
    if (engine->step == 0) {
        *metrics_out = (zrt_metrics){.loss_scale = engine->settings.initial_loss_scale};
        return ZRT_OK;
    }
    const zrt__device_ops *device = engine->runtime.device->ops;
    const zrt__speculation *speculation = zrt__engine_speculation(engine);
    ZRT_TRY(device->event_synchronize(engine->metrics_ready));
    if (speculation != NULL)
        ZRT_TRY(device->event_synchronize(engine->runtime.marks[engine->compiled.zero->host_decided]));
    ZRT_TRY(zrt__engine_failure(engine)); /* a stream that failed has no metrics */
    const zrt__step_state *state = zrt__engine_address(engine, NULL, engine->compiled.staging.state);
    engine->least_loss_scale = state->loss_scale;
    *metrics_out = (zrt_metrics){.step = engine->step,
                                 .skipped = state->skipped,
                                 .loss = state->loss,
                                 .grad_norm = state->grad_norm,
                                 .learning_rate = state->used_learning_rate,
                                 .loss_scale = state->used_loss_scale,
                                 .counted = (int64_t)state->counted,
                                 .speculated = speculation != NULL ? speculation->tried : 0,
                                 .discarded = speculation != NULL ? speculation->discarded : 0};
    return ZRT_OK;
}

zrt_status zrt_engine_trace(zrt_engine *engine, const char *path)
{
    free(engine->trace_path);
    zrt__trace_free(&engine->trace);
    engine->trace_path = zrt__strdup(path);
    if (engine->trace_path == NULL)
        return ZRT_ERR_MEMORY;
    engine->trace_variant =
        zrt__variant_of(&engine->compiled, engine->settings.zero.micro_steps - 1, engine->settings.zero.micro_steps);
    return zrt__trace_create(engine->compiled.train[engine->trace_variant], &engine->trace);
}
