"""Encoding speed of Hugging Face tokenizers and of tiktoken, one thread, documents of 4,000 characters, the best of three; one JSON
line each. tiktoken has no rule for this model's splits: it gets a pattern that comes close.

usage: tokenizers_speed.py MODEL_DIR TEXT_FILE
"""

import json
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tiktoken
from tokenizers import Tokenizer

PATTERN = r"\p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def ranks(path):
    """The vocabulary as tiktoken wants it: bytes and rank. The file writes a byte without a face of its own as another character."""
    description = json.load(open(path, encoding="utf-8"))
    faces = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in faces]
    byte_of = {chr(byte): byte for byte in faces} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    special = {token["content"] for token in description["added_tokens"]}
    table = {}
    for token, rank in description["model"]["vocab"].items():
        if token not in special:
            table[bytes(byte_of[character] for character in token)] = rank
    # tiktoken insists on all bytes, and some have no token.
    for byte in range(256):
        table.setdefault(bytes([byte]), 60_000 + byte)
    return table


folder, file = sys.argv[1:]
text = open(file, encoding="utf-8").read()
documents = [text[start : start + 4000] for start in range(0, len(text), 4000)]
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
encoding = tiktoken.Encoding(
    "model", pat_str=PATTERN, mergeable_ranks=ranks(f"{folder}/tokenizer.json"), special_tokens={}
)
peers = {"tiktoken": encoding.encode_ordinary, "Hugging Face tokenizers": lambda document: tokenizer.encode(document).ids}
for name, encode in peers.items():
    shortest = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        for document in documents:
            encode(document)
        shortest = min(shortest, time.perf_counter() - begin)
    print(json.dumps({"peer": name, "mb_per_second": len(text.encode()) / shortest / 1e6}), flush=True)
