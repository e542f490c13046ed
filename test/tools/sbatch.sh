#!/bin/bash
# config/slurm/train.sbatch with srun and scontrol played by scripts: what it makes of each status.
. "$(dirname "$0")/command.bash"
mkdir bin
cat >bin/srun <<'S'
#!/bin/bash
echo "srun $*"
exit "$SRUN_STATUS"
S
cat >bin/scontrol <<'S'
#!/bin/bash
echo "scontrol $*"
exit "${SCONTROL_STATUS:-0}"
S
chmod +x bin/*
batch() { run env PATH="$work/bin:$PATH" SLURM_JOB_ID=7 ZERORT_TRAIN=mytrain "$@" bash "$ZRT_SRCDIR/config/slurm/train.sbatch" --max-steps 5; }

for case in '0 0 no' '1 1 no' '2 2 no' '85 0 yes' '75 0 yes' '137 0 yes' '232 0 yes'; do
    read -r of_srun want requeued <<<"$case"
    batch SRUN_STATUS="$of_srun"
    [ "$status" = "$want" ] && says "$out" 'srun --mpi=pmix' 'mytrain --resume-from-checkpoint auto' '--max-steps 5' &&
        if [ $requeued = yes ]; then says "$out" 'scontrol requeue 7'; else ! says "$out" scontrol; fi
    point $? "status $of_srun: ends with $want, requeued: $requeued"
done
batch SRUN_STATUS=75 SLURM_RESTART_COUNT=10
[ "$status" = 75 ] && ! says "$out" scontrol && says "$err" 'not requeued'
point $? 'not for ever after faults'
batch SRUN_STATUS=85 SLURM_RESTART_COUNT=10
[ "$status" = 0 ] && says "$out" 'scontrol requeue 7'
point $? 'but after preemptions'
batch SRUN_STATUS=85 SCONTROL_STATUS=1
[ "$status" = 85 ]
point $? 'a requeue that fails keeps the status'
finish
