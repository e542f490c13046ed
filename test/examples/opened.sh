#!/bin/bash
# transformers and peft open what training leaves, with the same logits: a Llama, an adapter, both merged, a BERT.
. "$(dirname "$0")/../tools/command.bash"
examples=$ZRT_SRCDIR/test/examples

mkdir llama bert
sed -e 's/"vocab_size": 311/"vocab_size": 1500/' -e 's/"max_position_embeddings": 64/"max_position_embeddings": 512/' \
    "$ZRT_GOLDEN/llama/config.json" >llama/config.json
cp "$ZRT_GOLDEN/tokenizers/llama2/tokenizer.json" llama
sed -e 's/"vocab_size": 300/"vocab_size": 1500/' "$ZRT_GOLDEN/bert/config.json" >bert/config.json
cp "$ZRT_GOLDEN/tokenizers/bert/tokenizer.json" bert

opens() { # FOLDER
    local folder=$1 said
    run "$ZRT_BUILDDIR/test/logits" "$folder"
    if [ "$status" != 0 ]; then
        point 1 "$folder: logits"
        remark <"$err"
        return
    fi
    said=$(python3 "$examples/logits.py" "$folder" <"$out" 2>python.err)
    case $? in
    0) point 0 "transformers opens $folder: $said" ;;
    77 | 127) point 0 "$folder # SKIP python3: $said" ;;
    *)
        point 1 "transformers opens $folder: $said"
        tail -n 3 python.err | remark
        ;;
    esac
}

few=(--num-train-epochs 1 --per-device-train-batch-size 4 --learning-rate 0.003 --validation-split-percentage 0)
qa=(--train-file "$examples/gsm8k.jsonl" --prompt-column question --completion-column answer)
limit=180 run "$MPIEXEC" -np 2 "$train" --model llama "${qa[@]}" "${few[@]}" --output-dir answers
[ "$status" = 0 ] && [ -s answers/model.safetensors ]
point $? "a Llama is trained"
[ "$status" = 0 ] || tail -n 5 "$err" | remark
opens answers
printf '{"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}' >lora.json
limit=180 run "$MPIEXEC" -np 2 "$train" --model answers --lora-config lora.json "${qa[@]}" "${few[@]}" --output-dir adapter
[ "$status" = 0 ] && [ -s adapter/adapter_model.safetensors ]
point $? "an adapter of it"
[ "$status" = 0 ] || tail -n 5 "$err" | remark
opens adapter
printf '{"r": 4, "lora_alpha": 8, "target_modules": ".*\\\\.(q|v)_proj", "modules_to_save": ["embed_tokens", "lm_head"]}' >tokens.json
limit=180 run "$MPIEXEC" -np 2 "$train" --model answers --lora-config tokens.json "${qa[@]}" "${few[@]}" --special-tokens '<START_Q>' '<END_Q>' \
    --max-steps 10 --output-dir tokens
[ "$status" = 0 ] && [ -s tokens/adapter_model.safetensors ]
point $? "an adapter with new tokens"
[ "$status" = 0 ] || tail -n 5 "$err" | remark
opens tokens
run "$zerort" merge answers tokens merged-tokens
[ "$status" = 0 ]
point $? "merged too"
opens merged-tokens
run "$zerort" merge answers adapter merged
[ "$status" = 0 ]
point $? "they are merged"
opens merged
limit=180 run "$MPIEXEC" -np 2 "$train" --model bert --train-file "$examples/mrpc.jsonl" "${few[@]}" --output-dir paraphrases
[ "$status" = 0 ] && [ -s paraphrases/model.safetensors ]
point $? "a BERT is trained"
[ "$status" = 0 ] || tail -n 5 "$err" | remark
opens paraphrases
finish
