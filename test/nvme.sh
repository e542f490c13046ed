#!/bin/bash
# Optimizer states in files: losses and norms are those of states on the host, bit for bit, and near those without offload; a file has
# no name; what cannot be is refused. ZRT_TEST_FULL=1 takes every stage at 1, 2 and 4 ranks.
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${ZRT_BUILDDIR=$PWD}" "${MPIEXEC=mpirun}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/disk"
n=0
failed=0
steps=8

point() { # point PASSED TEXT
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}

# losses FILE RANKS ARGUMENT...
losses() {
    local file=$folder/$1 ranks=$2
    shift 2
    timeout $((60 * ${ZRT_TEST_SLOWDOWN:-1})) "$MPIEXEC" -np "$ranks" "$ZRT_BUILDDIR/test/losses" --steps $steps "$@" \
        </dev/null >"$file" 2>"$file.err"
    local code=$?
    [ $code = 0 ] || sed 's/^/# /' "$file.err" | head -n 5
    return $code
}

same() { # same TEXT A B
    [ "$(wc -l <"$folder/$2")" = $steps ] && cmp -s "$folder/$2" "$folder/$3"
    point $? "$1"
}

near() { # near TEXT A B: relative 1e-6
    paste -d' ' "$folder/$2" "$folder/$3" | awk -v steps=$steps '
        function off(a, b) { d = a > b ? a - b : b - a; return d > 1e-6 * (b > 0 ? b : -b) }
        NF != 4 || off($1, $3) || off($2, $4) { bad = 1 }
        END { exit bad || NR < steps }'
    point $? "$1"
}

# The first steps overflow, and all others are clipped.
fp16="--dtype fp16 --set fp16.initial_scale_power=22 --set fp16.hysteresis=1 --set gradient_clipping=0.5"
small="--nvme $folder/disk --buffer-size 5500" # several tiles a unit

if [ -n "${ZRT_TEST_FULL-}" ]; then
    cases="1:0 1:1 1:2 1:3 2:0 2:1 2:2 2:3 4:0 4:1 4:2 4:3"
else
    cases="1:1 2:1 2:3 4:2"
fi
for case in $cases; do
    ranks=${case%:*} stage=${case#*:}
    [[ " ${ZRT_TEST_RANKS:-1 2 4} " == *" $ranks "* ]] || continue
    for dtype in "" "$fp16"; do
        what="[np $ranks] stage $stage ${dtype:+fp16 with overflows and clipping}"
        run="--zero-stage $stage --micro-batch $((12 / ranks)) $dtype"
        losses none $ranks $run
        losses cpu $ranks $run --offload pipelined
        losses nvme $ranks $run $small
        # One rank's 16-bit gradients are rounded on their way; without offload they are fp32.
        [ "$ranks$dtype" = "1$fp16" ] || near "$what: on the host as without offload" none cpu
        same "$what: in files as on the host" cpu nvme
    done
done
# What overflows counts for nothing in the norm.
if [ "${ZRT_TEST_RANKS-}" != 1 ]; then
    awk 'NR == 1 { first = $2 } END { exit !(first < 0.2 * $2) }' "$folder/nvme"
    point $? "[np 4] the first steps of fp16 do overflow"
fi

run="--zero-stage 2 --micro-batch 2 --gradient-accumulation-steps 3 --dtype bf16"
two=2
[ "${ZRT_TEST_RANKS-}" != 1 ] || two=1
losses cpu $two $run --offload none
losses nvme $two $run $small --set aio.intra_op_parallelism=3 --set aio.single_submit=true --set aio.block_size=8192 \
    --set zero_optimization.offload_optimizer.fast_init=true
same "accumulation; three threads a transfer, small blocks" cpu nvme
losses nvme $two $run $small --offload none --set zero_optimization.offload_optimizer.device='"nvme"' \
    --set zero_optimization.offload_optimizer.pipeline_read=false --set aio.queue_depth=1 \
    --set zero_optimization.offload_optimizer.pipeline_write=false --set aio.overlap_events=false --sub-group-size 1000
same "nothing read ahead or written behind, one request at a time, small sub-groups" cpu nvme

[ -z "$(ls -A "$folder/disk")" ]
point $? "nothing is left in the folder"
if [ "${ZRT_TEST_RANKS-}" = 1 ]; then
    echo "# one rank: not run is what takes two"
    echo "1..$n"
    exit $failed
fi

# refused CODE WORDS ARGUMENT...: and no rank stays
refused() {
    local code=$1 words=$2
    shift 2
    losses out 2 "$@" >/dev/null
    [ $? = "$code" ] && grep -q "$words" "$folder/out.err"
    point $? "refused with status $code: $words"
    grep -h "$words" "$folder/out.err" | head -n 2 | sed 's/^/# /'
}
: >"$folder/file"
OO=zero_optimization.offload_optimizer
refused 1 "there is no such folder" --nvme "$folder/nowhere"
refused 1 "is not a folder" --nvme "$folder/file"
refused 2 "nvme_path is not given" --set $OO.device='"nvme"'
refused 2 "need at least" --nvme "$folder/disk" --buffer-size 100
refused 2 "use_gds" --nvme "$folder/disk" --set aio.use_gds=true
refused 2 "queue_depth" --nvme "$folder/disk" --set aio.queue_depth=100000

# Whichever request fails, the job ends, with the message of the rank that met it.
for at in 150 ${ZRT_TEST_FULL+1 3 7 20 40 60 90 110 130}; do
    for rank in 0 1; do
        a="" b="-x ZERORT_FAIL_TRANSFER=$at"
        [ $rank = 0 ] && b="" a="-x ZERORT_FAIL_TRANSFER=$at"
        timeout $((60 * ${ZRT_TEST_SLOWDOWN:-1})) "$MPIEXEC" -np 1 $a "$ZRT_BUILDDIR/test/losses" --steps $steps $small : \
            -np 1 $b "$ZRT_BUILDDIR/test/losses" --steps $steps $small </dev/null >"$folder/out" 2>"$folder/out.err"
        [ $? = 1 ] && grep -q "Input/output error" "$folder/out.err"
        point $? "request $at of rank $rank fails: the job ends with status 1"
    done
done
# The programs: two ranks, of which one's disk fails in the middle; one message, and what was saved is whole.
head -c 20000 "$ZRT_SRCDIR/README" >"$folder/text.txt"
cat >"$folder/ds.json" <<END
{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "zerort": {"checkpoint_staging_bytes": 1},
 "zero_optimization": {"stage": 1, "offload_optimizer": {"device": "nvme", "nvme_path": "$folder/disk", "buffer_size": 20000}}}
END
cat >"$folder/memory.json" <<END
{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "zerort": {"checkpoint_staging_bytes": 1},
 "zero_optimization": {"stage": 1}}
END
few="$ZRT_BUILDDIR/train --train-file $folder/text.txt --bf16 --seq-length 32 --per-device-eval-batch-size 1 --max-steps 4
     --logging-steps 10 --sample-tokens 0 --device cpu --validation-split-percentage 1 --collective-timeout 30"
limit() { timeout $((60 * ${ZRT_TEST_SLOWDOWN:-1})) "$@" </dev/null >"$folder/out" 2>&1; }
for at in 700 1500; do
    rm -rf "$folder/run"
    all="$few --deepspeed $folder/ds.json --output-dir $folder/run --save-steps 1"
    limit "$MPIEXEC" -np 1 $all : -np 1 -x ZERORT_FAIL_TRANSFER=$at $all
    code=$?
    [ $code = 1 ] && [ "$(grep -c "error:.*Input/output error" "$folder/out")" = 1 ]
    point $? "the programs: request $at of rank 1 fails: one message, status 1 ($code)"
    grep "error:" "$folder/out" | head -n 3 | sed 's/^/# /'
    if ls "$folder/run" | grep -q '^checkpoint-'; then
        limit "$ZRT_BUILDDIR/zerort" verify "$folder/run"
        point $? "and what was saved before is whole"
    fi
done

# More than the memory that it may have.
limit $few --deepspeed "$folder/memory.json" --host-memory 15M --output-dir "$folder/one"
[ $? = 1 ] && grep -q '"device": "nvme"' "$folder/out"
point $? "what does not fit is refused; files would make it fit"
limit $few --deepspeed "$folder/ds.json" --host-memory 15M --output-dir "$folder/two" && grep -q "in files, a rank" "$folder/two/plan.txt"
point $? "in files it fits, and trains"

echo "1..$n"
exit $failed
