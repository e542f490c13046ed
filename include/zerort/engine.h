/* The engine: compiles a model and a configuration into plans once, and then runs them. */
#ifndef ZERORT_ENGINE_H
#define ZERORT_ENGINE_H

#include <stdbool.h>
#include <stdio.h>

#include <zerort/config.h>
#include <zerort/data.h>
#include <zerort/model.h>
#include <zerort/monitor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zrt_engine zrt_engine;
typedef struct zrt_loss zrt_loss; /* the loss of the last forward pass; lent by the engine */

/* Starts the library: MPI (unless the program did), the map of ranks, hosts and cores. Collective over all ranks.
 * Without a launcher it is one rank. argc and argv may be NULL. */
ZRT_EXPORT zrt_status zrt_init(int *argc, char ***argv, zrt_context **context_out);
/* Ends it; engines must be destroyed first. Collective. */
ZRT_EXPORT void zrt_finalize(zrt_context **context);
ZRT_EXPORT int zrt_rank(const zrt_context *context);
ZRT_EXPORT int zrt_size(const zrt_context *context);

/* Agrees on a status: every rank gives its own and gets the worst of all, with the message of the lowest rank that has it.
 * Collective. For errors that only some ranks see, so that none is left waiting. */
ZRT_EXPORT zrt_status zrt_agree(const zrt_context *context, zrt_status status);

/* Watches from a thread of this rank's that no wait for other ranks, in a collective or where ranks agree, lasts longer than `seconds`
 * (at least 0.1; 0 or less: nothing is watched). When one does, on any rank, the ranks tell each other what they are doing, and every rank that
 * can still run calls `hangs` once in that thread, within three seconds: `report` says which ranks wait where and which do not answer
 * (lent, several lines), speaks is true on the lowest of them. `hangs` ends the process, for the job cannot
 * go on: launchers end the others. zrt_finalize ends the watch. Collective; once a context. */
typedef void zrt_hang_fn(void *user, const char *report, bool speaks);
ZRT_EXPORT zrt_status zrt_watchdog_start(zrt_context *context, double seconds, zrt_hang_fn *hangs, void *user);

/* Compiles and allocates. Collective. The model and the context must outlive the engine; the configuration is copied.
 * Errors: ZRT_ERR_CONFIG (contradictions, differing ranks, the key named), ZRT_ERR_MEMORY (does not fit: the table and what would make it fit). */
ZRT_EXPORT zrt_status zrt_engine_create(zrt_context *context, zrt_model *model, const zrt_config *config,
                                        zrt_engine **engine_out);
/* Collective. */
ZRT_EXPORT void zrt_engine_destroy(zrt_engine **engine);

/* Enqueues the forward pass of one micro-step; lends the loss. Collective: every rank calls it the same number of times, with
 * no rows where it has none. */
ZRT_EXPORT zrt_status zrt_engine_forward(zrt_engine *engine, const zrt_batch *batch, zrt_loss **loss_out);
/* Enqueues the backward pass of the forward pass that gave `loss`. Collective. */
ZRT_EXPORT zrt_status zrt_engine_backward(zrt_engine *engine, zrt_loss *loss);
/* After the last micro-step: reduces, clips, updates. After the others: nothing, as DeepSpeed. Collective.
 * ZRT_ERR_INPUT: gradients overflow with the fp16 loss scale at its minimum; the message names the first parameter and rank. */
ZRT_EXPORT zrt_status zrt_engine_step(zrt_engine *engine);
/* True when the next zrt_engine_step updates. Local. */
ZRT_EXPORT bool zrt_engine_is_accumulation_boundary(const zrt_engine *engine);

/* This rank's sum of losses and count of counted labels of that forward pass; waits for it. Local. */
ZRT_EXPORT zrt_status zrt_loss_value(zrt_loss *loss, double *mean_out, int64_t *count_out);

/* What a step did. Waits for the last step to finish. Local; equal on all ranks. */
typedef struct zrt_metrics {
    int64_t step;         /* steps so far, skipped ones too */
    int64_t skipped;      /* of them, skipped for an overflow */
    double loss;          /* mean over the counted labels of all ranks and micro-steps */
    double grad_norm;     /* global, before clipping */
    double learning_rate; /* used by the step */
    double loss_scale;    /* used by the step */
    int64_t counted;      /* labels counted in the step, all ranks */
    /* "zerort.overlapped_step": "speculative", of the steps of this engine: updated during backward; of them, thrown away
     * because the step was skipped or clipped, and updated again */
    int64_t speculated, discarded;
} zrt_metrics;
ZRT_EXPORT zrt_status zrt_engine_metrics(zrt_engine *engine, zrt_metrics *metrics_out);

/* Mean loss over the counted labels of a dataset, without dropout. Collective. The loader must be finite. */
ZRT_EXPORT zrt_status zrt_engine_evaluate(zrt_engine *engine, zrt_loader *loader, double *loss_out, int64_t *count_out);

/* The same of a classifier of sequences (zrt_model_info.n_classes), with what it got right: accuracy, and F1 of class 1 where there are two
 * classes (as GLUE scores MRPC), otherwise the mean over the classes. Collective. */
typedef struct zrt_classification {
    double loss, accuracy, f1;
    int64_t counted; /* labels */
} zrt_classification;
ZRT_EXPORT zrt_status zrt_engine_evaluate_classes(zrt_engine *engine, zrt_loader *loader,
                                                  zrt_classification *result_out);

/* Runs an evaluation forward pass and copies "logits" of this rank's rows, fp32 [n_rows, length, V] (or the dims the
 * model gives), to `logits` (capacity in elements). Collective. */
ZRT_EXPORT zrt_status zrt_engine_logits(zrt_engine *engine, const zrt_batch *batch, float *logits, size_t capacity);

/* Generation with a key/value cache: greedy where temperature is 0, otherwise sampling from the top_k most likely (0: all)
 * within the smallest set of probability top_p (1: all), keyed by (seed, row, position). Collective: every rank gives the same
 * prompts and gets all results. */
typedef struct zrt_generate_options {
    int64_t max_new_tokens;
    double temperature;
    int64_t top_k;
    double top_p;
    uint64_t seed;
    int32_t eos_token_id;          /* a row that produced it is filled with it; -1: none */
    const int32_t *stop_token_ids; /* as eos_token_id, [n_stop_tokens]; lent */
    int n_stop_tokens;
} zrt_generate_options;
/* prompts: n_rows arrays of prompt_lengths[i] tokens. tokens_out [n_rows, max_new_tokens]. */
ZRT_EXPORT zrt_status zrt_engine_generate(zrt_engine *engine, int n_rows, const int32_t *const *prompts,
                                          const int64_t *prompt_lengths, const zrt_generate_options *options,
                                          int32_t *tokens_out);

/* Whole tensors by parameter name, in fp32 (DeepSpeed's safe_get_full_fp32_param, safe_get_full_grad,
 * safe_get_full_optimizer_state). `gradient` is that of the last backward pass that completed a step's accumulation, normalised and unscaled,
 * before clipping, valid until the step. Collective; values may be NULL on ranks that do not want them. */
typedef enum zrt_state { ZRT_STATE_PARAMETER, ZRT_STATE_GRADIENT, ZRT_STATE_EXP_AVG, ZRT_STATE_EXP_AVG_SQ } zrt_state;
ZRT_EXPORT zrt_status zrt_engine_get_full(zrt_engine *engine, const char *parameter, zrt_state state, float *values);

/* A part of a parameter of a full state dict: elements [first, first + n) of it, row-major. */
typedef struct zrt_state_dict_piece {
    const char *name;
    int n_dims;
    const int64_t *dims;
    int64_t n_elements; /* of the parameter */
    int64_t first, n;
    const float
        *values; /* fp32 [n], lent during the call: in the host's memory, or in the device's without offload_to_cpu */
} zrt_state_dict_piece;
typedef zrt_status zrt_state_dict_fn(void *user, const zrt_state_dict_piece *piece);

/* Hands out the master parameters of the whole model, in the model's order, a piece at a time (PyTorch FSDP's FULL_STATE_DICT, which is
 * never whole in memory here): `piece` is called on rank 0 alone, or on each rank where "zerort.state_dict.rank0_only" is false; "offload_to_cpu"
 * there says where values are. Pieces pass through memory that is in the plan (that of checkpoints: waits for
 * zrt_engine_save_async); nothing is allocated. After a step. Collective; piece makes no collective calls. Where it fails on a rank it is not
 * called again there, and all ranks get that error. Its sharded counterpart is zrt_save_options.parameters_only. */
ZRT_EXPORT zrt_status zrt_engine_full_state_dict(zrt_engine *engine, zrt_state_dict_fn *piece, void *user);

/* Loads the parameters of a Hugging Face folder (safetensors in one file or shards); each rank reads only its slices. Collective. */
ZRT_EXPORT zrt_status zrt_engine_load_pretrained(zrt_engine *engine, const char *folder);

/* Writes a folder that transformers opens: config.json and safetensors (shards with an index when large), tensor by tensor
 * from the master parameters, in `dtype`. Rank 0 writes. Collective. ZRT_ERR_NOT_SUPPORTED where transformers has no such model,
 * ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_engine_save_pretrained(zrt_engine *engine, const char *folder, zrt_dtype dtype);

/* The first failure of what runs behind the calls: files of optimizer states or parameters on a disk that fails. Waits for nothing; zrt_engine_metrics
 * waits, and fails too. Each rank knows only of its own: pass it to zrt_agree before the next step. Local. ZRT_ERR_IO. */
ZRT_EXPORT zrt_status zrt_engine_check(zrt_engine *engine);

/* Prints a table of rank, host, rank within the host, device and cores, or of hosts where there are many ranks, to `file` (NULL:
 * not on this rank). Collective. */
ZRT_EXPORT zrt_status zrt_engine_print_ranks(zrt_engine *engine, FILE *file);

/* Prints the memory plan and the schedule. Local. */
ZRT_EXPORT zrt_status zrt_engine_print_plan(const zrt_engine *engine, FILE *file);
/* The same for pretended ranks without allocating anything; no engine is needed. Local. n_ranks 0: the context's.
 * ZRT_ERR_MEMORY where it would not fit. */
ZRT_EXPORT zrt_status zrt_plan_print(zrt_context *context, zrt_model *model, const zrt_config *config, int n_ranks,
                                     FILE *file);

/* Records every entry of the next step and writes it as a Chrome trace (one row a stream). Collective; the file is rank 0's. */
ZRT_EXPORT zrt_status zrt_engine_trace(zrt_engine *engine, const char *path);

/* Lets a monitor (lent, until it is set to NULL or the engine is destroyed) see the engine's steps: steps_per_print,
 * wall_clock_breakdown, comms_logger, flops_profiler print to its stream, csv_monitor and tensorboard get a point a step; dump_state and
 * memory_breakdown are printed at once. A breakdown waits for each pass, so set the same keys on all ranks. Collective. */
ZRT_EXPORT zrt_status zrt_engine_set_monitor(zrt_engine *engine, zrt_monitor *monitor);

/* Bytes taken through the device's allocator, now and by the plan: equal to the byte. On a GPU kernels and libraries take some more
 * for themselves (98 MiB of scratch, cuDNN's workspace, CUDA's own). Local. */
ZRT_EXPORT size_t zrt_engine_memory_bytes(const zrt_engine *engine);
ZRT_EXPORT size_t zrt_engine_planned_bytes(const zrt_engine *engine);

/* For MFU: floating-point operations of a step's matrix products and attention on this rank, forward and backward, without what is
 * recomputed; attention counts whole score matrices (Chowdhery et al. 2022, PaLM, appendix B: for a decoder 6 N + 12 L H Q T a
 * token). peak_out: operations a second of the rank's device in the compute dtype, dense; 0 where unknown, as on CPUs. MFU is
 * flops / step seconds / peak. Local. */
ZRT_EXPORT void zrt_engine_model_flops(const zrt_engine *engine, double *flops_out, double *peak_out);

/* Stragglers. zrt_engine_time_step: the first micro-step of the next step is timed kernel by kernel (a few per cent slower). After
 * that step zrt_engine_find_straggler says which rank computed longest in it, without what it waited for others, beside the median rank
 * (the lower one of an even number); step 0 where no step was timed since the last call. Both on all ranks at the same steps; the
 * second waits for the device and is collective. */
typedef struct zrt_straggler {
    int64_t step; /* counted from 1 */
    int rank;
    char host[64];
    double seconds, median_seconds; /* of computing */
} zrt_straggler;
ZRT_EXPORT zrt_status zrt_engine_time_step(zrt_engine *engine);
ZRT_EXPORT zrt_status zrt_engine_find_straggler(zrt_engine *engine, zrt_straggler *straggler_out);

#ifdef __cplusplus
}
#endif
#endif
