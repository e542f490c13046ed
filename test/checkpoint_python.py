"""What Python sees of checkpoints and exports:  checkpoint_python.py RUN EXPORTED  (see checkpoint_python.sh)."""
import glob
import os
import sys

import numpy as np

points = 0
failed = False


def point(good, text):
    global points, failed
    points += 1
    failed |= not good
    print(f"{'ok' if good else 'not ok'} {points} - {text}", flush=True)


def tensors(folder):
    from safetensors import safe_open

    found = {}
    for path in sorted(glob.glob(folder + "/model*.safetensors")):
        with safe_open(path, "np") as file:
            for name in file.keys():
                found[name] = file.get_tensor(name)
    return found


def index(run, exported):
    import h5py

    step = open(run + "/latest").read().strip()
    weights = tensors(exported)
    with h5py.File(f"{run}/{step}/index.h5", "r") as file:
        for group in ("parameters", "exp_avg", "exp_avg_sq"):
            names = set(file[group].keys())
            good = names == set(weights) and all(file[group][n].shape == weights[n].shape for n in names)
            point(good, f"index.h5: /{group} has the {len(weights)} tensors by name and shape")
        equal = all(np.array_equal(file["parameters"][n][...], weights[n]) for n in weights)
        point(equal, "each equals the exported one, bit for bit")
        moments = [np.isfinite(file["exp_avg"][n][...]).all() and (file["exp_avg_sq"][n][...] >= 0).all() for n in weights]
        point(all(moments) and any(np.abs(file["exp_avg"][n][...]).max() > 0 for n in weights), "moments are there")
        point(int(file.attrs["step"]) == int(step.split("-")[1]), "and the step as an attribute")


def model(exported, logits_path):
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    given = load_file(logits_path)
    with torch.no_grad():
        logits = found(torch.from_numpy(given["input_ids"].astype(np.int64))).logits.numpy()
    worst = np.abs(logits - given["logits"]).max() / max(1, np.abs(logits).max())
    point(worst <= 1e-5, f"transformers opens the export and computes zerort's logits (worst difference {worst:.1e})")


index(sys.argv[1], sys.argv[2])
if len(sys.argv) > 3:
    model(sys.argv[2], sys.argv[3])
print(f"1..{points}")
sys.exit(failed)
