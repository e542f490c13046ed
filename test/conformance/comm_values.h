/* Values that every rank knows of the others, and what comes out of collectives of them. */
#ifndef ZRT_TEST_CONFORMANCE_COMM_VALUES_H
#define ZRT_TEST_CONFORMANCE_COMM_VALUES_H

#include "comm/comm.h"

typedef enum comm_kind { ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE, BROADCAST, N_KINDS } comm_kind;

typedef struct comm_case {
    comm_kind kind;
    zrt_dtype dtype;
    zrt__reduce_op op;
    size_t count;
    int root;
    bool in_place, send_registered, recv_registered;
    uint64_t seed;
} comm_case;

typedef union comm_number {
    float f;
    double d;
    int32_t i32;
    int64_t i64;
    uint8_t u8;
    uint16_t u16;
} comm_number;

/* Element i of what `rank` gives, as an element of the type. */
void comm_value(void *out, uint64_t seed, int rank, size_t i, zrt_dtype dtype);
/* Element i reduced over the ranks in their order. */
void comm_reduced(void *out, uint64_t seed, int size, size_t i, zrt_dtype dtype, zrt__reduce_op op);
/* To the bit where sums run in rank order; in rings within a rounding a rank. Values are below 1. */
bool comm_equal(const comm_case *t, int size, bool rings, comm_number want, const char *data);

#endif
