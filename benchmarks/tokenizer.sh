#!/bin/bash
# Tokens a second on two threads, beside the tokenizers library (Python) in the same run:
#   benchmarks/tokenizer.sh ZERORT FILE.jsonl FOLDER...       the file's column is "text"
# PYTHON names a Python that has the library. One JSON line a folder; the count of tokens must be the same.
set -e
zerort=$1 file=$2
shift 2
for folder; do
    ours=$("$zerort" tokenize "$folder" "$file" --out "$file.tokens.bin" --end-token none --threads 2)
    rm -f "$file.tokens.bin"
    RAYON_NUM_THREADS=2 TOKENIZERS_PARALLELISM=true "${PYTHON:-python3}" - "$folder" "$file" "$ours" <<'END'
import json, re, sys, time
from tokenizers import Tokenizer
folder, path, ours = sys.argv[1:]
texts = [json.loads(line)["text"] for line in open(path, encoding="utf-8")]
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
begin = time.time()
count = 0
for i in range(0, len(texts), 2000):
    count += sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts[i:i + 2000], add_special_tokens=False))
theirs = count / (time.time() - begin)
n = int(re.search(r"(\d+) tokens", ours).group(1))
rate = float(re.search(r"([\d.]+) M tokens/s", ours).group(1)) * 1e6
print(json.dumps({"folder": folder, "tokens": n, "same": n == count, "zerort_per_second": round(rate),
                  "tokenizers_per_second": round(theirs), "ratio": round(rate / theirs, 2)}))
END
done
