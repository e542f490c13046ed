#!/bin/bash
# BERT by the programs: a classifier is trained on pairs of texts, evaluated, opened again, and refused where it does not fit.
. "$(dirname "$0")/command.bash"

# A pretrained BERT without a classifier: bert's weights as BertModel saves them cannot be made here, so all of it is drawn.
mkdir base
cp "$ZRT_GOLDEN/tokenizers/bert/tokenizer.json" base
sed -e 's/"vocab_size": 300/"vocab_size": 1500/' -e 's/BertForSequenceClassification/BertForMaskedLM/' "$ZRT_GOLDEN/bert/config.json" >base/config.json
words=(red blue green black white old new small large warm)
for i in $(seq 200); do
    a=${words[i % 10]} b=${words[i * 7 % 10]}
    [ $((i % 2)) = 0 ] && b=$a
    label=0
    [ "$a" = "$b" ] && label=1
    printf '{"text1": "The house is %s.", "text2": "It is %s.", "label": %d}\n' "$a" "$b" "$label"
done >pairs.jsonl
options=(--task classification --per-device-train-batch-size 8 --learning-rate 0.001 --num-train-epochs 4 --logging-steps 20)

limit=120 run "$MPIEXEC" -np 2 "$train" --model base --train-file pairs.jsonl --eval-file pairs.jsonl "${options[@]}" --output-dir run
[ "$status" = 0 ] && [ -s run/model.safetensors ] && cmp -s run/tokenizer.json base/tokenizer.json
point $? "train --task classification leaves a folder with its tokenizer"
[ "$status" = 0 ] || remark <"$err"
says run/config.json BertForSequenceClassification
point $? "of a classifier, whatever head was pretrained"
[ "$(grep -c '"eval_accuracy": .*"eval_f1": ' run/metrics.jsonl)" = 4 ] && ! grep -q perplexity run/metrics.jsonl
point $? "each epoch has its accuracy and F1"
last=$(grep -o '"eval_accuracy": [0-9.]*' run/metrics.jsonl | tail -n 1 | grep -o '[0-9.]*$')
f1=$(grep -o '"eval_f1": [0-9.]*' run/metrics.jsonl | tail -n 1 | grep -o '[0-9.]*$')
awk -v a="$last" -v f="$f1" 'BEGIN { exit !(a > 0.9 && a <= 1 && f > 0.8 && f <= 1) }'
point $? "it learns: accuracy $last, F1 $f1"
run "$train" --model run --train-file pairs.jsonl --eval-file pairs.jsonl "${options[@]}" --num-train-epochs 1 --learning-rate 1e-9 --output-dir more
again=$(grep -o '"eval_accuracy": [0-9.]*' more/metrics.jsonl | tail -n 1 | grep -o '[0-9.]*$')
[ "$status" = 0 ] && awk -v a="$again" -v b="$last" 'BEGIN { exit !(a > 0 && a == b) }'
point $? "the folder is read back: accuracy $again"
# The best by accuracy: of equal ones the first, as transformers keeps it.
run "$MPIEXEC" -np 2 "$train" --model base --train-file pairs.jsonl --eval-file pairs.jsonl "${options[@]}" --save-strategy epoch --save-total-limit 1 \
    --load-best-model-at-end --metric-for-best-model accuracy --output-dir best
[ "$status" = 0 ] || remark <"$err"
by_accuracy=$(awk 'match($0, /"step": *[0-9]+/) { step = substr($0, RSTART, RLENGTH); sub(/.*: */, "", step) }
    match($0, /"eval_accuracy": *[0-9.]+/) { a = substr($0, RSTART, RLENGTH); sub(/.*: */, "", a); if (a + 0 > most) { most = a + 0; at = step } }
    END { print at }' best/metrics.jsonl)
[ -n "$by_accuracy" ] && [ "$(sed -n 's/^best: best\/checkpoint-//p' "$out")" = "$by_accuracy" ] &&
    [ "$(grep -c eval_accuracy best/metrics.jsonl)" = 4 ] && [ "$(find best -maxdepth 1 -name 'checkpoint-*' | wc -l)" -le 2 ]
point $? "the checkpoint of the best accuracy stays and is loaded: step $by_accuracy"
run "$zerort" inspect "best/checkpoint-$by_accuracy"
says "$out" eval_accuracy
point $? "and says so"
run "$train" --model best --train-file pairs.jsonl --eval-file pairs.jsonl "${options[@]}" --max-steps 2 --learning-rate 0 --save-steps 1 --load-best-model-at-end \
    --metric-for-best-model eval_f1 --greater-is-better false --output-dir worst
[ "$status" = 0 ] && grep -q '"greater_is_better": *false' worst/checkpoint-1/manifest.json && grep -q '"name": *"eval_f1"' worst/checkpoint-1/manifest.json &&
    says "$out" 'best: worst/checkpoint-1'
point $? "--greater-is-better and f1 are what the checkpoint says; of equal ones the first is the best"
[ "$status" = 0 ] || remark <"$err"

printf '{"r": 2}' >lora.json
run "$train" --model run --lora-config lora.json --train-file pairs.jsonl --eval-file pairs.jsonl "${options[@]}" --num-train-epochs 1 --output-dir adapter
[ "$status" = 0 ] && says adapter/adapter_config.json SEQ_CLS '"classifier"' && run "$zerort" merge run adapter merged && [ "$status" = 0 ] && [ -s merged/model.safetensors ]
point $? "LoRA on it trains the classifier whole, and merges"
[ "$status" = 0 ] || remark <"$err"

refuse() { # NAME WORD -- COMMAND...
    local name=$1 word=$2
    shift 3
    run "$@"
    [ "$status" = 2 ] && [ "$(grep -c 'error:' "$err")" = 1 ] && says "$err" "$word" && [ ! -e none ]
    point $? "$name is refused, naming $word"
    [ "$status" = 2 ] || remark <"$err"
}
printf '{"text1": "a", "text2": "b", "label": 2}\n' >range.jsonl
printf '{"text": "a"}\n' >texts.jsonl
refuse "a label out of range" "line 1" -- "$train" --model base --train-file range.jsonl --validation-split-percentage 0 --output-dir none
refuse "text for a classifier" classifier -- "$train" --model base --train-file texts.jsonl --text-column text --validation-split-percentage 0 --output-dir none
refuse "classification by a GPT" BERT -- "$train" --model gpt2 --task classification --train-file pairs.jsonl --output-dir none
refuse "generation by a classifier" classifier -- "$zerort" generate --model run --prompt a
refuse "accuracy of a GPT" accuracy -- "$train" --train-file "$0" --max-steps 2 --save-steps 1 --load-best-model-at-end --metric-for-best-model accuracy --output-dir none
refuse "perplexity of a classifier" perplexity -- "$train" --model base --train-file pairs.jsonl "${options[@]}" --save-strategy epoch --load-best-model-at-end --metric-for-best-model perplexity --output-dir none
refuse "the best without an evaluation" --eval-file -- "$train" --model base --train-file pairs.jsonl --validation-split-percentage 0 --save-strategy epoch --load-best-model-at-end --output-dir none
refuse "a strategy without its steps" --save-steps -- "$train" --model base --train-file pairs.jsonl --save-strategy steps --output-dir none
refuse "an unknown task" causal-lm -- "$train" --model base --task translation --train-file pairs.jsonl --output-dir none
finish
