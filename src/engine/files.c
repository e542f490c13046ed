/* The files of a rank's states. */
#include "config.h"

#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"

bool zrt__engine_uses_stream(const zrt_engine *engine, zrt__stream_role role)
{
    const zrt__zero *zero = engine->compiled.zero;
    return zero->file_bytes[role == ZRT__STREAM_FILE_FETCH ? ZRT__TIER_PARAMETERS : ZRT__TIER_OPTIMIZER] > 0;
}

/* What is slower than it could be is said once. */
static void report(const zrt__tier *tier, const char *folder)
{
    const char *no_uring = zrt__tier_no_uring(tier);
    if (no_uring != NULL)
        zrt__log(ZRT_LOG_WARNING, "%s: io_uring cannot be used (%s): threads read and write the states there", folder,
                 no_uring);
    if (!zrt__tier_is_direct(tier))
        zrt__log(ZRT_LOG_WARNING,
                 "%s: its file system takes no O_DIRECT: states go through the page cache, which needs memory", folder);
}

zrt_status zrt__engine_open_files(zrt_engine *engine)
{
    const zrt__group *world = zrt__context_world(engine->context);
    const zrt__settings *settings = &engine->settings;
    zrt_status status = ZRT_OK;
    if (!settings->zero.files.optimizer)
        return ZRT_OK;
    zrt__tier_options options = {.folder = settings->optimizer_files.folder,
                                 .key = "zero_optimization.offload_optimizer.nvme_path",
                                 .what = "optimizer states",
                                 .bytes = engine->compiled.zero->file_bytes[ZRT__TIER_OPTIMIZER],
                                 .n_channels = ZRT__TIER_CHANNELS,
                                 .write_zeros = !settings->optimizer_files.fast_init,
                                 .aio = settings->aio};
    if (options.bytes > 0)
        status = zrt__tier_open(&options, &engine->runtime.tiers[ZRT__TIER_OPTIMIZER]);
    status = zrt__group_agree(world, status);
    if (status == ZRT_OK && engine->runtime.tiers[ZRT__TIER_OPTIMIZER] != NULL && zrt__group_rank(world) == 0)
        report(engine->runtime.tiers[ZRT__TIER_OPTIMIZER], options.folder);
    return status;
}

zrt_status zrt_engine_check(zrt_engine *engine)
{
    for (int i = 0; i < ZRT__N_TIERS; i++)
        if (engine->runtime.tiers[i] != NULL)
            ZRT_TRY(zrt__tier_status(engine->runtime.tiers[i]));
    return ZRT_OK;
}

void zrt__engine_close_files(zrt_engine *engine)
{
    for (int i = 0; i < ZRT__N_TIERS; i++)
        zrt__tier_close(&engine->runtime.tiers[i]);
}

zrt_status zrt__file_state_read(zrt_engine *engine, const zrt__flat *flat, int which, int64_t first, int64_t n,
                                float *out)
{
    return zrt__tier_read(engine->runtime.tiers[ZRT__TIER_OPTIMIZER],
                          flat->file_states[which] + first * (int64_t)sizeof *out, out, n * (int64_t)sizeof *out);
}

zrt_status zrt__file_state_write(zrt_engine *engine, const zrt__flat *flat, int which, int64_t first, int64_t n,
                                 const float *values)
{
    return zrt__tier_write(engine->runtime.tiers[ZRT__TIER_OPTIMIZER],
                           flat->file_states[which] + first * (int64_t)sizeof *values, values,
                           n * (int64_t)sizeof *values);
}
