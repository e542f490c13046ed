#!/bin/bash
# What is not there is refused by name, not promised; and nothing points outside the project.
cd "$ZRT_SRCDIR" || exit 1
. test/lint/files.sh
points=0
failed=0

check() { # text, extended expression (bracketed, so that this file does not hold it)
    local found
    found=$( (own_files -type f; ls README HACKING NEWS configure.ac Makefile.am) | xargs grep -InE -- "$2")
    points=$((points + 1))
    if [ -z "$found" ]; then
        echo "ok $points - $1"
    else
        echo "not ok $points - $1"
        echo "$found" | sed 's/^/#   /'
        failed=1
    fi
}

check "nothing is left to do" '\b([T]ODO|[F]IXME|[X]XX|[H]ACK|[S]TUB)\b|[n]ot (yet )?implemented'
check "no path of another machine" '(^|[^A-Za-z0-9_.])/[w]ork/|\.\./[s]hared'
check "no blank at the end of a line" '[[:blank:]]+$'
echo "1..$points"
exit $failed
