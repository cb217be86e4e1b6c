//! Vocabularies at random, and the naive tokenizer that the real one is compared with: that of the tests of `bpe`, with
//! added tokens.

use std::collections::HashMap;
use std::sync::LazyLock;

use bpe::Special;
use serde_json::{Value, json};

use self::naive::{Naive, alphabet};
use crate::Random;

#[path = "../../../../bpe/tests/all/naive.rs"]
#[allow(clippy::unwrap_used, missing_docs, reason = "it is the tests' of bpe")]
mod naive;

/// The bytes that the characters of tokens stand for.
static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| (0..=255).map(|byte| (alphabet(byte), byte)).collect());

/// What tokens are made of: each is one character of the byte-level alphabet.
const CHARACTERS: [&str; 10] = ["a", "b", "c", "<", "|", ">", "1", "Ġ", "Ċ", "Ã"];

/// The pattern of Llama 3.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// A tokenizer.json whose merges need not come in an order that a training would give them.
pub fn definition(random: &mut Random) -> Value {
    let base = 1 + random.below(CHARACTERS.len());
    let mut tokens: Vec<String> = CHARACTERS[..base].iter().map(|c| c.to_string()).collect();
    let mut merges: Vec<[String; 2]> = Vec::new();
    for _ in 0..random.below(20) {
        let mut token = || tokens[random.below(tokens.len())].clone();
        let pair = [token(), token()];
        if merges.contains(&pair) || pair.concat().chars().count() > 10 {
            continue;
        }
        if !tokens.contains(&pair.concat()) {
            tokens.push(pair.concat());
        }
        merges.push(pair);
    }
    let mut unknown = Value::Null;
    if random.once_in(6) {
        unknown = json!("<unk>");
        tokens.push("<unk>".to_string());
    }
    for at in (1..merges.len()).rev() {
        merges.swap(at, random.below(at + 1));
    }
    let spelt = |pair: &[String; 2]| json!(pair.join(" "));
    let merges: Vec<Value> = match random.below(3) {
        0 => merges.iter().map(|pair| json!(pair)).collect(),
        1 => merges.iter().map(spelt).collect(),
        _ => std::iter::once(json!("#version: 0.2")).chain(merges.iter().map(spelt)).collect(),
    };
    let added = added(&tokens, random);
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    let pre_tokenizer = match random.below(5) {
        0 => byte_level,
        1 => json!({"type": "Sequence", "pretokenizers": [byte_level]}),
        2 => json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level]}),
        pattern => {
            let numbers = if pattern == 3 { "{1,3}" } else { "" };
            let regex = LLAMA3.replace("{1,3}", numbers);
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
            ]})
        }
    };
    let post_processor = match random.below(4) {
        0 => {
            let (name, id) = ("<first>", random.below(tokens.len()));
            let template = json!({"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]}}});
            json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]})
        }
        1 => json!({"type": "ByteLevel"}),
        _ => Value::Null,
    };
    json!({
        "truncation": null, "padding": null, "normalizer": null, "post_processor": post_processor,
        "added_tokens": added, "pre_tokenizer": pre_tokenizer, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "vocab": vocab, "merges": merges,
            "ignore_merges": random.once_in(4)},
    })
}

/// Tokens that are found before anything else: some of the vocabulary, some beside it.
fn added(tokens: &[String], random: &mut Random) -> Vec<Value> {
    let mut next = tokens.len();
    let mut added = Vec::new();
    for content in ["<a>", "<|", "<|a|>", "ab", "<unk>", "|>"] {
        if !random.once_in(3) {
            continue;
        }
        let id = tokens.iter().position(|token| token == content).unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        added.push(json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": random.once_in(3), "special": !random.once_in(3),
        }));
    }
    added
}

/// The naive tokenizer.
pub struct Oracle {
    naive: Naive,
    added: Vec<Added>,
    /// The bytes of every token.
    tokens: Vec<Vec<u8>>,
    /// Of each byte, the token of it alone, or the unknown one.
    bytes: Vec<Option<u32>>,
    ignore_merges: bool,
}

struct Added {
    id: u32,
    content: String,
    special: bool,
    normalized: bool,
}

/// A part of a text.
enum Part<'t> {
    Token(u32),
    Text(&'t str),
}

impl Oracle {
    /// The tokenizer of a definition that was accepted.
    pub fn new(json: &Value) -> Oracle {
        let vocab = json["model"]["vocab"].as_object().expect("a vocabulary");
        let id = |value: &Value| value.as_u64().expect("an id") as u32;
        let list = json["added_tokens"].as_array().into_iter().flatten();
        let added: Vec<Added> = list
            .map(|token| Added {
                id: id(&token["id"]),
                content: token["content"].as_str().expect("a text").to_string(),
                special: token["special"] == true,
                normalized: token["normalized"] == true,
            })
            .collect();
        let mut texts: Vec<(u32, &str)> = vocab.iter().map(|(token, number)| (id(number), token.as_str())).collect();
        texts.extend(added.iter().filter(|a| !vocab.contains_key(&a.content)).map(|a| (a.id, a.content.as_str())));
        texts.sort_unstable();
        assert!(texts.iter().zip(0..).all(|((id, _), place)| *id == place), "the ids have no gap");
        let unknown = json["model"]["unk_token"].as_str().map(|token| id(&vocab[token]));
        let mut bytes = vec![unknown; 256];
        for (token, number) in vocab {
            let mut characters = token.chars();
            if let (Some(c), None) = (characters.next(), characters.next())
                && let Some(byte) = BYTES.get(&c)
            {
                bytes[usize::from(*byte)] = Some(id(number));
            }
        }
        Oracle {
            naive: Naive::from_json(json),
            tokens: texts.iter().map(|(_, text)| bytes_of(text)).collect(),
            bytes,
            ignore_merges: json["model"]["ignore_merges"] == true,
            added,
        }
    }

    /// The bytes of every token, by id.
    pub fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// The ids of a text of ASCII.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let ids = |part: Part<'_>| match part {
            Part::Token(id) => vec![id],
            Part::Text(text) => self.naive.encode_ascii(text),
        };
        let prefix = self.naive.prefix().iter().copied();
        prefix.chain(self.parts(text, special).into_iter().flat_map(ids)).collect()
    }

    /// The bytes of a text that its ids stand for, after those of what comes before a text: those of bytes that have no token are
    /// left out. Nothing where merges are ignored, since a whole token may have bytes that have none.
    pub fn kept(&self, text: &str, special: Special) -> Option<Vec<u8>> {
        if self.ignore_merges {
            return None;
        }
        let mut kept: Vec<u8> = self.naive.prefix().iter().flat_map(|id| self.tokens[*id as usize].clone()).collect();
        for part in self.parts(text, special) {
            match part {
                Part::Token(id) => kept.extend(&self.tokens[id as usize]),
                Part::Text(text) => {
                    let ids = text.bytes().filter_map(|byte| self.bytes[usize::from(byte)]);
                    ids.for_each(|id| kept.extend(&self.tokens[id as usize]));
                }
            }
        }
        Some(kept)
    }

    /// Added tokens and what is between them: those that are not normalized first, then in the rest the others.
    fn parts<'t>(&self, text: &'t str, special: Special) -> Vec<Part<'t>> {
        let first = self.pass(text, special, false).into_iter();
        let second = |part| match part {
            Part::Text(text) => self.pass(text, special, true),
            token => vec![token],
        };
        first.flat_map(second).collect()
    }

    /// The leftmost, of those the longest. A special one that counts as text hides what begins inside of it.
    fn pass<'t>(&self, text: &'t str, special: Special, normalized: bool) -> Vec<Part<'t>> {
        let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
        while at < text.len() {
            let here = self.added.iter().filter(|added| added.normalized == normalized);
            let here = here.filter(|added| text.as_bytes()[at..].starts_with(added.content.as_bytes()));
            let Some(found) = here.max_by_key(|added| added.content.len()) else {
                at += 1;
                continue;
            };
            let end = at + found.content.len();
            if !found.special || special == Special::Parse {
                parts.extend([Part::Text(&text[start..at]), Part::Token(found.id)]);
                start = end;
            }
            at = end;
        }
        parts.push(Part::Text(&text[start..]));
        parts
    }
}

/// The bytes that a token stands for; those of its text, if it is not all of the alphabet.
fn bytes_of(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(|c| BYTES.get(&c).copied()).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}
