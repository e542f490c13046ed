#!/bin/bash
# The optimizer on the host, to the bit: in the order "none", "pipelined" and "speculative", by AVX-512, AVX2 and portable
# instructions; steps that overflow and steps that are clipped on the way. ZRT_TEST_FULL=1: every stage at 1, 2 and 4 ranks.
# ZRT_TEST_RANKS=N: at N ranks at most (GPUs).
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/../.." && pwd)}" "${ZRT_BUILDDIR=$PWD}" "${MPIEXEC=mpirun}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
n=0
failed=0

# losses FILE RANKS ARGUMENT...: 20 losses and gradient norms; FILE.err: how often it speculated
losses() {
    local file=$folder/$1 ranks=$2
    shift 2
    [ "$ranks" -le "${ZRT_TEST_RANKS:-$ranks}" ] || ranks=$ZRT_TEST_RANKS
    timeout $((60 * ${ZRT_TEST_SLOWDOWN:-1})) "$MPIEXEC" -np "$ranks" "$ZRT_BUILDDIR/test/losses" "$@" </dev/null >"$file" 2>"$file.err" ||
        sed 's/^/# /;3q' "$file.err"
}

# result NAME STATUS
result() {
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        failed=1
    fi
}

# same NAME A B: bit-equal
same() {
    [ "$(wc -l <"$folder/$2")" -ge 20 ] && cmp -s "$folder/$2" "$folder/$3"
    local status=$?
    result "$1" $status
    [ $status -eq 0 ] || paste -d' ' "$folder/$2" "$folder/$3" | head -n 20 | sed 's/^/# /'
}

# near NAME A B: within 1e-6, relative
near() {
    paste -d' ' "$folder/$2" "$folder/$3" | awk '
        function off(a, b) { d = a > b ? a - b : b - a; return d > 1e-6 * (b > 0 ? b : -b) }
        NF != 4 || off($1, $3) || off($2, $4) { bad = 1 }
        END { exit bad || NR < 20 }'
    result "$1" $?
}

# A part of the states on the device: a GPU adds the squares of those gradients up in another order, which the last bit of the
# norm shows.
same_share() {
    if [ -n "${ZRT_TEST_RANKS-}" ]; then near "$@"; else same "$@"; fi
}

# counted NAME FILE CONDITION: of awk, on s (speculated), d (discarded) and k (skipped)
counted() {
    awk "/^speculated/ { s = \$2; d = \$4; k = \$6; good = $3 } END { exit !good }" "$folder/$2.err"
    local status=$?
    result "$1" $status
    [ $status -eq 0 ] || sed 's/^/# /' "$folder/$2.err"
}

clip() {
    echo "--set gradient_clipping=$1"
}

# Every order, with some steps above the clip and, in fp16, some that overflow.
scale="--set fp16.initial_scale_power=24 --set fp16.hysteresis=1"
if [ -n "$ZRT_TEST_FULL" ]; then
    runs=()
    for ranks in 1 2 4; do
        for stage in 0 1 2 3; do
            runs+=("$ranks --zero-stage $stage --micro-batch $((12 / ranks))"
                "$ranks --zero-stage $stage --micro-batch $((6 / ranks > 0 ? 6 / ranks : 1)) --gradient-accumulation-steps 2")
        done
    done
else
    runs=("1 --zero-stage 1 --micro-batch 12" "2 --zero-stage 1 --micro-batch 3 --gradient-accumulation-steps 2"
        "2 --zero-stage 2 --micro-batch 6" "4 --zero-stage 3 --micro-batch 3"
        "2 --zero-stage 3 --micro-batch 3 --gradient-accumulation-steps 2")
fi
for dtype in fp32 fp16 ${ZRT_TEST_FULL:+bf16}; do
    for run in "${runs[@]}"; do
        arguments="$run --dtype $dtype $(clip 1.6) $scale"
        # shellcheck disable=SC2086
        {
            losses device $arguments
            losses none $arguments --offload none
            losses pipelined $arguments --offload pipelined --sub-group-size 777
            losses speculative $arguments --offload speculative --sub-group-size 1234
        }
        if [ "$dtype" = fp32 ]; then near "$dtype, ranks $run: on the host as on the device" none device; fi
        same "$dtype, ranks $run: pipelined" none pipelined
        same "$dtype, ranks $run: speculative" none speculative
        counted "$dtype, ranks $run: some speculated updates were thrown away, some were not" speculative "s > d && d > 0"
        if [ "$dtype" = fp16 ]; then counted "$dtype, ranks $run: with overflows" speculative "k > 0 && d >= k"; fi
    done
done
# Under the clip every step is speculated; where all are above it, only the first.
two="2 --zero-stage 2 --micro-batch 6"
# shellcheck disable=SC2046,SC2086
{
    losses never $two --offload speculative $(clip 1000)
    losses always $two --offload speculative $(clip 0.001)
    losses off $two --offload speculative $(clip 0)
}
counted "norms under the clip: all is speculated" never "s == 20 && d == 0"
counted "no clip: all is speculated" off "s == 20 && d == 0"
counted "norms above the clip: it falls back" always "s == 1 && d == 1"
# What crosses goes through a pinned ring, in tiles that wrap around it.
ring="--set zero_optimization.offload_optimizer.pin_memory=false"
three="2 --zero-stage 3 --micro-batch 3 --gradient-accumulation-steps 2"
for arguments in "$two --dtype fp16" "$three --dtype fp32" "1 --zero-stage 1 --micro-batch 12 --dtype bf16"; do
    # shellcheck disable=SC2046,SC2086
    {
        losses pinned $arguments --offload pipelined $(clip 1.6)
        losses staged $arguments --offload pipelined $(clip 1.6) --sub-group-size 777 $ring
        losses speculative $arguments --offload speculative $(clip 1.6) --sub-group-size 333 $ring --set zero_optimization.offload_optimizer.ratio=0.6
    }
    same "through a ring, ranks $arguments" pinned staged
    same_share "and speculative, with a part on the device, ranks $arguments" pinned speculative
done
# A part of the states on the device. A GPU's plan needs more, for all of the batch is one rank's.
budget=700KiB
[ -z "${ZRT_TEST_RANKS-}" ] || budget=1100KiB
for arguments in "$two" "$three" "4 --zero-stage 1 --micro-batch 3"; do
    # shellcheck disable=SC2046,SC2086
    {
        losses none $arguments --dtype fp16 --offload none $(clip 1.6)
        for share in 0.3 0; do
            losses $share $arguments --dtype fp16 --offload speculative $(clip 1.6) --set zero_optimization.offload_optimizer.ratio=$share
            same_share "a share of $share on the host, ranks $arguments" none $share
        done
        losses auto $arguments --dtype fp16 --offload pipelined $(clip 1.6) --set zero_optimization.offload_optimizer.ratio=auto \
            --set 'zerort.arguments={"device_memory":"'$budget'"}'
    }
    same_share "as much as fits on the device, ranks $arguments" none auto
done
# "auto" takes what is free, and no more.
echo '{"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu", "ratio": "auto"}},
    "zerort": {"overlapped_step": "none"}}' >"$folder/auto.json"
head -c 10000 "$0" >"$folder/text.txt"
last=-1
for budget in 25000000 26000000 27000000 28000000 1000000000; do
    line=$("$ZRT_BUILDDIR/train" --model small --train-file "$folder/text.txt" --deepspeed "$folder/auto.json" --max-steps 2 \
        --plan --plan-ranks 2 --device-memory $budget </dev/null | grep '^optimizer states of')
    echo "# $budget: $line"
    read -r share bytes < <(sed 's/.*: \([0-9]*\) (.*) on the device.*takes \([0-9]*\) bytes.*/\1 \2/' <<<"$line")
    [ "$bytes" -le $budget ] && [ "$share" -ge "$last" ]
    result "with $budget bytes, what is on the device fits and is not less than with fewer" $?
    [ $budget -ne 27000000 ] || { [ "$share" -gt 0 ] && grep -q '[1-9][0-9.]*%) on the host' <<<"$line"; }
    result "with $budget bytes, states are where the plan says" $?
    last=$share
done
grep -q ' 0 (0.0%) on the host' <<<"$line"
result "with enough, all is on the device" $?
# The update's instructions. What the processor lacks is skipped by itself: the next lesser ones run.
for kind in "adamw_torch fp16" "lion_32bit bf16" "sgd fp32"; do
    for isa in portable avx2 avx512; do
        # shellcheck disable=SC2046,SC2086
        ZERORT_UPDATE_ISA=$isa losses $isa $two --optim ${kind% *} --dtype ${kind#* } --offload speculative --sub-group-size 1001 $(clip 1.6)
    done
    same "$kind: AVX2 and portable" portable avx2
    same "$kind: AVX-512 and portable" portable avx512
done
echo "1..$n"
exit $failed
