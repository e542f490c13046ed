#!/bin/bash
# A rank is stopped or killed at random moments: the job ends within the time-out and ten seconds, names the rank, and leaves
# neither processes nor shared memory. ZRT_TEST_FULL=1: 100 moments of each kind; ZRT_TEST_SEED repeats a sequence.
. "$(dirname "$0")/command.bash"
moments=${ZRT_TEST_MOMENTS:-2} timeout=2 launcher_options=()
[ -n "${ZRT_TEST_FULL-}" ] && moments=${ZRT_TEST_MOMENTS:-100}
allowed=$((timeout + 10 * ${ZRT_TEST_SLOWDOWN:-1}))
RANDOM=${ZRT_TEST_SEED:-$$}
echo "# ZRT_TEST_SEED=${ZRT_TEST_SEED:-$$}"
head -c 20000 "$ZRT_SRCDIR/src/engine/save.c" >text.txt
few=(--train-file text.txt --logging-steps 1 --sample-tokens 0 --per-device-train-batch-size 1 --seq-length 16 --max-steps 1000000
    --validation-split-percentage 0 --output-dir run --collective-timeout $timeout)
environment() { tr '\0' '\n' <"/proc/$1/environ" | sed -n "s/^$2=//p"; }
lives() { # a process that ended stays a zombie where nobody asks for its status
    local state
    state=$(sed -n 's/^State:[^A-Z]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)
    [ -n "$state" ] && [ "$state" != Z ]
}

# fault SIGNAL: one rank of three; sets $victim, $status, $took, $left
fault() {
    local ranks launcher job i
    rm -rf run
    "$MPIEXEC" "${launcher_options[@]}" -np 3 "$train" "${few[@]}" >"$out" 2>"$err" </dev/null &
    launcher=$!
    for _ in {1..3000}; do # until it trains
        [ "$(grep -c . run/metrics.jsonl 2>/dev/null)" -ge 2 ] 2>/dev/null && break
        kill -0 $launcher 2>/dev/null || break
        sleep 0.02
    done
    sleep "0.$((RANDOM % 10))$((RANDOM % 10))"
    mapfile -t ranks < <(pgrep -P $launcher -x train)
    for i in "${ranks[@]}"; do
        [ "$(environment "$i" OMPI_COMM_WORLD_RANK)" = $((RANDOM % 3)) ] && break
    done
    victim=$(environment "$i" OMPI_COMM_WORLD_RANK)
    job=$(printf %x "$(environment "$i" OMPI_MCA_ess_base_jobid)")
    local begin=$EPOCHREALTIME
    kill "-$1" "$i"
    (
        sleep 60
        kill -KILL $launcher "${ranks[@]}"
    ) 2>/dev/null &
    local rescue=$!
    wait $launcher
    status=$?
    took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    pkill -P $rescue 2>/dev/null
    kill $rescue 2>/dev/null
    wait $rescue 2>/dev/null
    left=$(find /dev/shm -maxdepth 1 -name "*.$job.*" | wc -l)
    for i in "${ranks[@]}"; do lives "$i" && left=$((left + 1)); done
}

# kind SIGNAL STATUS WORDS..., in which RANK stands for the victim
kind() {
    local signal=$1 want=$2 bad=0 worst=0 n word words
    shift 2
    for ((n = 0; n < moments && bad < 5; n++)); do
        fault "$signal"
        words=()
        for word; do words+=("${word//RANK/rank $victim}"); done
        if ! [[ $status =~ ^($want)$ ]] || [ "$left" != 0 ] || ! says "$err" "${words[@]}" ||
            [ "$(awk -v t="$took" -v a="$allowed" 'BEGIN { print t <= a }')" = 0 ]; then
            bad=$((bad + 1))
            echo "# rank $victim: status $status after $took s, $left left"
            tail -n 12 "$err" | remark
        fi
        worst=$(awk -v t="$took" -v w="$worst" 'BEGIN { print (t > w) ? t : w }')
    done
    point $((bad > 0)) "SIG$signal of a rank at $n moments${launcher_options:+ ($launcher_options)}: status $want, the rank is named, nothing stays; at most $worst s"
}

kind STOP 75 "RANK (host $(hostname)) does not answer" 'no progress in 2 s' 'in step'
kind KILL 137 'exited on signal 9'
# An mpirun that looks on, and whose status then says nothing: the ranks find it themselves.
launcher_options=(--enable-recovery) moments=1
kind KILL '0|75|137' 'error:' 'RANK '
# A loss that is not finite, without a loss scale to lower.
run "$MPIEXEC" -np 2 "$train" --train-file text.txt --sample-tokens 0 --per-device-train-batch-size 1 --seq-length 16 --max-steps 100 \
    --validation-split-percentage 0 --output-dir infinite --learning-rate 1e38 --warmup-steps 0 --max-grad-norm 0 --optim sgd
[ "$status" = 2 ] && [ "$(grep -c 'error:' "$err")" = 1 ] && says "$err" 'step 32: 16 steps in a row were skipped' 'on rank'
point $? 'a loss that stays infinite ends the run, with step, parameter and rank'
[ "$status" = 2 ] || { echo "# status $status" && tail -n 5 "$err" | remark; }
finish
