#!/bin/bash
# Each installed header compiles alone, as C and as C++, without a warning; only mpi.h's needs flags of its own.
points=0
failed=0

try() { # language, header, compiler and flags
    local language=$1 header=$2 said
    shift 2
    points=$((points + 1))
    if said=$(printf '#include <zerort/%s>\n#include <zerort/%s>\n' "$header" "$header" |
        "$@" -Wall -Wextra -Wundef -pedantic -Werror -I"$ZRT_BUILDDIR/include" -I"$ZRT_SRCDIR/include" -fsyntax-only - 2>&1); then
        echo "ok $points - $header as $language"
    else
        echo "not ok $points - $header as $language"
        echo "$said" | sed 's/^/#   /'
        failed=1
    fi
}

for header in $(cd "$ZRT_SRCDIR/include/zerort" && ls -- *.h) version.h; do
    [ "$header" = version.h ] && [ -n "$seen_version" ] && continue
    [ "$header" = version.h ] && seen_version=1
    flags=
    [ "$header" = mpi.h ] && flags=$ZRT_DEP_CFLAGS
    # shellcheck disable=SC2086
    try C "$header" $CC -x c -std=c11 -Wstrict-prototypes $flags
    # shellcheck disable=SC2086
    [ -n "$LINT_CXX" ] && try C++ "$header" $LINT_CXX -x c++ -std=c++11 $flags
done
# The umbrella has all but the one that shows MPI.
points=$((points + 1))
missing=
for header in $(cd "$ZRT_SRCDIR/include/zerort" && ls -- *.h) version.h; do
    case $header in mpi.h | zerort.h) continue ;; esac
    grep -q "^#include <zerort/$header>" "$ZRT_SRCDIR/include/zerort/zerort.h" || missing="$missing $header"
done
if [ -z "$missing" ]; then
    echo "ok $points - zerort.h includes all others"
else
    echo "not ok $points - zerort.h includes all others: not$missing"
    failed=1
fi
echo "1..$points"
exit $failed
