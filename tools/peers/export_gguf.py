"""Writes a model folder as GGUF files, so that llama.cpp and wllama compute with the same numbers.

usage: export_gguf.py MODEL_DIR TYPE=FILE...      TYPE: bf16, f32 or q8_0
"""

import json
import sys

import numpy as np
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, TokenType, get_tensor_name_map, quantize


def tensors(path):
    """Name and binary32 values of every tensor of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            data = file.read(end - begin)
            if entry["dtype"] == "BF16":
                values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype(np.float32)
            yield name, values.reshape(entry["shape"])


def rotated(values, heads):
    """Rows of a query or key projection in the order of llama.cpp, which rotates neighbours instead of halves."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write(folder, kind, path):
    config = json.load(open(f"{folder}/config.json", encoding="utf-8"))
    tokenizer = json.load(open(f"{folder}/tokenizer.json", encoding="utf-8"))
    heads, kv_heads, layers = (config[f"num_{key}"] for key in ("attention_heads", "key_value_heads", "hidden_layers"))
    file = GGUFWriter(path, "llama")
    file.add_block_count(layers)
    file.add_context_length(config["max_position_embeddings"])
    file.add_embedding_length(config["hidden_size"])
    file.add_feed_forward_length(config["intermediate_size"])
    file.add_head_count(heads)
    file.add_head_count_kv(kv_heads)
    file.add_rope_freq_base(config["rope_theta"])
    file.add_rope_dimension_count(config["hidden_size"] // heads)
    file.add_layer_norm_rms_eps(config["rms_norm_eps"])
    file.add_vocab_size(config["vocab_size"])

    special = {token["id"] for token in tokenizer["added_tokens"]}
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda entry: entry[1])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("smollm")
    file.add_token_list([token for token, _ in vocabulary])
    file.add_token_types([TokenType.CONTROL if id in special else TokenType.NORMAL for _, id in vocabulary])
    file.add_token_merges(merges)
    file.add_bos_token_id(config["bos_token_id"])
    file.add_eos_token_id(config["eos_token_id"])
    file.add_add_bos_token(False)

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, layers)
    for name, values in tensors(f"{folder}/model.safetensors"):
        if name.endswith("q_proj.weight"):
            values = rotated(values, heads)
        if name.endswith("k_proj.weight"):
            values = rotated(values, kv_heads)
        stored = GGMLQuantizationType.F32 if values.ndim == 1 else GGMLQuantizationType[kind.upper()]
        name = names.get_name(name, try_suffixes=(".weight",))
        file.add_tensor(name, quantize(np.ascontiguousarray(values), stored), raw_dtype=stored)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


folder, *outputs = sys.argv[1:]
for output in outputs:
    kind, path = output.split("=", 1)
    write(folder, kind, path)
