//! Equal to Hugging Face tokenizers on recorded texts and ids. `reference/README.md` says where they come from.

use bpe::{Special, StreamDecoder, Tokenizer};
use serde_json::Value;

use crate::folder::TOKENIZER;

const TOKENIZER_CASES: &str = include_str!("../reference/tokenizer.jsonl");
const TEXTS: &str = include_str!("../reference/texts.jsonl");
const DECODE: &str = include_str!("../reference/decode.jsonl");
const SMALL: &str = include_str!("../reference/small.jsonl");

pub fn rows(jsonl: &str) -> Vec<Value> {
    let rows: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty());
    rows
}

pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = StreamDecoder::new();
    let mut text: String = ids.iter().map(|&id| decoder.push(tokenizer, id).unwrap()).collect();
    text.push_str(&decoder.finish());
    text
}

pub fn assert_decodes_to(tokenizer: &Tokenizer, ids: &[u32], text: &Value) {
    assert_eq!(tokenizer.decode(ids).unwrap(), text.as_str().unwrap(), "{ids:?}");
    assert_eq!(streamed(tokenizer, ids), text.as_str().unwrap(), "{ids:?}");
}

#[test]
fn tokenizer_jsonl_is_equal() {
    for row in rows(TOKENIZER_CASES) {
        let text = row["text"].as_str().unwrap();
        assert_eq!(TOKENIZER.encode(text, Special::Parse), ids(&row["ids"]), "{text:?}");
        assert_decodes_to(&TOKENIZER, &ids(&row["ids"]), &row["decoded"]);
    }
}

#[test]
fn texts_are_equal_with_special_tokens_parsed_and_plain() {
    for row in rows(TEXTS) {
        let text = row["text"].as_str().unwrap();
        assert_eq!(TOKENIZER.encode(text, Special::Parse), ids(&row["ids"]), "{text:?}");
        assert_eq!(TOKENIZER.encode(text, Special::Plain), ids(&row["plain"]), "{text:?}");
    }
}

#[test]
fn ids_that_are_not_text_decode_equally() {
    for row in rows(DECODE) {
        assert_decodes_to(&TOKENIZER, &ids(&row["ids"]), &row["text"]);
    }
}

#[test]
fn small_vocabularies_are_equal() {
    for row in rows(SMALL) {
        let tokenizer = Tokenizer::from_json(row["tokenizer"].to_string().as_bytes()).unwrap();
        for case in row["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let (parsed, plain) = (ids(&case["ids"]), ids(&case["plain"]));
            assert_eq!(tokenizer.encode(text, Special::Parse), parsed, "{text:?} {}", row["tokenizer"]);
            assert_eq!(tokenizer.encode(text, Special::Plain), plain, "{text:?} {}", row["tokenizer"]);
            assert_decodes_to(&tokenizer, &parsed, &case["decoded"]);
        }
    }
}

#[test]
fn the_real_vocabulary_is_as_documented() {
    assert_eq!(TOKENIZER.vocab_size(), 49152);
    assert_eq!(TOKENIZER.special_id("<|im_end|>"), Some(2));
    assert_eq!(TOKENIZER.special_id("<repo_name>"), Some(3));
    assert_eq!(TOKENIZER.special_id("<reponame>"), Some(4));
    assert_eq!(TOKENIZER.special_id("the"), None);
    assert_eq!((0..49152).filter(|&id| TOKENIZER.is_special(id)).collect::<Vec<_>>(), (0..17).collect::<Vec<_>>());
    let not_text = (0..49152).filter(|&id| std::str::from_utf8(TOKENIZER.token_bytes(id).unwrap()).is_err());
    assert_eq!(not_text.count(), 313);
    let error = TOKENIZER.decode(&[5, 49152]).unwrap_err();
    assert_eq!(error.to_string(), "token id 49152 is not in the vocabulary, whose ids are below 49152");
    assert_eq!(StreamDecoder::new().push(&TOKENIZER, 49152), Err(error));
}

#[test]
fn bytes_without_a_token_vanish() {
    let single: Vec<&[u8]> = (0..49152).map(|id| TOKENIZER.token_bytes(id).unwrap()).filter(|b| b.len() == 1).collect();
    let without: Vec<u8> = (0..=255).filter(|&byte| !single.contains(&[byte].as_slice())).collect();
    assert_eq!(without.len(), 21, "{without:?}");
    for byte in without.into_iter().filter(u8::is_ascii) {
        let text = char::from(byte).to_string();
        assert_eq!(TOKENIZER.encode(&text, Special::Parse), Vec::<u32>::new(), "{byte}");
        assert_eq!(TOKENIZER.encode(&text.repeat(3), Special::Parse), Vec::<u32>::new(), "{byte}");
    }
}
