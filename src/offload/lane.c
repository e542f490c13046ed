#include "config.h"

#include "offload/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

zrt_status zrt__lane_open(zrt__lane *lane, const zrt__aio_options *aio, bool no_uring, const char **why_out)
{
    lane->aio = aio;
    lane->requests = zrt__calloc((size_t)aio->queue_depth, sizeof *lane->requests);
    lane->idle = zrt__calloc((size_t)aio->queue_depth, sizeof *lane->idle);
    if (lane->requests == NULL || lane->idle == NULL)
        return ZRT_ERR_MEMORY;
#ifdef HAVE_LIBURING
    if (no_uring) {
        *why_out = "it was not asked for";
        return ZRT_OK;
    }
    int error = io_uring_queue_init((unsigned)aio->queue_depth, &lane->ring, 0);
    lane->has_ring = error == 0;
    *why_out = error == 0 ? NULL : strerrordesc_np(-error);
    if (error != 0 && *why_out == NULL)
        *why_out = "refused";
#else
    (void)no_uring;
    *why_out = "this zerort was built without liburing";
#endif
    return ZRT_OK;
}

void zrt__lane_close(zrt__lane *lane)
{
#ifdef HAVE_LIBURING
    if (lane->has_ring)
        io_uring_queue_exit(&lane->ring);
#endif
    free(lane->requests);
    free(lane->idle);
    lane->has_ring = false;
    lane->requests = NULL;
    lane->idle = NULL;
}

static bool chosen_to_fail(zrt__lane *lane)
{
    return lane->fail_at > 0 && atomic_fetch_add(lane->n_requests, 1) + 1 == lane->fail_at;
}

/* What a request came to: bytes, or a negative errno. 0: go on with it. Sets *error to what ends the transfer. */
static bool finish(zrt__request *request, int64_t result, int *error)
{
    if (result == -EINTR || result == -EAGAIN)
        return false;
    if (result <= 0) {
        /* Nothing was read where the file should go on. */
        *error = result < 0 ? (int)-result : EIO;
        return true;
    }
    request->data += result;
    request->offset += result;
    request->bytes -= (size_t)result < request->bytes ? (size_t)result : request->bytes;
    return request->bytes == 0;
}

static int run_plain(zrt__lane *lane, int fd, bool write, int64_t offset, char *data, int64_t bytes)
{
    int error = 0;
    while (bytes > 0 && error == 0) {
        int64_t n = bytes < lane->aio->block_bytes ? bytes : lane->aio->block_bytes;
        zrt__request request = {data, offset, (size_t)n};
        bool done = false;
        while (!done && error == 0) {
            ssize_t result = write ? pwrite(fd, request.data, request.bytes, request.offset)
                                   : pread(fd, request.data, request.bytes, request.offset);
            done = finish(&request, chosen_to_fail(lane) ? -EIO : result < 0 ? -errno : result, &error);
        }
        data += n;
        offset += n;
        bytes -= n;
    }
    return error;
}

#ifdef HAVE_LIBURING
static void prepare(zrt__lane *lane, int fd, bool write, int which)
{
    zrt__request *request = &lane->requests[which];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&lane->ring); /* there is one for each request */
    if (write)
        io_uring_prep_write(sqe, fd, request->data, (unsigned)request->bytes, (uint64_t)request->offset);
    else
        io_uring_prep_read(sqe, fd, request->data, (unsigned)request->bytes, (uint64_t)request->offset);
    io_uring_sqe_set_data64(sqe, (uint64_t)which);
}

static int submit(zrt__lane *lane)
{
    for (;;) {
        int n = io_uring_submit(&lane->ring);
        if (n >= 0 || (n != -EINTR && n != -EAGAIN && n != -EBUSY))
            return n < 0 ? -n : 0;
    }
}

/* Takes the result of one request. Whether it is done; else it has been prepared again. */
static bool reap(zrt__lane *lane, int fd, bool write, int *which_out, int *error)
{
    struct io_uring_cqe *cqe = NULL;
    int status;
    do
        status = io_uring_wait_cqe(&lane->ring, &cqe);
    while (status == -EINTR);
    if (status < 0) {
        *error = -status;
        *which_out = -1;
        return true;
    }
    int which = (int)io_uring_cqe_get_data64(cqe);
    int64_t result = cqe->res;
    io_uring_cqe_seen(&lane->ring, cqe);
    *which_out = which;
    if (finish(&lane->requests[which], chosen_to_fail(lane) ? -EIO : result, error))
        return true;
    prepare(lane, fd, write, which);
    return false;
}

static int run_ring(zrt__lane *lane, int fd, bool write, int64_t offset, char *data, int64_t bytes)
{
    int depth = lane->aio->queue_depth, n_idle = depth, error = 0;
    for (int i = 0; i < depth; i++)
        lane->idle[i] = i;
    while ((bytes > 0 && error == 0) || n_idle < depth) {
        /* Without overlap_events a whole queue is filled only when the last one is through. */
        bool fills = lane->aio->overlap_events || n_idle == depth;
        while (fills && bytes > 0 && n_idle > 0 && error == 0) {
            int64_t n = bytes < lane->aio->block_bytes ? bytes : lane->aio->block_bytes;
            int which = lane->idle[--n_idle];
            lane->requests[which] = (zrt__request){data, offset, (size_t)n};
            prepare(lane, fd, write, which);
            if (lane->aio->single_submit)
                error = submit(lane);
            data += n;
            offset += n;
            bytes -= n;
        }
        int failed = submit(lane), which;
        if (failed != 0)
            return failed; /* the ring itself is broken: nothing is known of what was on its way */
        /* After a failure the buffers are still the kernel's until each request has come back. */
        if (n_idle < depth && reap(lane, fd, write, &which, &error)) {
            if (which < 0)
                return error;
            lane->idle[n_idle++] = which;
        }
    }
    return error;
}
#endif

int zrt__lane_run(zrt__lane *lane, int fd, bool write, int64_t offset, char *data, int64_t bytes)
{
#ifdef HAVE_LIBURING
    if (lane->has_ring)
        return run_ring(lane, fd, write, offset, data, bytes);
#endif
    return run_plain(lane, fd, write, offset, data, bytes);
}
