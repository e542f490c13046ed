#!/bin/bash
# A file that no fragment lists is neither built nor distributed.
cd "$ZRT_SRCDIR" || exit 1
. test/lint/files.sh
failed=0
points=0
listed=$(cat Makefile.am src/*/sources.am test/unit/*.am test/mpi/*.am test/*.am test/*/*.am benchmarks/*.am | tr -s ' \\\t' '\n\n\n' | sort -u)

check() { # text, then names as find takes them
    local what=$1 missing
    shift
    missing=$(own_files "$@" | grep -E '^(src|include|test|benchmarks)/' | comm -23 - <(echo "$listed"))
    points=$((points + 1))
    if [ -z "$missing" ]; then
        echo "ok $points - $what"
    else
        echo "not ok $points - $what"
        echo "$missing" | sed 's/^/#   /'
        failed=1
    fi
}

check "every source is listed" -name '*.c'
check "every header is listed" -name '*.h'
check "every script and data file of the tests is listed" -name '*.sh' -o -name '*.py' -o -name '*.json'
echo "1..$points"
exit $failed
