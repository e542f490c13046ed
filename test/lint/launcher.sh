#!/bin/bash
# The launcher of the tests says so when a program crashes, hangs, loses count or is skipped.
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
points=0
failed=0

check() { # text, what the program does, exit status expected, text expected in the output
    local output status
    printf '#!/bin/sh\n%s\n' "$2" >"$folder/program"
    chmod +x "$folder/program"
    output=$(ZRT_TEST_TIMEOUT=1 ZRT_TEST_WRAPPER='' sh "$ZRT_SRCDIR/test/mpirun.sh" "$folder/program" 2>&1)
    status=$?
    points=$((points + 1))
    if [ "$status" = "$3" ] && echo "$output" | grep -qE -- "$4"; then
        echo "ok $points - $1"
    else
        echo "not ok $points - $1"
        echo "status $status, output:" | cat - <(echo "$output") | sed 's/^/#   /'
        failed=1
    fi
}

check "a program that passes" 'echo 1..1; echo ok 1 - fine' 0 '^ok 1 - fine$'
check "one that fails" 'echo 1..1; echo not ok 1 - bad; exit 1' 1 '^not ok 1 - bad$'
check "one that crashes after its points" 'echo ok 1; echo 1..1; kill -SEGV $$' 1 '^not ok 2 .*ended with status 139'
check "one that ends badly and says nothing" 'exit 3' 1 '^not ok 1 .*status 3'
check "one that hangs" 'sleep 20' 1 '^not ok 1 .*time limit 1 s'
check "one that runs too few points" 'echo 1..2; echo ok 1' 1 '^not ok 2 .*ran 1 of 2'
check "one without a plan" 'echo ok 1' 1 '^not ok 2 .*without a plan'
check "one that is skipped" 'echo "1..0 # SKIP no such device"' 0 '^ok 1 .*# SKIP no such device'
check "one that has no TAP counts as a point" 'echo hello' 0 '^ok 1 .*ends well'
echo "1..$points"
exit $failed
