"""Makes the reference that tests/peft.rs reads: a tiny model, an adapter trained by peft, and their logits.

usage: pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2 && python make_reference.py     (writes beside itself)
"""
import json
import pathlib
import shutil
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
here = pathlib.Path(__file__).parent
torch.manual_seed(20261123)
torch.use_deterministic_algorithms(True)


def train(model, ids, steps, learning_rate):
    """Some steps of AdamW from a random B, so that no tensor is as it was initialised."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
    return loss.item()


def logits(model, ids, dtype):
    with torch.no_grad():
        return model.to(dtype)(input_ids=ids).logits[0].double()


def make(folder):
    config = LlamaConfig(
        vocab_size=64, hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=10, max_position_embeddings=64, rope_theta=10000.0, tie_word_embeddings=True,
        initializer_range=0.3, bos_token_id=0, eos_token_id=0,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    # Loaded anew: the cast above also rounds the frequencies of RoPE, which are no part of the file.
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, target_modules=TARGETS, task_type="CAUSAL_LM"))
    ids = torch.tensor([[3, 14, 15, 9, 26, 5, 35, 8, 58, 32, 0, 63, 1, 1, 2, 40, 17]])
    train(model, ids, 5, 0.01)
    model.save_pretrained(folder)
    f32, f64 = (logits(model, ids, dtype) for dtype in (torch.float32, torch.float64))
    with model.disable_adapter():
        base = logits(model, ids, torch.float64)
    reference = {
        "ids": ids[0].tolist(),
        "torch_f32_max_abs_logit_error": (f32 - f64).abs().max().item(),
        "largest_change_by_the_adapter": (f64 - base).abs().max().item(),
        "logits_f64": f64.tolist(),
    }
    (here / "logits.json").write_text(json.dumps(reference) + "\n")
    for name in ["config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors"]:
        shutil.copyfile(folder / name, here / name)
    print({key: value for key, value in reference.items() if "logits_f64" not in key})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        make(pathlib.Path(folder))
