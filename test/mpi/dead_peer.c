/* One rank ends in the middle; the others must be told within seconds who it was. Run by dead_peer.sh, which keeps mpirun from
 * ending the others first. Arguments: the rank that ends, and how: "exit" or "kill". Survivors print "rank R: STATUS MESSAGE". */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zerort/mpi.h>

#include "comm/comm.h"

enum { COUNT = 200000, STEPS = 1000000 };

static void end(const char *how)
{
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
    _exit(0);
}

int main(int argc, char **argv)
{
    zrt_context *context = NULL;
    zrt__comm *comm = NULL;
    zrt__comm_memory *memory = NULL;
    void *data = NULL;
    if (argc < 3 || zrt_init(&argc, &argv, &context) != ZRT_OK)
        return 1;
    int victim = atoi(argv[1]), rank = zrt_rank(context);
    const zrt__comm_ops *ops = &zrt__comm_mpi_ops;
    if (ops->open(zrt__context_world(context), NULL, "gradients", &comm) != ZRT_OK ||
        ops->allocate(comm, COUNT * sizeof(float), &memory, &data) != ZRT_OK) {
        fprintf(stderr, "dead_peer: %s\n", zrt_error_message());
        return 1;
    }
    zrt__collective c = {
        .comm = comm, .send = data, .recv = data, .count = COUNT, .dtype = ZRT_FLOAT32, .label = "reduce h.3"};
    zrt_status status = ZRT_OK;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int step = 0; step < STEPS && status == ZRT_OK; step++) {
        if (rank == victim && step == 20)
            end(argv[2]);
        if (step == 20)
            clock_gettime(CLOCK_MONOTONIC, &start);
        status = ops->all_reduce(NULL, &c);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    bool soon = now.tv_sec - start.tv_sec < 5;
    printf("rank %d: %s %s %s\n", rank, status == ZRT_ERR_COMM ? "ZRT_ERR_COMM" : "other", soon ? "soon" : "late",
           zrt_error_message());
    fflush(stdout);
    _exit(0); /* MPI would wait for the rank that is gone */
}
