/* ZeRO: which rank holds what, when parameters are gathered and gradients reduced (Rajbhandari et al. 2020), compiled into plans.
 *
 * Parameters used together lie end to end in a flat buffer, padded to the number of shards; a rank's shard is one contiguous slice, so that
 * a gather is one all-gather and a reduction one reduce-scatter, without copies. */
#ifndef ZRT_ZERO_ZERO_H
#define ZRT_ZERO_ZERO_H

#include "graph/graph.h"
#include "plan/plan.h"

/* What an update rule needs, from optim. */
typedef struct zrt__zero_update {
    zrt__kernel kernel;
    int n_states;                    /* fp32 tensors beside the master parameters: 0 to 2 */
    zrt__attributes decay, no_decay; /* matrices, vectors */
} zrt__zero_update;

/* Where optimizer states are, and how the step that they need is ordered against the next forward pass. */
typedef enum zrt__offload {
    ZRT__OFFLOAD_NONE,       /* on the device */
    ZRT__OFFLOAD_SERIAL,     /* on the host; the step ends when the parameters are back */
    ZRT__OFFLOAD_PIPELINED,  /* on the host; the next pass waits for each flat as it needs it */
    ZRT__OFFLOAD_SPECULATIVE /* likewise, and updated during backward into a second copy of the states */
} zrt__offload;

/* What of the states is in files, and the buffers of the host that it passes through. */
typedef struct zrt__file_options {
    bool optimizer;                /* master parameters and optimizer states */
    int64_t buffer_bytes;          /* of the host, at most */
    bool read_ahead, write_behind; /* of the update of a tile */
} zrt__file_options;

typedef struct zrt__zero_options {
    int stage; /* 0 to 3 */
    int rank, n_ranks;
    int64_t micro_steps;
    int64_t rows, length; /* of a training micro-step, a rank */
    int64_t evaluation_rows;
    zrt_dtype compute_dtype, reduce_dtype;
    zrt_dtype accumulate_dtype;  /* of gradient shards and sums: fp32 or the compute dtype */
    bool max_live_given;         /* otherwise the cap grows to the smallest that works */
    int64_t max_live_parameters; /* elements gathered at once: a hard cap */
    int64_t max_reuse_distance;
    int64_t prefetch_bucket_size;
    int64_t persistence_threshold; /* elements: parameters up to it stay gathered */
    int64_t model_persistence_threshold;
    zrt__recompute recompute;
    size_t loss_chunk_bytes;
    zrt__offload offload;
    int64_t offload_tile; /* elements of one update */
    bool staged;          /* offload: the host's memory is pageable, and what crosses goes through a pinned ring */
    double device_share;  /* offload: the part of the states that stays on the device, rounded to whole flats */
    zrt__file_options files;
    zrt__zero_update update;
    const zrt__step_rules *rules; /* host memory of the engine */
} zrt__zero_options;

typedef enum zrt__flat_kind {
    ZRT__FLAT_SHARDED, /* gathered for use, released after it */
    ZRT__FLAT_RESIDENT /* whole on every rank */
} zrt__flat_kind;

typedef struct zrt__flat {
    char *name;
    zrt__flat_kind kind;
    bool trainable, on_host; /* on_host: its optimizer states are offloaded */
    int n_slots, *slots;
    int64_t n_elements;                  /* padded */
    int64_t decay_elements;              /* the first of them belong to matrices */
    int n_shards;                        /* of the optimizer: 1 or n_ranks */
    int64_t shard_elements, shard_first; /* this rank's slice */
    bool local_gradient; /* gradients are added up unreduced (one rank; stages 0 and 1 with accumulation) */
    /* persistent memory; none where there is none */
    zrt__ref parameter; /* compute dtype: whole (resident) or shard (sharded) */
    zrt__ref master;    /* fp32 shard; may lie inside `parameter` */
    zrt__ref states[2]; /* fp32 shard */
    zrt__ref
        gradient; /* accumulate_dtype: whole where local_gradient, else the shard; none where offload takes it down at once */
    /* offload: shards on the host */
    zrt__ref host_gradient;  /* as it comes down: host_gradient_dtype */
    zrt__ref host_parameter; /* compute dtype, on its way up; the master itself in fp32 */
    zrt_dtype host_gradient_dtype;
    zrt__ref second[3];     /* speculative: the other copy of master and states */
    bool in_file;           /* master and states have no memory but these places, in bytes, of the optimizer's file */
    int64_t file_states[3]; /* master, states */
    int updated, ready;     /* marks: its update has read the gradient; its parameters are whole again */
} zrt__flat;

/* Pinned slots that tiles take in turns. */
typedef struct zrt__ring {
    zrt__ref slots;
    size_t slot_bytes;
    int free; /* the first of ZRT__RING_SLOTS marks: a slot has been emptied */
    int next; /* slot */
} zrt__ring;
#define ZRT__RING_SLOTS 4
#define ZRT__RING_ELEMENTS (4 << 20) /* of a slot, at most */

typedef struct zrt__zero {
    zrt__zero_options options;
    zrt_model *model;
    zrt__memory *memory;
    zrt__flat *flats;
    int n_flats;
    int *slot_flat;
    int64_t *slot_offset; /* elements from the start of the flat */
    zrt__ref fields[ZRT_BATCH_MAX_FIELDS], sample_ids, state, capacity, rates, dummy_sums;
    zrt__ref host_state;                /* offload: a copy of `state` for the host's kernels */
    int host_state_read;                /* mark: the host's kernels are through with it */
    int host_decided;                   /* mark, where updates are speculated: which copy counts from here on */
    zrt__ring down, up;                 /* offload, staged: gradients to the host, parameters to the device */
    int64_t tile_elements;              /* of one update, at most */
    zrt__ref predicted, host_predicted; /* speculative: the state as it will be without a skip or clipping, likewise */
    zrt__ref control;                   /* speculative: zrt__speculation, on the host */
    int64_t fields_rows, fields_length; /* what they have room for */
    int64_t file_bytes[ZRT__N_TIERS];   /* of this rank's files; 0: none */
    zrt__ref slots;                     /* of the host, for tiles of what is in files */
    int n_slots;
    int64_t slot_elements; /* of a tile, at most */
    size_t slot_bytes;
    int slot_free; /* the first of n_slots marks */
    int64_t n_rates;
    struct {
        uint64_t hash;
        int64_t n_elements;
        float *values;
        zrt__ref ref;
    } * constants;
    size_t n_constants, constants_capacity;
    zrt_status status;
} zrt__zero;

/* Partitions a model and plans its persistent memory. Local. The model and memory outlive it. */
zrt_status zrt__zero_create(const zrt__zero_options *options, zrt_model *model, zrt__memory *memory,
                            zrt__zero **zero_out);
void zrt__zero_destroy(zrt__zero **zero);

/* Where this rank's shard of a trainable flat's reduced gradients is between backward and step, and its dtype. */
zrt_dtype zrt__gradient_shard(const zrt__zero *zero, const zrt__flat *flat, zrt__ref *ref_out);
/* Elements of this rank's optimizer shards, and those of them that are on the device. */
void zrt__zero_shares(const zrt__zero *zero, int64_t *all_out, int64_t *on_device_out);
/* Where a trainable flat's shard of the master parameters (which: 0) or an optimizer state is. `current`: which copy counts,
 * where there are two. */
zrt__ref zrt__state_shard(const zrt__flat *flat, int which, int current);
/* Where a parameter's elements lie: flat and first element in it. */
void zrt__zero_locate(const zrt__zero *zero, int parameter, int *flat_out, int64_t *first_out);

typedef struct zrt__train_variant {
    bool first, last; /* micro-step of the accumulation */
} zrt__train_variant;
/* Segments of a training plan. */
enum { ZRT__SEGMENT_FORWARD, ZRT__SEGMENT_BACKWARD, ZRT__SEGMENT_STEP };
zrt_status zrt__zero_compile_train(zrt__zero *zero, const zrt__build *build, zrt__train_variant variant,
                                   zrt__plan **plan_out);
/* Evaluation: one segment; "logits" (none where the model has none) stays until the end of the plan. */
zrt_status zrt__zero_compile_evaluate(zrt__zero *zero, const zrt__build *build, zrt__plan **plan_out,
                                      zrt__operand *logits_out);
/* Generation: two segments, the prompt and one token, over the same key/value cache. */
zrt_status zrt__zero_compile_generate(zrt__zero *zero, const zrt__build *prompt, const zrt__build *token,
                                      zrt__plan **plan_out, zrt__operand logits_out[2]);

/* ---- between the files of this folder ---- */

/* One use of gathered parameters: unit `unit` runs forward or backward. */
typedef struct zrt__use {
    int unit;
    bool backward;
    int n_flats, *flats; /* sharded ones that it reads */
} zrt__use;

/* When each gather is enqueued: before use `issue`, for use `first` to `last`. */
typedef struct zrt__gather {
    int flat, issue, first, last;
} zrt__gather;

typedef struct zrt__residency {
    zrt__use *uses;
    int n_uses;
    zrt__gather *gathers; /* in the order of their use */
    size_t n_gathers, gathers_capacity;
    int64_t peak_live; /* elements */
} zrt__residency;

/* The residency of sharded parameters over the uses of a build. ZRT_ERR_CONFIG when the cap is too small, naming the smallest that works. */
zrt_status zrt__residency_create(const zrt__zero *zero, const zrt__build *build, zrt__residency *schedule_out);
void zrt__residency_free(zrt__residency *schedule);

/* Offload (offload.c). A reduced gradient shard, complete on `stream`, goes down to the host. */
void zrt__offload_gradient(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__stream_role stream,
                           zrt__ref shard);
/* Plans the rings, and how large tiles are. After all flats have their memory. */
zrt_status zrt__offload_allocate(zrt__zero *zero);
/* Before backward, of the last micro-step: the state that speculation counts on. Collective. */
void zrt__offload_predict(zrt__zero *zero, zrt__plan *plan);
/* After the decision of a step: it goes down. */
void zrt__offload_begin(zrt__zero *zero, zrt__plan *plan);
/* Update on the host, tile by tile, and the parameters back up. */
void zrt__offload_step(zrt__zero *zero, zrt__plan *plan);
/* `stream` waits until the parameters of the flat are whole again. */
void zrt__offload_await(const zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__stream_role stream);
/* Files (file_states.c). Places of a flat whose states are in a file; then the buffers, when all have theirs. */
void zrt__files_place(zrt__zero *zero, zrt__flat *flat);
zrt_status zrt__files_allocate(zrt__zero *zero);
/* zrt__offload_step's update of a flat whose states are in a file. *tile counts the tiles of a step. */
void zrt__files_update(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, int *tile);
/* Adds step_decide over a state whose sums are those of all ranks. */
void zrt__zero_emit_decision(const zrt__zero *zero, zrt__plan *plan, zrt__ref state);
/* Adds the optimizer step to a plan. */
void zrt__zero_emit_step(zrt__zero *zero, zrt__plan *plan);
/* zero kernels over the padding of a flat buffer, which reductions read too. */
void zrt__zero_emit_padding(zrt__zero *zero, zrt__plan *plan, const zrt__flat *flat, zrt__ref ref, zrt_dtype dtype);
zrt__operand zrt__operand_1d(zrt__ref ref, zrt_dtype dtype, int64_t n);
zrt__ref zrt__ref_at(zrt__ref ref, size_t bytes);

#endif
