"""Writes what PyTorch's Llama gives at every place that `lockstep diff` knows, as safetensors (see docs/diff.md).

    python3 docs/transformers_values.py MODEL_FOLDER 1,2,3 OUTPUT.safetensors

Needs torch, transformers and safetensors.
"""

import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

folder, ids, output = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
values = {}


def keep(name, tensor):
    values[name] = tensor.detach().float().flatten(0, -2).contiguous()


def output_of(name):
    return lambda module, inputs, out: keep(name, out[0] if isinstance(out, tuple) else out)


def input_of(name):
    return lambda module, inputs: keep(name, inputs[0])


# A linear layer or norm: its own name. Where torch has no module, the input or output of one that has the values.
for name, module in model.named_modules():
    if name.endswith(("_proj", "norm")) or name == "model.embed_tokens":
        module.register_forward_hook(output_of(name))
for number, layer in enumerate(model.model.layers):
    prefix = f"model.layers.{number}."
    layer.self_attn.o_proj.register_forward_pre_hook(input_of(prefix + "self_attn.attention"))
    layer.post_attention_layernorm.register_forward_pre_hook(input_of(prefix + "self_attn.residual"))
    layer.mlp.down_proj.register_forward_pre_hook(input_of(prefix + "mlp.swiglu"))
    layer.register_forward_hook(output_of(prefix + "mlp.residual"))
model.lm_head.register_forward_hook(output_of("logits"))

with torch.no_grad():
    model(torch.tensor([[int(i) for i in ids.split(",")]]))
save_file(values, output, metadata={"token_ids": ids})
print(f"{len(values)} tensors in {output}")
