#!/bin/bash
# Wrong input ends in one message that names it, the right exit status, at once, with nothing left behind.
. "$(dirname "$0")/command.bash"

# Every case must be over within this many seconds; instrumented builds are slower.
most_seconds=${ZRT_TEST_SECONDS:-5}

# refuse STATUS NAME WORD... -- COMMAND...
refuse() {
    local want=$1 name=$2 words=() left before
    shift 2
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    before=$(find . | sort)
    run "$@"
    [ "$status" = "$want" ]
    point $? "$name: exit status $want"
    local messages
    messages=$(grep -cE '^(train|zerort[a-z ]*): error: ' "$err")
    [ "$messages" = 1 ] && says "$err" "${words[@]}"
    point $? "$name: one message with $(printf "'%s' " "${words[@]}")"
    if [ "$status" != "$want" ] || [ "$messages" != 1 ] || ! says "$err" "${words[@]}"; then
        echo "# status $status, after $seconds s, of: $*"
        head -n 12 "$err" | remark
    fi
    # A machine that is busy with other things gets a second try.
    if awk -v s="$seconds" -v most="$most_seconds" 'BEGIN { exit s < most }'; then
        run "$@"
    fi
    left=$(pgrep -f -- "$work" | grep -vx -e $$ -e "$BASHPID")
    awk -v s="$seconds" -v most="$most_seconds" 'BEGIN { exit !(s < most) }' && [ -z "$left" ] && [ "$before" = "$(find . | sort)" ]
    point $? "$name: within $most_seconds s (took $seconds), no process and no file left"
}

printf '{"zero_optimisation": {"stage": 3}}' >top.json
printf '{"zero_optimization": {"stge": 3}}' >inner.json
printf '{"zero_optimization": {"stage": "three"}}' >type.json
printf '{"zero_optimization": {"stage": 4}}' >range.json
printf '{"gradient_clipping": 1.0, "gradient_clipping": 2.0}' >twice.json
printf '{"zero_optimization": {"stage": 3}' >open.json
printf '{"train_batch_size": 7, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2}' >batch.json
printf '{"optimizer": {"type": "AdamW", "params": {"lr": 0.001}}}' >rate.json
printf '{"optimizer": {"type": "AdamV"}}' >optimizer.json
printf '{"fp16": {"enabled": true}, "bf16": {"enabled": true}}' >both.json

yes 'some text to train on, line by line' | head -n 3000 >text.txt
: >empty.txt
printf 'too short' >brief.txt
{ int32 20240520 1 1000; head -c 1012 /dev/zero; uint16 1 2 3 4; } >short.bin
{ int32 1 1 4; head -c 1012 /dev/zero; uint16 1 2 3 4; } >magic.bin
{ int32 20240520 1 2000; head -c 1012 /dev/zero; for _ in {1..500}; do uint16 1 2 300 4; done; } >vocabulary.bin
head -c 100 /dev/zero >header.bin
printf 'not an array' >wrong.npy
printf 'not a file of HDF5' >wrong.h5
mkdir run && printf '{}' >run/resolved.json
mkdir damaged && cp "$ZRT_SRCDIR/test/golden/gpt2/config.json" damaged && head -c 500 /dev/urandom >damaged/model.safetensors
mkdir cut && cp "$ZRT_SRCDIR/test/golden/gpt2/config.json" cut && head -c 3000 "$ZRT_SRCDIR/test/golden/gpt2/model.safetensors" >cut/model.safetensors
mkdir activation && sed 's/"gelu_new"/"mish"/' "$ZRT_SRCDIR/test/golden/gpt2/config.json" >activation/config.json

few=(--train-file "$work/text.txt" --max-steps 2 --output-dir "$work/new")

refuse 2 'unknown option' --lerning-rate --learning-rate -- "$train" --lerning-rate 1
refuse 2 'unknown option, far from all' --xyzzyxyzzy --help -- "$train" --xyzzyxyzzy
refuse 2 'option without its value' --learning-rate value -- "$train" --learning-rate
refuse 2 'stray word' "'text'" -- "$train" text
refuse 2 'number that is none' learning abc -- "$train" --learning-rate abc "${few[@]}"
refuse 2 'rate below 0' learning -1 -- "$train" --learning-rate -1 "${few[@]}"
refuse 2 'switch that is none' bf16 maybe -- "$train" --bf16=maybe
refuse 2 'length that is none' seq_length 12x -- "$train" --seq-length 12x
refuse 2 'size that is none' host_memory lots -- "$train" --host-memory lots
refuse 2 'unknown schedule' lr cosin -- "$train" --lr-scheduler-type cosin "${few[@]}"
refuse 2 'unknown device' device tpu -- "$train" --device tpu "${few[@]}"
refuse 2 'unknown model' smal small -- "$train" --model smal "${few[@]}"
refuse 2 'no folder of a model' "$work/nothing" -- "$train" --model "$work/nothing" "${few[@]}"

refuse 2 'unknown key' zero_optimisation zero_optimization -- "$train" --deepspeed "$work/top.json" "${few[@]}"
refuse 2 'unknown key in a block' stge stage -- "$train" --deepspeed "$work/inner.json" "${few[@]}"
refuse 2 'wrong type' zero_optimization.stage -- "$train" --deepspeed "$work/type.json" "${few[@]}"
refuse 2 'out of range' zero_optimization.stage 4 -- "$train" --deepspeed "$work/range.json" "${few[@]}"
refuse 2 'duplicate key' gradient_clipping -- "$train" --deepspeed "$work/twice.json" "${few[@]}"
refuse 2 'JSON that does not end' open.json -- "$train" --deepspeed "$work/open.json" "${few[@]}"
refuse 2 'batch sizes that contradict each other' train_batch_size 7 2 -- "$train" --deepspeed "$work/batch.json" "${few[@]}"
refuse 2 'option against file' learning_rate 0.001 0.5 -- "$train" --deepspeed "$work/rate.json" --learning-rate 0.5 "${few[@]}"
refuse 2 'unknown optimizer' AdamV -- "$train" --deepspeed "$work/optimizer.json" "${few[@]}"
refuse 2 'two 16-bit types' fp16 bf16 -- "$train" --deepspeed "$work/both.json" "${few[@]}"
refuse 2 'no configuration file' "$work/none.json" -- "$train" --deepspeed "$work/none.json" "${few[@]}"

refuse 2 'no data file' "$work/none.txt" -- "$train" --train-file "$work/none.txt" --output-dir "$work/new"
refuse 2 'empty data' "$work/empty.txt" -- "$train" --train-file "$work/empty.txt" --output-dir "$work/new"
refuse 2 'truncated tokens' "$work/short.bin" -- "$train" --train-file "$work/short.bin" --output-dir "$work/new"
refuse 2 'tokens without their mark' "$work/magic.bin" -- "$train" --train-file "$work/magic.bin" --output-dir "$work/new"
refuse 2 'tokens shorter than a header' "$work/header.bin" -- "$train" --train-file "$work/header.bin" --output-dir "$work/new"
refuse 2 'array that is none' "$work/wrong.npy" -- "$train" --train-file "$work/wrong.npy" --output-dir "$work/new"
refuse 2 'HDF5 that is none' "$work/wrong.h5" -- "$train" --train-file "$work/wrong.h5" --output-dir "$work/new"
refuse 2 'wildcard without a file' "$work/no*.txt" -- "$train" --train-file "$work/no*.txt" --output-dir "$work/new"
refuse 2 'text shorter than a row' brief.txt 128 -- "$train" --train-file "$work/brief.txt" --output-dir "$work/new"
refuse 2 'sequence longer than the model' --seq-length 129 128 -- "$train" --seq-length 129 "${few[@]}"
refuse 2 'damaged weights' model.safetensors -- "$train" --model "$work/damaged" "${few[@]}"
refuse 2 'truncated weights' model.safetensors -- "$train" --model "$work/cut" "${few[@]}"
refuse 2 'mathematics that is not supported' activation_function mish -- "$train" --model "$work/activation" "${few[@]}"
refuse 2 'prompt that is no token' --prompt hello -- "$zerort" generate --model gpt2 --prompt hello

refuse 2 'folder that holds a run' "$work/run" --output-dir -- "$train" --train-file "$work/text.txt" --output-dir "$work/run"
refuse 1 'folder below a file' "$work/text.txt/run" --output-dir -- "$train" --train-file "$work/text.txt" --output-dir "$work/text.txt/run"
refuse 1 'folder that cannot be' /proc/run --output-dir -- "$train" --train-file "$work/text.txt" --output-dir /proc/run
refuse 1 'model that does not fit' host-memory -- "$train" --host-memory 1M "${few[@]}"

refuse 2 'unknown subcommand' generat generate plan -- "$zerort" generat
refuse 2 'no subcommand' --help -- "$zerort"

two=("$MPIEXEC" -np 2)
refuse 2 'unknown option, two ranks' --lerning-rate -- "${two[@]}" "$train" --lerning-rate 1
refuse 2 'no data file, two ranks' "$work/none.txt" -- "${two[@]}" "$train" --train-file "$work/none.txt"
refuse 1 'folder below a file, two ranks' "$work/text.txt/run" -- "${two[@]}" "$train" --train-file "$work/text.txt" --output-dir "$work/text.txt/run"
refuse 2 'tokens beyond the vocabulary' "$work/vocabulary.bin" 300 -- "${two[@]}" "$train" --train-file "$work/vocabulary.bin" --seq-length 64 --max-steps 2
refuse 2 'configurations that differ' seed 7 -- "$MPIEXEC" -np 1 "$train" "${few[@]}" : -np 1 "$train" --seed 7 "${few[@]}"
refuse 2 'an option that only rank 1 does not know' 'rank 1' --sed -- "$MPIEXEC" -np 1 "$train" "${few[@]}" : -np 1 "$train" --sed 7 "${few[@]}"
refuse 2 'a file that only rank 1 misses' "$work/none.txt" -- "$MPIEXEC" -np 1 "$train" "${few[@]}" : -np 1 "$train" --train-file "$work/none.txt" --max-steps 2
refuse 2 'ranks of different programs' 'rank 1' 'another build' -- "$MPIEXEC" -np 1 "$train" "${few[@]}" : -np 1 "$zerort" check
refuse 1 'model that does not fit, two ranks' host-memory -- "${two[@]}" "$train" --host-memory 1M "${few[@]}"

finish
