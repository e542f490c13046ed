/* Memory known before it is taken: buffers with lifetimes, packed into regions.
 *
 * Persistent buffers live as long as the engine. Scratch buffers belong to a plan and live from one position of its compute stream to
 * another; those that never live together share memory. Every plan's scratch is the same memory, as large as the largest needs. */
#ifndef ZRT_PLAN_MEMORY_H
#define ZRT_PLAN_MEMORY_H

#include <stdio.h>

#include "device/device.h"

typedef enum zrt__region {
    ZRT__REGION_DEVICE,     /* what only this rank's kernels touch */
    ZRT__REGION_REGISTERED, /* what collectives read and write */
    ZRT__REGION_PINNED,     /* of the host, for copies */
    ZRT__REGION_PAGEABLE,   /* of the host, which copies do not touch */
    ZRT__N_REGIONS
} zrt__region;

/* name, text of the table */
#define ZRT__CATEGORY_TABLE(X)                         \
    X(PARAMETERS, "parameters (compute dtype)")        \
    X(MASTER, "master parameters")                     \
    X(OPTIMIZER, "optimizer state")                    \
    X(SECOND_COPY, "second copy of both, speculative") \
    X(GRADIENT_SHARD, "accumulated gradients")         \
    X(BATCH, "batch and step state")                   \
    X(CONSTANTS, "constants")                          \
    X(STAGING, "host staging")                         \
    X(RING, "ring between host and device")            \
    X(FILE_BUFFERS, "buffers of files")                \
    X(CHECKPOINT, "staging of checkpoints")            \
    X(GATHERED, "gathered parameters")                 \
    X(GRADIENTS, "gradients before reduction")         \
    X(ACTIVATIONS, "activations kept for backward")    \
    X(EDGES, "activations between units")              \
    X(WORKSPACE, "temporary values of a unit")         \
    X(CACHE, "key/value cache")

typedef enum zrt__category {
#define ZRT__CATEGORY_ENUM(name, text) ZRT__CATEGORY_##name,
    ZRT__CATEGORY_TABLE(ZRT__CATEGORY_ENUM)
#undef ZRT__CATEGORY_ENUM
        ZRT__N_CATEGORIES
} zrt__category;
const char *zrt__category_text(zrt__category category);

#define ZRT__MEMORY_ALIGNMENT 256
/* Persistent buffers of at least so many bytes begin and end with pages: the disk takes them from where they are. */
#define ZRT__MEMORY_PAGE 4096
#define ZRT__MEMORY_LARGE 65536

typedef struct zrt__buffer {
    zrt__region region;
    zrt__category category;
    size_t bytes;   /* rounded up to the alignment */
    int begin, end; /* positions, inclusive; end < begin: never used */
    size_t offset;  /* after packing */
} zrt__buffer;

typedef struct zrt__buffers {
    zrt__buffer *items;
    size_t n, capacity;
    bool failed; /* an add found no host memory: whoever made these must not use them */
} zrt__buffers;

/* Adds a buffer that is used nowhere so far; its number, -1 for want of memory. */
int zrt__buffers_add(zrt__buffers *buffers, zrt__region region, zrt__category category, size_t bytes);
/* Extends the lifetime so that it covers `position`. */
void zrt__buffers_touch(zrt__buffers *buffers, int buffer, int position);
/* Sets offsets so that no two buffers of a region that live together overlap; size of each region. */
zrt_status zrt__buffers_pack(zrt__buffers *buffers, size_t bytes_out[ZRT__N_REGIONS]);
/* Bytes alive, by category, at the position where most are; and that position. */
int zrt__buffers_peak(const zrt__buffers *buffers, size_t by_category_out[ZRT__N_CATEGORIES]);
void zrt__buffers_free(zrt__buffers *buffers);

/* Where an operand is: a buffer of the plan, or a persistent one (buffer = ~index), and bytes from its start. */
typedef struct zrt__ref {
    int buffer;
    size_t offset;
} zrt__ref;
#define ZRT__NO_REF ((zrt__ref){0, SIZE_MAX})
static inline int zrt__ref_is_none(zrt__ref ref)
{
    return ref.offset == SIZE_MAX;
}

/* All memory of an engine. */
typedef struct zrt__memory {
    zrt__buffers persistent;
    size_t persistent_bytes[ZRT__N_REGIONS];
    size_t scratch_bytes[ZRT__N_REGIONS];
    char *persistent_base[ZRT__N_REGIONS], *scratch_base[ZRT__N_REGIONS];
    int n_marks;
} zrt__memory;

/* A new mark: see zrt__plan_reach. */
int zrt__memory_mark(zrt__memory *memory);

/* A persistent buffer's reference; buffer >= 0 for want of memory. */
zrt__ref zrt__memory_persistent(zrt__memory *memory, zrt__region region, zrt__category category, size_t bytes);
/* Lays out the persistent buffers one after the other. */
void zrt__memory_layout(zrt__memory *memory);
size_t zrt__memory_total(const zrt__memory *memory);
/* Of it, what kernels of the device and collectives touch. */
size_t zrt__memory_on_device(const zrt__memory *memory);

#endif
