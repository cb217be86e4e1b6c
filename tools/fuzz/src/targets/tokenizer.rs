//! tokenizer.json. What is accepted has the tokens that another reader of the JSON finds, and gives the ids and texts that
//! the naive tokenizer gives.

use bpe::{Special, Tokenizer};
use serde_json::{Value, json};

use super::vocabulary::{Oracle, definition};
use crate::{Random, Seen, Target, mutate};

pub const TARGET: Target = Target {
    name: "tokenizer",
    cases,
    generate,
    run,
    outcomes: &[
        "accepted",
        "Json",
        "Field",
        "VocabId",
        "VocabIdTwice",
        "MergeToken",
        "MergeTwice",
        "AddedToken",
        "AddedTokenId",
    ],
    rare: &[],
    runs: 20_000,
};

/// The names and texts that mean something.
const WORDS: [&str; 34] = [
    "type",
    "model",
    "vocab",
    "merges",
    "added_tokens",
    "ByteLevel",
    "Digits",
    "Sequence",
    "BPE",
    "unk_token",
    "<unk>",
    "content",
    "special",
    "normalized",
    "id",
    "a b",
    "a",
    "ab",
    "#version",
    "dropout",
    "ignore_merges",
    "Split",
    "TemplateProcessing",
    "NFC",
    "fuse_unk",
    "normalizer",
    "pretokenizers",
    "use_regex",
    "decoder",
    "",
    " ",
    "é",
    "\u{10ffff}",
    "Ġ",
];

fn cases() -> Vec<Vec<u8>> {
    let empty = json!({
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "decoder": {"type": "ByteLevel"},
        "model": {"vocab": {}, "merges": []},
    });
    // The unknown token is merged, and is part of what a merge makes.
    let mut unknown = empty.clone();
    unknown["model"] = json!({
        "vocab": {"u": 0, "uu": 1, "uuu": 2, "a": 3, "ua": 4}, "unk_token": "u",
        "merges": ["u a", "u u", "uu u"],
    });
    vec![vec![], "[".repeat(100_000).into(), empty.to_string().into(), unknown.to_string().into()]
}

fn generate(random: &mut Random) -> Vec<u8> {
    let mut json = definition(random);
    if random.once_in(2) {
        for _ in 0..=random.below(2) {
            match random.below(4) {
                0 => mutate::json(&mut json["model"]["vocab"], random, &WORDS),
                1 => mutate::json(&mut json["model"]["merges"], random, &WORDS),
                2 => mutate::json(&mut json["added_tokens"], random, &WORDS),
                _ => mutate::json(&mut json, random, &WORDS),
            }
            if !json.is_object() || !json["model"].is_object() {
                break;
            }
        }
    }
    let mut bytes = json.to_string().into_bytes();
    if random.once_in(8) {
        mutate::bytes(&mut bytes, random, &[b"\"", b",", b"[", b"}", b"\\ud800", b"null", b"1e9", b"\xff"]);
    }
    bytes
}

fn run(bytes: &[u8], seen: &mut Seen) {
    let tokenizer = match Tokenizer::from_json(bytes) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            assert!(error.to_string().len() > 20, "{error}");
            return seen.refused(&error);
        }
    };
    seen.note("accepted");
    let json: Value = serde_json::from_slice(bytes).expect("what is accepted is JSON");
    let oracle = Oracle::new(&json);
    assert_eq!(tokenizer.vocab_size(), oracle.tokens().len());
    for (bytes, id) in oracle.tokens().iter().zip(0..) {
        assert_eq!(tokenizer.token_bytes(id), Ok(bytes.as_slice()));
    }
    let size = tokenizer.vocab_size() as u32;
    assert!(tokenizer.token_bytes(size).is_err() && tokenizer.decode(&[size]).is_err());
    for text in texts(&oracle, bytes) {
        for special in [Special::Parse, Special::Plain] {
            let ids = tokenizer.encode(&text, special);
            assert_eq!(ids, oracle.encode(&text, special), "{special:?} {text:?}");
            if let Some(kept) = oracle.kept(&text, special) {
                let decoded = tokenizer.decode(&ids);
                assert_eq!(decoded.as_deref(), Ok(&*String::from_utf8_lossy(&kept)), "{special:?} {text:?}");
            }
        }
    }
}

/// Texts that the tokens of the vocabulary occur in.
fn texts(oracle: &Oracle, bytes: &[u8]) -> Vec<String> {
    // The definition itself decides which.
    let mut random = Random::new(bytes.len() as u64, bytes.iter().map(|byte| u64::from(*byte)).sum());
    let mut text = |parts: usize| {
        let mut text = String::new();
        for _ in 0..parts {
            let token = (!oracle.tokens().is_empty()).then(|| &oracle.tokens()[random.below(oracle.tokens().len())]);
            match random.below(4) {
                0 => text.push_str(random.choose(&["a", " ", "1", "<|", "'s", "\n", "~"])),
                _ => text
                    .extend(token.into_iter().flatten().filter(|byte| byte.is_ascii()).map(|&byte| char::from(byte))),
            }
        }
        text
    };
    vec![text(4), text(12)]
}
