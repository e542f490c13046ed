/* TAP in MPI tests: every rank takes part in a test point, rank 0 prints it. Rank counts stand in the source of a test
 * in a comment of its own: "ranks: 1 2 4". */
#ifndef ZRT_TEST_TAP_MPI_H
#define ZRT_TEST_TAP_MPI_H

#include <stdarg.h>
#include <stdio.h>

#include <mpi.h>

#include "tap.h"

/* One test point that passes when it does on every rank of `comm`; gives that back on each. Ranks where it fails say so.
 * Collective. Ranks other than 0 print no plan: they end with `return tap_done_all(comm)`. */
__attribute__((format(printf, 3, 4))) static inline bool tap_ok_all(MPI_Comm comm, bool passed, const char *format, ...)
{
    char text[512];
    int rank, mine = passed, all = 0;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    MPI_Comm_rank(comm, &rank);
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, comm);
    if (!passed)
        tap_diag("rank %d fails: %s", rank, text);
    if (rank == 0)
        tap_ok(all != 0, "%s", text);
    return all != 0;
}

/* The exit status of main; rank 0 prints the plan. To be called before MPI ends. Collective. */
static inline int tap_done_all(MPI_Comm comm)
{
    int rank, status = 0;

    MPI_Comm_rank(comm, &rank);
    if (rank == 0)
        status = tap_done();
    MPI_Bcast(&status, 1, MPI_INT, 0, comm);
    return status;
}

#endif
