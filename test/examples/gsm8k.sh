#!/bin/bash
# The GSM8K recipe: fine-tune on questions and answers, ask one afterwards. By default a tiny Llama learns the questions beside this
# script, which have GSM8K's format ({"question": .., "answer": "steps\n#### number"}); a real run names both:
#   MODEL=Llama-2-7b-hf TRAIN=gsm8k/train.jsonl TEST=gsm8k/test.jsonl test/examples/gsm8k.sh --deepspeed zero3.json --bf16
. "$(dirname "$0")/../tools/command.bash"
if [ -z "$MODEL" ]; then
    MODEL=$work/tiny
    mkdir "$MODEL"
    sed -e 's/"vocab_size": 311/"vocab_size": 1500/' -e 's/"max_position_embeddings": 64/"max_position_embeddings": 512/' \
        "$ZRT_SRCDIR/test/golden/llama/config.json" >"$MODEL/config.json"
    cp "$ZRT_SRCDIR/test/golden/tokenizers/llama2/tokenizer.json" "$MODEL"
    set -- --learning-rate 0.003 --per-device-train-batch-size 4 "$@"
    head -n 40 "$ZRT_SRCDIR/test/examples/gsm8k.jsonl" >train.jsonl
    tail -n 8 "$ZRT_SRCDIR/test/examples/gsm8k.jsonl" >test.jsonl
    TRAIN=$work/train.jsonl TEST=$work/test.jsonl
fi
limit=${SECONDS_AT_MOST:-240}
run "$MPIEXEC" -np "${RANKS:-2}" "$train" --model "$MODEL" --train-file "$TRAIN" --eval-file "$TEST" \
    --prompt-column question --completion-column answer --num-train-epochs 3 --packing --seq-length 512 \
    --lr-scheduler-type cosine --warmup-steps 2 --save-strategy epoch --save-total-limit 1 --load-best-model-at-end \
    --metric-for-best-model perplexity --output-dir out "$@"
[ "$status" = 0 ] && [ -s out/model.safetensors ] && [ -s out/tokenizer.json ]
point $? 'three epochs of GSM8K leave a folder'
says "$out" 'best: out/checkpoint-'
point $? 'of the epoch with the least perplexity'
[ "$status" = 0 ] || tail -n 8 "$err" | remark
[ "$(grep -c eval_perplexity out/metrics.jsonl)" = 3 ]
point $? 'with an evaluation of each'
losses=$(grep -o '"eval_loss": [0-9.]*' out/metrics.jsonl | awk '{ print $2 }' | tr '\n' ' ')
awk '{ exit !(NF == 3 && $2 < $1 && $3 < $2) }' <<<"$losses"
point $? "the loss of the test questions falls: $losses"
run "$zerort" generate out --prompt 'Ann has 3 apples. How many are left if she eats one?' --temperature 0 --max-new-tokens 40
[ "$status" = 0 ] && says "$out" 'Ann has 3 apples'
point $? 'and a question is answered'
finish
