#!/bin/bash
# Builds a fuzzer with clang's libFuzzer, ASan and UBSan, and runs it for some seconds:  test/fuzz/run.sh config|manifest|safetensors SECONDS [RUNS]
set -e
top=$(cd "$(dirname "$0")/../.." && pwd)
name=$1 seconds=${2:-60}
clang=$(command -v clang-14 || command -v clang) || { echo "1..0 # SKIP clang is not installed"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/corpus" "$work/include/zerort"
sed 's/@PACKAGE_VERSION@/0/' "$top/include/zerort/version.h.in" >"$work/include/zerort/version.h"
echo '#define PACKAGE_VERSION "0"' >"$work/config.h"
case $name in
config)
    sources=$(ls "$top"/src/config/*.c)
    cp "$top"/test/golden/*.json "$work/corpus" 2>/dev/null
    printf '%s' '{"fp16":{"enabled":true},"zero_optimization":{"stage":3,"reduce_bucket_size":"auto"},"train_batch_size":"auto"}' >"$work/corpus/small"
    ;;
manifest)
    sources=$(cd "$top/src/checkpoint" && ls "$PWD"/manifest_*.c "$PWD"/layout.c "$PWD"/shard_geometry.c "$PWD"/base64.c "$PWD"/disk.c)
    cp "$top/test/fuzz/manifest.seed" "$work/corpus"
    ;;
safetensors)
    sources=$(ls "$top"/src/checkpoint/safetensors*.c)
    ;;
*)
    echo "usage: test/fuzz/run.sh config|manifest|safetensors SECONDS [RUNS]" >&2
    exit 2
    ;;
esac
# shellcheck disable=SC2086,SC2046
"$clang" -g -O1 -std=gnu17 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -I"$work" -I"$work/include" -I"$top/include" \
    -I"$top/src" $(pkg-config --cflags jansson) -o "$work/fuzzer" "$top/test/fuzz/fuzz_$name.c" $sources \
    $(ls "$top"/src/base/*.c | grep -v -e hdf5 -e version) $(pkg-config --libs jansson) -lm -lpthread
cd "$work"
./fuzzer -max_total_time="$seconds" -runs="${3:--1}" -max_len=4096 -print_final_stats=1 -verbosity=0 corpus
