/* What every backend of communication must do, compared with plain loops over the values that all ranks gave. */
#ifndef ZRT_TEST_CONFORMANCE_COMM_SUITE_H
#define ZRT_TEST_CONFORMANCE_COMM_SUITE_H

#include <mpi.h>

#include "comm/comm.h"

typedef struct comm_suite {
    const zrt__comm_ops *ops;
    const zrt__group *group;
    zrt__device *device;
    MPI_Comm mpi;     /* of the same ranks, for the test points */
    const char *name; /* stands in every test point */
    size_t largest;   /* elements of the largest case */
    bool rings;       /* NCCL: sums in an order of its own, and registered memory at the same places on all ranks */
} comm_suite;

/* Collective over the group. */
void comm_suite_run(const comm_suite *suite);

#endif
