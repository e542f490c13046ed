#!/bin/bash
# What a run leaves, says and ends with.
. "$(dirname "$0")/command.bash"
limit=120
mapfile -t lines < <(cd "$ZRT_SRCDIR" && cat src/engine/*.c src/graph/*.c)
printf '%s\n' "${lines[@]}" >text.txt
few=(--train-file "$work/text.txt" --max-steps 6 --logging-steps 2 --eval-steps 3 --sample-tokens 20)

ends() { # NAME STATUS COMMAND...
    local name=$1 want=$2
    shift 2
    run "$@"
    [ "$status" = "$want" ]
    point $? "$name"
    [ "$status" = "$want" ] || { echo "# status $status of: $*"; tail -n 12 "$err" | remark; }
}
holds() { # FOLDER
    local file missing=
    for file in resolved.json metrics.jsonl plan.txt; do
        [ -s "$1/$file" ] || missing="$missing $file"
    done
    [ -z "$missing" ] && [ -z "$(find "$1" -name '*.part')" ]
}

ends 'two ranks train' 0 "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir "$work/deep/er/run"
holds deep/er/run
point $? 'the folder is made with its parents and holds resolved.json, metrics.jsonl, plan.txt'
says "$out" "$work/deep/er/run"
point $? 'its name is printed'
says "$out" sample
point $? 'a sample is printed'
! grep -q -e $'\r' -e $'\033' "$out"
point $? 'plain lines where mpirun does not write to a terminal'
[ "$(grep -c '"step": *[246]\b' deep/er/run/metrics.jsonl)" = 3 ]
point $? 'a row each second step'
[ "$(grep -c '"eval_loss": *[0-9]' deep/er/run/metrics.jsonl)" = 2 ]
point $? 'an evaluation each third step'
all=1
for key in step epoch loss eval_loss grad_norm learning_rate loss_scale skipped tokens tokens_per_second step_seconds memory_bytes; do
    grep -q "\"$key\":" deep/er/run/metrics.jsonl || { echo "# no $key"; all=0; }
done
[ $all = 1 ]
point $? 'all keys are in the rows'
ends 'the same folder again is refused' 2 "$train" "${few[@]}" --output-dir "$work/deep/er/run"

run "$MPIEXEC" -np 2 "$train" --print-config "${few[@]}"
cmp -s "$out" deep/er/run/resolved.json
point $? 'resolved.json is what --print-config prints'

mkdir empty
ends 'an empty folder that is there is taken' 0 "$train" "${few[@]}" --output-dir "$work/empty" --sample-tokens 0
holds empty
point $? 'and holds a run'
ends 'without --output-dir' 0 "$train" "${few[@]}"
ends 'again' 0 "$train" "${few[@]}"
[ "$(find zerort-runs -mindepth 1 -maxdepth 1 -type d | wc -l)" = 2 ]
point $? 'each run has a folder of its own'
for folder in zerort-runs/*; do holds "$folder" || break; done
point $? 'and both hold a run'
losses() { grep -oE '"(loss|eval_loss|grad_norm)": *[^,}]*' "$1"; }
set -- zerort-runs/*
[ -n "$(losses "$1/metrics.jsonl")" ] && [ "$(losses "$1/metrics.jsonl")" = "$(losses "$2/metrics.jsonl")" ]
point $? 'the same command twice gives the same losses, bit for bit'

ends 'a run with a trace' 0 "$MPIEXEC" -np 2 "$train" "${few[@]}" --trace "$work/trace.json" --output-dir "$work/traced"
says trace.json traceEvents compute gather
point $? 'the trace has the streams'

ends 'evaluation files' 0 "$train" --train-file text.txt --eval-file text.txt --max-steps 2 --output-dir "$work/evaluated"
grep -q '"eval_loss": *[0-9]' evaluated/metrics.jsonl
point $? 'are evaluated'
ends 'epochs instead of steps' 0 "$train" --train-file "$work/text.txt" --num-train-epochs 0.05 --output-dir "$work/epochs" --sample-tokens 0
tail -n 1 epochs/metrics.jsonl | grep -qE '"epoch": *0\.0[45]'
point $? 'end after their part of the data'

# A signal ends the run after its step, cleanly.
"$train" --train-file "$work/text.txt" --max-steps 100000 --logging-steps 1 --output-dir "$work/stopped" >"$out" 2>"$err" </dev/null &
process=$!
for _ in {1..300}; do
    [ -s stopped/metrics.jsonl ] && break
    sleep 0.1
done
kill -INT $process
wait $process
status=$?
[ "$status" = 0 ] && holds stopped && says "$err" 'stopped by a signal'
point $? "an interrupted run ends cleanly (status $status)"
tail -n 1 stopped/metrics.jsonl | grep -q '}$'
point $? 'its last row is whole'

ends 'zerort generate' 0 "$zerort" generate --prompt 'int ' --max-new-tokens 16
says "$out" 'int '
point $? 'continues the prompt'
ends 'zerort generate of tokens, greedy, two ranks' 0 "$MPIEXEC" -np 2 "$zerort" generate --model "$ZRT_GOLDEN/gpt2" \
    --prompt '1 2 3' --max-new-tokens 8 --temperature 0
[ "$(wc -w <"$out")" = 11 ]
point $? 'gives as many tokens as asked for'
finish
