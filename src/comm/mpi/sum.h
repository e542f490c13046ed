/* Sums of what several ranks give, in rank order. */
#ifndef ZRT_COMM_MPI_SUM_H
#define ZRT_COMM_MPI_SUM_H

#include <stddef.h>

#include "comm/comm.h"

/* ZRT_ERR_NOT_SUPPORTED for an average of integers. */
zrt_status zrt__sum_check(zrt_dtype dtype, zrt__reduce_op op);

/* out[i] = parts[0][i] op parts[1][i] op ... op parts[n-1][i], accumulated in this order in fp32 (16-bit types and fp32), fp64 or the
 * integer type, and rounded once; an average divides by n. A maximum with a NaN is NaN. `out` may be one of the parts. */
void zrt__sum_parts(void *out, const char *const *parts, int n, size_t count, zrt_dtype dtype, zrt__reduce_op op);

#endif
