/* The state of compiling one plan; only for the files of this folder. */
#ifndef ZRT_ZERO_COMPILE_H
#define ZRT_ZERO_COMPILE_H

#include "zero/zero.h"

typedef struct zrt__compiler {
    zrt__zero *zero;
    zrt__plan *plan;
    const zrt__build *build;
    zrt__train_variant variant;
    zrt__residency schedule;
    zrt__ref *gathered;  /* by flat: where it is gathered now */
    int *gather_event;   /* by flat: its gather is done; -1 once waited for */
    zrt__ref *gradients; /* by flat: unreduced gradients now; none where there are none */
    int *contributions;  /* by flat: units whose gradients are still to come in this micro-step */
    bool *slot_written;  /* by slot: its gradient, since the buffer was made */
    zrt__ref *edges, *edge_grads;
    zrt__ref *values; /* of the units' tensors, from first_value[unit] on */
    int *last_use;    /* likewise: last node that uses it, INT_MAX: beyond the unit */
    bool *kept_for_backward;
    size_t *first_value;
    zrt__ref *caches; /* generation: in the order of the graph */
    int n_caches, next_cache;
    int pending_reduce[2]; /* events of reductions still in flight: of the unit before, of the one before that */
    int pending_down[2];   /* likewise, of copies to the host */
    zrt__ref pending_buffers[2][4];
    zrt_status status;
} zrt__compiler;

zrt_status zrt__compiler_begin(zrt__compiler *compiler, zrt__zero *zero, zrt__plan *plan, const zrt__build *build);
void zrt__compiler_end(zrt__compiler *compiler);
/* Nodes [begin, end) of a unit. */
void zrt__compiler_nodes(zrt__compiler *compiler, int unit, size_t begin, size_t end);
/* Gathers that are enqueued before use `index`, and the waits for what it reads. */
void zrt__compiler_gather(zrt__compiler *compiler, int index);

/* Where a node writes the gradient of a slot; *dtype_out its type; *accumulate_out whether there is something already. */
zrt__ref zrt__compiler_gradient(zrt__compiler *compiler, int slot, zrt_dtype *dtype_out, bool *accumulate_out);
/* After the backward nodes of a unit: reduces what is complete. */
void zrt__compiler_reduce(zrt__compiler *compiler, int unit);
/* After all units: reduces the rest, and waits. */
void zrt__compiler_reduce_rest(zrt__compiler *compiler);
/* Counts, by flat, the units that contribute. */
void zrt__compiler_count_contributions(zrt__compiler *compiler);

#endif
