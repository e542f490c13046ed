#!/bin/bash
# What "auto" becomes, against transformers' own decisions, and that a file which says otherwise is told apart.
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${ZRT_BUILDDIR=$PWD}"
golden=${ZRT_GOLDEN:-$ZRT_SRCDIR/test/golden}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
echo 1..2
if "$ZRT_BUILDDIR/test/auto" "$golden/auto.json" >"$work/out"; then
    echo "ok 1 - $(tail -n 1 "$work/out")"
else
    sed 's/^/# /' "$work/out"
    echo 'not ok 1 - no case of auto.json differs'
fi
# Another decision of upstream's must be seen.
sed 's/"reduce_bucket_size": [0-9][0-9]*/"reduce_bucket_size": 7/' "$golden/auto.json" >"$work/other.json"
if "$ZRT_BUILDDIR/test/auto" "$work/other.json" >"$work/out"; then
    echo 'not ok 2 - a file with another reduce_bucket_size is told apart'
else
    echo "ok 2 - $(tail -n 1 "$work/out"), in a file with another reduce_bucket_size"
fi
