#!/bin/bash
# Every allocation of set-up failed in turn (every one of the first 40, then ever wider apart): one clean message, exit status 1, no crash.
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${ZRT_BUILDDIR=$PWD}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
n=0
failed=0
at=1
points=0
while :; do
    ZERORT_FAIL_ALLOC=$at timeout $((60 * ${ZRT_TEST_SLOWDOWN:-1})) "$ZRT_BUILDDIR/test/losses" --steps 1 --micro-batch 12 --zero-stage 0 \
        </dev/null >"$folder/out" 2>"$folder/err"
    status=$?
    [ $status = 0 ] && break
    points=$((points + 1))
    if [ $status != 1 ] || ! grep -q 'losses: .' "$folder/err" || grep -qE 'Sanitizer|runtime error|Segmentation' "$folder/err"; then
        n=$((n + 1))
        failed=1
        echo "not ok $n - allocation $at failed: exit status $status"
        head -n 5 "$folder/err" | sed 's/^/# /'
        [ $n -ge 10 ] && break
    fi
    if [ $at -lt 40 ]; then at=$((at + 1)); else at=$((at + at / 12)); fi
done
n=$((n + 1))
if [ $points -ge 40 ] && [ $failed = 0 ]; then
    echo "ok $n - $points allocations failed one at a time up to the $at-th, each with a message and exit status 1"
else
    echo "not ok $n - $points allocations failed up to the $at-th"
    failed=1
fi
echo "1..$n"
exit $failed
