/* What a run needs of the machines, looked at before one is started. */
#ifndef ZERORT_PREFLIGHT_H
#define ZERORT_PREFLIGHT_H

#include <zerort/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum zrt_preflight_level { ZRT_PREFLIGHT_OK, ZRT_PREFLIGHT_WARNING, ZRT_PREFLIGHT_ERROR } zrt_preflight_level;

/* One line: what was looked at, and what was found; with what to do where it is a warning or an error. On rank 0. */
typedef void zrt_preflight_fn(void *user, zrt_preflight_level level, const char *subject, const char *text);

typedef struct zrt_preflight_options {
    const char *output_dir; /* where checkpoints would go; NULL: the current folder */
    const char *device;     /* "auto", "cpu", "cuda"; NULL: auto */
} zrt_preflight_options;

/* Looks at: MPI and its thread level; hosts, ranks and cores; GPUs; versions that differ between ranks; clocks; memory, shared
 * memory and how much may be locked; collectives, whether their results are right and their bandwidth (MPI's, and NCCL's where the
 * ranks have GPUs; bus bandwidth as nccl-tests defines it); the output folder, whether all hosts see the same, and its bandwidth.
 * What one rank cannot do the others hear of. Reads, computes and writes for some seconds; leaves nothing behind. Collective; levels
 * and texts differ by rank, the counts are those of all. Errors: only where the check itself could not be made. */
ZRT_EXPORT zrt_status zrt_preflight(zrt_context *context, const zrt_preflight_options *options, zrt_preflight_fn *say,
                                    void *user, int *n_errors_out, int *n_warnings_out);

#ifdef __cplusplus
}
#endif
#endif
