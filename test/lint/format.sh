#!/bin/bash
# Every source is as clang-format 14 leaves it; `make format` makes it so.
cd "$ZRT_SRCDIR" || exit 1
if [ -z "$CLANG_FORMAT" ] || ! "$CLANG_FORMAT" --version >/dev/null 2>&1; then
    echo "1..0 # SKIP clang-format-14 is not installed"
    exit 0
fi
. test/lint/files.sh
bad=$(own_files -name '*.[ch]' | xargs "$CLANG_FORMAT" --dry-run 2>&1 | grep -oE '^[^: ]+\.[ch]:' | sort | uniq -c)
echo 1..1
if [ -z "$bad" ]; then
    echo "ok 1 - every source is formatted"
else
    echo "not ok 1 - every source is formatted"
    echo "$bad" | awk '{ print "#   " $2 " " $1 " places" }'
    exit 1
fi
