#!/bin/bash
# Slurm with two nodes: srun; config/slurm/train.sbatch preempted, requeued and resumed; a node that crashes. What the requeued jobs
# wrote is bit-equal to the run that nothing happened to.
. "$(dirname "$0")/../tools/command.bash"
. "$ZRT_SRCDIR/test/cluster/slurm.bash"
why=$(slurm_why_not)
if [ -n "$why" ]; then
    echo "1..0 # SKIP $why"
    exit 0
fi
trap 'slurm_down; rm -rf "$work" "$work.out" "$work.err"' EXIT
slurm_up 2
point $? 'a Slurm of two nodes is up'

slow=${ZRT_TEST_SLOWDOWN:-1} limit=120
head -c 20000 "$ZRT_SRCDIR/src/engine/save.c" >text.txt
few=(--train-file "$PWD/text.txt" --logging-steps 1 --sample-tokens 0 --per-device-train-batch-size 1 --seq-length 16
    --validation-split-percentage 0 --max-steps 800 --save-steps 50)
two=(srun -N 2 --ntasks-per-node=1 --mpi=pmix)
rows() { grep -oE '"(step|epoch|loss|grad_norm|learning_rate|tokens|skipped)": *[^,}]*' "$1/metrics.jsonl"; }

run "${two[@]}" "$train" "${few[@]}" --output-dir whole
[ "$status" = 0 ] && says "$out" ' n1 ' ' n2 ' 'step 800 of 800'
point $? 'srun --mpi=pmix: a run over two nodes, and where each rank is'
[ "$status" = 0 ] || { echo "# status $status" && tail -n 8 "$err" | remark; }
run "${two[@]}" "$zerort" check
[ "$status" = 0 ] && says "$out" '2 on 2 hosts' '0 errors'
point $? 'zerort check under srun'
run srun -N 2 --ntasks-per-node=1 --mpi=none "$train" "${few[@]}" --output-dir single
[ "$status" = 2 ] && says "$err" 'srun started 2 tasks' '--mpi=pmix' && [ ! -e single ]
point $? 'srun without PMIx is refused, and says what to type'
run "${two[@]}" sh -c "exec '$train' --nonsense"
[ "$status" = 2 ]
point $? 'a wrong option ends srun with status 2'

# submit FOLDER: sets $job, and waits until it trains
submit() {
    mkdir "$1"
    job=$(ZERORT_TRAIN=$train sbatch --parsable --chdir="$PWD/$1" --nodes=2 --ntasks-per-node=1 --time=10 --output="$PWD/$1/job.log" \
        "$ZRT_SRCDIR/config/slurm/train.sbatch" "${few[@]}")
    wait_for_rows "$1" 60
}
wait_for_rows() { # FOLDER N
    for ((i = 0; i < 600 * slow; i++)); do
        [ "$(grep -c . "$1/run/metrics.jsonl" 2>/dev/null)" -ge "$2" ] 2>/dev/null && return 0
        sleep 0.05
    done
    return 1
}
state() { scontrol show job "$job" 2>/dev/null | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p'; }
finished() { # the job, after its requeue
    for ((i = 0; i < 1200 * slow; i++)); do
        case $(state) in COMPLETED) return 0 ;; FAILED | CANCELLED | TIMEOUT | BOOT_FAIL) return 1 ;; esac
        sleep 0.1
    done
    return 1
}
same_rows() { # FOLDER NAME
    finished && [ "$(rows "$1/run")" = "$(rows whole)" ]
    local good=$?
    point $good "$2: $(state), its rows are those of the run that nothing happened to"
    [ $good = 0 ] || { diff <(rows whole) <(rows "$1/run") | head -n 6; tail -n 12 "$1/job.log"; } | remark
}

submit preempted
point $? 'sbatch: the script trains'
scancel --signal=USR1 "$job"
same_rows preempted 'SIGUSR1 of Slurm'
says preempted/job.log 'preempted by a signal after step' 'status 85: requeued' 'going on after step'
point $? 'it was preempted, requeued, and went on'

submit crashed
slurm_node_crash n2
for ((i = 0; i < 600 * slow; i++)); do # until Slurm has seen it
    case $(state) in RUNNING | COMPLETING) sleep 0.1 ;; *) break ;; esac
done
slurm_node_up n2
same_rows crashed 'a node that crashed'
[ "$(scontrol show job "$job" | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p')" -ge 1 ] && says crashed/job.log 'going on after step'
point $? 'the job was requeued, and went on from its checkpoint'

left=0
for node in n1 n2; do
    for process in $(slurm_processes $node); do
        [ "$(cat "/proc/$process/comm" 2>/dev/null)" = train ] && left=$((left + 1))
    done
done
[ $left = 0 ]
point $? 'no rank is left on any node'
finish
