#!/bin/bash
# The shared library exports what the public headers declare, and nothing else.
library=$ZRT_BUILDDIR/.libs/libzerort.so
if [ ! -f "$library" ] || [ -z "$NM_PROGRAM" ]; then
    echo "1..0 # SKIP no shared library or no nm"
    exit 0
fi
exported=$("$NM_PROGRAM" -D --defined-only "$library" | awk '$2 ~ /^[A-TV-Z]$/ { print $3 }' | sed 's/@.*//' | sort -u)
declared=$(cat "$ZRT_SRCDIR"/include/zerort/*.h "$ZRT_BUILDDIR"/include/zerort/version.h | grep -v '^ *#' | tr '\n' ' ' |
    grep -oE 'ZRT_EXPORT [^;({]*\(' | sed 's/ *($//; s/.*[ *]//' | sort -u)
undefined=$("$NM_PROGRAM" -D --undefined-only "$library" | awk '$NF ~ /^zrt_/ { print $NF }')
failed=0

report() { # number, text, lines that should not be
    if [ -z "$3" ]; then
        echo "ok $1 - $2"
    else
        echo "not ok $1 - $2"
        echo "$3" | sed 's/^/#   /'
        failed=1
    fi
}

report 1 "every exported symbol begins with zrt_" "$(echo "$exported" | grep -v '^zrt_[a-z]')"
report 2 "every exported symbol is declared in a public header" "$(comm -23 <(echo "$exported") <(echo "$declared"))"
report 3 "every declared function is exported" "$(comm -13 <(echo "$exported") <(echo "$declared"))"
report 4 "the library defines all that it uses of itself" "$undefined"
echo 1..4
exit $failed
