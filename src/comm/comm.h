/* Collectives over a group of ranks, each enqueued on a stream, and memory registered with them. One backend is one table. */
#ifndef ZRT_COMM_COMM_H
#define ZRT_COMM_COMM_H

#include "device/device.h"
#include "launch/launch.h"

typedef struct zrt__comm_ops zrt__comm_ops;

/* The first member of every backend's own struct. A communicator is used by one stream at a time: each stream that communicates has its own. */
typedef struct zrt__comm {
    const zrt__comm_ops *ops;
    int rank, size;
} zrt__comm;

/* Memory that all ranks of the group allocate together with the same size, so that collectives on it need no copy
 * (shared memory between the ranks of a host; ncclMemAlloc). Collectives of any communicator made from the same group may use it. */
typedef struct zrt__comm_memory zrt__comm_memory;

typedef enum zrt__reduce_op { ZRT__REDUCE_SUM, ZRT__REDUCE_AVERAGE, ZRT__REDUCE_MAX } zrt__reduce_op;

/* Arguments of a collective; a launch argument, valid until it ran. count: elements each rank contributes to an
 * all-gather, gets from a reduce-scatter, or holds in an all-reduce or broadcast. send may be the rank's own part of recv (all-gather),
 * recv the rank's own part of send (reduce-scatter), or send == recv (all-reduce, broadcast). Of registered memory all ranks
 * give the same places.
 * Results are the same on every run, and those of an all-reduce on every rank. comm/mpi sums in rank order in fp32 (fp64 for
 * fp64) and rounds once; comm/nccl in the order of NCCL's rings, rounding 16-bit types at every rank. */
typedef struct zrt__collective {
    zrt__comm *comm;
    const void *send;
    void *recv;
    size_t count;
    zrt_dtype dtype;
    zrt__reduce_op op;
    int root;          /* broadcast */
    const char *label; /* for the trace and the watchdog: "gather transformer.h.3" */
} zrt__collective;

struct zrt__comm_ops {
    const char *name; /* "mpi", "nccl" */

    /* Collective over the group. */
    zrt_status (*open)(const zrt__group *group, zrt__device *device, const char *label, zrt__comm **comm_out);
    void (*close)(zrt__comm **comm);

    /* Collective over the communicator; zero-filled, aligned to 4096. */
    zrt_status (*allocate)(zrt__comm *comm, size_t bytes, zrt__comm_memory **memory_out, void **data_out);
    void (*release)(zrt__comm *comm, zrt__comm_memory **memory);
    size_t (*allocated_bytes)(const zrt__comm *comm);

    /* zrt__launch_fn, with a zrt__collective. Every rank enqueues the same sequence. */
    zrt__launch_fn *all_gather;
    zrt__launch_fn *reduce_scatter;
    zrt__launch_fn *all_reduce;
    zrt__launch_fn *broadcast;
    zrt__launch_fn *barrier;
};

extern const zrt__comm_ops zrt__comm_mpi_ops;
extern const zrt__comm_ops zrt__comm_nccl_ops; /* of GPUs, where NCCL was found: ZRT_HAVE_NCCL */

#endif
