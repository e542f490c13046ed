/* The launcher itself: MPI starts with threads, ranks meet, a point holds only when it does on every rank. */
/* ranks: 1 2 4 */
#include "config.h"

#include "tap_mpi.h"

int main(int argc, char **argv)
{
    int provided, rank, size, sum, status;

    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    tap_ok_all(MPI_COMM_WORLD, provided == MPI_THREAD_MULTIPLE, "MPI_THREAD_MULTIPLE is provided");
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    tap_ok_all(MPI_COMM_WORLD, sum == size * (size - 1) / 2, "every rank takes part");
    status = tap_done_all(MPI_COMM_WORLD);
    MPI_Finalize();
    return status;
}
