#!/usr/bin/env python3
"""The host's update beside PyTorch's fused CPU AdamW followed by the fp16 cast that the device needs.

  benchmarks/host_update.py path/to/benchmarks/host_update [PARAMETERS]
"""
import json
import os
import subprocess
import sys
import time

import torch

program = sys.argv[1]
n = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000_000
threads = os.cpu_count()
torch.set_num_threads(threads)


def peer():
    parameter = torch.nn.Parameter(torch.randn(n))
    parameter.grad = torch.randn(n)
    half = torch.empty(n, dtype=torch.float16)
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, fused=True)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        optimizer.step()
        with torch.no_grad():
            half.copy_(parameter)
        seconds.append(time.perf_counter() - start)
    return n / sorted(seconds[1:])[2]


best = []
for _ in range(3):
    lines = subprocess.run([program, str(n), "5", str(threads)], check=True, capture_output=True, text=True).stdout
    ours = [row for row in map(json.loads, lines.splitlines()) if row["case"] == "zerort AdamW, fp16"][0]
    rate, theirs = ours["parameters_per_second"], peer()
    best.append(rate / theirs)
    print(json.dumps({"benchmark": "host_update beside torch " + torch.__version__, "threads": threads, "parameters": n,
                      "parameters_per_second": rate, "torch_parameters_per_second": round(theirs),
                      "ratio": round(rate / theirs, 3)}), flush=True)
print(json.dumps({"median_ratio": round(sorted(best)[1], 3)}))
