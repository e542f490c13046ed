/* NCCL, loaded when it is first needed: a binary that was built with it also runs where it is not installed. */
#ifndef ZRT_COMM_NCCL_NCCL_LIBRARY_H
#define ZRT_COMM_NCCL_NCCL_LIBRARY_H

#include <nccl.h>
#include <stdbool.h>

#include <zerort/status.h>

/* name, needed; the others may be NULL: NCCL has them since 2.27 */
/* clang-format off */
#define ZRT__NCCL_TABLE(X)                                                                     \
    X(ncclGetVersion, 1) X(ncclGetUniqueId, 1) X(ncclCommInitRankConfig, 1)                    \
    X(ncclCommDestroy, 1) X(ncclCommAbort, 1) X(ncclCommGetAsyncError, 1)                      \
    X(ncclGetErrorString, 1) X(ncclGetLastError, 1) X(ncclAllGather, 1)                        \
    X(ncclReduceScatter, 1) X(ncclAllReduce, 1) X(ncclBroadcast, 1) X(ncclMemAlloc, 1)         \
    X(ncclMemFree, 1) X(ncclCommWindowRegister, 0) X(ncclCommWindowDeregister, 0)
/* clang-format on */

/* The functions by NCCL's names, as nccl.h declares them. */
typedef struct zrt__nccl {
    void *handle;
    int version; /* 22803 is 2.28.3 */
#define ZRT__NCCL_SLOT(name, needed) __typeof__(name) *name;
    ZRT__NCCL_TABLE(ZRT__NCCL_SLOT)
#undef ZRT__NCCL_SLOT
} zrt__nccl;

enum {
    ZRT__NCCL_OLDEST = 21900,   /* ncclMemAlloc */
    ZRT__NCCL_ZERO_CTA = 22800, /* NCCL_CTA_POLICY_ZERO */
};

/* Loads "libnccl.so.2", or what ZERORT_NCCL_LIBRARY names. Local. ZRT_ERR_NOT_SUPPORTED where it is missing or too
 * old, saying what to do. */
zrt_status zrt__nccl_load(zrt__nccl *nccl_out);
/* The library stays in memory: its threads may still run. */
void zrt__nccl_unload(zrt__nccl *nccl);
/* "2.28.3" */
void zrt__nccl_version_text(int version, char text[static 32]);

#endif
