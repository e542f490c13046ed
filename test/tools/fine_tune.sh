#!/bin/bash
# From a folder and JSONL files to a folder: tokenizing, training, packing, generating, what is refused.
. "$(dirname "$0")/command.bash"
golden=$ZRT_SRCDIR/test/golden

gives() { # NAME STATUS WORD... -- COMMAND...: the exit status and the words on either stream
    local name=$1 want=$2 words=()
    shift 2
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    run "$@"
    cat "$err" >>"$out"
    [ "$status" = "$want" ] && says "$out" "${words[@]}"
    point $? "$name"
    if [ "$status" != "$want" ] || ! says "$out" "${words[@]}"; then
        echo "# status $status of: $*"
        tail -n 12 "$out" | remark
    fi
}

# A Llama with Llama 2's tokenizer.
mkdir base
sed -e 's/"vocab_size": 311/"vocab_size": 1500/' -e 's/"max_position_embeddings": 64/"max_position_embeddings": 160/' \
    "$golden/llama/config.json" >base/config.json
cp "$golden/tokenizers/llama2/tokenizer.json" base
printf '{"eos_token": "</s>", "bos_token": "<s>"}' >base/tokenizer_config.json
printf '{"eos_token_id": [2, 700]}' >base/generation_config.json
for ((i = 0; i < 60; i++)); do
    a=$((i * 7 % 19)) b=$((i * 5 % 13))
    echo "{\"question\": \"Ann has $a apples and buys $b. How many are there?\", \"answer\": \" There are $((a + b)).\"}" >>qa.jsonl
    echo "{\"messages\": [{\"role\": \"user\", \"content\": \"What is $a + $b?\"}, {\"role\": \"assistant\", \"content\": \"It is $((a + b)).\"}]}" >>chat.jsonl
    echo "{\"text\": \"There are $a apples and $b pears.\"}" >>text.jsonl
done
gzip -k qa.jsonl
qa=(--prompt-column question --completion-column answer)
few=(--model base --per-device-train-batch-size 4 --learning-rate 0.003 --num-train-epochs 2)

gives 'a prompt and its completion' 0 'training: 60 samples of 60 lines' '57 rows of 64' 'evaluation' 'eval' -- \
    "$train" "${few[@]}" --train-file qa.jsonl "${qa[@]}" --output-dir out
[ -s out/model.safetensors ] && [ -s out/config.json ] && cmp -s base/tokenizer.json out/tokenizer.json &&
    cmp -s base/tokenizer_config.json out/tokenizer_config.json && cmp -s base/generation_config.json out/generation_config.json
point $? 'the folder has weights, configuration and the tokenizer'
[ "$(grep -c eval_perplexity out/metrics.jsonl)" = 2 ]
point $? 'each epoch is evaluated'
gives 'the folder generates text' 0 'Ann has 3 apples' -- \
    "$zerort" generate --model out --prompt 'Ann has 3 apples' --temperature 0 --max-new-tokens 12
cp "$out" one
gives 'at two ranks too' 0 'Ann has 3 apples' -- \
    "$MPIEXEC" -np 2 "$zerort" generate --model out --prompt 'Ann has 3 apples' --temperature 0 --max-new-tokens 12
[ "$(grep Ann "$out")" = "$(grep Ann one)" ]
point $? 'and the same text'
gives 'zerort generate FOLDER' 0 'Ann has 3 apples' -- "$zerort" generate out --prompt 'Ann has 3 apples' --max-new-tokens 3
gives 'gzip, packed, two ranks' 0 'packed' 'training: 60 samples' -- \
    "$MPIEXEC" -np 2 "$train" "${few[@]}" --train-file qa.jsonl.gz "${qa[@]}" --packing --seq-length 128 --output-dir packed
gives 'messages' 0 'training: 60 samples' -- "$train" "${few[@]}" --train-file chat.jsonl --chat-template llama2 --output-dir chat
gives 'an evaluation file, texts cut' 0 '60 truncated' 'evaluation: 60 samples' -- \
    "$train" "${few[@]}" --train-file text.jsonl --eval-file text.jsonl --seq-length 8 --output-dir text --prompt There
gives 'special tokens' 0 'vocabulary: 1502 tokens, 2 of them new' -- \
    "$train" "${few[@]}" --model out --train-file qa.jsonl "${qa[@]}" --special-tokens '<|im_start|>' '<|"end|>' '</s>' --output-dir grown
grep -q '"vocab_size": 1502' grown/config.json && grep -q 'im_start' grown/tokenizer.json
point $? 'are in the folder'
gives 'whose tokenizer has them' 0 'tokens of 60 documents' -- \
    "$zerort" tokenize grown text.jsonl --end-token '<|"end|>' --out grown.bin
gives 'and which generates' 0 'Ann' -- "$zerort" generate grown --prompt 'Ann <|im_start|>' --max-new-tokens 2
# New tokens with LoRA: embedding and head are trained whole, and are in the adapter.
printf '{"r": 4, "lora_alpha": 8, "target_modules": ".*\\\\.(q|v)_proj", "modules_to_save": ["embed_tokens", "lm_head"]}' >tokens.json
printf '{"r": 4, "lora_alpha": 8, "modules_to_save": ["lm_head"]}' >frozen.json
tokens=(--model out --train-file qa.jsonl "${qa[@]}" --special-tokens '<|im_start|>' '<|im_end|>' --per-device-train-batch-size 4 --max-steps 8 --learning-rate 0.003)
gives 'new tokens with LoRA' 0 'vocabulary: 1502 tokens, 2 of them new' -- \
    "$MPIEXEC" -np 2 "$train" "${tokens[@]}" --lora-config tokens.json --output-dir adapter
[ -s adapter/adapter_model.safetensors ] && grep -q im_start adapter/tokenizer.json && grep -q '(q|v)_proj' adapter/adapter_config.json
point $? 'leave an adapter with its tokenizer and the expression of its modules'
gives 'which merges' 0 -- "$zerort" merge out adapter merged
grep -q '"vocab_size": 1502' merged/config.json && grep -q im_start merged/tokenizer.json
point $? 'into a model with the new tokens'
same=(--prompt 'Ann <|im_start|> has' --temperature 0 --max-new-tokens 6)
gives 'the adapter generates' 0 'Ann' -- "$zerort" generate adapter "${same[@]}"
cp "$out" one
gives 'as the merged model does' 0 'Ann' -- "$zerort" generate merged "${same[@]}"
[ "$(grep Ann "$out")" = "$(grep Ann one)" ]
point $? 'with the same text'
gives 'and training goes on from it' 0 'run folder' -- \
    "$train" --model adapter --train-file qa.jsonl "${qa[@]}" --per-device-train-batch-size 4 --max-steps 2 --output-dir further

# What the folder ends with: rank files that become the same folder as a full state dict.
printf '{"zero_optimization": {"stage": 3}, "zerort": {"state_dict": {"offload_to_cpu": false, "rank0_only": false}}}' >each.json
short=(--model base --per-device-train-batch-size 4 --max-steps 2 --eval-steps 0 --validation-split-percentage 0 --train-file text.jsonl)
gives 'a sharded state dict' 0 'zerort export' -- \
    "$MPIEXEC" -np 2 "$train" "${short[@]}" --state-dict-type sharded --output-dir shards
[ -s shards/sharded_model/checkpoint-0/rank00001.h5 ] && [ ! -e shards/model.safetensors ] && [ ! -e shards/config.json ]
point $? 'is a file of each rank'
gives 'a full one that goes to each rank' 0 'run folder' -- \
    "$MPIEXEC" -np 2 "$train" "${short[@]}" --state-dict-type full --deepspeed each.json --output-dir whole
gives 'zerort export' 0 -- "$zerort" export shards/sharded_model exported
same=0
for file in model.safetensors config.json tokenizer.json tokenizer_config.json generation_config.json; do
    cmp -s "whole/$file" "exported/$file" || { echo "# $file differs"; same=1; }
done
point $same 'makes the same folder of it, byte for byte, with the tokenizer'
[ whole/tokenizer.json -ot whole/resolved.json ] || [ ! whole/tokenizer.json -nt whole/resolved.json ]
point $? 'a run has its tokenizer from the start'
gives 'and it is a start' 0 'going on after step 0' -- \
    "$train" "${short[@]}" --resume-from-checkpoint shards/sharded_model --output-dir started
gives 'both in contradiction' 2 'state_dict_type' 'give one of them' -- \
    "$train" "${short[@]}" --deepspeed <(sed 's/"rank0_only"/"type": "full", "rank0_only"/' each.json) --state-dict-type sharded --output-dir new
gives 'a full one of tokens' 0 'run folder' -- "$MPIEXEC" -np 2 "$train" --train-file "$0" --max-steps 2 --sample-tokens 0 \
    --state-dict-type full --output-dir bytes
[ -s bytes/model.safetensors ] && [ -s bytes/config.json ]
point $? 'is written where it is asked for'

# In the middle of an epoch of 8 steps, at another number of ranks: the same samples come, packed too.
going=(--model base --train-file qa.jsonl "${qa[@]}" --lr-scheduler-type constant --learning-rate 0.003 --logging-steps 1 --eval-steps 0)
for how in '' '--packing --seq-length 128'; do
    rm -rf whole part
    gives "a run${how:+, $how}" 0 'run folder' -- "$MPIEXEC" -np 2 "$train" "${going[@]}" $how --per-device-train-batch-size 4 --max-steps 12 --output-dir whole
    gives 'cut off after 5 steps' 0 'run folder' -- \
        "$MPIEXEC" -np 2 "$train" "${going[@]}" $how --per-device-train-batch-size 4 --max-steps 5 --save-steps 5 --output-dir part
    gives 'goes on at one rank' 0 'going on after step 5' -- \
        "$train" "${going[@]}" $how --per-device-train-batch-size 8 --max-steps 12 --save-steps 100 --resume-from-checkpoint auto --output-dir part
    paste <(sed -n 's/.*"step": *\([0-9]*\).*"loss": *\([0-9.e+-]*\), *"grad.*/\1 \2/p; s/.*"step": *\([0-9]*\).*"loss": *\([0-9.e+-]*\), *"eval_loss.*/\1 \2/p' whole/metrics.jsonl) \
        <(sed -n 's/.*"step": *\([0-9]*\).*"loss": *\([0-9.e+-]*\), *"grad.*/\1 \2/p; s/.*"step": *\([0-9]*\).*"loss": *\([0-9.e+-]*\), *"eval_loss.*/\1 \2/p' part/metrics.jsonl) |
        awk '{ d = $2 - $4; if ($1 != $3 || d > 1e-4 || d < -1e-4) bad = 1; n++ } END { exit bad || n != 12 }'
    point $? 'with the losses of the run that was not'
done

gives 'a plan' 0 'training: 60 samples' -- "$train" "${few[@]}" --train-file text.jsonl --plan

gives 'zerort tokenize' 0 'tokens of 60 documents' -- "$zerort" tokenize base text.jsonl --out tokens.bin
gives 'whose file trains' 0 'run folder' -- \
    "$train" --model base --train-file tokens.bin --seq-length 32 --max-steps 2 --sample-tokens 0 --output-dir tokens
gives 'zerort tokenize --help' 0 'Usage: zerort tokenize' '--document' -- "$zerort" tokenize --help

# Refused: one message, nothing left.
refuse() { # NAME WORD... -- COMMAND...
    local name=$1 before
    before=$(find . | sort)
    gives "refused: $1" 2 "${@:2}"
    [ "$(grep -cE '^(train|zerort[a-z ]*): error: ' "$out")" = 1 ] && [ "$before" = "$(find . | sort)" ]
    point $? "$name: one message, nothing written"
}
{ head -n 30 qa.jsonl; echo '{"question": "a"'; tail -n 30 qa.jsonl; } >bad.jsonl
printf '{"question": "a\xff", "answer": "b"}\n' >utf8.jsonl
: >empty.jsonl
printf '{"text": "%s"}\n' "$(yes 'so many words' | head -n 200 | tr '\n' ' ')" >long.jsonl
mkdir narrow && sed 's/"vocab_size": 1500/"vocab_size": 1400/' base/config.json >narrow/config.json && cp base/tokenizer.json narrow
mkdir other && cp base/config.json other && sed 's/"byte_fallback": *true/"byte_fallback": true, "surprise": 1/' base/tokenizer.json >other/tokenizer.json
new=(--output-dir new)
refuse 'a line that is not JSON' bad.jsonl 'line 31' -- "$train" "${few[@]}" --train-file bad.jsonl "${qa[@]}" "${new[@]}"
gives 'but skipped where asked to' 0 '1 bad' '60 samples of 61' -- \
    "$train" "${few[@]}" --train-file bad.jsonl "${qa[@]}" --skip-bad-lines --output-dir skipped
refuse 'a missing column' "'text'" 'question, answer' -- "$train" "${few[@]}" --train-file qa.jsonl --text-column text "${new[@]}"
refuse 'no column that is known' 'question, answer' -- "$train" "${few[@]}" --train-file qa.jsonl "${new[@]}"
refuse 'an empty file' empty.jsonl -- "$train" "${few[@]}" --train-file empty.jsonl "${new[@]}"
refuse 'invalid UTF-8' utf8.jsonl 'line 1' UTF-8 -- "$train" "${few[@]}" --train-file utf8.jsonl "${qa[@]}" "${new[@]}"
refuse 'a sample longer than the model' long.jsonl 'line 1' 160 -- "$train" "${few[@]}" --train-file long.jsonl "${new[@]}"
refuse 'a tokenizer with more tokens than the model' 1500 1400 -- \
    "$train" "${few[@]}" --model narrow --train-file text.jsonl "${new[@]}"
refuse 'a tokenizer with an unknown part' surprise tokenizer.json -- "$train" "${few[@]}" --model other --train-file text.jsonl "${new[@]}"
refuse 'a chat template that is not said' chat_template -- "$train" "${few[@]}" --train-file chat.jsonl "${new[@]}"
refuse 'an unknown chat template' alpaca llama2 -- "$train" "${few[@]}" --train-file chat.jsonl --chat-template alpaca "${new[@]}"
refuse 'JSONL without a tokenizer' tokenizer.json -- "$train" --train-file text.jsonl "${new[@]}"
refuse 'new tokens whose rows stay frozen' '"modules_to_save": ["embed_tokens", "lm_head"]' 'embed_tokens.weight' -- \
    "$train" "${tokens[@]}" --lora-config frozen.json "${new[@]}"
refuse 'new tokens for an adapter' 'zerort merge' -- \
    "$train" --model adapter --train-file qa.jsonl "${qa[@]}" --special-tokens '<|new|>' "${new[@]}"
refuse 'files of two kinds' kind -- "$train" "${few[@]}" --train-file text.jsonl tokens.bin "${new[@]}"
refuse 'no such file, two ranks' none.jsonl -- "$MPIEXEC" -np 2 "$train" "${few[@]}" --train-file none.jsonl "${new[@]}"
refuse 'tokenize: no folder' nothing -- "$zerort" tokenize nothing text.jsonl --out new.bin
refuse 'tokenize: no file' none.txt -- "$zerort" tokenize base none.txt --out new.bin
refuse 'tokenize: a bad line' bad.jsonl 'line 31' -- "$zerort" tokenize base bad.jsonl --text-column question --out new.bin

finish
