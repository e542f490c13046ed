#!/bin/bash
# LoRA of a Llama, tokens a second beside peft + transformers + PyTorch in the same call, on random weights and random tokens:
#   benchmarks/lora.sh [7b|tiny] [ROUNDS]         in the build folder; 7b on one GPU, tiny is a dry run on the CPU
# Both train in bf16: r 16, alpha 32, dropout 0.05 on every linear layer but the output's. zerort keeps fp32 masters of the adapters
# and fp32 moments; the peer has the adapters in bf16, which is faster. Steps are timed after a warm-up, the median counts; rounds
# alternate, the best of each counts. BATCH, LENGTH and STEPS change the shape, DEVICE the device, PYTHON names a Python that has
# the peer (without it there is zerort's number alone). One JSON line.
set -e
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${PYTHON=python3}" "${MPIEXEC=mpirun}"
size=${1:-7b} rounds=${2:-2}
. "$ZRT_SRCDIR/config/mpi_environment.sh"
train=$PWD/train
[ -x "$train" ] || { echo "benchmarks/lora.sh: no ./train here; run it in the build folder" >&2; exit 2; }
peer=$ZRT_SRCDIR/benchmarks/peers/peft_bench.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

config() { # HIDDEN INNER LAYERS HEADS VOCABULARY POSITIONS
    cat <<END
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": $1, "intermediate_size": $2, "num_hidden_layers": $3,
 "num_attention_heads": $4, "num_key_value_heads": $4, "vocab_size": $5, "max_position_embeddings": $6, "rms_norm_eps": 1e-05,
 "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.02, "tie_word_embeddings": false, "attention_bias": false,
 "bos_token_id": 1, "eos_token_id": 2}
END
}
mkdir "$work/model"
case $size in
7b)
    config 4096 11008 32 32 32000 4096 >"$work/model/config.json"
    : "${BATCH=4}" "${LENGTH=2048}" "${STEPS=20}" "${DEVICE=cuda}"
    vocabulary=32000
    ;;
tiny)
    config 64 172 2 4 512 128 >"$work/model/config.json"
    : "${BATCH=2}" "${LENGTH=64}" "${STEPS=10}" "${DEVICE=cpu}"
    vocabulary=512
    ;;
*)
    echo "usage: benchmarks/lora.sh [7b|tiny] [ROUNDS]" >&2
    exit 2
    ;;
esac
warmup=5
echo '{"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": "all-linear"}' >"$work/lora.json"
echo '{"zero_optimization": {"stage": 0}, "bf16": {"enabled": true}}' >"$work/zero.json"

"$PYTHON" "$peer" tokens "$work/tokens.npy" $((BATCH * LENGTH * (warmup + STEPS + 2))) $vocabulary
ours=0 theirs=0 details=null
for ((round = 1; round <= rounds; round++)); do
    "$MPIEXEC" -np 1 "$train" --model "$work/model" --lora-config "$work/lora.json" --train-file "$work/tokens.npy" \
        --validation-split-percentage 0 --deepspeed "$work/zero.json" --device "$DEVICE" --per-device-train-batch-size "$BATCH" \
        --seq-length "$LENGTH" --max-steps $((warmup + STEPS)) --learning-rate 1e-4 --lr-scheduler-type constant --logging-steps 1 \
        --sample-tokens 0 --output-dir "$work/run$round" >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; exit 1; }
    rate=$(sed -n 's/.*"tokens_per_second": *\([0-9.e+]*\).*/\1/p' "$work/run$round/metrics.jsonl" | tail -n "$STEPS" | sort -g |
        awk '{ rate[NR] = $1 } END { print rate[int((NR + 1) / 2)] }')
    ours=$(awk -v a="$ours" -v b="$rate" 'BEGIN { print (b > a ? b : a) }')
    if "$PYTHON" -c 'import torch, transformers, peft' 2>/dev/null; then
        details=$("$PYTHON" "$peer" train "$work/model" "$work/lora.json" "$work/tokens.npy" --batch "$BATCH" --length "$LENGTH" \
            --steps "$STEPS" --warmup $warmup --device "$DEVICE" 2>"$work/peer.log") || { tail -n 5 "$work/peer.log" >&2; exit 1; }
        rate=$("$PYTHON" -c 'import json, sys; print(json.loads(sys.argv[1])["best"]["tokens_per_second"])' "$details")
        theirs=$(awk -v a="$theirs" -v b="$rate" 'BEGIN { print (b > a ? b : a) }')
    fi
done
memory=$(sed -n 's/.*"memory_bytes": *\([0-9]*\).*/\1/p' "$work/run1/metrics.jsonl" | tail -n 1)
awk -v size="$size" -v device="$DEVICE" -v batch="$BATCH" -v sequence="$LENGTH" -v ours="$ours" -v theirs="$theirs" -v memory="$memory" \
    -v details="$details" 'BEGIN {
    printf "{\"benchmark\": \"lora\", \"model\": \"%s\", \"device\": \"%s\", \"batch\": %d, \"length\": %d, ", size, device, batch, sequence
    printf "\"zerort_tokens_per_second\": %.1f, \"zerort_memory_bytes\": %s, ", ours, memory
    has = theirs + 0 > 0
    printf "\"peft_tokens_per_second\": %s, \"ratio\": %s, \"peer\": %s}\n", (has ? theirs : "null"),
        (has ? sprintf("%.2f", ours / theirs) : "null"), details
}'
