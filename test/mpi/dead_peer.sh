#!/bin/bash
# A rank that ends in the middle of its collectives must not leave the others asleep.
. "$ZRT_SRCDIR/config/mpi_environment.sh"
limit=$((30 * ${ZRT_TEST_SLOWDOWN:-1}))
points=0
failed=0
before=$(ls /dev/shm | grep -c zerort)

# ranks, the one that ends, how
check() {
    local output survivors
    output=$(timeout -k 5 "$limit" "$MPIEXEC" --enable-recovery -np "$1" ./test/mpi/dead_peer "$2" "$3" 2>&1 </dev/null)
    survivors=$(echo "$output" | grep -c "^rank [0-9]*: ZRT_ERR_COMM soon gradients: rank $2 ended .*reduce h\.3")
    points=$((points + 1))
    if [ "$survivors" = $(($1 - 1)) ]; then
        echo "ok $points - $1 ranks: the others learn that rank $2 ended ($3)"
    else
        echo "not ok $points - $1 ranks: the others learn that rank $2 ended ($3)"
        echo "$output" | sed 's/^/#   /'
        failed=1
    fi
}

check 2 1 exit
check 3 0 exit
check 3 2 kill
points=$((points + 1))
if [ "$(ls /dev/shm | grep -c zerort)" = "$before" ]; then
    echo "ok $points - nothing stays in /dev/shm"
else
    echo "not ok $points - nothing stays in /dev/shm"
    failed=1
fi
echo "1..$points"
exit $failed
