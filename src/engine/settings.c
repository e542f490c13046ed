/* From the resolved configuration to what the engine, ZeRO and the update rules take. */
#include "config.h"

#include "engine/settings.h"

#include <string.h>

#include "base/error.h"

typedef struct optimizer_number {
    const char *name;
    size_t offset;
    bool is_bool;
} optimizer_number;

static zrt_status set_optimizer(const zrt__named_value *value, zrt__optimizer *optimizer)
{
#define FIELD(name, member, is_bool)                    \
    {                                                   \
        name, offsetof(zrt__optimizer, member), is_bool \
    }
    static const optimizer_number numbers[] = {
        FIELD("lr", learning_rate, false),
        FIELD("beta1", beta1, false),
        FIELD("beta2", beta2, false),
        FIELD("eps", eps, false),
        FIELD("weight_decay", weight_decay, false),
        FIELD("momentum", momentum, false),
        FIELD("dampening", dampening, false),
        FIELD("nesterov", nesterov, true),
        FIELD("adam_w_mode", adam_w_mode, true),
        FIELD("bias_correction", bias_correction, true),
    };
#undef FIELD
    static const char *const ignored[] = {"torch_adam", "fp32_optimizer_states", "fused", "foreach", "amsgrad"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(numbers[i].name, value->name) != 0 || value->is_text)
            continue;
        void *field = (char *)optimizer + numbers[i].offset;
        if (numbers[i].is_bool)
            *(bool *)field = value->number != 0;
        else
            *(double *)field = value->number;
        return ZRT_OK;
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (strcmp(ignored[i], value->name) == 0 && !(strcmp(value->name, "amsgrad") == 0 && value->number != 0))
            return ZRT_OK;
    return zrt__fail(
        ZRT_ERR_CONFIG,
        "optimizer parameter %s is not one of lr, betas, eps, weight_decay, momentum, dampening, nesterov, "
        "adam_w_mode, bias_correction",
        value->name);
}

static zrt_status optimizer_from(const zrt__resolved *resolved, zrt__optimizer *optimizer)
{
    zrt__optimizer_type type;
    ZRT_TRY(zrt__optimizer_type_find(resolved->optimizer, &type));
    zrt__optimizer_init(optimizer, type);
    optimizer->decay_vectors = resolved->optimizer_of_file;
    if (!resolved->optimizer_of_file)
        optimizer->learning_rate = resolved->learning_rate;
    for (int i = 0; i < resolved->n_optimizer_parameters; i++)
        ZRT_TRY(set_optimizer(&resolved->optimizer_parameters[i], optimizer));
    return zrt__optimizer_check(optimizer);
}

/* Of a pool of buffers, at most. */
static int64_t buffer_bytes(const zrt__resolved_files *files, size_t element)
{
    double bytes = (double)files->buffer_count * (double)files->buffer_size * (double)element;
    return bytes < 4e18 ? (int64_t)bytes : (int64_t)4e18;
}

static zrt_status schedule_from(const zrt__resolved *resolved, const zrt__optimizer *optimizer, zrt__schedule *schedule)
{
    zrt__schedule_type type;
    double beta1, beta2;
    ZRT_TRY(zrt__schedule_type_find(resolved->schedule, &type));
    zrt__schedule_init(schedule, type, optimizer->learning_rate);
    if (!zrt__schedule_is_deepspeed(type)) {
        schedule->warmup_steps = resolved->warmup_steps;
        if (resolved->max_steps > 0)
            schedule->total_steps = resolved->max_steps;
    }
    for (int i = 0; i < resolved->n_schedule_parameters; i++) {
        const zrt__named_value *value = &resolved->schedule_parameters[i];
        ZRT_TRY(value->is_text ? zrt__schedule_set_text(schedule, value->name, value->text)
                               : zrt__schedule_set_number(schedule, value->name, value->number));
    }
    ZRT_TRY(zrt__schedule_check(schedule));
    if (zrt__schedule_betas(schedule, 0, &beta1, &beta2))
        return zrt__fail(
            ZRT_ERR_NOT_SUPPORTED,
            "scheduler OneCycle with cycle_momentum is not supported: set scheduler.params.cycle_momentum to false");
    return ZRT_OK;
}

static void files_from(const zrt__resolved *resolved, zrt__settings *s)
{
    const zrt__resolved_files *optimizer = &resolved->optimizer_files;
    s->zero.files = (zrt__file_options){.optimizer = optimizer->on,
                                        .buffer_bytes = buffer_bytes(optimizer, sizeof(float)),
                                        .read_ahead = optimizer->pipeline_read,
                                        .write_behind = optimizer->pipeline_write};
    memcpy(s->optimizer_files.folder, optimizer->folder, sizeof s->optimizer_files.folder);
    s->optimizer_files.fast_init = optimizer->fast_init;
    s->aio = (zrt__aio_options){.block_bytes = resolved->aio.block_size,
                                .queue_depth = (int)resolved->aio.queue_depth,
                                .n_threads = (int)resolved->aio.intra_op_parallelism,
                                .single_submit = resolved->aio.single_submit,
                                .overlap_events = resolved->aio.overlap_events};
}

void zrt__settings_offload(zrt__settings *settings)
{
    settings->zero.offload = settings->offload_mode;
    settings->zero.staged = !settings->offload_pinned;
    settings->ratio_auto = settings->offload_ratio < 0;
}

zrt_status zrt__settings_from(const zrt__resolved *resolved, const zrt_model *model, zrt__settings *settings_out)
{
    enum { UNKNOWN_TOTAL_RATES = 65536 };
    zrt__settings *s = settings_out;
    memset(s, 0, sizeof *s);
    ZRT_TRY(optimizer_from(resolved, &s->optimizer));
    ZRT_TRY(schedule_from(resolved, &s->optimizer, &s->schedule));
    const zrt_model_info *info = zrt_model_get_info(model);
    int64_t longest = info->max_length > 0 ? info->max_length : 1;
    int64_t length = resolved->seq_length > 0 ? resolved->seq_length : longest;
    if (length > longest)
        return zrt__fail(ZRT_ERR_CONFIG, "seq_length %lld is more than the %lld positions of model %s",
                         (long long)length, (long long)longest, zrt_model_get_name(model));
    s->zero = (zrt__zero_options){.stage = resolved->stage,
                                  .micro_steps = resolved->accumulation,
                                  .rows = resolved->micro_batch,
                                  .length = length,
                                  .evaluation_rows = resolved->evaluation_batch,
                                  .compute_dtype = resolved->compute_dtype,
                                  .reduce_dtype = resolved->reduce_dtype,
                                  .accumulate_dtype = resolved->accumulate_dtype,
                                  .max_live_given = resolved->max_live_given,
                                  .max_live_parameters = resolved->max_live_parameters,
                                  .max_reuse_distance = resolved->max_reuse_distance,
                                  .prefetch_bucket_size = resolved->prefetch_bucket_size,
                                  .persistence_threshold = resolved->persistence_threshold,
                                  .model_persistence_threshold = resolved->model_persistence_threshold,
                                  .recompute = (zrt__recompute)resolved->recompute,
                                  .loss_chunk_bytes = (size_t)resolved->loss_chunk_bytes};
    /* On CPU ranks states are on the host already: the pipeline runs only where it is asked for. */
    s->offload_mode = resolved->overlapped_step == 0   ? ZRT__OFFLOAD_SERIAL
                      : resolved->overlapped_step == 1 ? ZRT__OFFLOAD_PIPELINED
                                                       : ZRT__OFFLOAD_SPECULATIVE;
    /* There is no second copy of what is in files. */
    if (resolved->optimizer_files.on && s->offload_mode == ZRT__OFFLOAD_SPECULATIVE)
        s->offload_mode = ZRT__OFFLOAD_PIPELINED;
    s->offload_ratio = resolved->offload_ratio;
    s->offload_pinned = resolved->offload_pinned;
    s->zero.offload_tile = resolved->sub_group_size;
    s->zero.device_share = 1.0 - resolved->offload_ratio;
    if (resolved->offload_optimizer &&
        (resolved->overlapped_step_given || resolved->optimizer_files.on || strcmp(resolved->device, "cuda") == 0))
        zrt__settings_offload(s);
    files_from(resolved, s);
    s->zero.update.kernel = zrt__optimizer_kernel(&s->optimizer);
    s->zero.update.n_states = zrt__optimizer_n_states(&s->optimizer);
    zrt__optimizer_attributes(&s->optimizer, true, &s->zero.update.decay);
    zrt__optimizer_attributes(&s->optimizer, s->optimizer.decay_vectors, &s->zero.update.no_decay);
    s->max_steps = resolved->max_steps;
    s->checkpoint_staging_bytes = resolved->checkpoint_staging_bytes;
    s->rules = (zrt__step_rules){.max_grad_norm = resolved->max_grad_norm,
                                 .dynamic_loss_scale = resolved->dynamic_loss_scale,
                                 .min_loss_scale = resolved->min_loss_scale,
                                 .scale_window = resolved->loss_scale_window,
                                 .hysteresis = resolved->hysteresis,
                                 .consecutive_hysteresis = resolved->consecutive_hysteresis,
                                 .n_learning_rates = s->max_steps > 0 ? s->max_steps + 1 : UNKNOWN_TOTAL_RATES};
    s->initial_loss_scale = resolved->initial_loss_scale;
    s->seed = resolved->seed;
    s->host_memory = resolved->host_memory;
    s->deterministic = resolved->deterministic;
    s->state_dict_on_host = resolved->state_dict_offload_to_cpu;
    s->state_dict_rank0_only = resolved->state_dict_rank0_only;
    s->watch = resolved->watch;
    s->offload_optimizer = resolved->offload_optimizer;
    s->device_memory = resolved->device_memory;
    s->device = strcmp(resolved->device, "cuda") == 0 ? "cuda" : strcmp(resolved->device, "cpu") == 0 ? "cpu" : "auto";
    return ZRT_OK;
}
