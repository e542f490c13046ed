#!/bin/bash
# Optimizer states in files: the rate at which they cross the disk, beside the disk's own with O_DIRECT in the same call:
#   benchmarks/nvme.sh FOLDER [OPTION OF benchmarks/step]...      in the build folder; FOLDER is on the disk
# A step reads and writes 12 bytes a parameter (fp32 master, two moments). "of_disk" is the time that the disk alone needs for them, one
# after the other, over the step's; above 1 the disk reads and writes at once faster than in turn. One JSON line.
set -e
: "${ZRT_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)}" "${RANKS=1}" "${MPIEXEC=mpirun}" "${MIB=2048}"
. "$ZRT_SRCDIR/config/mpi_environment.sh"
[ $# -gt 0 ] && [ -d "$1" ] || { echo "usage: benchmarks/nvme.sh FOLDER [OPTION]..." >&2; exit 2; }
[ -x benchmarks/step ] || { echo "benchmarks/nvme.sh: no benchmarks/step here; run it in the build folder" >&2; exit 2; }
folder=$1
shift
file=$(mktemp "$folder/zerort-nvme.XXXXXX")
trap 'rm -f "$file"' EXIT

rate() { # of dd, bytes a second
    LC_ALL=C dd "$@" bs=8M count=$((MIB / 8)) 2>&1 | awk '/copied/ { print $1 / $(NF - 3) }'
}
write=$(rate if=/dev/zero of="$file" oflag=direct conv=fsync)
read=$(rate if="$file" of=/dev/null iflag=direct)
rm -f "$file"
OO=zero_optimization.offload_optimizer
line=$("$MPIEXEC" -np "$RANKS" benchmarks/step --device cpu --model gpt2-124m --rows 1 --length 64 --dtype bf16 --steps 5 "$@" \
    --set $OO.device='"nvme"' --set $OO.nvme_path="\"$folder\"" --set $OO.buffer_size=16777216 | grep '^{')
awk -v w="$write" -v r="$read" -v line="$line" '
    function number(key) { match(line, "\"" key "\": [0-9.]+"); return substr(line, RSTART + length(key) + 4, RLENGTH - length(key) - 4) + 0 }
    BEGIN {
        n = number("parameters"); s = number("step_s")
        printf "{\"benchmark\": \"nvme\", \"parameters\": %d, \"step_s\": %.4f, \"gb_per_second\": %.3f, ", n, s, 24 * n / s / 1e9
        printf "\"disk_read_gb_per_second\": %.3f, \"disk_write_gb_per_second\": %.3f, \"of_disk\": %.3f}\n", r / 1e9, w / 1e9, (12 * n / r + 12 * n / w) / s
    }'
