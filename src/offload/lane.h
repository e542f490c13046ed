/* One thread's requests to a file. */
#ifndef ZRT_OFFLOAD_LANE_H
#define ZRT_OFFLOAD_LANE_H

#include "config.h"

#include <stdatomic.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#include "offload/tier.h"

typedef struct zrt__request {
    char *data;
    int64_t offset;
    size_t bytes;
} zrt__request;

typedef struct zrt__lane {
    const zrt__aio_options *aio;
    zrt__request *requests; /* queue_depth */
    int *idle;              /* numbers of those that are not on their way */
#ifdef HAVE_LIBURING
    struct io_uring ring;
#endif
    bool has_ring;
    /* ZERORT_FAIL_TRANSFER=N: the N-th request of the tier fails with EIO; 0: none. */
    int64_t fail_at;
    atomic_llong *n_requests;
} zrt__lane;

/* why_out: NULL where io_uring works, else why not (lives as long as the process). */
zrt_status zrt__lane_open(zrt__lane *lane, const zrt__aio_options *aio, bool no_uring, const char **why_out);
void zrt__lane_close(zrt__lane *lane);
/* 0 or an errno. */
int zrt__lane_run(zrt__lane *lane, int fd, bool write, int64_t offset, char *data, int64_t bytes);

#endif
