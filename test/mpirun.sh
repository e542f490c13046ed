#!/bin/sh
# Runs one test program and prints one TAP stream.
#   test/mpirun.sh PROGRAM [ARGUMENT ...]
# A source that declares ranks, "/* ranks: 1 2 4 */", is run under mpirun once for each count; others are run as they are.
# A source that needs longer than the default declares seconds, "/* timeout: 300 */".
# A source that needs other options of AddressSanitizer declares them, "/* asan: fast_unwind_on_malloc=1 */".
# ZRT_TEST_RANKS="1 2" runs these of the declared counts, ZRT_TEST_TIMEOUT is the default time limit of one run in seconds (120),
# ZRT_TEST_SLOWDOWN=5 multiplies time limits where a sanitizer or valgrind slows programs down,
# ZRT_TEST_WRAPPER goes before the program: "valgrind -q --suppressions=config/openmpi.supp --error-exitcode=66".
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
: "${ZRT_GOLDEN=$ZRT_SRCDIR/test/golden}" "${MPIEXEC=mpirun}"
: "${LSAN_OPTIONS=suppressions='$ZRT_SRCDIR/config/lsan.supp':print_suppressions=0}"
: "${ASAN_OPTIONS=exitcode=66:fast_unwind_on_malloc=0:allocator_may_return_null=1}"
: "${UBSAN_OPTIONS=print_stacktrace=1}"
: "${TSAN_OPTIONS=suppressions='$ZRT_SRCDIR/config/tsan.supp':exitcode=66:ignore_noninstrumented_modules=1:allocator_may_return_null=1}"
export ZRT_SRCDIR ZRT_GOLDEN LSAN_OPTIONS ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS

program=$1
shift
case $program in */*) ;; *) program=./$program ;; esac
name=${program##*/}
from_test=/$program
source=$ZRT_SRCDIR/test/${from_test##*/test/}.c

declared() { sed -n "s,^.*/\* $1: *\([0-9 ]*[0-9]\) *\*/.*\$,\1,p" "$source" 2>/dev/null | head -n 1; }

ranks=$(declared ranks)
asan=$(sed -n 's,^.*/\* asan: *\([a-z_]*=[0-9]*\) *\*/.*$,\1,p' "$source" 2>/dev/null)
ASAN_OPTIONS=$ASAN_OPTIONS${asan:+:$asan}
limit=$(declared timeout)
limit=$((${limit:-${ZRT_TEST_TIMEOUT:-120}} * ${ZRT_TEST_SLOWDOWN:-1}))
if [ -n "$ranks" ] && [ -n "$ZRT_TEST_RANKS" ]; then
    chosen=
    for n in $ranks; do
        case " $ZRT_TEST_RANKS " in *" $n "*) chosen="$chosen $n" ;; esac
    done
    if [ -z "$chosen" ]; then
        echo "1..0 # SKIP declares ranks $ranks, of which ZRT_TEST_RANKS has none"
        exit 0
    fi
    ranks=$chosen
fi

# An end by itself closes the stream with a line that no test prints.
run_one() { # ranks, or 0 for a plain run; then the command
    n=$1
    shift
    if [ "$n" = 0 ]; then
        timeout -k 10 "$limit" $ZRT_TEST_WRAPPER "$@" </dev/null
    else
        timeout -k 10 "$limit" "$MPIEXEC" -np "$n" $ZRT_TEST_WRAPPER "$@" </dev/null
    fi
    status=$?
    echo
    echo "@end $n $status"
}

for n in ${ranks:-0}; do
    run_one "$n" "$program" "$@"
done | awk -v name="$name" -v limit="$limit" '
    function point(passed, text) {
        printf "%sok %d%s\n", passed ? "" : "not ", ++total, text == "" ? "" : " " text
        here++
        if (!passed) bad = failed = 1
        fflush()
    }
    function label(n) { return n == 0 ? "" : " [np " n "]" }
    function reset() { here = bad = skipped_all = held_n = 0; planned = -1; why = "" }
    BEGIN { reset() }
    # The number of ranks of a run is known at its end: its lines wait until then.
    /^@end [0-9]+ [0-9]+$/ {
        n = $2; status = $3
        for (i = 1; i <= held_n; i++) {
            line = held[i]
            passed = line !~ /^not ok/
            sub(/^(not )?ok *[0-9]*/, "", line)
            directive = ""
            if (match(line, /# *(SKIP|T[O]DO).*/)) { directive = " " substr(line, RSTART); line = substr(line, 1, RSTART - 1) }
            sub(/ +$/, "", line); sub(/^ +/, "", line)
            point(passed, line label(n) directive)
        }
        if (skipped_all) point(1, "- " name label(n) " # SKIP " why)
        else if (planned >= 0 && held_n != planned) point(0, "- " name label(n) " ran " held_n " of " planned " test points")
        else if (planned < 0 && held_n > 0) point(0, "- " name label(n) " ended without a plan")
        else if (held_n == 0 && status == 0) point(1, "- " name label(n) " ends well")
        if (status == 124 || status == 137) point(0, "- " name label(n) " was killed, time limit " limit " s")
        else if (status != 0 && !bad) point(0, "- " name label(n) " ended with status " status)
        reset()
        next
    }
    /^(not )?ok( |$)/ { held[++held_n] = $0; next }
    /^1\.\.0/ { skipped_all = 1; why = $0; sub(/^1\.\.0 *#? *(SKIP)? */, "", why); next }
    /^1\.\.[0-9]+ *$/ { planned = substr($1, 4) + 0; next }
    /^Bail out!/ { point(0, "- " name ": " $0); next }
    /^$/ { next }
    /^#/ { print; fflush(); next }
    { print "# " $0; fflush() }
    END { printf "1..%d\n", total; exit failed }
'
