"""Trains small tokenizers of the kinds of Llama 3 and Qwen2, and records what Hugging Face tokenizers 0.23.3 makes of texts.

usage: pip install tokenizers==0.23.3 && python make_reference.py     (writes beside itself)
"""
import hashlib
import json
import pathlib
import random
import struct
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
here = pathlib.Path(__file__).parent

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TOKENS = 600
# What the tokenizers learn from: the licence of this repository, and words that it does not have.
WORDS = "Grüße naïve café Łódź Привет мир 東京 서울 हिन्दी don't I'll we've 123 4567 0 \r\n\t == != (a[i] + b) // ... \U0001f642"
CORPUS = [(here / "../../../LICENSE").read_text(encoding="utf-8")] + [WORDS] * 40


def cut(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
    ])


def train(pattern, special, normal, normalizer, ignore_merges):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut(pattern), decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    size = TOKENS - len(special) - len(normal)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in normal])
    return tokenizer


def llama3():
    """Every seventh merge is left out: only `ignore_merges` gives those tokens."""
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = train(LLAMA3, special, [], None, True)
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", begin)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    definition = json.loads(tokenizer.to_str())
    merges = definition["model"]["merges"]
    definition["model"]["merges"] = [merge for i, merge in enumerate(merges) if i % 7 != 6]
    return definition


def qwen2():
    special, normal = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<tool_call>", "</tool_call>"]
    tokenizer = train(QWEN2, special, normal, normalizers.NFC(), False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return json.loads(tokenizer.to_str())


def build(definition, plain=False):
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.encode_special_tokens = plain
    return tokenizer


def random_text(length, added):
    kinds = [
        lambda: chr(rng.randrange(0x20, 0x7F)),
        lambda: chr(rng.randrange(0x800)),
        lambda: chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])),
        lambda: rng.choice([" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\u000b", "\u0085", "\u00a0", "\u2028", "\u3000"]),
        lambda: rng.choice(["'", "'s", "'S", "'\u017f", "'ll", "'LL", "'lL", "'re", "'Ve", "'m", "''", "\u2019s", "don't", "DON'T"]),
        lambda: rng.choice(["1", "12", "123", "1234", "\u00b2", "\u216f", "\u0663\u0663\u0663\u0663", "3.14", "!", "...", "!!\n\n", ");\r\n", "_"]),
        lambda: rng.choice(["the", " of", "License", " Work", "über", "na\u00efve", "\u6771\u4eac", "\U0001f642", "e\u0301", "\u0301", "\u1100\u1161\u11a8", "\u212b", "\x00"]),
        lambda: rng.choice(added + ["<|", "|>", "<", "<|im_", "end|>"]),
    ]
    return "".join(rng.choice(kinds)() for _ in range(length))


def texts(name, definition):
    added = [token["content"] for token in definition["added_tokens"]]
    parse, plain = build(definition), build(definition, plain=True)
    # Every token of the vocabulary that is text, as a text: with and without a space and letters around it.
    words = [parse.decode([i], skip_special_tokens=False) for i in range(parse.get_vocab_size())]
    words = [word for word in words if "\ufffd" not in word]
    all_texts = added + ["".join(added), "", " ", "\n", "x"] + rng.sample(words, 120) + ["a" + word + "1" for word in rng.sample(words, 60)]
    all_texts += [random_text(rng.randrange(1, 40), added) for _ in range(250)]
    with open(here / name / "texts.jsonl", "w", encoding="ascii", newline="\n") as file:
        for text in all_texts:
            row = dict(text=text, ids=parse.encode(text).ids, plain=plain.encode(text).ids,
                       bare=parse.encode(text, add_special_tokens=False).ids)
            row["decoded"] = parse.decode(row["ids"], skip_special_tokens=False)
            file.write(json.dumps(row, ensure_ascii=True) + "\n")


# Every code point beside every kind of neighbour, and in its canonical decomposition: one digest for each 1,024 code points, with
# a vocabulary that has a merge across every border between a neighbour and the code point, so that each cut shows in the ids.
AROUND = "{0}a{0} {0}1{0}!{0}\n{0}'{0}  {0}{0} x{0}\n{0}\r\n{0}11{0}111{0}\t{0}'{0}s a{0}\u0301{0}e\u0301{0}\u1100{0} {1}x{1}\u0316\u0301{1}"
NFD = normalizers.NFD()


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + i) for i, b in enumerate(others)}


def borders(definition):
    alphabet = byte_alphabet()
    merges = []
    for neighbour in b"a1!\n '\r\ts":
        for byte in range(256):
            for pair in ((neighbour, byte), (byte, neighbour)):
                pair = [alphabet[b] for b in pair]
                if pair not in merges:
                    merges.append(pair)
    vocab = {token: i for i, token in enumerate([alphabet[b] for b in range(256)] + ["".join(pair) for pair in merges])}
    parts = {name: definition[name] for name in ["normalizer", "pre_tokenizer", "decoder"]}
    return build(dict(version="1.0", added_tokens=[], model=dict(type="BPE", vocab=vocab, merges=merges), **parts))


def code_points(name, definition):
    tokenizer = borders(definition)
    with open(here / name / "code_points.txt", "w", newline="\n") as file:
        for block in range(0, 0x110000, 1024):
            characters = [chr(c) for c in range(block, block + 1024) if not 0xD800 <= c < 0xE000]
            around = [AROUND.format(c, NFD.normalize_str(c)) for c in characters]
            digest = hashlib.sha256()
            for encoding in tokenizer.encode_batch_fast(around):
                digest.update(struct.pack(f"<{len(encoding.ids) + 1}I", len(encoding.ids), *encoding.ids))
            file.write(f"{block:06x} {digest.hexdigest()[:8]}\n")


for name, definition in [("llama3", llama3()), ("qwen2", qwen2())]:
    rng = random.Random(f"20261127 {name}")
    (here / name).mkdir(exist_ok=True)
    (here / name / "tokenizer.json").write_text(json.dumps(definition, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    assert len(build(definition).get_vocab()) == TOKENS
    texts(name, definition)
    code_points(name, definition)
