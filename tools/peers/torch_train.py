"""Time of one step of SGD on all weights in PyTorch, binary32, measured as `lockstep bench` measures ours, with its keys: the best
of three, one JSON line for each number of threads.

usage: torch_train.py THREADS,... MODEL_DIR
"""

import json
import sys
import time

import torch
from transformers import LlamaForCausalLM


def step_ms(tokens):
    ids = torch.tensor([[(i * 37) % 40000 + 20 for i in range(tokens)]])
    shortest = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest * 1e3


threads, folder = sys.argv[1:]
model = LlamaForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).train()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
for count in map(int, threads.split(",")):
    torch.set_num_threads(count)
    print(json.dumps({"threads": count, "train_step_ms": step_ms(11), "train_long_step_ms": step_ms(256)}), flush=True)
