#!/bin/bash
# Mixed precision against what others computed: DeepSpeed's own fp16 runs (every decision, losses within 0.5%), and the losses of
# the golden cases in bf16 (within 1e-3) and fp16 (within 2e-4) over 20 steps; of BERT within 5e-3 and 1e-3.
# ZRT_TEST_FULL=1: every case at 1, 2 and 4 ranks and every stage. Otherwise a selection of them.
# ZRT_TEST_RANKS="1 2" runs these numbers of ranks.
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${ZRT_BUILDDIR=$PWD}" "${MPIEXEC=mpirun}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
golden=${ZRT_GOLDEN-$ZRT_SRCDIR/test/golden}
n=0
failed=0

# result STATUS NAME TEXT
result() {
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        failed=1
    fi
    printf '%s\n' "$3" | head -n 5 | sed 's/^/# /'
}

# run RANKS PROGRAM ARGUMENT...
run() {
    local ranks=$1 program=$2
    shift 2
    timeout $((60 * ${ZRT_TEST_SLOWDOWN:-1})) "$MPIEXEC" -np "$ranks" "$ZRT_BUILDDIR/test/$program" "$@" </dev/null 2>&1
}

wanted() { # ranks
    case " ${ZRT_TEST_RANKS-$1} " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

recordings() {
    local file name ranks line
    for file in "$golden"/deepspeed_*.json; do
        name=$(basename "$file" .json)
        ranks=$(sed -n 's/^ "world_size": \([0-9]*\),$/\1/p' "$file")
        wanted "$ranks" || continue
        line=$(run "$ranks" deepspeed_run "$file")
        result $? "$name [np $ranks]" "$line"
    done
    wanted 2 || return
    # The two rows of these recordings where rounding could decide, by an emulation in PyTorch: 1.006 and 0.997.
    line=$(run 2 deepspeed_run "$golden/deepspeed_zero3_fp16_gpt2_24_6.json" 21 39)
    printf '%s\n' "$line" | awk '
        $1 == "row" && $3 == "the" { for (i = 1; i < NF; i++) if ($i == "is") seen[$2 + 0] = $(i + 1) }
        function near(a, b) { return a > b - 0.012 && a < b + 0.012 }
        END { exit !(near(seen[21], 1.006) && near(seen[39], 0.997)) }'
    result $? "gpt2's rows 21 and 39 are at the limit of fp16" "$line"
    line=$(run 1 deepspeed_run "$golden/deepspeed_zero3_fp16_gpt2_24_6.json")
    [ $? = 2 ] && case $line in *"mpirun -np 2"*) true ;; *) false ;; esac
    result $? "another number of ranks is refused" "$(printf '%s\n' "$line" | head -n 1)"
}

# losses NAME RANKS DTYPE STAGE
losses() {
    local line limit=1e-3
    wanted "$2" || return
    [ "$3" = fp16 ] && limit=2e-4
    [ "$1" = bert ] && limit=5e-3
    [ "$1 $3" = 'bert fp16' ] && limit=1e-3
    line=$(run "$2" parity "$golden/$1" --dtype "$3" --zero-stage "$4")
    printf '%s\n' "$line" | awk -v limit="$limit" '
        /^\{"logits"/ {
            gsub(/[{}",:]/, " ")
            for (i = 1; i < NF; i += 2)
                if ($i == "losses") seen = $(i + 1) + 0 > 0 && $(i + 1) + 0 <= limit
        }
        END { exit !seen }'
    result $? "$1 [np $2] $3, stage $4: losses within $limit" "$line"
}

recordings
for case in "$golden"/*/; do
    name=$(basename "$case")
    [ -f "$case/training.safetensors" ] && grep -q '"model_type": "\(gpt2\|llama\)"' "$case/config.json" 2>/dev/null || continue
    for dtype in bf16 fp16; do
        if [ -n "${ZRT_TEST_FULL-}" ]; then
            for ranks in 1 2 4; do
                for stage in 0 1 2 3; do
                    losses "$name" "$ranks" $dtype "$stage"
                done
            done
            continue
        fi
        losses "$name" 2 $dtype 3
        case $name in
        gpt2 | llama)
            losses "$name" 1 $dtype 0
            losses "$name" 2 $dtype 1
            losses "$name" 2 $dtype 2
            losses "$name" 4 $dtype 3
            ;;
        esac
    done
done
# Fine-tuning: an adapter of peft on a frozen Llama, a classifier.
for name in lora bert; do
    for dtype in bf16 fp16; do
        losses $name 1 $dtype 0
        losses $name 2 $dtype 3
        [ -z "${ZRT_TEST_FULL-}" ] || losses $name 4 $dtype 3
    done
done
echo "1..$n"
exit $failed
