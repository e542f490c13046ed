#!/bin/bash
# Builds a fuzzer with clang's libFuzzer, ASan and UBSan, and runs it for some seconds:  test/fuzz/run.sh NAME SECONDS [RUNS]
# NAME: config, jsonl, manifest, safetensors or tokenizer.
set -e
top=$(cd "$(dirname "$0")/../.." && pwd)
name=$1 seconds=${2:-60}
libraries=jansson longest=4096
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
    sources=$(ls "$top"/src/checkpoint/safetensors*.c "$top"/src/checkpoint/output_file.c)
    ;;
tokenizer)
    sources=$(ls "$top"/src/data/tokenizer/*.c)
    libraries='jansson libpcre2-8 libutf8proc'
    cp "$top"/test/fuzz/tokenizers/*.json "$work/corpus"
    ;;
jsonl)
    sources="$(ls "$top"/src/data/tokenizer/*.c) $top/src/data/jsonl_sample.c $top/src/data/chat_template.c"
    libraries='jansson libpcre2-8 libutf8proc'
    longest=512
    for first in ' ' '!' '"' '3'; do
        printf '%s{"messages":[{"role":"system","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":" ab "}]}' "$first" >"$work/corpus/chat$first"
    done
    printf ' {"text":"ab<s> a\\u0000"}' >"$work/corpus/text"
    printf ' {"prompt":"ab","completion":"b a"}' >"$work/corpus/prompt"
    printf '0{"text1":"ab a","text2":"b","label":2}' >"$work/corpus/pair"
    ;;
*)
    echo "usage: test/fuzz/run.sh config|jsonl|manifest|safetensors|tokenizer SECONDS [RUNS]" >&2
    exit 2
    ;;
esac
# shellcheck disable=SC2086,SC2046
"$clang" -g -O1 -std=gnu17 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -I"$work" -I"$work/include" -I"$top/include" \
    -I"$top/src" $(pkg-config --cflags $libraries) -o "$work/fuzzer" "$top/test/fuzz/fuzz_$name.c" $sources \
    $(ls "$top"/src/base/*.c | grep -v -e hdf5 -e version) $(pkg-config --libs $libraries) -lm -lpthread
cd "$work"
./fuzzer -max_total_time="$seconds" -runs="${3:--1}" -max_len=$longest -print_final_stats=1 -verbosity=0 corpus
