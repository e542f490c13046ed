/* A tier of memory in a file of this rank's own: what is too large for the host lies there and passes through buffers.
 *
 * The file has no name: it goes with the process, however that ends. It is as large as it will be from the start, so that a full
 * disk is found before anything is trained. Transfers go past the page cache (O_DIRECT) where the file system lets them, in blocks,
 * several at once, by io_uring; where the kernel refuses that, threads read and write. */
#ifndef ZRT_OFFLOAD_TIER_H
#define ZRT_OFFLOAD_TIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zerort/status.h>

#include "device/device.h"

/* Offsets, lengths and addresses of transfers are multiples of it. */
#define ZRT__TIER_ALIGNMENT 4096

/* DeepSpeed's block "aio". */
typedef struct zrt__aio_options {
    int64_t block_bytes; /* of one request; rounded up to the alignment */
    int queue_depth;     /* requests of a thread that are on their way at once */
    int n_threads;       /* that share one transfer (intra_op_parallelism) */
    bool single_submit;  /* each request by a call of its own */
    bool overlap_events; /* a request follows as soon as one is done; false: a queue of them is waited for whole */
} zrt__aio_options;

typedef struct zrt__tier zrt__tier;

typedef struct zrt__tier_options {
    const char *folder; /* of the disk */
    const char *key;    /* that names it, for messages */
    const char *what;   /* "optimizer states" */
    int64_t bytes;      /* of the file */
    int n_channels;     /* transfers that run at once */
    bool write_zeros;   /* now; else the file system gives zeros where nothing was written */
    bool no_uring;      /* threads, though the kernel has io_uring */
    zrt__aio_options aio;
} zrt__tier_options;

/* Errors: ZRT_ERR_IO where the folder is not there, cannot be written or has no room; ZRT_ERR_MEMORY. */
zrt_status zrt__tier_open(const zrt__tier_options *options, zrt__tier **tier_out);
/* Nothing may be on its way. */
void zrt__tier_close(zrt__tier **tier);

bool zrt__tier_is_direct(const zrt__tier *tier);
/* NULL: io_uring is used; else why it is not. */
const char *zrt__tier_no_uring(const zrt__tier *tier);
/* Bytes of the host's memory that a tier takes for itself. */
size_t zrt__tier_host_bytes(const zrt__aio_options *aio, int n_channels);

/* One transfer. Each channel has one at a time, those of one stream. */
typedef struct zrt__transfer {
    zrt__tier *tier;
    int channel;
    bool write;
    int64_t offset, bytes;
    void *data;
} zrt__transfer;
/* Returns when it is done. A launch function: arg is a zrt__transfer. The first failure is the tier's: nothing is written after it. */
zrt_status zrt__transfer_run(zrt__stream *stream, const void *arg);

/* Any offsets, lengths and addresses, at once, from any thread. */
zrt_status zrt__tier_read(zrt__tier *tier, int64_t offset, void *data, int64_t bytes);
zrt_status zrt__tier_write(zrt__tier *tier, int64_t offset, const void *data, int64_t bytes);
/* The first failure: what the file has is not what it should have. */
zrt_status zrt__tier_status(zrt__tier *tier);

#endif
