#!/bin/bash
# What zerort does on GPUs, beside PyTorch in the same call.
#   benchmarks/gpu.sh [--build FOLDER] [--out FOLDER] [--peers FOLDER] [--steps N] tests | ROW... | profile ROW
# `tests` runs the tests of GPUs. A row prints a line of zerort's and, where --peers holds fsdp2_bench.py, one of PyTorch's and their
# ratio; `profile ROW` prints milliseconds of a step by kernel. Rows: see rows() below; --out keeps what the programs said.
srcdir=$(cd "$(dirname "$0")/.." && pwd)
build=$PWD out=$(mktemp -d) peers='' steps=20
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2 && shift 2 ;;
    --out) out=$2 && shift 2 ;;
    --peers) peers=$2 && shift 2 ;;
    --steps) steps=$2 && shift 2 ;;
    --*) echo "gpu.sh: unknown option $1" >&2 && exit 2 ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || { sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,5p' >&2 && exit 2; }
. "$srcdir/config/mpi_environment.sh"
export LD_LIBRARY_PATH=$build/.libs:$LD_LIBRARY_PATH
# cuDNN and NCCL of Python's packages, where the system has none.
for folder in $(python3 -c 'import nvidia; print(*nvidia.__path__)' 2>/dev/null); do
    export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$folder/cudnn/lib:$folder/nccl/lib
done
mkdir -p "$out"

# name ranks model rows length dtype stage peer's model, micro-steps and where the optimizer is (device, or on the host with an
# order of the update, or auto)
rows() {
    sed 's/^\([^ ]* [^ ]* [^ ]* [^ ]* [^ ]* [^ ]* [^ ]* [^ ]*\)$/\1 1 device/' <<'ROWS'
gpt2-124m 1 gpt2-124m 64 1024 bf16 0 gpt2-124m
gpt2-1558m-1 1 gpt2-1558m 16 1024 bf16 0 gpt2-1558m
llama-1.5b-1 1 llama-1.5b 4 4096 bf16 0 llama-1b
gpt2-1558m 2 gpt2-1558m 16 1024 bf16 3 gpt2-1558m
llama-1.5b 2 llama-1.5b 4 4096 bf16 3 llama-1b
llama-2-7b 2 llama-2-7b 4 4096 fp16 3 llama-7b
llama-2-7b-small 2 llama-2-7b 2 4096 fp16 3 llama-7b
llama-2-7b-8 2 llama-2-7b 2 4096 fp16 3 llama-7b 8 device
offload-none 2 llama-2-7b 2 4096 fp16 3 llama-7b 1 none
offload-pipelined 2 llama-2-7b 2 4096 fp16 3 llama-7b 1 pipelined
offload-speculative 2 llama-2-7b 2 4096 fp16 3 llama-7b 1 speculative
offload-pipelined-8 2 llama-2-7b 2 4096 fp16 3 llama-7b 8 pipelined
offload-speculative-8 2 llama-2-7b 2 4096 fp16 3 llama-7b 8 speculative
offload-auto 2 llama-2-7b 2 4096 fp16 3 llama-7b 1 auto
llama-2-7b-small-1 1 llama-2-7b 2 4096 fp16 3 llama-7b
llama-2-7b-8-1 1 llama-2-7b 2 4096 fp16 3 llama-7b 8 device
offload-none-1 1 llama-2-7b 2 4096 fp16 3 llama-7b 1 none
offload-pipelined-1 1 llama-2-7b 2 4096 fp16 3 llama-7b 1 pipelined
offload-speculative-1 1 llama-2-7b 2 4096 fp16 3 llama-7b 1 speculative
offload-pipelined-8-1 1 llama-2-7b 2 4096 fp16 3 llama-7b 8 pipelined
offload-speculative-8-1 1 llama-2-7b 2 4096 fp16 3 llama-7b 8 speculative
offload-auto-1 1 llama-2-7b 2 4096 fp16 3 llama-7b 1 auto
llama-1.5b-pipelined-1 1 llama-1.5b 4 4096 bf16 3 llama-1b 1 pipelined
llama-1.5b-speculative-1 1 llama-1.5b 4 4096 bf16 3 llama-1b 1 speculative
llama-1.5b-auto-1 1 llama-1.5b 4 4096 bf16 3 llama-1b 1 auto
llama-2-13b-auto-1 1 llama-2-13b 1 4096 fp16 3 - 1 auto
ROWS
}

row() { # name
    rows | grep "^$1 " || { echo "gpu.sh: no row $1; there are: $(rows | cut -d' ' -f1 | tr '\n' ' ')" >&2 && kill $$; }
}

number() { # key, line of JSON
    sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" <<<"$2"
}

offload() { # where the optimizer is
    [ "$1" != device ] || return
    echo "--set zero_optimization.offload_optimizer.device=cpu --set zero_optimization.offload_optimizer.pin_memory=true"
    case $1 in
    auto) echo '--set zero_optimization.offload_optimizer.ratio="auto"' ;;
    *) echo "--set zerort.overlapped_step=\"$1\"" ;;
    esac
}

ours() { # fields of a row, more arguments of benchmarks/step
    local n=$2 model=$3 rows=$4 length=$5 dtype=$6 stage=$7 micro_steps=$9 where=${10}
    shift 10
    # shellcheck disable=SC2046
    mpirun -np "$n" "$build/benchmarks/step" --device cuda --model "$model" --rows "$rows" --length "$length" \
        --dtype "$dtype" --stage "$stage" --micro-steps "$micro_steps" --steps "$steps" $(offload "$where") "$@"
}

theirs() {
    # shellcheck disable=SC2046
    torchrun --nproc_per_node "$2" "$peers/fsdp2_bench.py" --model "$8" --batch "$4" --seq "$5" --dtype "$6" --compile \
        --steps "$steps" --accum "$9" $([ "${10}" = device ] || echo --offload)
}

# Rows that differ in what the peer does not know share its run.
peers_line() {
    local log
    log=$out/pytorch.$2.$8.$4.$5.$6.$9.$([ "${10}" = device ] || echo offload).log
    [ -s "$log" ] || theirs "$@" >"$log" 2>&1
    cp "$log" "$out/$1.pytorch.log"
    grep '^{' "$log"
}

run_row() {
    local mine peer a b
    mine=$(ours "$@" 2>&1 | tee "$out/$1.zerort.log" | grep '^{')
    a=$(number tokens_s "$mine")
    if [ -z "$a" ]; then
        echo "$1: zerort failed:"
        tail -n 5 "$out/$1.zerort.log"
    else
        echo "$1: zerort $a tokens/s, step $(number step_s "$mine") s, memory $(number memory_gib "$mine") GiB," \
            "first step after $(number first_step_s "$mine") s, loss $(number loss "$mine")"
    fi
    [ -n "$peers" ] && [ "$8" != - ] || return
    peer=$(peers_line "$@")
    b=$(number tok_s "$peer")
    if [ -z "$b" ]; then
        echo "$1: PyTorch failed:"
        tail -n 5 "$out/$1.pytorch.log"
    else
        echo "$1: PyTorch $b tokens/s, step $(number step_s "$peer") s, memory $(number peak_gb "$peer") GiB;" \
            "ratio $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.3f", a / b }')"
    fi
}

profile() {
    ours "$@" --trace "$out/$1.trace.json" | grep '^{'
    awk '
        match($0, /"name": "[^"]*"/) && /"ph": "X"/ {
            name = substr($0, RSTART + 9, RLENGTH - 10)
            match($0, /"tid": [0-9]+/); tid = substr($0, RSTART + 7, RLENGTH - 7) + 0
            match($0, /"dur": [0-9.]+/); dur = substr($0, RSTART + 7, RLENGTH - 7) + 0
            match($0, /"ts": [0-9.]+/); ts = substr($0, RSTART + 6, RLENGTH - 6) + 0
            if (tid != 0) name = "stream " tid " (collectives, reductions)"
            ms[name] += dur / 1000; n[name]++
            if (tid == 0) { busy += dur / 1000; if (first == "" || ts < first) first = ts; if (ts + dur > last) last = ts + dur }
        }
        END {
            for (name in ms) printf "%9.3f ms %5d x %s\n", ms[name], n[name], name | "sort -rn"
            close("sort -rn")
            printf "%9.3f ms compute stream busy, of %.3f ms\n", busy, (last - first) / 1000
        }' "$out/$1.trace.json"
}

tests() {
    local failed log=$out/tests.log
    export ZRT_SRCDIR=$srcdir ZRT_BUILDDIR=$build ZRT_TEST_RANKS=1
    {
        "$build/test/unit/test_kernels_cuda"
        "$srcdir/test/parity.sh"
        "$srcdir/test/precision.sh"
        "$srcdir/test/mpi/offload.sh"
        "$srcdir/test/nvme.sh"
    } >"$log" 2>&1
    grep -E '^(not ok|.*# SKIP)' "$log"
    failed=$(grep -c '^not ok' "$log")
    echo "$(grep -c '^ok' "$log") passed, $failed failed"
    [ "$failed" = 0 ]
}

status=0
while [ $# -gt 0 ]; do
    case $1 in
    tests) tests || status=1 ;;
    profile) shift && profile $(row "$1") ;;
    *) run_row $(row "$1") ;;
    esac
    shift
done
exit $status
