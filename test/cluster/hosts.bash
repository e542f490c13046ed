# Hosts on one machine, for tests of mpirun over several: each is a network, mount and UTS namespace of its own (held by a process
# that sleeps), all on a bridge in one more. The machine's own network sees nothing of them, and all of it goes with the holders.
# To be sourced behind command.bash. Host i is hI, 10.77.0.(10+i).

hosts_why_not() { # why there can be none, or nothing
    local tool
    [ "$(id -u)" = 0 ] || { echo 'namespaces need root'; return; }
    for tool in unshare nsenter ip; do
        command -v $tool >/dev/null || { echo "there is no $tool (util-linux, iproute2)"; return; }
    done
    unshare --net --mount --uts --propagation slave sh -c \
        'hostname h0 && ip link add veth8 type veth peer name veth9 && ip link add br0 type bridge && mount -t tmpfs t /dev/shm' 2>/dev/null ||
        echo 'this machine makes no namespaces with veth and a bridge'
}

on() { # HOST COMMAND...
    local holder=${holders[$1]}
    shift
    nsenter -t "$holder" -n -m -u -- "$@"
}

declare -A holders
hold() { # NAME: its namespaces
    mkfifo "$nets/$1.ready"
    unshare --net --mount --uts --propagation slave sh -c '
        hostname "$1" && mount -t tmpfs -o size=2g,mode=1777 shm /dev/shm && mount --bind "$2/hosts" /etc/hosts &&
            mount -t sysfs sysfs /sys && ip link set lo up || exit 1
        exec 3>"$2/$1.ready" && echo $$ >&3 && exec 3>&- && exec sleep 3600' sh "$1" "$nets" </dev/null >/dev/null 2>&1 &
    read -r "holders[$1]" <"$nets/$1.ready"
}

hosts_up() { # N
    local i
    nets=$work/nets
    mkdir "$nets"
    echo '127.0.0.1 localhost' >"$nets/hosts"
    for ((i = 0; i < $1; i++)); do echo "10.77.0.$((10 + i)) h$i" >>"$nets/hosts"; done
    hold switch && on switch ip link add br0 type bridge && on switch ip link set br0 up || return 1
    for ((i = 0; i < $1; i++)); do
        hold "h$i" && on switch ip link add "p$i" type veth peer name eth0 netns "${holders[h$i]}" &&
            on switch ip link set "p$i" master br0 up && on "h$i" ip addr add "10.77.0.$((10 + i))/24" dev eth0 &&
            on "h$i" ip link set eth0 up || return 1
    done
    # What Open MPI takes for ssh.
    for i in "${!holders[@]}"; do echo "${holders[$i]}" >"$nets/$i.pid"; done
    cat >"$nets/agent" <<S
#!/bin/sh
host=\$1
shift
exec nsenter -t "\$(cat $nets/\$host.pid)" -n -m -u -- sh -c "\$*"
S
    # mpirun on h0; what it is given names the hosts.
    mpirun_on_hosts=$nets/mpirun
    cat >"$mpirun_on_hosts" <<S
#!/bin/sh
exec nsenter -t ${holders[h0]} -n -m -u --wd="$work" -- "$MPIEXEC" --mca plm rsh --mca plm_rsh_agent $nets/agent --mca oob_tcp_if_include eth0 \\
    --mca btl_tcp_if_include eth0 --mca btl self,vader,tcp --mca pml ob1 "\$@"
S
    chmod +x "$nets/agent" "$mpirun_on_hosts"
}

# Processes of a host but its holder.
processes_on() { # HOST
    local space d
    space=$(readlink "/proc/${holders[$1]}/ns/net") || return
    for d in /proc/[0-9]*; do
        [ "${d#/proc/}" != "${holders[$1]}" ] && [ "$(readlink "$d/ns/net" 2>/dev/null)" = "$space" ] && echo "${d#/proc/}"
    done
}

hosts_down() {
    local host
    for host in "${!holders[@]}"; do
        processes_on "$host" | xargs -r kill -9 2>/dev/null
        kill "${holders[$host]}" 2>/dev/null
    done
    holders=()
}

link_cut() { # HOST: silence, as of a dead port of a switch
    on switch ip link set "p${1#h}" nomaster
}
link_heal() {
    local host
    on switch ip link set "p${1#h}" master br0 up
    for host in "${!holders[@]}"; do [ "$host" = switch ] || on "$host" ip neigh flush dev eth0; done
}
