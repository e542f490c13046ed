/* A plan: the flat list of entries of a step, with the place of every buffer; it knows neither ZeRO nor models.
 *
 * Entries are added in the order in which the host enqueues them. The compute stream is the clock: its entries are positions 0, 1, ..,
 * and every scratch buffer lives from a position to a position. Work of another stream fits this clock by its events: what it
 * writes lives from the position whose start it waits for. */
#ifndef ZRT_PLAN_PLAN_H
#define ZRT_PLAN_PLAN_H

#include "comm/comm.h"
#include "device/kernels.h"
#include "offload/tier.h"
#include "plan/memory.h"

typedef enum zrt__stream_role {
    ZRT__STREAM_COMPUTE,
    ZRT__STREAM_GATHER,
    ZRT__STREAM_REDUCE,
    ZRT__STREAM_TO_HOST,   /* copies from the device to its host */
    ZRT__STREAM_HOST,      /* kernels that the host's cores run: the offloaded update */
    ZRT__STREAM_TO_DEVICE, /* copies back */
    ZRT__STREAM_FILE_READ, /* states from files into buffers of the host, ahead of their update */
    ZRT__STREAM_FILE_WRITE,
    ZRT__STREAM_FILE_FETCH, /* parameters from files, ahead of their gather */
    ZRT__N_STREAMS
} zrt__stream_role;
/* Files of the rank: see offload/tier.h. */
typedef enum zrt__tier_role { ZRT__TIER_OPTIMIZER, ZRT__TIER_PARAMETERS, ZRT__N_TIERS } zrt__tier_role;
#define ZRT__TIER_CHANNELS (ZRT__STREAM_FILE_FETCH - ZRT__STREAM_FILE_READ + 1)
const char *zrt__stream_role_name(zrt__stream_role role);

#define ZRT__ENTRY_MAX_WAITS 6

/* An operand of a kernel: a view whose data is found when the plan is bound to memory. */
typedef struct zrt__operand {
    zrt__ref ref;
    zrt_view view; /* data is NULL, or fixed host memory when ref is none */
} zrt__operand;
#define ZRT__NO_OPERAND ((zrt__operand){.ref = ZRT__NO_REF})

typedef struct zrt__planned_call {
    zrt__call call; /* first: it is the launch argument */
    zrt__ref in[ZRT__MAX_INPUTS], out[ZRT__MAX_OUTPUTS];
    zrt__kernel kernel;
    zrt__launch_fn *fn; /* of the host's cores, instead of the kernel; NULL */
} zrt__planned_call;

typedef struct zrt__planned_copy {
    zrt__ref to, from;
    void *to_data;
    const void *from_data; /* once bound */
    size_t bytes;
} zrt__planned_copy;

typedef struct zrt__planned_collective {
    zrt__collective collective; /* first: it is the launch argument */
    zrt__ref send, recv;
} zrt__planned_collective;

typedef struct zrt__planned_transfer {
    zrt__transfer transfer; /* first: it is the launch argument */
    zrt__tier_role tier;
    zrt__ref memory;
} zrt__planned_transfer;

typedef enum zrt__collective_kind {
    ZRT__COLLECTIVE_ALL_GATHER,
    ZRT__COLLECTIVE_REDUCE_SCATTER,
    ZRT__COLLECTIVE_ALL_REDUCE
} zrt__collective_kind;

typedef struct zrt__entry {
    zrt__stream_role stream;
    zrt__planned_call *call; /* one of the four, or none: a point for events */
    zrt__planned_collective *collective;
    zrt__planned_copy *copy;
    zrt__planned_transfer *transfer;
    zrt__collective_kind collective_kind;
    int waits[ZRT__ENTRY_MAX_WAITS], n_waits;
    int record;        /* event, -1: none */
    int record_mark;   /* mark of the memory, -1: none */
    int position;      /* of the compute stream's clock when it was added */
    int unit;          /* of the model, -1: none */
    const char *phase; /* "forward", "backward", "step", static */
    char *label;       /* collectives and copies: what is moved; calls of the host: what they do; kernels: NULL */
} zrt__entry;

typedef struct zrt__plan {
    zrt__memory *memory;
    zrt__buffers buffers;
    size_t scratch_bytes[ZRT__N_REGIONS];
    zrt__entry *entries;
    size_t n_entries, entries_capacity;
    int n_events, n_positions;
    int pending[ZRT__N_STREAMS][ZRT__ENTRY_MAX_WAITS], n_pending[ZRT__N_STREAMS];
    size_t segments[8]; /* first entry of each; the end is the next's, or n_entries */
    int n_segments;
    int unit; /* noted in new entries */
    const char *phase;
    zrt_status status; /* sticky: the first failure of building */
    zrt__event **events;
    zrt__device *device;
    bool bound;
} zrt__plan;

zrt_status zrt__plan_create(zrt__memory *memory, zrt__plan **plan_out);
void zrt__plan_destroy(zrt__plan **plan);

/* ---- building; failures are sticky and returned by zrt__plan_finish ---- */

/* A scratch buffer, whole. */
zrt__ref zrt__plan_buffer(zrt__plan *plan, zrt__region region, zrt__category category, size_t bytes);
/* Starts a segment: what one call of the engine enqueues. Its number. */
int zrt__plan_segment(zrt__plan *plan);
/* Adds a kernel. On the compute stream it is a position and its operands live there; on another they live at the position that comes next. */
void zrt__plan_kernel(zrt__plan *plan, zrt__stream_role stream, zrt__kernel kernel, const zrt__operand *in, int n_in,
                      const zrt__operand *out, int n_out, uint32_t accumulate, const zrt__attributes *attributes);
/* Adds a call to the stream "host": a function of the host's cores, whose arg is a zrt__call. */
void zrt__plan_host_call(zrt__plan *plan, zrt__launch_fn *fn, const char *label, const zrt__operand *in, int n_in,
                         const zrt__operand *out, int n_out, uint32_t accumulate, const zrt__attributes *attributes);
/* Adds a collective to a stream. On the compute stream it is a position; on another its buffers live at the position that comes next. */
void zrt__plan_collective(zrt__plan *plan, zrt__stream_role stream, zrt__collective_kind kind, zrt__ref send,
                          zrt__ref recv, size_t count, zrt_dtype dtype, zrt__reduce_op op, const char *label);
/* Adds a copy between device and host to a stream. */
void zrt__plan_copy(zrt__plan *plan, zrt__stream_role stream, zrt__ref to, zrt__ref from, size_t bytes,
                    const char *label);
/* Adds a transfer between a file, from `offset` on, and memory of the host to one of the streams of files. */
void zrt__plan_transfer(zrt__plan *plan, zrt__stream_role stream, zrt__tier_role tier, bool write, int64_t offset,
                        zrt__ref memory, size_t bytes, const char *label);
/* The event that the last entry of a stream records; -1 when the stream has no entry in this segment. */
int zrt__plan_record(zrt__plan *plan, zrt__stream_role stream);
/* The next entry of `stream` waits for `event` (-1: nothing). */
void zrt__plan_wait(zrt__plan *plan, zrt__stream_role stream, int event);
/* Marks order plans and runs of plans: an entry that waits for one waits for the run that reached it last, in whatever
 * plan; nothing when none has. A mark is a persistent event of the memory that plans share (zrt__memory_mark). */
void zrt__plan_reach(zrt__plan *plan, zrt__stream_role stream, int mark);
void zrt__plan_await(zrt__plan *plan, zrt__stream_role stream, int mark);
/* An entry that only waits and records. */
void zrt__plan_point(zrt__plan *plan, zrt__stream_role stream);
/* Keeps a buffer alive until the position that comes next. */
void zrt__plan_keep(zrt__plan *plan, zrt__ref ref);
/* Packs the buffers; after it memory->scratch_bytes covers this plan. */
zrt_status zrt__plan_finish(zrt__plan *plan);
/* A hash over everything that must be equal on all ranks: entries, streams, events, sizes; not addresses. */
uint64_t zrt__plan_hash(const zrt__plan *plan);

/* ---- running ---- */

/* What a plan runs on. comms[role]: the communicator of a stream. */
typedef struct zrt__runtime {
    zrt__device *device;
    const zrt__kernel_ops *kernels;
    const zrt__kernel_ops *host_kernels; /* of the host stream */
    zrt__stream *streams[ZRT__N_STREAMS];
    zrt__comm *comms[ZRT__N_STREAMS];
    zrt__event **marks; /* of the memory: memory->n_marks */
    zrt__tier *tiers[ZRT__N_TIERS];
} zrt__runtime;

/* Times of the entries of one run, by entry; begin and end in ns. */
typedef struct zrt__trace {
    uint64_t *begin, *end;
    uint64_t *enqueued;
    size_t n;
} zrt__trace;

/* Turns references into addresses; again after memory moved. */
zrt_status zrt__plan_bind(zrt__plan *plan, const zrt__runtime *runtime);
/* Enqueues a segment; does not wait. trace may be NULL. */
zrt_status zrt__plan_run(zrt__plan *plan, const zrt__runtime *runtime, int segment, zrt__trace *trace);
/* Address of a reference in bound memory. */
void *zrt__memory_address(const zrt__memory *memory, const zrt__plan *plan, zrt__ref ref);

zrt_status zrt__trace_create(const zrt__plan *plan, zrt__trace *trace_out);
void zrt__trace_free(zrt__trace *trace);
/* Chrome's trace format (JSON), one row a stream. names of units by number. */
zrt_status zrt__trace_write(const zrt__plan *plan, const zrt__trace *trace, const char *const *unit_names, int rank,
                            const char *path);

#endif
