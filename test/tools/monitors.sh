#!/bin/bash
# What DeepSpeed's keys of monitors and profilers print and write, and the configuration that people bring, unchanged.
. "$(dirname "$0")/command.bash"
limit=240
cat "$ZRT_SRCDIR"/src/engine/*.c >text.txt
few=(--train-file "$work/text.txt" --max-steps 4 --logging-steps 2 --sample-tokens 0)

cat >ds.json <<'END'
{"steps_per_print": 2, "wall_clock_breakdown": true, "dump_state": true, "memory_breakdown": true,
 "comms_logger": {"enabled": true, "verbose": true, "debug": true, "prof_all": false, "prof_ops": ["all_gather"]},
 "flops_profiler": {"enabled": true, "profile_step": 1, "output_file": "flops.txt"},
 "csv_monitor": {"enabled": true, "output_path": "csv", "job_name": "job"},
 "tensorboard": {"enabled": true, "output_path": "events/", "job_name": "job"},
 "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}, "gradient_accumulation_steps": 2}
END
run "$MPIEXEC" -np 2 "$train" --deepspeed ds.json "${few[@]}" --output-dir "$work/watched"
[ "$status" = 0 ]
point $? 'a run with every monitor on' || tail -n 5 "$err" | remark
[ "$(grep -c '^\[Rank 0\] time (ms) | fwd_microstep: .* | bwd_microstep: .* | bwd_allreduce_microstep: .* | step_microstep: ' "$out")" = 8 ] &&
    [ "$(grep -c '^\[Rank 0\] time (ms) | fwd: .* | bwd: .* | step: ' "$out")" = 4 ]
point $? 'wall_clock_breakdown: a line a micro-step and one a step'
[ "$(grep -c '^\[Rank 0\] step=[24], skipped=0, lr=\[.*\], mom=\[(0.9, 0.99)' "$out")" = 2 ] && ! grep -q 'step=[13],' "$out"
point $? 'steps_per_print: a line each second step'
says "$out" 'zerort configuration:' '"train_batch_size": 16'
point $? 'dump_state: the resolved configuration'
says "$out" 'optimizer state' 'all that stays'
point $? 'memory_breakdown: bytes by category'
grep -q '^\[Rank 0\] comm op: all_gather_into_tensor | \[Caller Func: forward\] | time (ms): ' "$out" &&
    grep -q '^all_gather_into_tensor | \[Caller Func: forward\]$' "$out" && says "$out" 'busbw_avg (Gbps)' &&
    ! grep -qE '^(reduce_scatter_tensor|all_reduce)' "$out"
point $? 'comms_logger: what prof_ops names, told apart by phase, and the table at the end'
says flops.txt 'Profile Summary at step 1:' 'fwd MACs per GPU:' 'Aggregated Profile' '(linear_forward):' &&
    ! grep -q 'Profile Summary' "$out"
point $? 'flops_profiler: the profile is in output_file'
# 2 micro-steps of 4 rows of 128 tokens through linear layers of the model: every weight but the embeddings once a token.
grep -qE '^fwd MACs per GPU: +9[0-9][0-9]\.[0-9]* MMACs' flops.txt
point $? 'it counts the multiply-accumulates of the model' || grep MACs flops.txt | remark
[ "$(tr -d '\r' <csv/job/Train_Samples_train_loss.csv | cut -d, -f1 | tr '\n' ' ')" = 'step 16 32 48 64 ' ]
point $? 'csv_monitor: a row a step, by samples'
first=$(head -n 1 watched/metrics.jsonl | grep -oE '"loss": *[^,]*' | grep -oE '[0-9.e+-]+$')
[ -n "$first" ] && tr -d '\r' <csv/job/Train_Samples_train_loss.csv | grep -qF "32,$first"
point $? 'its loss is that of metrics.jsonl'

if python3 -c pass 2>/dev/null; then
    cat >events.py <<'END'
# Parses event files by their specification: TFRecord frames with masked CRC32C, protobuf of tensorflow's Event.
import glob, struct, sys
TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    TABLE.append(i)
def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
def fields(data):
    at = 0
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            n = {1: 8, 5: 4}.get(key & 7)
            n = varint() if n is None else n
            yield key >> 3, data[at:at + n]
            at += n
names = glob.glob(sys.argv[1] + "/events.out.tfevents.*")
assert len(names) == 1, names
data, at, points, version = open(names[0], "rb").read(), 0, {}, None
while at < len(data):
    length, = struct.unpack_from("<Q", data, at)
    body = data[at + 12:at + 12 + length]
    assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at:at + 8]), "CRC of a length"
    assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(body), "CRC of a message"
    event = dict(fields(body))
    if 3 in event:
        assert at == 0
        version = event[3]
    else:
        value = dict(fields(dict(fields(event[5]))[1]))
        points.setdefault(value[1].decode(), []).append((event.get(2, 0), struct.unpack("<f", value[2])[0]))
    at += 16 + length
assert version == b"brain.Event:2", version
assert [x for x, _ in points["Train/Samples/train_loss"]] == [16, 32, 48, 64], points
for line in open("csv/job/Train_Samples_lr.csv").read().split()[1:]:
    x, y = line.split(",")
    assert any(int(x) == a and abs(float(y) - b) <= 1e-6 * abs(b) for a, b in points["Train/Samples/lr"]), line
try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("TensorBoard is not there")
else:
    read = EventAccumulator(sys.argv[1])
    read.Reload()
    for tag, expected in points.items():
        assert [(e.step, e.value) for e in read.Scalars(tag)] == expected, tag
    print("TensorBoard reads the same")
END
    run python3 events.py events/job
    [ "$status" = 0 ]
    point $? "tensorboard: records, checksums and points of the event file; $(tail -n 1 "$out")" || tail -n 3 "$err" | remark
else
    echo '# SKIP no python3: event files are tested by test_tensorboard'
fi

# ---- the file that people bring ----
cat >sample.json <<'END'
{"fp16":{"enabled":true},"zero_optimization":{"stage":3,"offload_optimizer":{"device":"cpu","pin_memory":false},"overlap_comm":true,"contiguous_gradients":true,"reduce_bucket_size":"auto","stage3_prefetch_bucket_size":"auto","stage3_param_persistence_threshold":"auto","gather_16bit_weights_on_model_save":true,"round_robin_gradients":true},"gradient_accumulation_steps":"auto","gradient_clipping":"auto","steps_per_print":10,"train_batch_size":"auto","train_micro_batch_size_per_gpu":"auto","wall_clock_breakdown":false}
END
run "$MPIEXEC" -np 2 "$train" --deepspeed sample.json --train-file "$work/text.txt" --max-steps 20 --logging-steps 10 --sample-tokens 0 \
    --output-dir "$work/sample"
[ "$status" = 0 ] && [ "$(wc -l <sample/metrics.jsonl)" = 2 ] && ! grep -q null sample/metrics.jsonl
point $? 'trains unchanged' || tail -n 5 "$err" | remark
cp "$out" sample.out
explained=0
for line in 'fp16.enabled = true (file), acts' \
    'zero_optimization.round_robin_gradients = true (file), accepted without effect here: ' \
    'zero_optimization.reduce_bucket_size = 16384 (auto rule), acts' \
    'zero_optimization.stage3_prefetch_bucket_size = 14745 (auto rule), acts' \
    'zero_optimization.stage3_param_persistence_threshold = 1280 (auto rule), acts' \
    'zero_optimization.stage3_gather_16bit_weights_on_model_save = true (file), acts' \
    'gradient_clipping = 1.0 (auto rule), acts' 'steps_per_print = 10 (file), acts' \
    'zero_optimization.offload_optimizer.pin_memory = false (file), ' 'max_steps = 20 (option), acts' \
    'fp16.loss_scale_window = 1000 (default), acts' \
    'notice: zero_optimization.gather_16bit_weights_on_model_save is '; do
    says sample.out "  $line" || { echo "# missing: $line"; explained=1; }
done
[ $explained = 0 ]
point $? 'the start says of each key its value, where from, and whether it acts'
says sample.out 'master weights, optimizer moments' && grep -qE '^  parameters, activations, gathers +(fp16|float16)' sample.out
point $? 'and the roles and their dtypes, once'
[ "$(grep -c '^\[Rank 0\] step=[12]0, skipped=' sample.out)" = 2 ]
point $? 'and a line of each tenth step'
[ -s sample/config.json ] && [ -s sample/model.safetensors ] && head -c 4096 sample/model.safetensors | grep -qa '"dtype":"F16"' &&
    ! head -c 20000 sample/model.safetensors | tr -d '\0' | grep -qa '"dtype":"F32"'
point $? 'gather_16bit_weights_on_model_save leaves config.json and safetensors in fp16'
run "$train" --print-config --plan-ranks 2 --deepspeed sample.json --train-file "$work/text.txt" --max-steps 20 --logging-steps 10 --sample-tokens 0
cmp -s "$out" sample/resolved.json
point $? '--print-config --plan-ranks 2 is the bytes of resolved.json'
cp "$out" again.json
run "$train" --print-config --plan-ranks 2 --deepspeed again.json --sample-tokens 0
[ "$status" = 0 ] && cmp -s "$out" again.json
point $? 'and read again gives itself' || diff "$out" again.json | head -n 5 | remark
if python3 -c 'import torch, transformers' 2>/dev/null; then
    run python3 -c '
import torch, transformers, sys
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype="auto")
assert model.dtype == torch.float16, model.dtype
model = model.float()
assert torch.isfinite(model(torch.arange(64).reshape(1, 64)).logits).all()
text = list(open("text.txt", "rb").read()[:128])
loss = model(torch.tensor([text]), labels=torch.tensor([text])).loss.item()
print(loss)
assert loss < 4.5, loss' "$work/sample"
    [ "$status" = 0 ]
    point $? "transformers opens the folder: loss $(tail -n 1 "$out")" || tail -n 3 "$err" | remark
else
    echo '# SKIP python3 has no torch and transformers: the folder is not opened'
fi
finish
