#!/bin/bash
# A file that has grown past what one reads in a sitting holds more than its name says.
limit=450
cd "$ZRT_SRCDIR" || exit 1
. test/lint/files.sh
long=$(own_files -name '*.[ch]' -o -name '*.sh' -o -name '*.m4' -o -name '*.am' -o -name quickstart -o -name run |
    xargs wc -l | awk -v limit=$limit '$2 != "total" && $1 > limit { print "#   " $2 ": " $1 " lines" }')
echo 1..1
if [ -z "$long" ]; then
    echo "ok 1 - no file has more than $limit lines"
else
    echo "not ok 1 - no file has more than $limit lines"
    echo "$long"
    exit 1
fi
