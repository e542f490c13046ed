# For the tests of the programs, sourced by them: runs a command, keeps what it said, counts test points.
# Needs ZRT_SRCDIR and ZRT_BUILDDIR; tests run in a folder of their own, $work.
: "${ZRT_SRCDIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}" "${ZRT_BUILDDIR=$PWD}" "${MPIEXEC=mpirun}"
: "${LSAN_OPTIONS=suppressions=$ZRT_SRCDIR/config/lsan.supp:print_suppressions=0}"
# Not detect_stack_use_after_return: gcc 12 aligns the stack that it makes up to 32 bytes, and AVX-512 code wants 64.
: "${ASAN_OPTIONS=exitcode=66:fast_unwind_on_malloc=0}" "${UBSAN_OPTIONS=print_stacktrace=1}"
: "${TSAN_OPTIONS=suppressions=$ZRT_SRCDIR/config/tsan.supp:exitcode=66:ignore_noninstrumented_modules=1}"
: "${ZRT_GOLDEN=$ZRT_SRCDIR/test/golden}"
export ZRT_SRCDIR ZRT_BUILDDIR ZRT_GOLDEN MPIEXEC LSAN_OPTIONS ASAN_OPTIONS UBSAN_OPTIONS
export TSAN_OPTIONS
. "$ZRT_SRCDIR/config/mpi_environment.sh"

train=$ZRT_BUILDDIR/train
zerort=$ZRT_BUILDDIR/zerort
work=$(mktemp -d "${TMPDIR:-/tmp}/zerort-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

n_points=0 n_failed=0
point() { # 0|1 text
    n_points=$((n_points + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n_points - $2"
    else
        n_failed=$((n_failed + 1))
        echo "not ok $n_points - $2"
    fi
}
remark() { sed 's/^/# /'; }
finish() {
    echo "1..$n_points"
    exit $((n_failed > 0))
}

# run COMMAND...: sets $status, $seconds, $out and $err (files).
out=$work.out err=$work.err
trap 'rm -rf "$work" "$work.out" "$work.err"' EXIT
run() {
    local begin=$EPOCHREALTIME
    timeout -k 5 $((${limit:-60} * ${ZRT_TEST_SLOWDOWN:-1})) "$@" >"$out" 2>"$err" </dev/null
    status=$?
    seconds=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
}

# says FILE WORD...: whether the file holds every word.
says() {
    local file=$1 word
    shift
    for word; do
        grep -qF -e "$word" "$file" || return 1
    done
}

# Bytes of numbers, little-endian.
int32() {
    local n
    for n; do
        printf "\\x$(printf %02x $((n & 255)))\\x$(printf %02x $((n >> 8 & 255)))\\x$(printf %02x $((n >> 16 & 255)))\\x$(printf %02x $((n >> 24 & 255)))"
    done
}
uint16() {
    local n
    for n; do
        printf "\\x$(printf %02x $((n & 255)))\\x$(printf %02x $((n >> 8 & 255)))"
    done
}
