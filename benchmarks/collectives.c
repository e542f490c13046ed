/* Each collective beside a copy of the bytes that a rank must at least move, in the same run. One JSON line each: median and spread of
 * seconds, GB/s of the bytes that every rank receives (all-gather), reads (reduce-scatter), or both (all-reduce), and the share of the copy's rate. */
/* ranks: 2 4 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/comm.h"
#include "launch/launch.h"

enum { REPEATS = 15 };

typedef struct measured {
    double median, fastest, slowest;
} measured;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static measured summary(double *times)
{
    qsort(times, REPEATS, sizeof *times, ascending);
    return (measured){times[REPEATS / 2], times[0], times[REPEATS - 1]};
}

static measured time_collective(zrt__comm *comm, zrt__launch_fn *fn, const zrt__collective *c)
{
    double times[REPEATS];
    zrt__collective barrier = {.comm = comm, .label = "barrier"};
    for (int i = -2; i < REPEATS; i++) {
        if (comm->ops->barrier(NULL, &barrier) != ZRT_OK)
            exit(1);
        double start = now();
        if (fn(NULL, c) != ZRT_OK) {
            fprintf(stderr, "collectives: %s\n", zrt_error_message());
            exit(1);
        }
        if (i >= 0)
            times[i] = now() - start;
    }
    return summary(times);
}

static measured time_copy(zrt__comm *comm, void *to, const void *from, size_t bytes)
{
    double times[REPEATS];
    zrt__collective barrier = {.comm = comm, .label = "barrier"};
    for (int i = -2; i < REPEATS; i++) {
        comm->ops->barrier(NULL, &barrier);
        double start = now();
        memcpy(to, from, bytes);
        if (i >= 0)
            times[i] = now() - start;
    }
    return summary(times);
}

static void print(const zrt__comm *comm, const char *name, size_t bytes, measured m, double copy_rate)
{
    if (comm->rank != 0)
        return;
    double rate = (double)bytes / m.median * 1e-9;
    printf("{\"bench\": \"collectives\", \"case\": \"%s\", \"ranks\": %d, \"bytes\": %zu, \"median_s\": %.3e, "
           "\"fastest_s\": %.3e, "
           "\"slowest_s\": %.3e, \"gb_s\": %.2f, \"of_copy\": %.2f}\n",
           name, comm->size, bytes, m.median, m.fastest, m.slowest, rate, copy_rate > 0 ? rate / copy_rate : 1);
    fflush(stdout);
}

static void run(zrt__comm *comm, char *a, char *b, size_t bytes)
{
    size_t n = bytes / sizeof(float), share = n / (size_t)comm->size;
    zrt__collective gather = {
        .comm = comm, .send = a, .recv = b, .count = share, .dtype = ZRT_FLOAT32, .label = "gather"};
    zrt__collective scatter = {.comm = comm,
                               .send = a,
                               .recv = b,
                               .count = share,
                               .dtype = ZRT_FLOAT32,
                               .op = ZRT__REDUCE_AVERAGE,
                               .label = "scatter"};
    zrt__collective reduce = {.comm = comm,
                              .send = a,
                              .recv = a,
                              .count = n,
                              .dtype = ZRT_FLOAT32,
                              .op = ZRT__REDUCE_AVERAGE,
                              .label = "reduce"};
    measured copy = time_copy(comm, b, a, bytes);
    double rate = (double)bytes / copy.median * 1e-9;
    print(comm, "copy", bytes, copy, 0);
    print(comm, "all_gather", bytes, time_collective(comm, comm->ops->all_gather, &gather), rate);
    print(comm, "reduce_scatter", bytes, time_collective(comm, comm->ops->reduce_scatter, &scatter), rate);
    print(comm, "all_reduce", 2 * bytes, time_collective(comm, comm->ops->all_reduce, &reduce), rate);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {1 << 16, 1 << 22, 1 << 26};
    zrt_context *context = NULL;
    zrt__comm *comm = NULL;
    zrt__comm_memory *memory = NULL;
    zrt__device *device = NULL;
    void *data = NULL;
    zrt__device_options options = {.n_threads = 1};
    size_t largest = sizes[2];
    zrt_status status = zrt_init(&argc, &argv, &context);
    if (status == ZRT_OK)
        status = zrt__device_cpu_ops.open(&options, &device);
    if (status == ZRT_OK)
        status = zrt__comm_mpi_ops.open(zrt__context_world(context), device, "bench", &comm);
    if (status == ZRT_OK)
        status = comm->ops->allocate(comm, 2 * largest, &memory, &data);
    if (status != ZRT_OK) {
        fprintf(stderr, "collectives: %s\n", zrt_error_message());
        return 1;
    }
    memset(data, 0, 2 * largest);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        run(comm, data, (char *)data + largest, sizes[i]);
    zrt__collective small = {
        .comm = comm, .send = data, .recv = data, .count = 8, .dtype = ZRT_FLOAT64, .label = "small"};
    print(comm, "all_reduce_8_doubles", 64, time_collective(comm, comm->ops->all_reduce, &small), 0);
    comm->ops->release(comm, &memory);
    comm->ops->close(&comm);
    device->ops->close(&device);
    zrt_finalize(&context);
    return 0;
}
