#!/bin/bash
# Every source is as clang-format 14 leaves it; `make format` makes it so.
cd "$ZRT_SRCDIR" || exit 1
if [ -z "$CLANG_FORMAT" ] || ! "$CLANG_FORMAT" --version >/dev/null 2>&1; then
    echo "1..0 # SKIP clang-format-14 is not installed"
    exit 0
fi
. test/lint/files.sh
failed=0
points=0
while read -r file; do
    points=$((points + 1))
    if "$CLANG_FORMAT" --dry-run --Werror "$file" >/dev/null 2>&1; then
        echo "ok $points - $file"
    else
        echo "not ok $points - $file"
        failed=1
    fi
done < <(own_files -name '*.[ch]')
echo "1..$points"
exit $failed
