#!/bin/bash
# zerort check: what it looks at, and what it makes of what is wrong.
. "$(dirname "$0")/command.bash"

# tells NAME STATUS WORD... -- COMMAND...
tells() {
    local name=$1 want=$2 words=()
    shift 2
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    run "$@"
    cat "$err" >>"$out"
    [ "$status" = "$want" ] && says "$out" "${words[@]}"
    point $? "$name"
    if [ "$status" != "$want" ] || ! says "$out" "${words[@]}"; then
        echo "# status $status of: $*"
        head -n 25 "$out" | remark
    fi
}

mkdir folder one two
tells 'two ranks' 0 'MPI_THREAD_MULTIPLE' '2 on 1 host' 'the same on all' 'all-gather (MPI)' 'reduce-scatter (MPI)' 'right,' \
    'bus bandwidth' 'host memory' 'shared memory' 'locked memory' 'clocks' 'folder: ' 'MB/s' '0 errors' \
    -- "$MPIEXEC" -np 2 "$zerort" check --output-dir folder
[ -z "$(ls -A folder)" ] && ! grep -qE '^(warning|error)' "$out"
point $? 'nothing is wrong, and nothing is left behind'
tells 'alone' 0 '1 on 1 host: start several' '0 errors' -- "$zerort" check --device=cpu
tells 'a folder that is not there' 1 'error    output folder' 'No such file' '1 error,' \
    -- "$MPIEXEC" -np 2 "$zerort" check --output-dir nowhere
tells 'a file in its place' 1 'error    output folder' 'is no folder' -- "$zerort" check --output-dir "$zerort"
tells 'each rank sees another folder' 1 'rank 1 on' 'is not the folder that rank 0 sees' '1 error,' \
    -- "$MPIEXEC" -np 1 -wdir "$PWD/one" "$zerort" check : -np 1 -wdir "$PWD/two" "$zerort" check
[ -z "$(ls -A one)$(ls -A two)" ]
point $? 'and nothing is left in either'
tells 'an unknown option' 2 '--output' 'takes --output-dir' -- "$MPIEXEC" -np 2 "$zerort" check --output folder
tells 'an unknown device' 2 'auto, cpu or cuda' -- "$zerort" check --device tpu
tells '--help' 0 'Usage: zerort check' -- "$MPIEXEC" -np 2 "$zerort" check --help
if [ -e /dev/nvidiactl ]; then
    echo '# SKIP there are GPUs: that there are none is not tested'
else
    tells 'GPUs that are not there' 1 'error    GPUs' -- "$MPIEXEC" -np 2 "$zerort" check --device cuda
fi
finish
