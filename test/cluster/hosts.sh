#!/bin/bash
# Three hosts under mpirun: a run; a rank killed, a host's daemon killed, a rank stopped, a host cut off. Each ends with its status,
# in time, with the rank or the host named, and leaves no process.
. "$(dirname "$0")/../tools/command.bash"
. "$ZRT_SRCDIR/test/cluster/hosts.bash"
why=$(hosts_why_not)
if [ -n "$why" ]; then
    echo "1..0 # SKIP $why"
    exit 0
fi
trap 'hosts_down; rm -rf "$work" "$work.out" "$work.err"' EXIT
hosts_up 3
point $? 'three hosts are up'

timeout=5 slow=${ZRT_TEST_SLOWDOWN:-1}
head -c 20000 "$ZRT_SRCDIR/src/engine/save.c" >text.txt
few=(--train-file text.txt --logging-steps 1 --sample-tokens 0 --per-device-train-batch-size 1 --seq-length 16
    --validation-split-percentage 0 --output-dir run --collective-timeout $timeout)
three=(--host 'h0:1,h1:1,h2:1' -np 3)

run "$mpirun_on_hosts" "${three[@]}" "$train" "${few[@]}" --max-steps 3
[ "$status" = 0 ] && says "$out" ' h0 ' ' h1 ' ' h2 ' 'step 3 of 3'
point $? 'a run over three hosts, and where each rank is'
[ "$status" = 0 ] || { echo "# status $status" && tail -n 8 "$err" | remark; }
run "$mpirun_on_hosts" --host 'h0:2,h1:2' -np 4 "$train" "${few[@]}" --max-steps 3 --output-dir run2
[ "$status" = 0 ]
point $? 'two ranks on each of two hosts'
run "$mpirun_on_hosts" "${three[@]}" "$zerort" check
[ "$status" = 0 ] && says "$out" '3 on 3 hosts' 'right,' '0 errors'
point $? 'zerort check over three hosts'
[ "$status" = 0 ] || { echo "# status $status" && cat "$out" "$err" | remark; }

left() {
    local host n=0
    for host in h0 h1 h2; do n=$((n + $(processes_on $host | wc -l))); done
    echo $n
}
rank_on() { # HOST: the process of its rank
    local p
    for p in $(processes_on "$1"); do [ "$(cat "/proc/$p/comm")" = train ] && echo "$p" && return; done
}
daemon_on() {
    local p
    for p in $(processes_on "$1"); do [ "$(cat "/proc/$p/comm")" = orted ] && echo "$p" && return; done
}

# fault NAME STATUS SECONDS HOW WORDS...: while it trains, HOW is done; $took
fault() {
    local name=$1 want=$2 most=$3 how=$4 begin word good=1
    shift 4
    rm -rf run
    "$mpirun_on_hosts" "${three[@]}" "$train" "${few[@]}" --max-steps 1000000 >"$out" 2>"$err" </dev/null &
    local launcher=$!
    for _ in {1..1500}; do
        [ "$(grep -c . run/metrics.jsonl 2>/dev/null)" -ge 2 ] 2>/dev/null && break
        kill -0 $launcher 2>/dev/null || break
        sleep 0.02
    done
    begin=$EPOCHREALTIME
    eval "$how"
    (
        sleep $((most * slow + 30))
        kill -9 $launcher
    ) 2>/dev/null &
    local rescue=$!
    wait $launcher
    status=$?
    took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    pkill -P $rescue 2>/dev/null
    kill $rescue 2>/dev/null
    wait $rescue 2>/dev/null
    # A host that was cut off finds out by itself.
    for ((i = 0; i < 20 * most * slow && $(left) > 0; i++)); do sleep 0.05; done
    cat "$err" >>"$out"
    [[ $status =~ ^($want)$ ]] && [ "$(left)" = 0 ] && awk -v t="$took" -v m=$((most * slow)) 'BEGIN { exit !(t <= m) }' &&
        says "$out" "$@" && good=0
    point $good "$name: status $status after $took s, $(left) processes left"
    [ $good = 0 ] || tail -n 15 "$out" | remark
    for host in h0 h1 h2; do processes_on $host | xargs -r kill -9 2>/dev/null; done
}

fault 'a rank is killed' 137 10 'kill -9 $(rank_on h1)' 'exited on signal 9' 'h1'
fault 'the daemon of a host is killed' '205|75' $((timeout + 10)) 'kill -9 $(daemon_on h2)' 'h2'
fault 'a rank is stopped' 75 $((timeout + 10)) 'kill -STOP $(rank_on h1)' 'rank 1 (host h1) does not answer' 'in step'
# mpirun finds it by keepalive, after some 11 s, if it has not told that host anything since: a watchdog that ends the ranks sooner
# makes it wait for an answer until TCP gives up, after a quarter of an hour.
few+=(--collective-timeout 30)
fault 'a host is cut off' 205 20 'link_cut h2' 'h2'
link_heal h2
run "$mpirun_on_hosts" "${three[@]}" "$train" "${few[@]}" --max-steps 2 --output-dir run3
[ "$status" = 0 ]
point $? 'and after it is back a run goes well'
[ "$status" = 0 ] || { echo "# status $status" && tail -n 8 "$err" | remark; }
finish
