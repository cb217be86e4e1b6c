//! Tokenizers of the kinds of Llama 3 and Qwen2, equal to Hugging Face tokenizers. `families/README.md` says where the answers
//! come from.

use std::path::Path;

use bpe::{Special, Tokenizer};
use proptest::prelude::*;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use crate::code_points::{assert_blocks_equal, borders};
use crate::naive::Naive;
use crate::reference::{assert_decodes_to, ids, rows};

const NAMES: [&str; 2] = ["llama3", "qwen2"];
/// What stands before each of its neighbours in `code_points.txt`.
const NEIGHBOURS: &[u8] = b"a1!\n '\r\ts";

fn read(name: &str, file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families").join(name).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(name: &str) -> Value {
    serde_json::from_str(&read(name, "tokenizer.json")).unwrap()
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_json(read(name, "tokenizer.json").as_bytes()).unwrap()
}

#[test]
fn texts_of_all_families_are_equal() {
    for name in NAMES {
        let tokenizer = tokenizer(name);
        for row in rows(&read(name, "texts.jsonl")) {
            let text = row["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, Special::Parse), ids(&row["ids"]), "{name} {text:?}");
            assert_eq!(tokenizer.encode(text, Special::Plain), ids(&row["plain"]), "{name} {text:?}");
            assert_eq!(tokenizer.encode_bare(text, Special::Parse), ids(&row["bare"]), "{name} {text:?}");
            assert_decodes_to(&tokenizer, &ids(&row["ids"]), &row["decoded"]);
        }
    }
    assert_eq!(tokenizer("llama3").prefix().len(), 1);
    assert_eq!(tokenizer("qwen2").prefix().len(), 0);
}

/// The character beside every kind of neighbour, and its canonical decomposition, as `AROUND` in `families/make_reference.py`.
fn surrounded(c: char) -> String {
    // These came after the reference's Unicode 9.0, and it does not take them apart.
    let newer =
        matches!(c as u32, 0x105c9 | 0x105e4 | 0x11383..=0x113c8 | 0x11938 | 0x16121..=0x16128 | 0x16d68..=0x16d6a);
    let d: String = if newer { c.to_string() } else { std::iter::once(c).nfd().collect() };
    format!(
        "{c}a{c} {c}1{c}!{c}\n{c}'{c}  {c}{c} x{c}\n{c}\r\n{c}11{c}111{c}\t{c}'{c}s a{c}\u{301}{c}e\u{301}{c}\u{1100}{c} {d}x{d}\u{316}\u{301}{d}"
    )
}

#[test]
fn all_code_points_have_the_same_ids_in_all_families() {
    for name in NAMES {
        let digests = read(name, "code_points.txt");
        assert_blocks_equal(&borders(&json(name), NEIGHBOURS), &digests, 1, surrounded);
    }
}

/// Text that hits the corners of the patterns far more often than random characters do.
fn ascii_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => "[ -~]",
        2 => "[a-e]{1,8}",
        3 => "[ \t\n\r\x0b\x0c]{1,4}",
        2 => "'(s|t|re|ve|m|ll|d|S|RE|Re|vE|LL|r|v|l)?",
        2 => "[0-9]{1,7}",
        1 => "[!-/]{1,3}[\r\n]{0,2}",
        1 => " ?(the|License|Work|ing|tion)",
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ascii_text_is_cut_and_merged_like_the_naive_oracle_in_all_families(text in ascii_text()) {
        for name in NAMES {
            let (tokenizer, naive) = (tokenizer(name), Naive::from_json(&json(name)));
            prop_assert_eq!(tokenizer.encode_bare(&text, Special::Plain), naive.encode_ascii(&text), "{}", name);
            prop_assert_eq!(tokenizer.prefix(), naive.prefix());
        }
    }

    #[test]
    fn any_text_comes_back_as_it_is_or_equivalent(text in any::<String>()) {
        let back = |name: &str| {
            let tokenizer = tokenizer(name);
            tokenizer.decode(&tokenizer.encode_bare(&text, Special::Plain)).unwrap()
        };
        prop_assert_eq!(back("llama3"), text.clone());
        // Not equal: the reference's NFC is older than that of the test.
        prop_assert_eq!(back("qwen2").nfc().collect::<String>(), text.nfc().collect::<String>());
    }
}

/// A megabyte of each: with quadratic work this would take hours.
#[test]
fn hostile_texts_of_a_megabyte_are_encoded_in_all_families() {
    for name in NAMES {
        let tokenizer = tokenizer(name);
        for unit in
            ["a", " ", "\n", " \n", "\r", "1", "'", "!", "!\n", "\u{301}", "\u{301}\u{316}", "\u{1100}", "'S", "\u{a0}"]
        {
            let text = unit.repeat((1 << 20) / unit.len());
            let ids = tokenizer.encode_bare(&text, Special::Plain);
            let expected: String = if name == "qwen2" { text.nfc().collect() } else { text };
            assert!(tokenizer.decode(&ids).unwrap() == expected, "{name} {unit:?} does not come back");
        }
    }
}
