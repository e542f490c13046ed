#!/bin/bash
# LoRA by the programs: an adapter is trained, opened again, merged, and refused where it does not fit.
. "$(dirname "$0")/command.bash"

for i in $(seq 400); do printf 'the %d quick foxes jump over %d lazy dogs\n' "$i" $((i * 7 % 100)); done >text.txt
cp -r "$ZRT_GOLDEN/gpt2" base # bytes and one token more
printf '{"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["c_attn", "c_fc"]}' >lora.json
small="--per-device-train-batch-size 2 --seq-length 16 --sample-tokens 0 --learning-rate 0.01"

limit=120 run "$MPIEXEC" -np 2 "$train" --model base --lora-config lora.json --train-file text.txt --max-steps 20 --logging-steps 5 $small --output-dir adapter
[ "$status" = 0 ] && [ -f adapter/adapter_model.safetensors ] && [ -f adapter/adapter_config.json ] && [ ! -e adapter/model.safetensors ]
point $? "train --lora-config leaves an adapter's folder"
[ "$status" = 0 ] || remark <"$err"
first=$(grep -o '"loss": *[0-9.]*' adapter/metrics.jsonl | head -n 1 | grep -o '[0-9.]*$')
last=$(grep -o '"loss": *[0-9.]*' adapter/metrics.jsonl | tail -n 1 | grep -o '[0-9.]*$')
awk -v a="$first" -v b="$last" 'BEGIN { exit !(b + 0 > 0 && b < a) }'
point $? "the loss falls: $first to $last"

run "$zerort" merge base adapter merged
[ "$status" = 0 ] && [ -f merged/model.safetensors ] && cmp -s merged/config.json base/config.json
point $? "zerort merge writes a model's folder"
prompt=(--prompt '116 104 101' --temperature 0 --max-new-tokens 8)
run "$zerort" generate --model adapter "${prompt[@]}"
cp "$out" by_adapter
[ "$status" = 0 ] && run "$zerort" generate --model merged "${prompt[@]}"
[ "$status" = 0 ] && cmp -s "$out" by_adapter
point $? "both continue a prompt alike"
[ "$status" = 0 ] || remark <"$err"
run "$zerort" generate --model base "${prompt[@]}"
! cmp -s "$out" by_adapter
point $? "and not as the base model does"
limit=120 run "$train" --model adapter --train-file text.txt --max-steps 2 $small --output-dir more
[ "$status" = 0 ] && [ -f more/adapter_model.safetensors ]
point $? "training goes on from an adapter's folder"

# refuse NAME WORD -- COMMAND...
refuse() {
    local name=$1 word=$2
    shift 3
    run "$@"
    [ "$status" = 2 ] && [ "$(grep -c 'error:' "$err")" = 1 ] && says "$err" "$word" && [ ! -e none ]
    point $? "$name is refused, naming $word"
    [ "$status" = 2 ] || remark <"$err"
}
printf '{"target_modules": ["q_proj"]}' >other.json
refuse "a target that matches nothing" q_proj -- "$train" --model base --lora-config other.json --train-file text.txt $small --output-dir none
refuse "a file that is not there" missing.json -- "$train" --model base --lora-config missing.json --train-file text.txt $small --output-dir none
refuse "an adapter of another base" c_attn -- "$zerort" merge "$ZRT_GOLDEN/llama" adapter none
refuse "the base as the result" base -- "$zerort" merge base adapter base
refuse "two folders" BASE -- "$zerort" merge base adapter
refuse "a frozen model" --freeze -- "$train" --model base --freeze '*' --train-file text.txt $small --output-dir none
refuse "a pattern that matches nothing" 'h.9.*' -- "$train" --model base --freeze 'h.9.*' --train-file text.txt $small --output-dir none
run "$train" --model base --lora-config lora.json --train-file text.txt --max-steps 2 --save-steps 2 $small --output-dir saved
refuse "the export of a checkpoint with adapters" lora_A -- "$zerort" export saved none
refuse "a sharded adapter" --state-dict-type -- "$train" --model base --lora-config lora.json --train-file text.txt $small --state-dict-type sharded --output-dir none
mv base elsewhere
refuse "an adapter whose base is gone" base -- "$zerort" generate --model adapter "${prompt[@]}"
finish
