#!/bin/bash
# What h5py, safetensors and transformers see of a trained golden model. ZRT_TEST_PYTHON is a Python that has them.
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${ZRT_BUILDDIR=$PWD}" "${MPIEXEC=mpirun}" "${ZRT_GOLDEN=$ZRT_SRCDIR/test/golden}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
python=${ZRT_TEST_PYTHON:-python3}
"$python" -c 'import h5py, safetensors, numpy' 2>/dev/null || {
    echo "1..0 # SKIP $python has no h5py, safetensors and numpy; ZRT_TEST_PYTHON names one that has"
    exit 0
}
folder=$(mktemp -d "${TMPDIR:-/tmp}/zerort-test.XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0
with_model=0
"$python" -c 'import torch, transformers' 2>/dev/null && with_model=1
for model in ${ZRT_TEST_MODELS:-gpt2 llama}; do
    out=$folder/$model
    if ! "$MPIEXEC" -np 2 "$ZRT_BUILDDIR/test/checkpoint_logits" "$ZRT_GOLDEN/$model" "$out.run" "$out.logits" 2>"$folder/err" </dev/null ||
        ! "$ZRT_BUILDDIR/zerort" export "$out.run" "$out.hf" --dtype fp32 2>"$folder/err"; then
        sed 's/^/# /' "$folder/err"
        failed=1
        continue
    fi
    logits=
    [ $with_model = 1 ] && logits=$out.logits/model.safetensors
    "$python" "$ZRT_SRCDIR/test/checkpoint_python.py" "$out.run" "$out.hf" ${logits:+"$logits"} >"$folder/points" 2>"$folder/err" || failed=1
    grep -E '^(not )?ok' "$folder/points" | sed "s/\$/ ($model)/"
    [ $failed = 1 ] && tail -n 5 "$folder/err" | sed 's/^/# /'
done | awk '{ if (/^(not )?ok/) { sub(/ok [0-9]+/, "ok " ++n); bad = bad || /^not/ } print } END { print "1.." n; exit bad || !n }'
