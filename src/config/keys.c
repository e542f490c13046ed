/* One row a key. Sources: DeepSpeed's runtime/constants.py, config.py, zero/config.py, zero/offload_config.py,
 * precision_config.py, swap_tensor/aio_config.py and monitor/config.py (0.19). */
#include "config.h"

#include "config/keys.h"

#include <float.h>
#include <string.h>

#define ANY -DBL_MAX, DBL_MAX
#define FROM(low) (low), DBL_MAX
#define H ZRT__HONOURED
#define A ZRT__INERT
#define R ZRT__REFUSED
#define BOOL(path, how, fallback, note)                            \
    {                                                              \
        path, ZRT__KEY_BOOL, how, fallback, ANY, NULL, false, note \
    }
#define INT(path, how, fallback, low, note)                             \
    {                                                                   \
        path, ZRT__KEY_INT, how, fallback, FROM(low), NULL, false, note \
    }
#define NUM(path, how, fallback, low, note)                                \
    {                                                                      \
        path, ZRT__KEY_NUMBER, how, fallback, FROM(low), NULL, false, note \
    }
#define STR(path, how, fallback, note)                               \
    {                                                                \
        path, ZRT__KEY_STRING, how, fallback, ANY, NULL, false, note \
    }
#define ONE(path, how, fallback, choices, note)                         \
    {                                                                   \
        path, ZRT__KEY_CHOICE, how, fallback, ANY, choices, false, note \
    }
#define LIST(path, how, note)                                  \
    {                                                          \
        path, ZRT__KEY_LIST, how, NULL, ANY, NULL, false, note \
    }
#define BLOCK(path, note)                                     \
    {                                                         \
        path, ZRT__KEY_BLOCK, H, NULL, ANY, NULL, false, note \
    }
#define OPEN(path, how, note)                                  \
    {                                                          \
        path, ZRT__KEY_OPEN, how, NULL, ANY, NULL, false, note \
    }
#define AUTO_INT(path, fallback, low, note)                          \
    {                                                                \
        path, ZRT__KEY_INT, H, fallback, FROM(low), NULL, true, note \
    }
#define AUTO_NUM(path, fallback, low, note)                             \
    {                                                                   \
        path, ZRT__KEY_NUMBER, H, fallback, FROM(low), NULL, true, note \
    }

#define ZO "zero_optimization."
#define STATIC_PLAN "the plan is static"
#define ON_HOST "CPU ranks have their parameters on the host already, a GPU keeps its shard"
#define NO_CHECKPOINT "there are no DeepSpeed checkpoints"
#define NO_TRACE "there is no trace: the schedule is compiled"

static const zrt__key keys[] = {
    AUTO_INT("train_batch_size", NULL, 1, "rows of an optimizer step, all ranks"),
    AUTO_INT("train_micro_batch_size_per_gpu", NULL, 1, "rows of a rank and micro-step"),
    AUTO_INT("gradient_accumulation_steps", NULL, 1, "micro-steps of an optimizer step"),
    BOOL("managed_gradient_accumulation", R, "true", "every zrt_engine_step is counted as a micro-step"),
    INT("steps_per_print", H, NULL, 0, "steps between two lines of step, skipped, lr, mom; 0: none"),
    AUTO_NUM("gradient_clipping", "1.0", 0, "global norm to which gradients are clipped; 0: none"),
    BLOCK("optimizer", "the update rule"),
    {"optimizer.type", ZRT__KEY_STRING, H, "\"AdamW\"", ANY, NULL, true, "Adam, AdamW, SGD or Lion"},
    OPEN("optimizer.params", H, "lr, betas, eps, weight_decay, momentum, ..."),
    BOOL("optimizer.legacy_fusion", A, "false", "updates are fused anyhow"),
    BLOCK("scheduler", "the learning-rate schedule"),
    {"scheduler.type", ZRT__KEY_STRING, H, NULL, ANY, NULL, true,
     "WarmupLR, WarmupDecayLR, WarmupCosineLR, OneCycle, LRRangeTest"},
    OPEN("scheduler.params", H, "the scheduler's own parameters"),
    BOOL("zero_allow_untested_optimizer", A, "false", "every optimizer here is tested with ZeRO"),
    BOOL("zero_force_ds_cpu_optimizer", A, "true", "there is one CPU optimizer"),
    ONE("communication_data_type", H, NULL, "fp32|fp16|bf16|bfp16", "dtype in which gradients are reduced"),
    ONE("seq_parallel_communication_data_type", A, "\"fp32\"", "fp32|fp16|bf16|bfp16",
        "there is no sequence parallelism"),
    BLOCK("data_types", "dtypes of roles"),
    ONE("data_types.grad_accum_dtype", H, NULL, "fp32|fp16|bf16|bfp16", "dtype of gradient shards; default fp32"),
    ONE("data_types.param_dtype", R, NULL, "fp32|fp16|bf16", "set fp16.enabled or bf16.enabled"),
    ONE("data_types.buffer_dtype", R, NULL, "fp32|fp16|bf16", "set fp16.enabled or bf16.enabled"),
    ONE("gradient_allreduce_op", R, "\"mean\"", "mean|sum", "the loss is the mean over counted tokens"),
    BOOL("prescale_gradients", R, "false", "gradients are averaged while they are summed, in fp32"),
    NUM("gradient_predivide_factor", R, "1.0", 0, "gradients are averaged while they are summed, in fp32"),
    BOOL("sparse_gradients", R, "false", "gradients are dense"),
    BOOL("disable_allgather", R, "false", "use another zero_optimization.stage"),
    BLOCK("fp16", "half precision with loss scaling"),
    {"fp16.enabled", ZRT__KEY_BOOL, H, "false", ANY, NULL, true, "train in fp16"},
    BOOL("fp16.auto_cast", A, "false", "inputs are cast to the compute dtype"),
    NUM("fp16.loss_scale", H, "0", 0, "static loss scale; 0: dynamic"),
    INT("fp16.initial_scale_power", H, "16", 0, "the loss scale starts at 2 to this power"),
    INT("fp16.loss_scale_window", H, "1000", 1, "clean steps after which the scale doubles"),
    INT("fp16.hysteresis", H, "2", 1, "overflows that the scale outlasts"),
    BOOL("fp16.consecutive_hysteresis", H, "false", "clean steps refill the hysteresis"),
    NUM("fp16.min_loss_scale", H, "1", 0, "the scale does not fall below it"),
    BOOL("fp16.fp16_master_weights_and_grads", R, "false", "master weights are fp32"),
    BLOCK("bf16", "bfloat16"),
    {"bf16.enabled", ZRT__KEY_BOOL, H, "false", ANY, NULL, true, "train in bf16"},
    BOOL("bf16.immediate_grad_update", A, "false", "gradients are accumulated as they are reduced"),
    BOOL("bf16.check_grad_overflow", A, "true", "every step checks"),
    BOOL("bf16.bf16_master_weights_and_grads", R, "false", "master weights are fp32"),
    BOOL("bf16.bf16_optimizer_states", R, "false", "optimizer states are fp32"),
    BLOCK("amp", "NVIDIA apex"),
    BOOL("amp.enabled", R, "false", "use fp16.enabled or bf16.enabled"),
    STR("amp.opt_level", A, NULL, "apex is not used"),
    BLOCK("torch_autocast", "PyTorch's autocast"),
    BOOL("torch_autocast.enabled", R, "false", "use fp16.enabled or bf16.enabled"),
    STR("torch_autocast.dtype", A, NULL, "autocast is not used"),
    LIST("torch_autocast.lower_precision_safe_modules", A, "autocast is not used"),
    BOOL("dump_state", H, "false", "print the resolved configuration when the engine is made"),
    BOOL("wall_clock_breakdown", H, "false", "print milliseconds of forward, backward, reductions and step"),
    BOOL("memory_breakdown", H, "false", "print the planned memory by category"),
    BOOL("dataloader_drop_last", H, "false", "leave out a last batch that is not full"),
    STR("log_level", A, NULL, "the program decides what is logged"),

    BLOCK("zero_optimization", "ZeRO"),
    {ZO "stage", ZRT__KEY_INT, H, "0", 0, 3, NULL, false, "0 to 3"},
    BOOL(ZO "contiguous_gradients", A, "true", "gradients always lie in one flat buffer a unit"),
    BOOL(ZO "reduce_scatter", A, "true", "gradients are always reduce-scattered where they are sharded"),
    AUTO_INT(ZO "reduce_bucket_size", "500000000", 1, "elements; rounded up to one unit"),
    BOOL(ZO "use_multi_rank_bucket_allreduce", A, "true", STATIC_PLAN),
    BOOL(ZO "allgather_partitions", A, "true", STATIC_PLAN),
    {ZO "allgather_bucket_size", ZRT__KEY_INT, A, "500000000", FROM(1), NULL, true, "a gather is one unit"},
    BOOL(ZO "overlap_comm", A, "true", "communication has streams of its own"),
    BOOL(ZO "load_from_fp32_weights", A, "true", "weights are read in the dtype of the file"),
    BOOL(ZO "elastic_checkpoint", A, "false", "deprecated upstream: any number of ranks can load"),
    BOOL(ZO "legacy_stage1", A, "false", "deprecated upstream: there is one stage 1"),
    BLOCK(ZO "offload_param", "parameters outside the device"),
    ONE(ZO "offload_param.device", A, "\"none\"", "none|cpu|nvme", ON_HOST),
    STR(ZO "offload_param.nvme_path", A, NULL, ON_HOST),
    INT(ZO "offload_param.buffer_count", A, "5", 1, ON_HOST),
    NUM(ZO "offload_param.buffer_size", A, "100000000", 1, ON_HOST),
    NUM(ZO "offload_param.max_in_cpu", A, "1000000000", 0, ON_HOST),
    BOOL(ZO "offload_param.pin_memory", A, "true", ON_HOST),
    BLOCK(ZO "offload_optimizer", "optimizer state outside the device"),
    ONE(ZO "offload_optimizer.device", H, "\"none\"", "none|cpu|nvme",
        "cpu: on the host, where CPU ranks have them; nvme: in files of nvme_path"),
    STR(ZO "offload_optimizer.nvme_path", H, NULL, "folder of a local disk for device nvme"),
    INT(ZO "offload_optimizer.buffer_count", H, "4", 1, "buffers that states of files pass through"),
    {ZO "offload_optimizer.buffer_size", ZRT__KEY_NUMBER, H, "100000000", 1, 1e15, NULL, false,
     "elements (fp32) of a buffer"},
    BOOL(ZO "offload_optimizer.pin_memory", H, "true",
         "the host's states are pinned; false: what crosses goes through a small pinned ring"),
    BOOL(ZO "offload_optimizer.pipeline_read", H, "true", "the next tile is read while this one is updated"),
    BOOL(ZO "offload_optimizer.pipeline_write", H, "true", "the last tile is written while this one is updated"),
    BOOL(ZO "offload_optimizer.pipeline", A, "false", ON_HOST),
    BOOL(ZO "offload_optimizer.fast_init", H, "false", "the zeros of new files are left to the file system"),
    {ZO "offload_optimizer.ratio", ZRT__KEY_NUMBER, H, "1.0", 0, 1, NULL, true,
     "share of the optimizer states that is not on the device, in whole units; \"auto\": what does not fit there"},
    BOOL(ZO "offload_optimizer.super_offload", A, "false", ON_HOST),
    NUM(ZO "offload_optimizer.cpuadam_cores_perc", A, "0.8", 0, "a rank uses its share of the cores"),
    {ZO "sub_group_size", ZRT__KEY_INT, H, "1000000000", FROM(1), NULL, true,
     "an update is one pass over a unit's shard"},
    AUTO_INT(ZO "stage3_prefetch_bucket_size", "50000000", 0, "elements gathered ahead; at least one unit is"),
    AUTO_INT(ZO "stage3_param_persistence_threshold", "100000", 0, "parameters up to it stay gathered"),
    AUTO_INT(ZO "stage3_model_persistence_threshold", "9223372036854775807", 0, "how much may stay gathered in all"),
    AUTO_INT(ZO "stage3_max_live_parameters", "1000000000", 1, "elements gathered at once: a hard cap"),
    AUTO_INT(ZO "stage3_max_reuse_distance", "1000000000", 0,
             "elements after which a parameter is released before its next use"),
    BOOL(ZO "stage3_gather_16bit_weights_on_model_save", H, "false", "write a Hugging Face folder at the end"),
    INT(ZO "stage3_module_granularity_threshold", A, "0", 0, "a unit is what the model says"),
    BOOL(ZO "stage3_use_all_reduce_for_fetch_params", A, "false", "a gather is an all-gather"),
    BOOL(ZO "stage3_allgather_sequential", A, "false", "gathers are in order on one stream"),
    BOOL(ZO "ignore_unused_parameters", A, "true", "unused parameters have zero gradients"),
    BOOL(ZO "round_robin_gradients", A, "false", "a shard is one slice of a flat buffer"),
    INT(ZO "zero_hpz_partition_size", R, "1", 1, "secondary partitions are not there"),
    BOOL(ZO "zero_quantized_weights", R, "false", "gathers are in the compute dtype"),
    BOOL(ZO "zero_quantized_nontrainable_weights", R, "false", "frozen weights are kept in the compute dtype"),
    BOOL(ZO "zero_quantized_gradients", R, "false", "use communication_data_type"),
    OPEN(ZO "zeropp_loco_param", R, "use communication_data_type"),
    INT(ZO "mics_shard_size", R, "-1", -1, "states are sharded over all ranks"),
    BOOL(ZO "mics_hierarchical_params_gather", R, "false", "states are sharded over all ranks"),
    BOOL(ZO "memory_efficient_linear", A, "true", "there are no hooks to patch"),
    BOOL(ZO "override_module_apply", A, "true", "there are no modules to patch"),
    BOOL(ZO "pipeline_loading_checkpoint", A, "false", "each rank reads its own slices"),
    BOOL(ZO "log_trace_cache_warnings", A, "false", NO_TRACE),
    BOOL(ZO "enable_sanity_checks", A, "false", "all ranks compare their schedules once"),
    BOOL(ZO "save_muon_momentum_buffer_in_memory", A, "false", "there is no Muon"),
    BLOCK(ZO "leaf_module", "modules fetched as one unit"),
    LIST(ZO "leaf_module.classes", A, "a unit is what the model says"),
    LIST(ZO "leaf_module.names", A, "a unit is what the model says"),
    LIST(ZO "leaf_module.name_suffixes", A, "a unit is what the model says"),
    OPEN(ZO "zenflow", R, "the update waits for all gradients of its step"),

    BLOCK("aio", "asynchronous files of NVMe offload"),
    {"aio.block_size", ZRT__KEY_INT, H, "1048576", 1, 1 << 30, NULL, false, "bytes of a request"},
    {"aio.queue_depth", ZRT__KEY_INT, H, "8", 1, 4096, NULL, false, "requests of a thread that are on their way"},
    {"aio.intra_op_parallelism", ZRT__KEY_INT, H, "1", 1, 64, NULL, false, "threads that share a transfer"},
    BOOL("aio.single_submit", H, "false", "each request by a call of its own"),
    BOOL("aio.overlap_events", H, "true", "a request follows as soon as one is done"),
    BOOL("aio.use_gds", R, "false", "files are read into the host's memory"),
    BLOCK("activation_checkpointing", "recomputation of activations; zerort.recompute says how much"),
    BOOL("activation_checkpointing.partition_activations", A, "false", "there is no model parallelism"),
    BOOL("activation_checkpointing.cpu_checkpointing", A, "false",
         "CPU ranks have activations on the host already, a GPU keeps its own"),
    BOOL("activation_checkpointing.contiguous_memory_optimization", A, "false", "memory is planned"),
    INT("activation_checkpointing.number_checkpoints", A, NULL, 0, "one checkpoint a unit"),
    BOOL("activation_checkpointing.synchronize_checkpoint_boundary", A, "false", "streams are ordered by events"),
    BOOL("activation_checkpointing.profile", A, "false", "--trace shows recomputation"),
    BLOCK("checkpoint", "DeepSpeed's checkpoints"),
    ONE("checkpoint.tag_validation", A, "\"Warn\"", "Ignore|Warn|Fail|ignore|warn|fail|IGNORE|WARN|FAIL",
        NO_CHECKPOINT),
    BOOL("checkpoint.load_universal", A, "false", NO_CHECKPOINT),
    BOOL("checkpoint.use_node_local_storage", A, "false", NO_CHECKPOINT),
    BLOCK("checkpoint.parallel_write", "DeepSpeed's parallel write"),
    BOOL("checkpoint.parallel_write.pipeline_stage", A, "false", NO_CHECKPOINT),
    BOOL("checkpoint.checkpoint_serialization", A, "true", NO_CHECKPOINT),
    BLOCK("checkpoint.writer", "DeepSpeed's writers"),
    STR("checkpoint.writer.type", A, NULL, NO_CHECKPOINT),
    BOOL("checkpoint.writer.decoupled", A, "false", NO_CHECKPOINT),
    INT("checkpoint.writer.io_buffer_size", A, "67108864", 1, NO_CHECKPOINT),
    BOOL("checkpoint.writer.io_buffer_double", A, "true", NO_CHECKPOINT),
    STR("checkpoint.writer.data_parallel", A, NULL, NO_CHECKPOINT),
    INT("checkpoint.writer.io_multiplier", A, "1", 1, NO_CHECKPOINT),
    BOOL("checkpoint.writer.show_statistics", A, "false", NO_CHECKPOINT),
    OPEN("datastates_ckpt", R, "checkpoints need no such engine"),
    OPEN("data_efficiency", R, "prepare the data beforehand"),
    OPEN("curriculum_learning", R, "prepare the data beforehand"),
    OPEN("autotuning", R, "choose the batch with --plan"),
    OPEN("elasticity", R, "give the batch for the ranks that run"),
    OPEN("compression_training", R, "models train in one of fp32, fp16, bf16"),
    OPEN("progressive_layer_drop", R, "all layers run"),
    OPEN("sparse_attention", R, "attention is dense"),
    OPEN("hybrid_engine", R, "zerort generate generates"),
    OPEN("tensor_parallel", R, "use zero_optimization.stage 3"),
    OPEN("expert_parallel", R, "use zero_optimization.stage 3"),
    OPEN("pipeline", R, "use zero_optimization.stage 3"),
    OPEN("compile", A, "plans are compiled"),
    BLOCK("tensorboard", "event files for TensorBoard"),
    BOOL("tensorboard.enabled", H, "false", "write event files"),
    STR("tensorboard.output_path", H, "\"\"", "folder"),
    STR("tensorboard.job_name", H, "\"DeepSpeedJobName\"", "folder in it"),
    BLOCK("csv_monitor", "metrics as csv files"),
    BOOL("csv_monitor.enabled", H, "false", "write csv files"),
    STR("csv_monitor.output_path", H, "\"\"", "folder"),
    STR("csv_monitor.job_name", H, "\"DeepSpeedJobName\"", "folder in it"),
    OPEN("wandb", R, "convert metrics.jsonl"),
    OPEN("comet", R, "convert metrics.jsonl"),
    BLOCK("comms_logger", "counts, latencies and bandwidths of collectives"),
    BOOL("comms_logger.enabled", H, "false", "log collectives; the summary comes when the engine ends"),
    BOOL("comms_logger.verbose", H, "false", "print each collective"),
    BOOL("comms_logger.prof_all", H, "true", "log every operation"),
    BOOL("comms_logger.debug", H, "false", "tell operations apart by what they move and in which phase"),
    {"comms_logger.prof_ops", ZRT__KEY_LIST, H, "[]", ANY, NULL, false, "operations to log where prof_all is false"},
    BLOCK("flops_profiler", "floating-point operations, parameters and latency by unit and operation"),
    BOOL("flops_profiler.enabled", H, "false", "profile one step"),
    INT("flops_profiler.profile_step", H, "1", 0, "the step, counted from 0"),
    INT("flops_profiler.module_depth", H, "-1", -1, "depth of the aggregated profile; -1: the deepest"),
    INT("flops_profiler.top_modules", H, "1", 0, "how many modules the aggregated profile names"),
    BOOL("flops_profiler.detailed", H, "true", "print every unit and operation"),
    NUM("flops_profiler.recompute_fwd_factor", A, "0", 0, "what backward computes again is counted as it runs"),
    STR("flops_profiler.output_file", H, NULL, "file that is written instead of printing"),
    OPEN("nebula", R, "checkpoints are local files"),

    BLOCK("zerort", "what DeepSpeed has no key for"),
    ONE("zerort.recompute", H, NULL, "none|selective|full", "activations computed again in backward"),
    INT("zerort.loss_chunk_bytes", H, "536870912", 1, "logits at a time of head and loss in training"),
    INT("zerort.checkpoint_staging_bytes", H, "67108864", 1,
        "pinned memory that a rank's shard is saved through; training goes on once the shard is in it or written"),
    ONE("zerort.overlapped_step", H, "\"pipelined\"", "none|pipelined|speculative",
        "how an offloaded update overlaps with the next forward pass, speculative: and with backward, into a second "
        "copy of "
        "the states; given, CPU ranks run it too"),
    BLOCK("zerort.state_dict", "the weights that a run ends with, as PyTorch's FSDP names them"),
    ONE("zerort.state_dict.type", H, NULL, "full|sharded",
        "full: a folder for transformers; sharded: rank files that zerort export turns into one"),
    BOOL("zerort.state_dict.offload_to_cpu", H, "true", "a full state dict is handed out in the host's memory"),
    BOOL("zerort.state_dict.rank0_only", H, "true", "a full state dict goes to rank 0 alone; false: to each rank"),
    AUTO_NUM("zerort.collective_timeout", "600", 0, "seconds that ranks wait for one another; 0: for ever"),
    OPEN("zerort.arguments", H, "training arguments by name, as the command line has them"),
};

const zrt__key *zrt__key_get(size_t index)
{
    return index < sizeof keys / sizeof *keys ? &keys[index] : NULL;
}

const zrt__key *zrt__key_find(const char *path)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].path, path) == 0)
            return &keys[i];
    return NULL;
}
