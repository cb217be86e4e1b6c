//! Texts and ids. A text has the ids that the naive tokenizer gives it, comes back but for the bytes that have no token, and a
//! stream of ids gives the text of all of them. The first byte chooses the vocabulary: that of the model, or a small one
//! at random.

use std::path::Path;
use std::sync::LazyLock;

use bpe::{Special, StreamDecoder, Tokenizer};
use serde_json::Value;

use super::vocabulary::{Oracle, definition};
use crate::{Random, Seen, Target};

pub const TARGET: Target = Target {
    name: "bpe",
    cases,
    generate,
    run,
    outcomes: &["model", "small", "ascii", "other", "long word", "special token", "dropped byte", "replaced character"],
    rare: &[],
    runs: 20_000,
};

/// The vocabulary of the model, with the naive tokenizer of it.
static MODEL: LazyLock<(Tokenizer, Oracle)> = LazyLock::new(|| both(&std::fs::read(model()).expect("it was there")));

/// Vocabularies at random.
static SMALL: LazyLock<Vec<(Tokenizer, Oracle)>> = LazyLock::new(|| {
    let mut random = Random::new(1, 1);
    (0..64).map(|_| both(definition(&mut random).to_string().as_bytes())).collect()
});

fn both(bytes: &[u8]) -> (Tokenizer, Oracle) {
    let tokenizer = Tokenizer::from_json(bytes).expect("a definition that is accepted");
    let json: Value = serde_json::from_slice(bytes).expect("JSON");
    (tokenizer, Oracle::new(&json))
}

/// The model's tokenizer.json: of `LOCKSTEP_TEST_MODEL`, or of a folder that fetch-model makes.
fn model() -> std::path::PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let folders = match std::env::var_os("LOCKSTEP_TEST_MODEL") {
        Some(folder) => vec![folder.into()],
        None => vec![models.join("SmolLM2-135M-Instruct-q4_1"), models.join("SmolLM2-135M-Instruct")],
    };
    folders.iter().map(|folder| folder.join("tokenizer.json")).find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("no tokenizer.json in any of {folders:?}; run `cargo run --release -p tools -- fetch-model` first")
    })
}

fn cases() -> Vec<Vec<u8>> {
    let long = |unit: &str, count| [&[0], unit.repeat(count).as_bytes()].concat();
    vec![vec![], vec![0], vec![64], long("a", 300), long(" ", 300), long("\u{1d4d0}", 80), long("<|im_start", 30)]
}

/// What hits the corners of the splitter far more often than random characters do.
const PARTS: [&str; 36] = [
    " ",
    "  ",
    "\n",
    "\t",
    "\u{b}",
    "\u{1c}",
    "'s",
    "'t",
    "'re",
    "'ll",
    "'",
    "'S",
    "1",
    "42",
    "the",
    " and",
    "Hello",
    "ing",
    "a",
    "b",
    "ab",
    "!",
    "...",
    "<|im_end|>",
    "<|im_start|>",
    "<|",
    "|>",
    "<",
    "<a>",
    "<|a|>",
    "é",
    "🙂",
    "\u{301}",
    "\u{a0}",
    "½",
    "\u{4}",
];

fn generate(random: &mut Random) -> Vec<u8> {
    let mut input = vec![random.next() as u8];
    let ascii = !random.once_in(3);
    for _ in 0..random.below(12) {
        let part = match random.below(6) {
            0 => char::from(random.below(128) as u8).to_string(),
            1 if !ascii => char::from_u32(random.below(0x11_0000) as u32).unwrap_or('x').to_string(),
            2 => {
                let letters = 2 + random.below(3);
                let count = if random.once_in(20) { 100 + random.below(60) } else { random.below(8) };
                (0..count).map(|_| char::from(b'a' + random.below(letters) as u8)).collect()
            }
            _ => random.choose(&PARTS).to_string(),
        };
        if !ascii || part.is_ascii() {
            input.extend(part.bytes());
        }
    }
    if random.once_in(10) && !ascii {
        input.push(0xff);
    }
    input
}

fn run(input: &[u8], seen: &mut Seen) {
    let (which, text) = input.split_first().unwrap_or((&0, &[]));
    let text = &*String::from_utf8_lossy(text);
    let small = usize::from(*which) % 2 == 1;
    let (tokenizer, oracle) = if small { &SMALL[usize::from(*which) / 2 % SMALL.len()] } else { &*MODEL };
    seen.note(if small { "small" } else { "model" });
    seen.note(if text.is_ascii() { "ascii" } else { "other" });
    if text.split(|c: char| !c.is_ascii_lowercase()).any(|word| word.len() > 128) {
        seen.note("long word");
    }
    for special in [Special::Parse, Special::Plain] {
        let ids = tokenizer.encode(text, special);
        if text.is_ascii() {
            assert_eq!(ids, oracle.encode(text, special), "{special:?}");
        }
        // A token that was merged before is known the second time.
        assert_eq!(tokenizer.encode(text, special), ids, "{special:?}, once more");
        let decoded = tokenizer.decode(&ids).expect("ids of the vocabulary");
        assert_eq!(streamed(tokenizer, &ids), decoded, "{special:?}");
        if let Some(kept) = oracle.kept(text, special) {
            assert_eq!(decoded, String::from_utf8_lossy(&kept), "{special:?}");
            if kept.len() < text.len() && special == Special::Plain {
                seen.note("dropped byte");
            }
        }
        if ids.iter().any(|id| tokenizer.is_special(*id)) && special == Special::Parse {
            seen.note("special token");
        }
    }
    any_ids(tokenizer, text.as_bytes(), seen);
}

/// The input's bytes as ids: tokens that no text has side by side.
fn any_ids(tokenizer: &Tokenizer, bytes: &[u8], seen: &mut Seen) {
    let size = tokenizer.vocab_size();
    let id = |pair: &[u8]| pair.iter().fold(0, |id, byte| id * 256 + usize::from(*byte)) % size;
    let ids: Vec<u32> = bytes.chunks(2).take(40).map(|pair| id(pair) as u32).collect();
    let decoded = tokenizer.decode(&ids).expect("ids of the vocabulary");
    let all: Vec<u8> =
        ids.iter().flat_map(|id| tokenizer.token_bytes(*id).expect("an id of the vocabulary")).copied().collect();
    assert_eq!(decoded, String::from_utf8_lossy(&all));
    assert_eq!(streamed(tokenizer, &ids), decoded, "{ids:?}");
    if decoded.contains('\u{fffd}') {
        seen.note("replaced character");
    }
}

/// The text of a stream, of which everything is final once it is given, and at most one character waits.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let (mut decoder, mut text, mut bytes) = (StreamDecoder::new(), String::new(), Vec::new());
    for id in ids {
        text.push_str(&decoder.push(tokenizer, *id).expect("an id of the vocabulary"));
        bytes.extend(tokenizer.token_bytes(*id).expect("an id of the vocabulary"));
        if ids.len() <= 16 {
            let so_far = String::from_utf8_lossy(&bytes);
            let waiting = so_far.strip_prefix(&text).expect("what was given is final");
            assert!(waiting.chars().count() <= 1, "{waiting:?} waits");
        }
    }
    text + &decoder.finish()
}
