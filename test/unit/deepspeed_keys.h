/* Every key of DeepSpeed 0.19's configuration: runtime/constants.py, config.py, zero/config.py, zero/offload_config.py, precision_config.py,
 * swap_tensor/constants.py, monitor/config.py, comm/config.py, profiling/constants.py, autotuning/constants.py, elasticity/constants.py,
 * activation_checkpointing/config.py, checkpoint/constants.py. Blocks, then their keys. */
#ifndef ZRT_TEST_DEEPSPEED_KEYS_H
#define ZRT_TEST_DEEPSPEED_KEYS_H

static const char *const deepspeed_keys[][2] = {
    {"", "train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps managed_gradient_accumulation "
         "steps_per_print gradient_clipping zero_allow_untested_optimizer zero_force_ds_cpu_optimizer "
         "communication_data_type seq_parallel_communication_data_type gradient_allreduce_op prescale_gradients "
         "gradient_predivide_factor sparse_gradients disable_allgather dump_state wall_clock_breakdown "
         "memory_breakdown dataloader_drop_last log_level fp32_allreduce"},
    {"optimizer", "type params legacy_fusion"},
    {"scheduler", "type params"},
    {"data_types", "grad_accum_dtype param_dtype buffer_dtype"},
    {"fp16", "enabled auto_cast loss_scale initial_scale_power loss_scale_window hysteresis consecutive_hysteresis "
             "min_loss_scale fp16_master_weights_and_grads"},
    {"bf16", "enabled immediate_grad_update check_grad_overflow bf16_master_weights_and_grads bf16_optimizer_states"},
    {"bfloat16", "enabled"},
    {"amp", "enabled opt_level"},
    {"torch_autocast", "enabled dtype lower_precision_safe_modules"},
    {"zero_optimization",
     "stage contiguous_gradients reduce_scatter reduce_bucket_size overlap_comm allgather_partitions "
     "allgather_bucket_size use_multi_rank_bucket_allreduce sub_group_size stage3_prefetch_bucket_size "
     "stage3_param_persistence_threshold stage3_model_persistence_threshold stage3_max_live_parameters "
     "stage3_max_reuse_distance stage3_gather_16bit_weights_on_model_save gather_16bit_weights_on_model_save "
     "stage3_gather_fp16_weights_on_model_save stage3_module_granularity_threshold "
     "stage3_use_all_reduce_for_fetch_params stage3_allgather_sequential offload_param offload_optimizer zenflow "
     "zero_hpz_partition_size zero_quantized_weights zero_quantized_nontrainable_weights zero_quantized_gradients "
     "zeropp_loco_param mics_shard_size mics_hierarchical_params_gather load_from_fp32_weights "
     "ignore_unused_parameters memory_efficient_linear override_module_apply round_robin_gradients "
     "pipeline_loading_checkpoint log_trace_cache_warnings enable_sanity_checks "
     "save_muon_momentum_buffer_in_memory leaf_module cpu_offload cpu_offload_param cpu_offload_use_pin_memory "
     "elastic_checkpoint legacy_stage1"},
    {"zero_optimization.offload_param", "device nvme_path buffer_count buffer_size max_in_cpu pin_memory"},
    {"zero_optimization.offload_optimizer", "device nvme_path buffer_count pin_memory pipeline_read pipeline_write "
                                            "fast_init ratio super_offload cpuadam_cores_perc"},
    {"zero_optimization.zenflow", "topk_ratio select_strategy select_interval update_interval overlap_step offload "
                                  "auto_ratio full_warm_up_rounds pt_reserved_cores_perc"},
    {"zero_optimization.zeropp_loco_param", "err_beta reset_T"},
    {"zero_optimization.leaf_module", "classes names name_suffixes"},
    {"aio", "block_size queue_depth intra_op_parallelism thread_count single_submit overlap_events use_gds"},
    {"activation_checkpointing", "partition_activations cpu_checkpointing contiguous_memory_optimization "
                                 "synchronize_checkpoint_boundary profile number_checkpoints"},
    {"checkpoint",
     "tag_validation load_universal use_node_local_storage parallel_write checkpoint_serialization writer"},
    {"checkpoint.parallel_write", "pipeline_stage"},
    {"checkpoint.writer", "type decoupled io_buffer_size io_buffer_double data_parallel io_multiplier show_statistics"},
    {"datastates_ckpt", "host_cache_size"},
    {"nebula", "enabled"},
    {"tensorboard", "enabled output_path job_name"},
    {"csv_monitor", "enabled output_path job_name"},
    {"wandb", "enabled group team project"},
    {"comet", "enabled"},
    {"comms_logger", "enabled verbose debug prof_all prof_ops"},
    {"flops_profiler", "enabled profile_step module_depth top_modules detailed recompute_fwd_factor output_file"},
    {"autotuning", "enabled fast metric tuner_type tuner_num_trials tuner_early_stopping"},
    {"elasticity", "enabled max_train_batch_size micro_batch_sizes min_gpus max_gpus min_time prefer_larger_batch "
                   "ignore_non_elastic_batch_info num_gpus_per_node model_parallel_size version"},
    {"data_efficiency", "enabled seed data_sampling data_routing"},
    {"curriculum_learning", "enabled"},
    {"compile", "deepcompile"},
    {"tensor_parallel", "autotp_size"},
    {"expert_parallel", "size"},
    {"pipeline", "stages"},
    {"hybrid_engine", "enabled"},
    {"sparse_attention", "mode"},
    {"compression_training", "weight_quantization"},
    {"progressive_layer_drop", "enabled"},
};

#endif
