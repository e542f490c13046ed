#!/bin/bash
# The MRPC recipe: a BERT learns to tell paraphrases. By default a tiny one learns the pairs beside this script, which have the form
# {"text1": .., "text2": .., "label": 0 or 1}; a real run names all three:
#   MODEL=bert-base-cased TRAIN=mrpc/train.jsonl TEST=mrpc/test.jsonl test/examples/mrpc.sh --learning-rate 2e-5 --warmup-steps 100
. "$(dirname "$0")/../tools/command.bash"
if [ -z "$MODEL" ]; then
    MODEL=$work/tiny
    mkdir "$MODEL"
    sed 's/"vocab_size": 300/"vocab_size": 1500/' "$ZRT_SRCDIR/test/golden/bert/config.json" >"$MODEL/config.json"
    cp "$ZRT_SRCDIR/test/golden/tokenizers/bert/tokenizer.json" "$MODEL"
    set -- --learning-rate 0.001 --warmup-steps 2 --per-device-train-batch-size 8 "$@"
    head -n 128 "$ZRT_SRCDIR/test/examples/mrpc.jsonl" >train.jsonl
    tail -n 32 "$ZRT_SRCDIR/test/examples/mrpc.jsonl" >test.jsonl
    TRAIN=$work/train.jsonl TEST=$work/test.jsonl
fi
limit=${SECONDS_AT_MOST:-240}
run "$MPIEXEC" -np "${RANKS:-2}" "$train" --model "$MODEL" --task classification --train-file "$TRAIN" --eval-file "$TEST" \
    --num-train-epochs 3 --save-strategy epoch --save-total-limit 1 --load-best-model-at-end --metric-for-best-model f1 --output-dir out "$@"
[ "$status" = 0 ] && [ -s out/model.safetensors ] && [ -s out/tokenizer.json ]
point $? 'three epochs of MRPC leave a folder'
[ "$status" = 0 ] || tail -n 8 "$err" | remark
[ "$(grep -c '"eval_accuracy": .*"eval_f1": ' out/metrics.jsonl)" = 3 ]
point $? 'with accuracy and F1 of each'
best=$(sed -n 's/^best: out\/checkpoint-//p' "$out")
most=$(awk 'match($0, /"eval_f1": *[0-9.]+/) { f1 = substr($0, RSTART, RLENGTH); sub(/.*: */, "", f1); match($0, /"step": *[0-9]+/)
    step = substr($0, RSTART, RLENGTH); sub(/.*: */, "", step); if (!n++ || f1 + 0 > most) { most = f1 + 0; at = step } } END { print at }' out/metrics.jsonl)
[ -n "$best" ] && [ "$best" = "$most" ]
point $? "it is that of the epoch with the best F1, step $best"
losses=$(grep -o '"eval_loss": [0-9.]*' out/metrics.jsonl | awk '{ print $2 }' | tr '\n' ' ')
awk '{ exit !(NF == 3 && $3 < $1) }' <<<"$losses"
point $? "the loss of the test pairs falls: $losses"
finish
