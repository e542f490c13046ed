#!/bin/bash
# Saving, going on, limits, the best model, and zerort's subcommands, from the command line.
. "$(dirname "$0")/command.bash"
limit=120
mapfile -t lines < <(cd "$ZRT_SRCDIR" && cat src/engine/*.c)
printf '%s\n' "${lines[@]}" >text.txt
few=(--train-file "$work/text.txt" --logging-steps 1 --sample-tokens 0 --learning-rate 1e-3 --per-device-train-batch-size 2
    --seq-length 64 --max-steps 8 --per-device-eval-batch-size 32 --validation-split-percentage 2)

ends() { # NAME STATUS COMMAND...
    local name=$1 want=$2
    shift 2
    run "$@"
    [ "$status" = "$want" ]
    point $? "$name"
    [ "$status" = "$want" ] || { echo "# status $status of: $*"; tail -n 12 "$err" | remark; }
}
refused() { # NAME WORD COMMAND...: status 2 and one message with the word
    local name=$1 word=$2
    shift 2
    run "$@"
    [ "$status" = 2 ] && [ "$(grep -c 'error:' "$err")" = 1 ] && says "$err" "$word"
    point $? "$name"
    [ "$status" = 2 ] && says "$err" "$word" || { echo "# status $status of: $*"; tail -n 5 "$err" | remark; }
}
rows() { grep -oE '"(step|epoch|loss|grad_norm|learning_rate|tokens|skipped)": *[^,}]*' "$1/metrics.jsonl"; }
has() { # FOLDER STEP...: exactly these checkpoints, and nothing unfinished
    local folder=$1
    shift
    [ "$(cd "$folder" && echo checkpoint-*)" = "$(printf 'checkpoint-%s\n' "$@" | sort | paste -sd' ')" ] &&
        [ -z "$(find "$folder" -maxdepth 1 -name '.t*' -o -maxdepth 1 -name '.latest*')" ]
}

ends 'two ranks save' 0 "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir whole --save-steps 3
has whole 3 6 8
point $? 'each third step and at the end'
[ "$(cat whole/latest)" = checkpoint-8 ]
point $? 'latest names the newest'
[ "$(cd whole/checkpoint-6 && echo *)" = 'index.h5 manifest.json rank00000.h5 rank00001.h5' ]
point $? 'a checkpoint has a file of each rank, the index and the manifest'

cp -r whole cut && rm -r cut/checkpoint-8 && echo checkpoint-6 >cut/latest && mkdir cut/.tmp-checkpoint-7 && touch cut/.tmp-checkpoint-7/rank00000.h5
ends 'a run goes on' 0 "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir cut --save-steps 3 --resume-from-checkpoint auto
has cut 3 6 8
point $? 'nothing unfinished stays'
[ "$(rows cut)" = "$(rows whole)" ]
point $? 'its rows are those of the run that never stopped, bit for bit, none missing and none twice'
printf 'x' | dd of=cut/checkpoint-8/rank00001.h5 bs=1 seek=70000 conv=notrunc 2>/dev/null
ends 'the newest is damaged: auto takes the older one' 0 "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir cut --save-steps 3 \
    --resume-from-checkpoint auto
says "$err" rank00001.h5 'trying checkpoint-6'
point $? 'and says so'
[ "$(rows cut)" = "$(rows whole)" ]
point $? 'with the same rows again'
ends 'another world goes on' 0 "$train" "${few[@]}" --per-device-train-batch-size 4 --output-dir elsewhere \
    --resume-from-checkpoint whole/checkpoint-6
[ "$(grep -c 'another configuration' "$err")" = 1 ] && says "$err" '2 -> 1 ranks' 'train_micro_batch_size_per_gpu 2 -> 4' &&
    ! grep 'another configuration' "$err" | grep -q learning_rate
point $? 'and one line says what differs'
paste -d' ' <(rows whole | grep loss | tail -n 2 | cut -d: -f2) <(rows elsewhere | grep loss | cut -d: -f2) |
    awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 1e-4 * $1) bad = 1; n++ } END { exit bad || n != 2 }'
point $? 'within rounding'
ends 'other rates' 0 "$train" "${few[@]}" --max-steps 7 --learning-rate 2e-3 --output-dir rates --resume-from-checkpoint whole/checkpoint-6
says "$err" 'learning_rate 0.001 -> 0.002'
point $? 'are said'
ends 'Lion keeps one moment' 0 "$train" "${few[@]}" --max-steps 1 --optim lion_32bit --output-dir lion --save-steps 1
refused 'which is too few for AdamW' exp_avg_sq "$train" "${few[@]}" --output-dir x8 --resume-from-checkpoint lion
ends 'and enough when the other is excluded' 0 "$train" "${few[@]}" --max-steps 2 --output-dir x9 --resume-from-checkpoint lion \
    --resume-exclude 'exp_avg_sq*'
refused 'an exclusion from nothing' --resume-from-checkpoint "$train" "${few[@]}" --output-dir x10 --resume-exclude 'exp_avg_sq*'
ends 'a finished run goes on to nothing' 0 "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir whole --resume-from-checkpoint must
ends 'auto in a new folder is a new run' 0 "$train" "${few[@]}" --max-steps 2 --output-dir new --save-minutes 60 --resume-from-checkpoint auto
has new 2
point $? '--save-minutes saves at the end too'

ends 'limits' 0 "$train" "${few[@]}" --output-dir limited --save-steps 1 --save-total-limit 2 --save-best-limit 1 --load-best-model-at-end \
    --metric-for-best-model eval_loss
[ "$(find limited -maxdepth 1 -name 'checkpoint-*' | wc -l)" -le 3 ] && [ -d limited/checkpoint-8 ] && [ -d limited/checkpoint-7 ]
point $? 'keep the newest two and the best'
best=$(sed -n 's/^best: limited\///p' "$out")
lowest=$(awk 'match($0, /"eval_loss": *[0-9.e+-]+/) {
    loss = substr($0, RSTART + 12, RLENGTH - 12); sub(/^[: ]*/, "", loss)
    if (least == "" || loss + 0 < least) { least = loss + 0; at = NR }
} END { print at }' limited/metrics.jsonl)
[ -n "$best" ] && [ "$best" = "checkpoint-$lowest" ]
point $? "the best is loaded at the end ($best, step $lowest)"

staging() { "$train" "${few[@]}" --plan "$@" 2>/dev/null </dev/null | sed -n 's/^ *staging of checkpoints *\([0-9]*\).*/\1/p'; }
echo '{"zerort": {"checkpoint_staging_bytes": 1}}' >staging.json
[ "$(staging)" -gt "$(staging --deepspeed staging.json)" ] && [ "$(staging --deepspeed staging.json)" -gt 0 ]
point $? 'the plan shows the staging memory, as long as zerort.checkpoint_staging_bytes says'

refused 'a run folder that is taken' --resume-from-checkpoint "$train" "${few[@]}" --output-dir whole
refused 'must without a checkpoint' 'holds no checkpoint' "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir empty --resume-from-checkpoint must
refused 'a folder that is not there' nowhere "$train" "${few[@]}" --resume-from-checkpoint nowhere --output-dir x1
refused 'a folder that is no checkpoint' 'no checkpoint' "$train" "${few[@]}" --resume-from-checkpoint /usr --output-dir x2
refused 'auto without a folder' --output-dir "$train" "${few[@]}" --resume-from-checkpoint auto
refused 'a best model without checkpoints' --save-steps "$train" "${few[@]}" --output-dir x4 --load-best-model-at-end

# Two runs in one folder; then the first is killed, and its lock does not hold.
"$train" "${few[@]}" --max-steps 100000 --output-dir shared --save-steps 1 --save-total-limit 2 >first.log 2>&1 </dev/null &
process=$!
for _ in {1..300}; do
    [ -s shared/latest ] && break
    sleep 0.1
done
refused 'a second run in the folder' 'another run' "$train" "${few[@]}" --output-dir shared --resume-from-checkpoint auto
kill -KILL $process
wait $process 2>/dev/null
last=$(cat shared/latest)
ends 'the lock of a dead process does not hold' 0 "$train" "${few[@]}" --max-steps $((${last#checkpoint-} + 2)) --output-dir shared --save-steps 1 \
    --resume-from-checkpoint must
grep -oE '"step":[0-9]+' shared/metrics.jsonl | awk -F: '$2 != NR { bad = 1 } END { exit bad }'
point $? 'its rows have no gap and no step twice'

ends 'zerort verify' 0 "$zerort" verify whole
[ "$(grep -c whole$ "$out")" = 3 ]
point $? 'finds all of a run whole'
ends 'zerort inspect' 0 "$zerort" inspect whole/checkpoint-6
says "$out" 'step         6' '2 ranks' AdamW exp_avg_sq 'every checksum is right'
point $? 'tells what is in it'
printf 'x' | dd of=cut/checkpoint-8/index.h5 bs=1 seek=4000 conv=notrunc 2>/dev/null
refused 'zerort verify of a damaged one' index.h5 "$zerort" verify cut/checkpoint-8
ends 'zerort import' 0 "$zerort" import "$ZRT_GOLDEN/llama-bf16-sharded" imported
ends 'zerort export' 0 "$zerort" export imported exported
grep -q '"bfloat16"' exported/config.json
point $? 'in the dtype of its config.json'
ends 'zerort export in another' 0 "$zerort" export imported exported32 --dtype fp32
grep -q '"float32"' exported32/config.json
point $? 'which its config.json then names'
ends 'zerort import of another' 0 "$zerort" import "$ZRT_GOLDEN/gpt2" start
ends 'training goes on from an import' 0 "$MPIEXEC" -np 2 "$train" --model "$ZRT_GOLDEN/gpt2" --train-file text.txt --seq-length 16 \
    --max-steps 2 --sample-tokens 0 --output-dir x5 --resume-from-checkpoint start --fp16
refused "another model's checkpoint" 'another model' "$MPIEXEC" -np 2 "$train" --model "$ZRT_GOLDEN/gpt2" --train-file text.txt \
    --seq-length 16 --max-steps 2 --output-dir x6 --resume-from-checkpoint imported
refused 'export of nothing' 'no checkpoint' "$zerort" export empty x7
refused 'import over checkpoints' 'already' "$zerort" import "$ZRT_GOLDEN/gpt2" imported
# Root writes everywhere, so it becomes somebody else for these.
as_user=()
if [ "$(id -u)" = 0 ]; then
    as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent)
    chmod -R a+rX . && mkdir others && chmod 777 others
else
    mkdir others
fi
if "${as_user[@]}" test -x "$train" -a -r text.txt -a -r whole/latest 2>/dev/null; then
    chmod a-w whole
    run "${as_user[@]}" "$train" "${few[@]}" --output-dir whole --save-steps 1 --resume-from-checkpoint auto
    [ "$status" = 1 ] && [ "$(grep -c 'error:' "$err")" = 1 ] && says "$err" whole 'Permission denied'
    point $? 'a read-only folder for resuming is refused'
    ends 'another folder takes what comes after it' 0 "${as_user[@]}" "$train" "${few[@]}" --max-steps 9 --output-dir others/run \
        --save-steps 9 --resume-from-checkpoint whole
    chmod u+w whole
else
    echo "# no other user can run $train: read-only folders are not tried"
fi
mkdir full
if unshare -rm mount -t tmpfs none full 2>/dev/null; then
    # shellcheck disable=SC2016
    ends 'a full disk does not end a run' 0 unshare -rm bash -c 'mount -t tmpfs -o size=1m none full && "$@"; status=$?; ls -A full/run; exit $status' bash \
        "$MPIEXEC" -np 2 "$train" "${few[@]}" --max-steps 2 --output-dir full/run --save-steps 1
    [ "$(grep -c 'was not saved.*No space left' "$err")" = 2 ] && ! grep -qE '^(\.tmp-)?checkpoint-' "$out"
    point $? 'but says that nothing was saved, and leaves nothing of it'
else
    echo "# no file system can be mounted here: a full one is not tried"
fi
finish
