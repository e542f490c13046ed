/* The parts of a preflight, each collective; only for the files of this folder. */
#ifndef ZRT_PREFLIGHT_PREFLIGHT_H
#define ZRT_PREFLIGHT_PREFLIGHT_H

#include <zerort/preflight.h>

#include "device/device.h"
#include "launch/launch.h"

typedef struct zrt__preflight {
    zrt_context *context;
    const zrt__group *world;
    const zrt__placement *placement;
    const char *output_dir;
    bool first_of_host; /* the lowest rank of its host */
    int n_hosts;
    zrt_preflight_fn *say;
    void *user;
    int n_errors, n_warnings;
} zrt__preflight;

enum { ZRT__PREFLIGHT_TEXT = 384 };

/* What this rank found. */
typedef struct zrt__finding {
    int32_t level;
    char host[64];
    char text[ZRT__PREFLIGHT_TEXT];
} zrt__finding;

void zrt__finding_set(zrt__finding *finding, zrt_preflight_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One line, known to all ranks. */
void zrt__preflight_say(zrt__preflight *p, zrt_preflight_level level, const char *subject, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Everyone's findings: rank 0's line where all is well, else one line for each different finding that is not. */
zrt_status zrt__preflight_gather(zrt__preflight *p, const char *subject, const zrt__finding *mine);
/* The largest of all ranks' values. */
zrt_status zrt__preflight_max(const zrt__preflight *p, double *value);

zrt_status zrt__preflight_launch(zrt__preflight *p);
zrt_status zrt__preflight_versions(zrt__preflight *p);
zrt_status zrt__preflight_clocks(zrt__preflight *p);
zrt_status zrt__preflight_memory(zrt__preflight *p, zrt__device *cpu);
/* Over the CPUs' memory by MPI, or the GPUs' by NCCL. */
zrt_status zrt__preflight_collectives(zrt__preflight *p, zrt__device *device);
zrt_status zrt__preflight_folder(zrt__preflight *p);

#endif
