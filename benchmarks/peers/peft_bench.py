"""The peer of benchmarks/lora.sh: peft + transformers + PyTorch train the same LoRA on the same tokens, random weights.

    peft_bench.py tokens FILE.npy N VOCAB            writes N random tokens
    peft_bench.py train FOLDER LORA.json FILE.npy --batch B --length L --steps N [--device cuda] [--no-compile]

FOLDER holds config.json. Parameters, activations and adapters are in bf16, attention is PyTorch's scaled_dot_product_attention, AdamW
is fused where there is a GPU. Each variant (eager, and torch.compile where it works) is timed after a warm-up; activations are
recomputed only where the batch does not fit without. One JSON line with every variant and the best of them.
"""
import argparse
import json
import statistics
import struct
import sys
import time


def write_tokens(path, n, vocab):
    import random

    generator = random.Random(5)
    header = "{'descr': '<u2', 'fortran_order': False, 'shape': (%d,), }" % n
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(0, n, 65536):
            count = min(65536, n - (file.tell() - 10 - len(header)) // 2)
            file.write(struct.pack("<%dH" % count, *(generator.randrange(min(vocab, 65536)) for _ in range(count))))


def read_tokens(path):
    import torch

    data = open(path, "rb").read()
    start = 10 + struct.unpack("<H", data[8:10])[0]
    return torch.frombuffer(bytearray(data[start:]), dtype=torch.uint16).to(torch.int64)


def make(args, lora, recompute):
    import peft
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(args.folder)
    config.use_cache = False
    torch.manual_seed(1)
    with torch.device(args.device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    fields = {key: lora[key] for key in ("r", "lora_alpha", "lora_dropout", "target_modules") if key in lora}
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **fields), autocast_adapter_dtype=False)
    model.to(torch.bfloat16).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=args.device == "cuda")
    return model, trained, optimizer, sum(p.numel() for p in trained)


def run(args, lora, tokens, compiles, recompute):
    """Seconds of each timed step."""
    import torch

    cuda = args.device == "cuda"
    model, trained, optimizer, n_trained = make(args, lora, recompute)
    step_model = torch.compile(model) if compiles else model
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    rows = args.batch * args.length
    seconds, losses = [], []
    for step in range(args.warmup + args.steps):
        first = step * rows % (len(tokens) - rows)
        ids = tokens[first:first + rows].view(args.batch, args.length).to(args.device)
        if cuda:
            torch.cuda.synchronize()
        begin = time.perf_counter()
        loss = step_model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if cuda:
            torch.cuda.synchronize()
        if step >= args.warmup:
            seconds.append(time.perf_counter() - begin)
            losses.append(loss.item())
    memory = torch.cuda.max_memory_allocated() if cuda else 0
    return {"variant": ("compile" if compiles else "eager") + (", recompute" if recompute else ""),
            "tokens_per_second": round(rows / statistics.median(seconds), 1), "step_seconds": statistics.median(seconds),
            "memory_bytes": memory, "trained_parameters": n_trained, "loss": losses[-1]}


def release(device):
    import gc

    import torch

    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def train(args):
    import torch

    torch.set_float32_matmul_precision("high")
    lora, tokens, variants = json.load(open(args.lora)), read_tokens(args.tokens), []
    for compiles in [False] if args.no_compile else [False, True]:
        for recompute in [False, True]:
            try:
                variants.append(run(args, lora, tokens, compiles, recompute))
                break
            except torch.OutOfMemoryError as error:
                print("without room: %s" % str(error).splitlines()[0], file=sys.stderr)
            except Exception as error:  # a compiler that does not work here must not hide the other variant
                if not compiles:
                    raise
                print("torch.compile: %s" % (str(error).splitlines() or [type(error).__name__])[0], file=sys.stderr)
                break
            finally:
                release(args.device)
    best = max(variants, key=lambda v: v["tokens_per_second"])
    import peft
    import transformers

    print(json.dumps({"peer": "peft %s, transformers %s, torch %s" % (peft.__version__, transformers.__version__,
                                                                     torch.__version__),
                      "best": best, "variants": variants}))


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "tokens":
        return write_tokens(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train"])
    for name in ("folder", "lora", "tokens"):
        parser.add_argument(name)
    for name in ("batch", "length", "steps"):
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no-compile", action="store_true")
    return train(parser.parse_args())


main()
