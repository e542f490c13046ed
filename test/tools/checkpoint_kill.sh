#!/bin/bash
# kill -9 of a random rank, of all ranks or of mpirun at a random moment of a run that saves after every step: what was
# acknowledged is there, everything visible is whole, and the next start goes on from it and cleans up.
# ZRT_TEST_KILLS: how many (3); ZRT_TEST_SEED repeats a sequence.
. "$(dirname "$0")/command.bash"
limit=120
kills=${ZRT_TEST_KILLS:-3}
RANDOM=${ZRT_TEST_SEED:-$$}
echo "# ZRT_TEST_SEED=${ZRT_TEST_SEED:-$$}"
head -c 20000 "$ZRT_SRCDIR/src/engine/save.c" >text.txt
few=(--train-file text.txt --logging-steps 1 --sample-tokens 0 --per-device-train-batch-size 1 --seq-length 16 --max-steps 1000000
    --validation-split-percentage 0 --output-dir run --save-steps 1 --save-total-limit 2 --resume-from-checkpoint auto)
bad=0 killed=0 acknowledged=0 in_save=0 unmoved=0 stuck=0
lives() { [[ $(ps -o stat= -p "$1") == [RSDT]* ]]; } # a zombie does not
complain() { echo "# kill $killed: $1"; bad=$((bad + 1)); }

while [ $killed -lt "$kills" ] && [ $bad -lt 5 ]; do
    before=$acknowledged
    : >"$err"
    "$MPIEXEC" -np 2 "$train" "${few[@]}" >"$out" 2>"$err" </dev/null &
    launcher=$!
    disown # nobody wants to read that it was killed
    for _ in {1..3000}; do # until it is under way, and then for a random while
        grep -q ': saved ' "$err" && break
        kill -0 $launcher 2>/dev/null || break
        sleep 0.02
    done
    sleep "0.$((RANDOM % 10))$((RANDOM % 10))$((RANDOM % 10))"
    mapfile -t ranks < <(pgrep -P $launcher -x train)
    kind=$((RANDOM % 3))
    [ ${#ranks[@]} = 0 ] && kind=2
    case $kind in
    0) kill -KILL "${ranks[RANDOM % ${#ranks[@]}]}" 2>/dev/null ;;
    1) kill -KILL "${ranks[@]}" 2>/dev/null ;;
    2) kill -KILL $launcher ;;
    esac
    for _ in {1..300}; do
        lives $launcher || break
        sleep 0.1
    done
    if lives $launcher; then
        # Open MPI 4.1's mpirun can wait for itself in PMIx_server_finalize when all its ranks have died.
        if pgrep -P $launcher -x -r R,S,D train >/dev/null; then
            complain 'a job outlives its rank by 30 seconds'
        else
            stuck=$((stuck + 1))
        fi
        kill -KILL $launcher
    fi
    killed=$((killed + 1))
    for _ in {1..200}; do # ranks end with their launcher, or the lock would still be theirs
        [ ${#ranks[@]} -gt 0 ] && kill -0 "${ranks[@]}" 2>/dev/null || break
        sleep 0.05
    done
    if [ ${#ranks[@]} -gt 0 ] && kill -0 "${ranks[@]}" 2>/dev/null; then
        complain 'ranks outlive their launcher by 10 seconds'
        kill -KILL "${ranks[@]}" 2>/dev/null
    fi
    last=$(sed -n 's/.*: saved run\/checkpoint-\([0-9]*\)$/\1/p' "$err" | tail -n 1)
    acknowledged=${last:-$acknowledged}
    [ "$acknowledged" -gt "$before" ] || unmoved=$((unmoved + 1))
    grep -q 'error:' "$err" && ! grep -q 'rank' "$err" && complain "$(grep -m1 'error:' "$err")"
    newest=0
    for folder in run/checkpoint-*; do
        step=${folder##*-}
        [ "$step" -gt "$newest" ] && newest=$step
    done
    [ "$newest" -ge "$acknowledged" ] || complain "checkpoint-$acknowledged was acknowledged, the newest is $newest"
    "$zerort" verify run >verified 2>&1 || complain "$(grep -m1 DAMAGED verified)"
    leftovers=$(find run -maxdepth 1 -name '.t*' | wc -l)
    [ "$leftovers" -gt 0 ] && in_save=$((in_save + 1))
    [ "$leftovers" -le 2 ] || complain "$leftovers unfinished folders: a start has not cleaned up"
done
point $((bad > 0)) "$killed kills, $in_save of them in the middle of saving, $unmoved before a save, $stuck with an mpirun that outlived its ranks: $bad bad, $acknowledged steps"
run "$MPIEXEC" -np 2 "$train" "${few[@]}" --max-steps $((newest + 2))
[ "$status" = 0 ] && [ -z "$(find run -maxdepth 1 -name '.t*' -o -maxdepth 1 -name '.latest*')" ]
point $? 'the last start goes on to the end and leaves nothing unfinished'
grep -oE '"step": *[0-9]+' run/metrics.jsonl | awk -F: '$2 + 0 != NR { bad = 1 } END { exit bad || !NR }'
point $? 'every step has its row, once'
finish
