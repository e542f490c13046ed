"""Whether transformers (and peft, for an adapter) open a folder and give the logits on standard input, as test/logits prints them.

    test/logits FOLDER | python3 logits.py FOLDER

Exit status 77 where a library is missing.
"""
import os
import sys

folder = sys.argv[1]
is_adapter = os.path.exists(os.path.join(folder, "adapter_config.json"))
try:
    import torch
    import transformers
    if is_adapter:
        import peft
except ImportError as error:
    print(error)
    sys.exit(77)

ours = torch.tensor([float(line) for line in sys.stdin], dtype=torch.float64)
base = peft.PeftConfig.from_pretrained(folder).base_model_name_or_path if is_adapter else folder
classifies = transformers.AutoConfig.from_pretrained(base).model_type == "bert"
kind = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModelForCausalLM
model = kind.from_pretrained(base, dtype=torch.float32)
if is_adapter:
    import safetensors
    with safetensors.safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as file:
        rows = [file.get_slice(name).get_shape()[0] for name in file.keys() if name.endswith("embed_tokens.weight")]
    if rows:  # of new tokens: peft wants the base model to have them
        model.resize_token_embeddings(rows[0])
    model = peft.PeftModel.from_pretrained(model, folder)
model.eval()
position = torch.arange(12)
token = (position < 9) if classifies else torch.ones(12, dtype=torch.bool)
ids = torch.where(token, (7 * position + 3) % model.config.vocab_size, 0)
more = dict(attention_mask=token.long()[None], token_type_ids=(token & (position >= 4)).long()[None]) if classifies else {}
with torch.no_grad():
    theirs = model(input_ids=ids[None], **more).logits.double().flatten()
deviation = ((ours - theirs).norm() / theirs.norm()).item() if ours.numel() == theirs.numel() else float("inf")
print("deviation %.2e" % deviation)
sys.exit(0 if deviation < 1e-5 else 1)
