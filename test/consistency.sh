#!/bin/bash
# The same run in other ways: stages, numbers of ranks, accumulation, recomputation, dropout, and twice the same.
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${ZRT_BUILDDIR=$PWD}" "${MPIEXEC=mpirun}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
n=0
failed=0

# losses FILE RANKS ARGUMENT...
losses() {
    local file=$folder/$1 ranks=$2
    shift 2
    timeout $((60 * ${ZRT_TEST_SLOWDOWN:-1})) "$MPIEXEC" -np "$ranks" "$ZRT_BUILDDIR/test/losses" "$@" </dev/null >"$file" 2>"$file.err" ||
        sed 's/^/# /' "$file.err"
}

# near NAME A B TOLERANCE: 20 losses and gradient norms, relative; 0 means bit-equal
near() {
    n=$((n + 1))
    if paste -d' ' "$folder/$2" "$folder/$3" | awk -v limit="$4" '
        function off(a, b) { d = a > b ? a - b : b - a; return d > limit * (b > 0 ? b : -b) }
        limit == 0 && ($1 "" != $3 "" || $2 "" != $4 "") { bad = 1 }
        NF != 4 || off($1, $3) || off($2, $4) { bad = 1 }
        END { exit bad || NR < 20 }'; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        paste -d' ' "$folder/$2" "$folder/$3" | head -n 20 | sed 's/^/# /'
        failed=1
    fi
}

for model in gpt2 llama; do
    losses one 1 --model $model --zero-stage 0 --micro-batch 12
    losses again 1 --model $model --zero-stage 0 --micro-batch 12
    near "$model: the same run twice is bit-equal" one again 0
    for ranks in 2 3 4; do
        for stage in 0 1 2 3; do
            losses other $ranks --model $model --zero-stage $stage --micro-batch $((12 / ranks))
            near "$model: stage $stage on $ranks ranks" one other 1e-5
        done
    done
    losses again 4 --model $model --zero-stage 3 --micro-batch 3
    near "$model: four ranks twice are bit-equal" other again 0
    for stage in 0 1 2 3; do
        losses other 2 --model $model --zero-stage $stage --micro-batch 2 --gradient-accumulation-steps 3
        near "$model: stage $stage, 2 ranks x 3 micro-steps" one other 1e-5
    done
done

losses one 1 --dropout 0.1 --micro-batch 12 --zero-stage 0
losses none 1 --micro-batch 12 --zero-stage 0
n=$((n + 1))
if cmp -s "$folder/one" "$folder/none"; then echo "not ok $n - dropout does something"; failed=1; else echo "ok $n - dropout does something"; fi
for ranks in 2 4; do
    losses other $ranks --dropout 0.1 --micro-batch $((12 / ranks))
    near "dropout 0.1 on $ranks ranks" one other 1e-5
done
for mode in selective full; do
    losses other 1 --dropout 0.1 --micro-batch 12 --zero-stage 0 --recompute $mode
    near "dropout 0.1, recompute $mode, bit-equal" one other 0
    losses other 2 --dropout 0.1 --micro-batch 3 --gradient-accumulation-steps 2 --recompute $mode
    near "dropout 0.1, recompute $mode on 2 ranks x 2 micro-steps" one other 1e-5
done
losses one 1 --dropout 0.1 --micro-batch 12 --zero-stage 0 --model llama
losses other 3 --dropout 0.1 --micro-batch 4 --model llama --recompute full
near "llama: attention dropout on 3 ranks, recompute full" one other 1e-5
# Gradients reduced in another dtype: close to the run that reduces in its own, by the rounding of that dtype, and not it.
losses fp32 2 --micro-batch 6
for dtype in fp16 bf16; do
    for stage in 1 3; do
        losses other 2 --micro-batch 6 --zero-stage $stage --communication-data-type $dtype
        near "gradients of fp32 reduced in $dtype, stage $stage" fp32 other 1e-3
        n=$((n + 1))
        if cmp -s "$folder/fp32" "$folder/other"; then echo "not ok $n - $dtype is used"; failed=1; else echo "ok $n - $dtype is used"; fi
    done
done
losses one 2 --micro-batch 6 --dtype bf16
losses other 2 --micro-batch 6 --dtype bf16 --communication-data-type fp32
near "gradients of bf16 reduced in fp32" one other 5e-3
# Gradients added up in 16 bits instead of fp32; with the optimizer on the host to the bit the same.
for arguments in "1 --zero-stage 0 --micro-batch 6" "2 --zero-stage 1 --micro-batch 3" "2 --zero-stage 3 --micro-batch 3"; do
    # shellcheck disable=SC2086
    {
        losses one $arguments --gradient-accumulation-steps 2 --dtype bf16
        losses other $arguments --gradient-accumulation-steps 2 --dtype bf16 --grad-accum-dtype bf16
        losses host $arguments --gradient-accumulation-steps 2 --dtype bf16 --grad-accum-dtype bf16 --offload pipelined
    }
    near "gradients added up in bf16, ranks $arguments" one other 1e-2
    near "and offloaded" other host 1e-6
    n=$((n + 1))
    if cmp -s "$folder/one" "$folder/other"; then echo "not ok $n - bf16 is used"; failed=1; else echo "ok $n - bf16 is used"; fi
done
# The optimizer on the host: the same trajectory to the bit, whenever it runs and in whatever tiles; fp16 overflows on the way.
for dtype in fp32 fp16; do
    for arguments in "1 --zero-stage 0 --micro-batch 12" "2 --zero-stage 1 --micro-batch 6" "2 --zero-stage 2 --micro-batch 3 --gradient-accumulation-steps 2" "4 --zero-stage 3 --micro-batch 3"; do
        # shellcheck disable=SC2086
        {
            losses one $arguments --dtype $dtype
            losses serial $arguments --dtype $dtype --offload none
            losses other $arguments --dtype $dtype --offload pipelined --sub-group-size 777
        }
        limit=1e-6
        [ "$dtype ${arguments%% *}" != "fp16 1" ] || limit=1e-3 # one rank's gradients cross in 16 bits; kept, they are fp32
        near "$dtype, offload, ranks $arguments" one serial $limit
        near "$dtype, pipelined, ranks $arguments, bit-equal" serial other 0
    done
done
echo "1..$n"
exit $failed
