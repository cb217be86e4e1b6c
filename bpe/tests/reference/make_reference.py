"""Records the answers of Hugging Face tokenizers 0.23.3 that the tests compare with.

usage: pip install tokenizers==0.23.3 && python make_reference.py MODEL_DIR     (writes beside itself)
"""
import hashlib
import json
import pathlib
import random
import struct
import sys
import tokenizers
from tokenizers import Tokenizer

assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
here = pathlib.Path(__file__).parent
definition = json.loads((pathlib.Path(sys.argv[1]) / "tokenizer.json").read_text(encoding="utf-8"))
rng = random.Random(20261123)


def build(definition, plain=False):
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.encode_special_tokens = plain
    return tokenizer


def write_lines(name, rows):
    with open(here / name, "w", encoding="ascii", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def random_text(length):
    kinds = [
        lambda: chr(rng.randrange(0x20, 0x7F)),
        lambda: chr(rng.randrange(0x800)),
        lambda: chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])),
        lambda: rng.choice([" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "'", "'s", "'ll", "'LL", "'re", "''", "1", "\u00b2", "\u216f"]),
        lambda: rng.choice(["the", " of", "Hello", "über", "naïve", "\u6771\u4eac", "\U0001f642", "e\u0301", "\x00", "\x1b"]),
        lambda: rng.choice(SPECIAL + ["<|im_", "end|>", "<", "|>", "<repo", "name>"]),
    ]
    return "".join(rng.choice(kinds)() for _ in range(length))


# 1. Texts with the real vocabulary: special tokens parsed (`ids`) and as plain text (`plain`).
SPECIAL = [token["content"] for token in definition["added_tokens"]]
parse, plain = build(definition), build(definition, plain=True)
texts = SPECIAL + ["".join(SPECIAL), " ".join(SPECIAL), "<|im_start|", "<<|im_end|>>", "<repo_name<reponame>", "a\x00b", "th\x1fe"]
texts += [random_text(rng.randrange(1, 40)) for _ in range(280)]
write_lines("texts.jsonl", [{"text": t, "ids": parse.encode(t).ids, "plain": plain.encode(t).ids} for t in texts])

# 2. Decoding of ids that need not be text: many tokens are part of a character.
partial = [i for i in range(parse.get_vocab_size()) if "\ufffd" in parse.decode([i], skip_special_tokens=False)]
rows = []
for _ in range(350):
    ids = [rng.choice(partial) if rng.random() < 0.6 else rng.randrange(parse.get_vocab_size()) for _ in range(rng.randrange(1, 12))]
    rows.append({"ids": ids, "text": parse.decode(ids, skip_special_tokens=False)})
write_lines("decode.jsonl", rows)

# 3. Every code point beside every kind of neighbour: one digest for each 1,024 code points. With the real vocabulary, and with two
# that have a merge across every border between a neighbour and the code point, so that each cut shows in the ids.
AROUND = "{0}a{0} {0}1{0}!{0}\n{0}'{0}  {0}{0} x{0}\n{0}"


def borders(pre_tokenizer):
    alphabet = byte_alphabet()
    merges = []
    for neighbour in b"a1!\n ":
        for byte in range(256):
            for pair in ((neighbour, byte), (byte, neighbour)):
                pair = [alphabet[b] for b in pair]
                if pair not in merges:
                    merges.append(pair)
    vocab = {token: i for i, token in enumerate([alphabet[b] for b in range(256)] + ["".join(pair) for pair in merges])}
    model = dict(type="BPE", vocab=vocab, merges=merges)
    return build(dict(version="1.0", added_tokens=[], pre_tokenizer=pre_tokenizer, decoder=dict(type="ByteLevel", **BYTE_LEVEL), model=model))


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + i) for i, b in enumerate(others)}


BYTE_LEVEL = dict(add_prefix_space=False, trim_offsets=True, use_regex=True)
cut = definition["pre_tokenizer"]
tables = []
for tokenizer in (parse, borders(cut), borders(cut["pretokenizers"][1])):
    digests = []
    for block in range(0, 0x110000, 1024):
        texts = [AROUND.format(chr(c)) for c in range(block, block + 1024) if not 0xD800 <= c < 0xE000]
        digest = hashlib.sha256()
        for encoding in tokenizer.encode_batch_fast(texts):
            digest.update(struct.pack(f"<{len(encoding.ids) + 1}I", len(encoding.ids), *encoding.ids))
        digests.append(digest.hexdigest()[:8])
    tables.append(digests)
with open(here / "code_points.txt", "w", newline="\n") as file:
    file.writelines(f"{1024 * i:06x} {' '.join(row)}\n" for i, row in enumerate(zip(*tables)))

# 4. Small vocabularies for what the real one does not have.


def small(extra, merges, added=(), **model):
    letters = [byte_alphabet()[b] for b in b" abcdexyz<>|_-"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(letters + list(extra)))}
    entries = []
    for content, options in added:
        id = vocab.get(content, len(vocab) + len([e for e in entries if e["content"] not in vocab]))
        entries.append(dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False, **options))
    byte_level = dict(type="ByteLevel", **BYTE_LEVEL)
    return dict(version="1.0", truncation=None, padding=None, added_tokens=entries, normalizer=None, pre_tokenizer=byte_level,
                post_processor=byte_level, decoder=byte_level, model=dict(type="BPE", vocab=vocab, merges=merges, **model))


SPECIAL_TOKEN, NORMAL_TOKEN = dict(special=True, normalized=False), dict(special=False, normalized=True)
definitions = [
    # A merge may come before the merges that make its parts; one token may be made in two ways.
    small(["bc", "ab", "abc", "abcd", "cd"], ["c d", "a bc", "b c", "abc d", "a b", "ab c"]),
    small(["bc", "ab", "abc", "abcd", "aa", "aaa"], [["abc", "d"], ["a", "a"], ["aa", "a"], ["a", "b"], ["ab", "c"], ["b", "c"], ["a", "bc"]]),
    # `#version` is a comment; bytes without a token vanish and their neighbours merge, or become the unknown token.
    small(["ab"], ["#version: 0.2", "a b"]),
    small(["ab", "<unk>"], ["a b"], unk_token="<unk>"),
    # Added tokens: longest first, inside and outside the vocabulary, in two passes; one with a character outside the alphabet.
    small(["ab", "<|a|>"], ["a b"], [("<|a|>", SPECIAL_TOKEN), ("<|a|>b", SPECIAL_TOKEN), ("a|>", NORMAL_TOKEN), ("b<", NORMAL_TOKEN)]),
    small(["ab", "\u6771"], ["a b"], [("a b", NORMAL_TOKEN), ("a", SPECIAL_TOKEN), ("\u6771", SPECIAL_TOKEN), ("\u0120x", NORMAL_TOKEN)]),
    # A special token that counts as text hides a token that starts inside it.
    small(["ab"], ["a b"], [("<|a|>", SPECIAL_TOKEN), ("a|>", dict(special=False, normalized=False)), ("|>b", dict(special=False, normalized=False))]),
]
rows = []
for definition in definitions:
    parse, plain = build(definition), build(definition, plain=True)
    cases = []
    for _ in range(60):
        text = "".join(rng.choice(["a", "b", "c", "d", "ab", "abc", "aa", "?", "\u00e9", "\u6771", "a b", "<|a|>", "<|", "|>", "<", " ", "x", "b<|a|>b"]) for _ in range(rng.randrange(14)))
        ids = parse.encode(text).ids
        cases.append(dict(text=text, ids=ids, plain=plain.encode(text).ids, decoded=parse.decode(ids, skip_special_tokens=False)))
    rows.append(dict(tokenizer=definition, cases=cases))
write_lines("small.jsonl", rows)
