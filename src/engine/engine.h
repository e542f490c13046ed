/* The engine's own structs; only for the files of this folder. */
#ifndef ZRT_ENGINE_ENGINE_H
#define ZRT_ENGINE_ENGINE_H

#include <zerort/engine.h>

#include "engine/saving.h"
#include "engine/settings.h"
#include "engine/watch.h"
#include "launch/launch.h"
#include "offload/tile.h"

/* Plans of a training step: with one micro-step only ZRT__VARIANT_ONLY. */
typedef enum zrt__variant {
    ZRT__VARIANT_FIRST,
    ZRT__VARIANT_MIDDLE,
    ZRT__VARIANT_LAST,
    ZRT__VARIANT_ONLY,
    ZRT__N_VARIANTS
} zrt__variant;

/* Host copies of what a pass needs, written by the host and copied in stream order. */
typedef struct zrt__staging {
    zrt__ref fields[ZRT_BATCH_MAX_FIELDS], sample_ids, head, capacity, loss, state, rates;
    zrt__ref ring; /* of the saver */
    int64_t ring_bytes;
    zrt__ref state_dict; /* a piece in the device's memory; ZRT__NO_REF: pieces are on the host */
} zrt__staging;

/* All that is known before anything is allocated. */
typedef struct zrt__compiled {
    zrt__memory memory;
    zrt__zero *zero;
    zrt__build *train_build, *evaluation_build;
    zrt__plan *train[ZRT__N_VARIANTS];
    zrt__plan *evaluation;
    zrt__operand logits;
    zrt__staging staging;
    uint64_t hash;
} zrt__compiled;

/* Plans a run of `settings` (rank and n_ranks in it). Local. */
zrt_status zrt__compiled_create(zrt_model *model, const zrt__settings *settings, zrt__compiled *compiled_out);
void zrt__compiled_free(zrt__compiled *compiled);
int zrt__variant_of(const zrt__compiled *compiled, int64_t micro_step, int64_t micro_steps);

/* ZRT_ERR_MEMORY with the table and what would make it fit, when `ranks` ranks need more than `available` bytes of a GPU or of a
 * host. */
typedef enum zrt__fit_where { ZRT__FIT_GPU, ZRT__FIT_HOST } zrt__fit_where;
zrt_status zrt__fit_check(zrt_model *model, const zrt__settings *settings, const zrt__compiled *compiled,
                          zrt__fit_where memory, int ranks, size_t available, const char *where);

/* Bytes of the host that a rank takes (host_memory.c). */
typedef struct zrt__host_memory {
    size_t planned;  /* of the plan: all of it on CPU ranks, what is pinned on GPUs */
    size_t requests; /* to files */
    size_t loaders;  /* of one for training and one for evaluation */
    size_t rank;     /* all of these */
    size_t files;    /* bytes of its files: of a disk */
} zrt__host_memory;
void zrt__host_memory_of(const zrt__compiled *compiled, const zrt__settings *settings, zrt__host_memory *out);
/* available 0: unknown. */
void zrt__print_host_memory(FILE *file, const zrt__compiled *compiled, const zrt__settings *settings, int ranks,
                            size_t available);
/* What the host, its control groups and --host-memory allow now. */
zrt_status zrt__host_memory_available(const zrt__settings *settings, size_t *available_out);

/* Chooses and opens the device; settings.device says which it became. Nothing where that was done. Collective. */
zrt_status zrt__engine_open_device(zrt_engine *engine);
/* What of the device is for this rank, the least of all ranks, becomes settings.device_memory. Collective. */
zrt_status zrt__engine_ask_device(zrt_engine *engine);
/* Its streams and events. Collective. */
zrt_status zrt__engine_open_streams(zrt_engine *engine);
/* Files (files.c). Whether a stream of files is needed. */
bool zrt__engine_uses_stream(const zrt_engine *engine, zrt__stream_role role);
/* Makes this rank's files. Collective. */
zrt_status zrt__engine_open_files(zrt_engine *engine);
void zrt__engine_close_files(zrt_engine *engine);
/* Elements [first, first + n) of a shard that is in a file: its master parameters (which: 0) or an optimizer state, at once. */
zrt_status zrt__file_state_read(zrt_engine *engine, const zrt__flat *flat, int which, int64_t first, int64_t n,
                                float *out);
zrt_status zrt__file_state_write(zrt_engine *engine, const zrt__flat *flat, int which, int64_t first, int64_t n,
                                 const float *values);

/* Collective. */
zrt_status zrt__engine_open_comms(zrt_engine *engine);
/* Whether the plan fits what the opened device has free. */
zrt_status zrt__engine_check_memory(zrt_engine *engine);

struct zrt_loss {
    zrt_engine *engine;
    bool valid; /* of the forward pass that comes last */
    zrt__event *event;
};

typedef struct zrt__generation {
    zrt__build *prompt, *token;
    zrt__plan *plan;
    zrt__operand logits[2];
    int64_t rows, prompt_length, cache_length;
} zrt__generation;

/* A step whose first micro-step is traced, to tell the ranks' computing apart. */
typedef struct zrt__timed_step {
    zrt__trace trace;
    const zrt__plan *plan;
    int64_t step;
    bool is_due; /* asked for, and nobody has looked at it */
} zrt__timed_step;

struct zrt_engine {
    zrt_context *context;
    zrt_model *model;
    zrt__settings settings;
    zrt__compiled compiled;
    size_t host_available; /* to all ranks of this host, when the engine was made */
    zrt__runtime runtime;
    zrt__comm_memory *registered[2]; /* persistent, scratch */
    zrt__event *staged, *metrics_ready;
    zrt_loss loss;
    int64_t step, micro_step;
    bool backward_due, update_due;
    int64_t checked_step, checked_skipped; /* when it was last seen that not all steps are skipped, and how many were */
    double least_loss_scale;               /* it is not below this after the steps so far; 0: unknown */
    int64_t samples;                       /* of micro-steps so far, when batches do not number them */
    zrt__generation generation;
    zrt__saving saving;
    char *trace_path;
    zrt__trace trace;
    int trace_variant;
    zrt__engine_watch watch;
    zrt__timed_step timed;
};

/* Takes the scratch memory that the plans need now, and binds all plans to it. Collective. */
zrt_status zrt__engine_bind(zrt_engine *engine);
/* Where the micro-step that comes is to be traced; NULL: it is not to be. */
zrt__trace *zrt__timed_trace(zrt_engine *engine);
/* Blocks until all streams have run; the first failure of any. */
zrt_status zrt__engine_synchronize(zrt_engine *engine);
/* The first failure of any stream that is known by now. Waits for nothing. */
zrt_status zrt__engine_failure(const zrt_engine *engine);
/* The stream on which everything but gathers and reductions runs. */
zrt__stream *zrt__engine_stream(const zrt_engine *engine);
/* Where a trainable flat's shard of the master parameters (which: 0) or an optimizer state is now. With speculation, whoever did
 * not wait for the stream "host" must not ask. */
zrt__ref zrt__engine_state_shard(const zrt_engine *engine, const zrt__flat *flat, int which);
/* NULL without speculation. */
const zrt__speculation *zrt__engine_speculation(const zrt_engine *engine);
void *zrt__engine_address(const zrt_engine *engine, const zrt__plan *plan, zrt__ref ref);

/* After a step: an error that names the first parameter and rank with a non-finite gradient when the loss scale was at its
 * minimum and the gradients overflowed. Collective. */
zrt_status zrt__engine_check_scale(zrt_engine *engine);

/* Copies a batch, padded to rows x length, to the device in stream order. */
zrt_status zrt__batch_stage(zrt_engine *engine, const zrt_batch *batch, int64_t rows, int64_t length);

/* Where the pieces of a whole tensor go. */
typedef struct zrt__piece_stream {
    int root;      /* the rank that gets them; -1: each */
    float *buffer; /* of the host, of every rank */
    int64_t capacity;
    void (*piece)(void *user, int64_t first, int64_t n, const float *values);
    void *user;
} zrt__piece_stream;
/* Hands out a state of a parameter as fp32, a piece at a time, in order. Collective. */
zrt_status zrt__parameter_stream(zrt_engine *engine, int parameter, zrt_state state, const zrt__piece_stream *to);

/* Elements of a piece of a state dict, which passes through the saver's ring. */
int64_t zrt__state_dict_capacity(int64_t ring_bytes);
/* Which parameters of a state dict are wanted; NULL: all. */
typedef bool zrt__chosen_fn(const zrt_model *model, const zrt__parameter *parameter);
/* zrt_engine_full_state_dict with values that are in the host's memory, to rank `root` (-1: each), of the chosen parameters. */
zrt_status zrt__state_dict_stream(zrt_engine *engine, int root, zrt__chosen_fn *chosen, zrt_state_dict_fn *piece,
                                  void *user);

/* Values of parameter elements [first, first + n). */
typedef zrt_status zrt__source_fn(void *user, const zrt__parameter *parameter, int64_t first, int64_t n, float *out);
/* Whether a parameter is set at all. */
typedef bool zrt__wanted_fn(void *user, const zrt__parameter *parameter);
/* Sets all parameters this rank holds (but those not wanted; NULL: all are). Local but for the shards of others, which they set alike.
 * `concurrent`: source may be called by several threads at once, and is by as many as compute. */
zrt_status zrt__parameters_fill(zrt_engine *engine, zrt__source_fn *source, zrt__wanted_fn *wanted, void *user,
                                bool concurrent);
/* A source: initial values by the parameter's initialiser; user is the seed (uint64_t). */
zrt_status zrt__parameter_initial(void *user, const zrt__parameter *parameter, int64_t first, int64_t n, float *out);
/* Their initial values by the model's initialisers and the seed. */
zrt_status zrt__parameters_initialize(zrt_engine *engine);

void zrt__print_memory(FILE *file, const zrt__compiled *compiled, const zrt__settings *settings,
                       const zrt_model *model);
void zrt__print_schedule(FILE *file, const zrt__compiled *compiled, const zrt_model *model);

#endif
