#!/bin/bash
# --help, --version, spellings of options, --print-config, --plan.
. "$(dirname "$0")/command.bash"

# gives NAME STATUS WORD... -- COMMAND...: the exit status and the words on standard output.
gives() {
    local name=$1 want=$2 words=()
    shift 2
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    run "$@"
    [ "$status" = "$want" ] && says "$out" "${words[@]}"
    point $? "$name"
    if [ "$status" != "$want" ] || ! says "$out" "${words[@]}"; then
        echo "# status $status of: $*"
        head -n 5 "$err" | remark
        head -n 20 "$out" | remark
    fi
}
# once WORD: how often a line of the output has it
once() {
    [ "$(grep -cF -e "$1" "$out")" = 1 ]
    point $? "$2"
}
version=$(cat "$ZRT_SRCDIR/VERSION")

gives 'train --help' 0 'Usage: train' '--learning-rate' '--deepspeed FILE' '[small]' 'Exit status' -- "$train" --help
# It takes 0.05 s; a machine that links or tests beside it takes a second and more.
awk -v s="$seconds" -v most="${ZRT_TEST_SECONDS:-5}" 'BEGIN { exit !(s < most) }'
point $? "train --help answers at once ($seconds s)"
[ ! -s "$err" ]
point $? 'train --help says nothing on standard error'
[ "$(sed '/^The model small/,$d' "$out" | grep -oE '^  --[a-z0-9-]+' | sort | uniq -d | wc -l)" = 0 ]
point $? 'train --help lists no option twice'
[ "$(awk 'length > 120' "$out" | wc -l)" = 0 ]
point $? 'train --help has no long lines'
gives 'train --help, four ranks' 0 'Usage: train' -- "$MPIEXEC" -np 4 "$train" --help
once 'Usage: train' 'only one rank helps'
gives 'train --version' 0 "$version" -- "$train" --version
gives 'train --version, four ranks' 0 "$version" -- "$MPIEXEC" -np 4 "$train" --version
once "$version" 'only one rank tells its version'
gives 'zerort --help' 0 generate plan -- "$zerort" --help
gives 'zerort --version' 0 "$version" -- "$zerort" --version
gives 'zerort plan --help' 0 'Usage: zerort plan' -- "$zerort" plan --help
gives 'zerort generate --help' 0 'Usage: zerort generate' '--prompt' -- "$zerort" generate --help
gives 'zerort models' 0 small gpt2 llama-2-70b -- "$zerort" models

# What the configuration says after each spelling.
same() { # NAME, then two command lines of options with -- between
    local name=$1 first=()
    shift
    while [ "$1" != -- ]; do
        first+=("$1")
        shift
    done
    shift
    run "$train" --print-config "${first[@]}"
    local one=$status
    cp "$out" "$work/first"
    run "$train" --print-config "$@"
    [ "$one" = 0 ] && [ "$status" = 0 ] && [ -s "$out" ] && cmp -s "$work/first" "$out"
    point $? "$name"
    [ "$status" = 0 ] || head -n 5 "$err" | remark
    diff "$work/first" "$out" | head -n 5 | remark
}
differ() {
    run "$train" --print-config $2
    cp "$out" "$work/first"
    run "$train" --print-config $3
    [ "$status" = 0 ] && ! cmp -s "$work/first" "$out"
    point $? "$1"
}
same '_ for -' --learning-rate 0.25 -- --learning_rate 0.25
same '= for a blank' --learning-rate=0.25 -- --learning-rate 0.25
same 'a switch with and without its value' --bf16 -- --bf16 true
same '--bf16=true' --bf16 -- --bf16=true
same '--no-bf16' --no-bf16 -- --bf16 false
same 'the later one counts' --max-steps 3 --max-steps 4 -- --max-steps 4
same '--data is --train-file' --data a b -- --train-file a --train-file b
differ 'a switch makes a difference' '--bf16' '--no-bf16'
differ 'a number makes a difference' '--learning-rate 0.25' '--learning-rate 0.5'
differ 'the sequence length makes a difference' '--seq-length 64' '--seq-length 32'
differ 'recomputation makes a difference' '--gradient-checkpointing' ''
differ 'determinism makes a difference' '--full-determinism' ''

run "$train" --print-config --learning-rate 0.25
cp "$out" "$work/resolved.json"
same 'what is printed resolves to itself' --learning-rate 0.25 -- --deepspeed "$work/resolved.json"
gives '--print-config for pretended ranks' 0 train_batch_size -- "$train" --print-config --plan-ranks 16
rm -f "$work/first" "$work/resolved.json"

gives 'train --plan' 0 total -- "$train" --plan
gives 'train --plan, two ranks' 0 total -- "$MPIEXEC" -np 2 "$train" --plan
printf '{"zero_optimization": {"stage": 3, "stage3_max_live_parameters": 2000000000}}' >"$work.json"
trap 'rm -rf "$work" "$work".*' EXIT
gives 'a 70B model on 64 ranks' 0 total -- "$train" --plan --plan-ranks 64 --model llama-2-70b --deepspeed "$work.json" --seq-length 2048 \
    --per-device-train-batch-size 1 --gradient-checkpointing --bf16 --host-memory 4T
awk -v s="$seconds" -v most="${ZRT_TEST_SECONDS:-5}" 'BEGIN { exit !(s < most) }'
point $? "a 70B model is planned in $seconds s"
gives 'a 70B model does not fit on 2 ranks' 1 -- "$train" --plan --plan-ranks 2 --model llama-2-70b --deepspeed "$work.json" --host-memory 64G
gives 'zerort plan is train --plan' 0 total -- "$zerort" plan --plan-ranks 3
[ -z "$(find . -mindepth 1)" ]
point $? 'none of them leaves a file'
finish
