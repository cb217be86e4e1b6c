"""Makes the references that tests/families.rs reads: tiny models with random weights, and what transformers computes with them.

usage: pip install torch==2.15.0 transformers==5.24.0 && python make_reference.py     (writes beside itself)
"""
import json
import pathlib
import shutil

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

assert (torch.__version__.split("+")[0], transformers.__version__) == ("2.15.0", "5.24.0")
here = pathlib.Path(__file__).parent
torch.use_deterministic_algorithms(True)
PROMPT = [(i * i * 7 + 3 * i + 5) % 293 for i in range(70)]
TEXT = [(i * i + 11 * i) % 271 for i in range(48)]
GREEDY, SAMPLED, STEPS, RATE = 24, 8, 3, 0.05
SIZES = dict(max_position_embeddings=256, initializer_range=0.25, rms_norm_eps=1e-5)
# The tokenizers of bpe/tests/families have 600 tokens.
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
MODELS = {
    # Fewer heads for keys, a head that is wider than its share, an own output head, and a frequency of each kind.
    "llama3": (LlamaForCausalLM, LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, tie_word_embeddings=False, rope_parameters=LLAMA3, bos_token_id=595, eos_token_id=[596, 599], **SIZES),
        torch.bfloat16, "1GB"),
    # Biases of queries, keys and values; the settings of a window that is not used.
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(
        vocab_size=600, hidden_size=32, intermediate_size=53, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1000000.0), use_sliding_window=False,
        sliding_window=32, max_window_layers=1, bos_token_id=595, eos_token_id=597, **SIZES),
        torch.bfloat16, "1GB"),
    # All biases, evenly scaled frequencies, several files.
    "sharded": (LlamaForCausalLM, LlamaConfig(
        vocab_size=300, hidden_size=36, intermediate_size=53, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
        tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.5), bos_token_id=0, eos_token_id=1, **SIZES),
        torch.float16, "40KB"),
}


def write(name, kind, config, dtype, shard):
    torch.manual_seed(20261127)
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    model = kind(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            # These are 0 and 1 at first, which would hide a mistake.
            if key.endswith("bias"):
                parameter.normal_(std=0.5)
            elif "norm" in key:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return folder


def load(kind, folder, dtype):
    # Loaded in float32 and then cast: the frequencies of RoPE are no part of the files.
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").to(dtype).eval()


class Wide:
    """torch, in which float32 is float64: transformers names float32 for norms and softmax, whatever the model's own type."""
    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def run(model, ids):
    modeling_llama.torch = modeling_qwen2.torch = Wide() if model.dtype == torch.float64 else torch
    return model(input_ids=torch.tensor([ids])).logits[0]


def logits(model, ids):
    with torch.no_grad():
        return run(model, ids).double()


def greedy(model):
    ids, margin = list(PROMPT), float("inf")
    for _ in range(GREEDY):
        best = logits(model, ids)[-1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
    return ids[len(PROMPT):], margin


def loss(model):
    return torch.nn.functional.cross_entropy(run(model, TEXT)[:-1], torch.tensor(TEXT[1:]))


def spread(count):
    return sorted({i * (count - 1) // (SAMPLED - 1) for i in range(SAMPLED)}) if count > SAMPLED else list(range(count))


def round9(values):
    return [float(f"{value:.9g}") for value in values]


def gradients(model):
    model.zero_grad()
    value = loss(model)
    value.backward()
    rows = {}
    for name, parameter in model.named_parameters():
        g = parameter.grad.double().flatten()
        at = spread(g.numel())
        rows[name] = dict(norm=round9([g.norm().item()])[0], at=at, values=round9(g[at].tolist()))
    return value.item(), rows


def train(model):
    """Losses before each step of plain gradient descent, and after the last."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=RATE), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return round9(losses + [loss(model).item()])


def make(name, kind, config, dtype, shard):
    folder = write(name, kind, config, dtype, shard)
    f32, f64 = (load(kind, folder, dtype) for dtype in (torch.float32, torch.float64))
    all_f32, all_f64 = logits(f32, PROMPT), logits(f64, PROMPT)
    chosen, margin = greedy(f64)
    assert greedy(f32)[0] == chosen and margin > 1e-3, margin
    (_, g32), (first, g64) = gradients(f32), gradients(f64)
    error = lambda row: max(abs(a - b) for a, b in zip(g32[row]["values"], g64[row]["values"])) / g64[row]["norm"]
    reference = dict(
        prompt=PROMPT, greedy=chosen, smallest_margin=margin,
        torch_f32_max_abs_logit_error=(all_f32 - all_f64).abs().max().item(),
        last_logits=round9(all_f64[-1].tolist()),
        sampled=[dict(at=spread(len(row)), values=round9(row[spread(len(row))].tolist())) for row in all_f64],
        text=TEXT, loss=first, gradients=g64, torch_f32_max_gradient_error=max(map(error, g64)),
        rate=RATE, losses=train(f64), torch_f32_losses=train(f32))
    (folder / "reference.json").write_text(json.dumps(reference) + "\n")
    print(name, {key: value for key, value in reference.items() if isinstance(value, float) or key.endswith("losses")})


for name, model in MODELS.items():
    make(name, *model)
