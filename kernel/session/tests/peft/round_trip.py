"""Adapters between lockstep and peft, both ways, with a real model: how far the logits are from float64.

usage: pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2 safetensors
       python round_trip.py LOCKSTEP MODEL        (the program, and a folder that fetch-model filled)

Prints, for each way, the largest error of lockstep's logits and of torch's float32 against torch's float64, and their ratio; ends
with 1 if a ratio is above 1.5.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from make_reference import TARGETS, logits, train

LIMIT = 1.5
TEXT = "The cat sat on the mat and purred loudly."
lockstep, folder = sys.argv[1:]


def run(*arguments):
    subprocess.run([lockstep, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def base():
    # Read as float32: a cast of the model to bfloat16 would round the frequencies of RoPE, too.
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def compare(way, model, adapter, ids, work):
    output = work / "logits.safetensors"
    run("logits", "--model", folder, "--adapter", adapter, "--prompt-ids", ",".join(map(str, ids[0].tolist())), "--output", output)
    f32 = logits(model, ids, torch.float32)
    f64 = logits(model, ids, torch.float64)
    with model.disable_adapter():
        change = (f64 - logits(model, ids, torch.float64)).abs().max().item()
    ours = (load_file(output)["logits"].double() - f64).abs().max().item()
    torchs = (f32 - f64).abs().max().item()
    print(f"{way}: lockstep {ours:.3g}, torch float32 {torchs:.3g}, ratio {ours / torchs:.2f}; the adapter changes {change:.3g}")
    return ours <= LIMIT * torchs and change > 100 * torchs


with tempfile.TemporaryDirectory() as name:
    work = pathlib.Path(name)
    torch.manual_seed(20261123)
    line = subprocess.run([lockstep, "tokenize", "--model", folder], check=True, text=True, capture_output=True,
                          input=json.dumps({"text": TEXT}))
    ids = torch.tensor([json.loads(line.stdout)["ids"]])

    run("train", "--model", folder, "--text", TEXT, "--steps", 5, "--method", "lora", "--optimizer", "adamw",
        "--learning-rate", 0.002, "--save", work / "ours")
    there = compare("from lockstep to peft", PeftModel.from_pretrained(base(), work / "ours"), work / "ours", ids, work)

    model = get_peft_model(base(), LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, task_type="CAUSAL_LM"))
    train(model, ids, 3, 0.001)
    model.save_pretrained(work / "theirs")
    back = compare("from peft to lockstep", model, work / "theirs", ids, work)
sys.exit(0 if there and back else 1)
