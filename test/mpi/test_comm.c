/* comm/mpi in shared memory and over MPI, by the suite of communication backends and what only this one does. */
/* ranks: 1 2 3 4 */
/* timeout: 240 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <zerort/mpi.h>

#include "comm/comm.h"
#include "conformance/comm_suite.h"
#include "tap_mpi.h"

static zrt__device *open_device(void)
{
    zrt__device *device = NULL;
    zrt__device_options options = {.n_threads = 1};
    return zrt__device_cpu_ops.open(&options, &device) == ZRT_OK ? device : NULL;
}

/* An average of integers is refused on every rank at once, and the communicator goes on. */
static void integers_have_no_average(const zrt__group *world, zrt__device *device)
{
    zrt__comm *comm = NULL;
    int32_t x[4] = {1, 2, 3, 4};
    bool ok = zrt__comm_mpi_ops.open(world, device, "average", &comm) == ZRT_OK;
    zrt__collective c = {.comm = comm, .send = x, .recv = x, .count = 4, .dtype = ZRT_INT32, .op = ZRT__REDUCE_AVERAGE};
    ok = ok && zrt__comm_mpi_ops.all_reduce(NULL, &c) == ZRT_ERR_NOT_SUPPORTED;
    c.op = ZRT__REDUCE_SUM;
    ok = ok && zrt__comm_mpi_ops.all_reduce(NULL, &c) == ZRT_OK && x[1] == 2 * zrt__group_size(world);
    tap_ok_all(MPI_COMM_WORLD, ok, "an average of integers is refused by name");
    zrt__comm_mpi_ops.close(&comm);
}

/* Ranks in different collectives are told so, instead of getting sums of what does not belong together. */
static void differing_calls(const zrt__group *world, zrt__device *device)
{
    zrt__comm *comm = NULL;
    float x[8] = {0};
    if (zrt__group_size(world) == 1 || !zrt__group_is_local(world))
        return;
    bool ok = zrt__comm_mpi_ops.open(world, device, "differing", &comm) == ZRT_OK;
    zrt__collective c = {.comm = comm,
                         .send = x,
                         .recv = x,
                         .count = zrt__group_rank(world) == 0 ? 8 : 7,
                         .dtype = ZRT_FLOAT32,
                         .label = "gradients"};
    zrt_status status = ok ? zrt__comm_mpi_ops.all_reduce(NULL, &c) : ZRT_OK;
    tap_ok_all(MPI_COMM_WORLD, status == ZRT_ERR_COMM && strstr(zrt_error_message(), "gradients") != NULL,
               "ranks that call different collectives get an error: %s", zrt_error_message());
    tap_ok_all(MPI_COMM_WORLD, zrt__comm_mpi_ops.all_reduce(NULL, &c) == ZRT_ERR_COMM,
               "and the communicator stays failed");
    zrt__comm_mpi_ops.close(&comm);
}

/* A rank that closes does not leave the others asleep. */
static void a_rank_leaves(const zrt__group *world, zrt__device *device)
{
    zrt__comm *comm = NULL;
    if (zrt__group_size(world) == 1 || !zrt__group_is_local(world))
        return;
    bool ok = zrt__comm_mpi_ops.open(world, device, "leaving", &comm) == ZRT_OK;
    zrt__collective c = {.comm = comm};
    if (ok && zrt__group_rank(world) != 1)
        ok =
            zrt__comm_mpi_ops.barrier(NULL, &c) == ZRT_ERR_COMM && strstr(zrt_error_message(), "rank 1 closed") != NULL;
    zrt__comm_mpi_ops.close(&comm);
    tap_ok_all(MPI_COMM_WORLD, ok, "a rank that closes its communicator ends the waiting of the others");
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    if (zrt_init(&argc, &argv, &context) != ZRT_OK)
        return 1;
    zrt__device *device = open_device();
    const zrt__group *world = zrt__context_world(context);
    comm_suite suite = {.ops = &zrt__comm_mpi_ops,
                        .group = world,
                        .device = device,
                        .mpi = MPI_COMM_WORLD,
                        .name = "shared memory",
                        .largest = 300007};
    unsetenv("ZERORT_COMM");
    comm_suite_run(&suite);
    setenv("ZERORT_COMM", "mpi", 1);
    suite.name = "over MPI";
    comm_suite_run(&suite);
    setenv("ZERORT_COMM_CHUNK", "1000", 1);
    suite.name = "over MPI in chunks";
    suite.largest = 9001;
    comm_suite_run(&suite);
    unsetenv("ZERORT_COMM");
    unsetenv("ZERORT_COMM_CHUNK");
    integers_have_no_average(world, device);
    differing_calls(world, device);
    a_rank_leaves(world, device);
    zrt__device_cpu_ops.close(&device);
    int status = tap_done_all(MPI_COMM_WORLD);
    zrt_finalize(&context);
    return status;
}
