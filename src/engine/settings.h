/* What the engine takes from the resolved configuration. */
#ifndef ZRT_ENGINE_SETTINGS_H
#define ZRT_ENGINE_SETTINGS_H

#include "config/resolved.h"
#include "optim/schedule.h"
#include "optim/update.h"
#include "zero/zero.h"

typedef struct zrt__settings {
    zrt__zero_options zero; /* rank, n_ranks and rules are set by the engine */
    zrt__optimizer optimizer;
    zrt__schedule schedule;
    zrt__step_rules rules; /* but for the learning rates */
    double initial_loss_scale;
    uint64_t seed;
    int64_t max_steps;                /* 0: unknown */
    int64_t checkpoint_staging_bytes; /* the most that saving takes, but for one tile */
    size_t host_memory;               /* bytes that all ranks of this host may take; 0: ask the machine */
    size_t device_memory;             /* bytes of one GPU that a rank may take; 0: ask it */
    zrt__offload offload_mode;        /* where states are offloaded */
    double offload_ratio;             /* of the states on the host; below 0: auto */
    bool offload_pinned;              /* they are in pinned memory */
    bool ratio_auto;                  /* as much of the optimizer states as fits is on the device */
    bool deterministic, offload_optimizer;
    zrt__aio_options aio;
    struct zrt__engine_files {
        char folder[512];
        bool fast_init;
    } optimizer_files;
    bool state_dict_on_host, state_dict_rank0_only; /* of full state dicts */
    zrt__watch watch;
    const char *device; /* "auto", "cpu", "cuda"; static */
} zrt__settings;

/* Errors: ZRT_ERR_CONFIG, ZRT_ERR_NOT_SUPPORTED naming the key. */
zrt_status zrt__settings_from(const zrt__resolved *resolved, const zrt_model *model, zrt__settings *settings_out);

/* Optimizer states go through the pipeline of the host. */
void zrt__settings_offload(zrt__settings *settings);

#endif
