#!/bin/bash
# SIGUSR1 or SIGUSR2 at random moments, from the moment that the ranks listen: status 85, and the runs that go on end with the
# rows of the run that nobody stopped. ZRT_TEST_FULL=1: 200 moments (or ZRT_TEST_MOMENTS); ZRT_TEST_SEED repeats a sequence.
. "$(dirname "$0")/command.bash"
limit=$((120 * ${ZRT_TEST_SLOWDOWN:-1}))
moments=${ZRT_TEST_MOMENTS:-3}
[ -n "${ZRT_TEST_FULL-}" ] && moments=${ZRT_TEST_MOMENTS:-200}
RANDOM=${ZRT_TEST_SEED:-$$}
echo "# ZRT_TEST_SEED=${ZRT_TEST_SEED:-$$}"
head -c 20000 "$ZRT_SRCDIR/src/engine/save.c" >text.txt
few=(--train-file text.txt --logging-steps 1 --sample-tokens 0 --per-device-train-batch-size 1 --seq-length 16 --max-steps 100
    --validation-split-percentage 0)
rows() { grep -oE '"(step|epoch|loss|grad_norm|learning_rate|tokens|skipped)": *[^,}]*' "$1/metrics.jsonl"; }

listening() { # RANKS: whether all have their handlers, which is before MPI starts
    local rank caught n=0
    for rank in $1; do
        caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$rank/status" 2>/dev/null)
        [ $((0x${caught:-0} >> 9 & 1)) = 1 ] && n=$((n + 1))
    done
    [ $n = 2 ]
}

# start COMMAND...: in the background, until its two ranks are there
start() {
    "$@" >"$out" 2>"$err" </dev/null &
    launcher=$!
    for _ in {1..1000}; do
        listening "$(pgrep -P $launcher -x train)" && break
        kill -0 $launcher 2>/dev/null || break
        sleep 0.01
    done
}
stop_at_random() { # after up to $1 milliseconds: sets $status
    sleep "$(printf '%d.%03d' $((RANDOM % $1 / 1000)) $((RANDOM % 1000)))"
    kill "-$2" $launcher 2>/dev/null
    wait $launcher
    status=$?
}

run "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir whole
[ "$status" = 0 ]
point $? 'a run that nobody stops'
grep -A2 '^  rank  host  *local rank  device  *cores$' "$out" | awk -v h="$(hostname)" '$1 ~ /^[01]$/ && $2 == h && $3 == $1 && $4 == "cpu" { n++ } END { exit n != 2 }'
point $? 'starts with a table of its ranks'
whole_rows=$(rows whole)

preempted=0 finished=0 bad=0
while [ $((preempted + finished)) -lt $moments ] && [ $bad -lt 5 ]; do
    start "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir run --resume-from-checkpoint auto
    stop_at_random 1000 "USR$((RANDOM % 2 + 1))"
    case $status in
    85) preempted=$((preempted + 1)) ;;
    0 | 138 | 140) # mpirun itself takes signals no more while it ends, which a run that is not whole would show
        finished=$((finished + 1))
        [ "$(rows run)" = "$whole_rows" ] || { bad=$((bad + 1)) && echo "# moment $((preempted + finished)): other rows" && diff <(echo "$whole_rows") <(rows run) | head -n 8 | remark; }
        rm -rf run
        ;;
    *) bad=$((bad + 1)) && echo "# status $status" && tail -n 5 "$err" | remark ;;
    esac
done
run "$MPIEXEC" -np 2 "$train" "${few[@]}" --output-dir run --resume-from-checkpoint auto
[ "$status" = 0 ] && [ "$(rows run)" = "$whole_rows" ] && [ $bad = 0 ]
point $? "$preempted preemptions, $finished that came too late: all rows are bit-equal, $bad bad"

start "$MPIEXEC" -np 2 "$train" "${few[@]}" --max-steps 1000000 --output-dir other
for _ in {1..500}; do [ "$(grep -c . other/metrics.jsonl 2>/dev/null)" -ge 2 ] 2>/dev/null && break; sleep 0.02; done
stop_at_random 1 USR1
[ "$status" = 85 ] && says "$err" 'preempted by a signal after step' && [ -f other/latest ]
point $? 'a checkpoint is saved where nobody asked for any, status 85'
step=$(sed 's/.*-//' other/latest)
run "$MPIEXEC" -np 3 "$train" "${few[@]}" --max-steps $((step + 2)) --output-dir other --resume-from-checkpoint must
[ "$status" = 0 ] && says "$out" "going on after step $step"
point $? 'and three ranks go on from it'

n_alone=0
start_alone() {
    n_alone=$((n_alone + 1))
    env "$@" "$train" "${few[@]}" --max-steps 1000000 --output-dir alone$n_alone >"$out" 2>"$err" </dev/null &
    launcher=$!
    for _ in {1..500}; do [ -s alone$n_alone/metrics.jsonl ] && break; sleep 0.02; done
}
run env SLURM_JOB_ID=1 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0 "$train" "${few[@]}" --output-dir single
[ "$status" = 2 ] && says "$err" 'srun started 4 tasks' '--mpi=pmix' && [ ! -e single ]
point $? 'tasks of srun that MPI does not know are refused'
run env SLURM_JOB_ID=1 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1 "$train" "${few[@]}" --output-dir single
[ "$status" = 2 ] && [ ! -s "$err" ]
point $? 'and one of them says so'
start_alone SLURM_JOB_ID=1
stop_at_random 1 TERM
[ "$status" = 85 ]
point $? 'SIGTERM of Slurm preempts'
start_alone -u SLURM_JOB_ID
stop_at_random 1 TERM
[ "$status" = 0 ] && says "$err" 'stopped by a signal'
point $? 'another SIGTERM stops after the step'
start_alone A=b
kill -STOP $launcher
kill -INT $launcher
kill -CONT $launcher
for _ in {1..500}; do kill -INT $launcher 2>/dev/null || break; sleep 0.001; done
wait $launcher
status=$?
[ "$status" = 130 ] || [ "$status" = 0 ]
point $? "SIGINT again and again ends at once (status $status)"
finish
