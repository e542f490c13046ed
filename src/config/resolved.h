/* A resolved configuration: every value that the rest of zerort needs, in C types. */
#ifndef ZRT_CONFIG_RESOLVED_H
#define ZRT_CONFIG_RESOLVED_H

#include <stdbool.h>

#include <zerort/config.h>
#include <zerort/tensor.h>

#define ZRT__MAX_PARAMETERS 24

/* A parameter of an optimizer or schedule by upstream's name. */
typedef struct zrt__named_value {
    char name[48];
    bool is_text;
    double number;
    char text[48];
} zrt__named_value;

/* What DeepSpeed prints and logs of a run. */
typedef struct zrt__watch {
    int64_t steps_per_print; /* 0: never */
    bool dump_state, wall_clock_breakdown, memory_breakdown;
    bool comms, comms_verbose, comms_debug;
    unsigned comms_operations; /* bit i: zrt_comm_kind i */
    bool flops, flops_detailed;
    int64_t profile_step, module_depth, top_modules;
    char flops_file[512]; /* "": none */
} zrt__watch;

/* DeepSpeed's block "aio", and the buffers and folder of one of the offload blocks. */
typedef struct zrt__resolved_aio {
    int64_t block_size, queue_depth, intra_op_parallelism;
    bool single_submit, overlap_events;
} zrt__resolved_aio;

typedef struct zrt__resolved_files {
    bool on; /* device nvme */
    char folder[512];
    int64_t buffer_count, buffer_size; /* elements */
    bool pipeline_read, pipeline_write, fast_init;
} zrt__resolved_files;

typedef struct zrt__resolved {
    int n_ranks;
    int64_t train_batch, micro_batch, accumulation, evaluation_batch;
    double max_grad_norm; /* 0: none */
    zrt_dtype compute_dtype, reduce_dtype, accumulate_dtype;
    bool dynamic_loss_scale, consecutive_hysteresis;
    double initial_loss_scale, min_loss_scale;
    int64_t loss_scale_window;
    int hysteresis;
    int stage;
    int64_t reduce_bucket_size, prefetch_bucket_size, max_live_parameters, max_reuse_distance;
    bool max_live_given; /* a default may grow to what the model needs */
    int64_t persistence_threshold, model_persistence_threshold;
    bool gather_16bit_weights_on_model_save, drop_last;
    char optimizer[32];
    bool optimizer_of_file; /* DeepSpeed's own, with its defaults and decay of all parameters */
    zrt__named_value optimizer_parameters[ZRT__MAX_PARAMETERS];
    int n_optimizer_parameters;
    char schedule[32];
    zrt__named_value schedule_parameters[ZRT__MAX_PARAMETERS];
    int n_schedule_parameters;
    double learning_rate;
    int64_t warmup_steps, max_steps; /* max_steps 0: unknown */
    uint64_t seed;
    int recompute; /* 0 none, 1 selective, 2 full */
    int64_t loss_chunk_bytes, checkpoint_staging_bytes;
    double collective_timeout; /* seconds; 0: none */
    bool offload_optimizer, overlapped_step_given;
    int overlapped_step; /* 0 none, 1 pipelined, 2 speculative */
    bool offload_pinned;
    double offload_ratio; /* of the states; below 0: "auto" */
    int64_t sub_group_size;
    zrt__resolved_files optimizer_files;
    zrt__resolved_aio aio;
    bool deterministic;
    bool state_dict_offload_to_cpu, state_dict_rank0_only;
    char device[16];
    int64_t seq_length;                /* 0: the model's */
    size_t host_memory, device_memory; /* 0: the machine's */
    zrt__watch watch;
    void *tree, *sources; /* all of it as JSON, and where each value came from */
    char **items;         /* "key: value", flat */
    int n_items;
} zrt__resolved;

/* Resolves for n_ranks ranks and a model of hidden_size (0: unknown; "auto" buckets are then an error). total_steps: what the run has where the
 * configuration does not say, 0: unknown. Gives. Errors: ZRT_ERR_CONFIG naming the key. */
zrt_status zrt__config_resolve(const zrt_config *config, int n_ranks, int64_t hidden_size, int64_t total_steps,
                               zrt__resolved **resolved_out);
/* All of it as JSON text, the bytes of resolved.json. Gives a string for free(). */
zrt_status zrt__resolved_print(const zrt__resolved *resolved, char **json_out);
/* What two such texts differ in, on one line: "gradient_clipping 1.0 -> 0.5, .."; "": nothing. How a run was resumed is no difference. */
zrt_status zrt__resolved_difference(const char *before, const char *now, char *text, size_t capacity);
void zrt__resolved_destroy(zrt__resolved **resolved);

/* Equal on ranks that were configured alike; and what to compare one by one where they differ. */
uint64_t zrt__resolved_hash(const zrt__resolved *resolved);
int zrt__resolved_n_items(const zrt__resolved *resolved);
void zrt__resolved_item(const zrt__resolved *resolved, int index, char *text, size_t capacity);

#endif
