#!/bin/bash
# Full tensors are bit-equal between worlds, stages and precisions.
# ZRT_TEST_WORLDS="1 2 3 4 5 8" is all of them ("1 3"); ZRT_TEST_KINDS are stages and dtypes ("0 fp32 3 fp16"), all 8 with "all".
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${ZRT_BUILDDIR=$PWD}" "${MPIEXEC=mpirun}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
folder=$(mktemp -d "${TMPDIR:-/tmp}/zerort-test.XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
worlds=${ZRT_TEST_WORLDS:-1 3}
kinds=${ZRT_TEST_KINDS:-0 fp32 3 fp16}
[ "$kinds" = all ] && kinds='0 fp32 1 fp32 2 fp32 3 fp32 0 fp16 1 fp16 2 fp16 3 fp16'
n=0 failed=0
for world in $worlds; do
    # shellcheck disable=SC2086
    timeout $((120 * ${ZRT_TEST_SLOWDOWN:-1})) "$MPIEXEC" -np "$world" "$ZRT_BUILDDIR/test/reshard" save "$folder/runs" $kinds \
        >>"$folder/saved" 2>"$folder/err" </dev/null || { head -n 5 "$folder/err" | sed 's/^/# /'; failed=1; }
done
wanted=$(wc -l <"$folder/saved")
for world in $worlds; do
    # shellcheck disable=SC2086
    timeout $((300 * ${ZRT_TEST_SLOWDOWN:-1})) "$MPIEXEC" -np "$world" "$ZRT_BUILDDIR/test/reshard" load "$folder/runs" $kinds \
        >"$folder/loaded" 2>"$folder/err" </dev/null || { head -n 5 "$folder/err" | sed 's/^/# /'; failed=1; }
    different=$(awk 'FNR == NR { hash[$1] = $2; next } hash[$1] != $2 { print "#   " $1 } ' "$folder/saved" "$folder/loaded")
    loaded=$(wc -l <"$folder/loaded")
    n=$((n + 1))
    if [ "$wanted" -gt 0 ] && [ -z "$different" ] && [ "$loaded" = $((wanted * $(wc -w <<<"$kinds") / 2)) ]; then
        echo "ok $n - $loaded loads at $world ranks of $wanted checkpoints of $worlds ranks are bit-equal"
    else
        echo "not ok $n - $loaded loads at $world ranks of $wanted checkpoints"
        echo "$different" | head
        failed=1
    fi
done
echo "1..$n"
exit $failed
