# A Slurm of several nodes on one machine, on the loopback addresses only: slurmctld and a slurmd for each node nI, which has a name,
# a /dev/shm and a /etc/hosts of its own (Open MPI's segments carry the host's name). To be sourced behind command.bash.

slurm_why_not() { # why there can be none, or nothing
    local tool
    [ "$(id -u)" = 0 ] || { echo 'slurmd needs root'; return; }
    for tool in slurmctld slurmd srun sbatch scontrol unshare; do
        command -v $tool >/dev/null || { echo "there is no $tool (packages slurmctld, slurmd, slurm-client)"; return; }
    done
    unshare --mount --uts --propagation slave sh -c 'hostname n1 && mount -t tmpfs t /dev/shm' 2>/dev/null ||
        { echo 'this machine makes no namespaces'; return; }
    find /usr/lib* -name mpi_pmix.so 2>/dev/null | grep -q . || echo 'Slurm has no plug-in for PMIx here'
}

slurm_node_up() { # NODE
    mkdir -p "$slurm/spool/$1" "$slurm/tmp/$1"
    unshare --mount --uts --propagation slave sh -c '
        hostname "$1" && mount -t tmpfs -o size=2g,mode=1777 shm /dev/shm && mount --bind "$2/hosts" /etc/hosts &&
            exec slurmd -f "$2/slurm.conf" -N "$1"' sh "$1" "$slurm" >>"$slurm/log" 2>&1
}

slurm_up() { # NODES
    local host port i
    slurm=$work/slurm slurm_nodes=$1
    host=$(hostname -s) port=$((20000 + $$ % 10000))
    mkdir -p "$slurm"/{state,spool,tmp}
    {
        echo "127.0.0.1 localhost $host"
        for ((i = 1; i <= slurm_nodes; i++)); do echo "127.0.0.1 n$i"; done
    } >"$slurm/hosts"
    printf 'CgroupAutomount=no\nCgroupPlugin=cgroup/v1\n' >"$slurm/cgroup.conf"
    # Credentials expire soon, or a requeued job waits two minutes for its node.
    cat >"$slurm/slurm.conf" <<C
ClusterName=zerort
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool/%n
TmpFS=$slurm/tmp/%n
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/%n.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/%n.log
SlurmdParameters=config_overrides
PrologFlags=Alloc
Prolog=$slurm/prolog
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MpiDefault=none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
JobRequeue=1
KillWait=5
SlurmdTimeout=10
MessageTimeout=20
NodeName=n[1-$slurm_nodes] NodeHostname=n[1-$slurm_nodes] NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + slurm_nodes))] CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=n[1-$slurm_nodes] Default=YES MaxTime=INFINITE State=UP
C
    # The step of a job whose other node died hangs with its socket and folders; the requeued job has the same names.
    cat >"$slurm/prolog" <<C
#!/bin/sh
for d in /proc/[0-9]*; do
    [ "\$(readlink \$d/ns/uts)" = "\$(readlink /proc/self/ns/uts)" ] && grep -q "^slurmstepd: \[\$SLURM_JOB_ID\.[0-9]" \$d/cmdline &&
        kill -9 \${d#/proc/}
done 2>/dev/null
rm -rf $slurm/tmp/\$SLURMD_NODENAME/spmix_appdir_*_\$SLURM_JOB_ID.* $slurm/spool/\$SLURMD_NODENAME/stepd.slurm.pmix.\$SLURM_JOB_ID.* \\
    $slurm/spool/\$SLURMD_NODENAME/pmix.\$SLURM_JOB_ID.*
exit 0
C
    chmod 755 "$slurm" "$slurm/prolog"
    export SLURM_CONF=$slurm/slurm.conf OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
    slurmctld -f "$SLURM_CONF" >>"$slurm/log" 2>&1 || return 1
    for ((i = 1; i <= slurm_nodes; i++)); do slurm_node_up n$i; done
    for ((i = 0; i < 200; i++)); do
        [ "$(sinfo -h -N -o %T 2>/dev/null | grep -c '^idle$')" = "$slurm_nodes" ] && return 0
        sleep 0.1
    done
    return 1
}

slurm_processes() { # of a node, or of all: those in its UTS namespace, slurmd first
    local space d pid
    pid=$(cat "$slurm/$1.pid" 2>/dev/null) && space=$(readlink "/proc/$pid/ns/uts") || return
    [ "$space" != "$(readlink /proc/self/ns/uts)" ] || return
    echo "$pid"
    for d in /proc/[0-9]*; do
        [ "${d#/proc/}" != "$pid" ] && [ "$(readlink "$d/ns/uts" 2>/dev/null)" = "$space" ] && echo "${d#/proc/}"
    done
}

slurm_node_crash() { # NODE: all at once, so that none can report the others' ends
    local pids
    pids=$(slurm_processes "$1")
    # shellcheck disable=SC2086
    kill -STOP $pids 2>/dev/null
    # shellcheck disable=SC2086
    kill -9 $pids $(slurm_processes "$1") 2>/dev/null
    rm -f "$slurm/$1.pid"
}

slurm_down() {
    local i
    [ -n "${slurm-}" ] || return 0
    kill -9 "$(cat "$slurm/slurmctld.pid" 2>/dev/null)" 2>/dev/null
    for ((i = 1; i <= slurm_nodes; i++)); do slurm_node_crash n$i; done
}
