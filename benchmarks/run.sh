#!/bin/sh
# Runs benchmarks one after the other: under mpirun once for each count that the source declares, "/* ranks: 1 2 */", or
# as they are. Their output, JSON lines, passes unchanged; what is run is told on standard error.
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${MPIEXEC=mpirun}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
failed=0
for program in "$@"; do
    ranks=$(sed -n 's,^.*/\* ranks: *\([0-9 ]*[0-9]\) *\*/.*$,\1,p' "$ZRT_SRCDIR/$program.c" | head -n 1)
    for n in ${ranks:-0}; do
        if [ "$n" = 0 ]; then
            echo "==> $program" >&2
            "./$program" || failed=1
        else
            echo "==> $program, $n ranks" >&2
            "$MPIEXEC" -np "$n" "./$program" || failed=1
        fi
    done
done
exit $failed
