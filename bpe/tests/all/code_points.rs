//! Every code point, beside every kind of neighbour, gives the reference's ids.

use std::thread;

use bpe::{Special, Tokenizer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::folder::{JSON, TOKENIZER};
use crate::naive::alphabet;

const DIGESTS: &str = include_str!("../reference/code_points.txt");
const BLOCK: u32 = 1024;

/// The character beside every kind of neighbour, as `AROUND` in `reference/make_reference.py`.
fn surrounded(c: char) -> String {
    format!("{c}a{c} {c}1{c}!{c}\n{c}'{c}  {c}{c} x{c}\n{c}")
}

/// The first 4 bytes, in hexadecimal, of the SHA-256 over the ids of the texts of a block, each with its number of ids first.
fn digest(tokenizer: &Tokenizer, block: u32, surrounded: fn(char) -> String) -> String {
    let mut hash = Sha256::new();
    for text in (block..block + BLOCK).filter_map(char::from_u32).map(surrounded) {
        let ids = tokenizer.encode(&text, Special::Parse);
        hash.update((ids.len() as u32).to_le_bytes());
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    }
    hash.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_all_equal(tokenizer: &Tokenizer, column: usize) {
    assert_blocks_equal(tokenizer, DIGESTS, column, surrounded);
}

/// Compares the digests of all blocks with those of a column.
pub fn assert_blocks_equal(tokenizer: &Tokenizer, digests: &str, column: usize, surrounded: fn(char) -> String) {
    let expected: Vec<(u32, &str)> = digests
        .lines()
        .map(|line| (u32::from_str_radix(&line[..6], 16).unwrap(), line.split(' ').nth(column).unwrap()))
        .collect();
    assert!(expected.iter().map(|&(block, _)| block).eq((0..0x110000).step_by(BLOCK as usize)));
    let half = expected.len() / 2;
    thread::scope(|scope| {
        for part in [&expected[..half], &expected[half..]] {
            scope.spawn(move || {
                for &(block, digest_there) in part {
                    assert_eq!(digest(tokenizer, block, surrounded), digest_there, "in the block at U+{block:04X}");
                }
            });
        }
    });
}

/// A vocabulary with a merge across every border between a neighbour and a byte: each cut shows in the ids. What comes before
/// the merges is as in `definition`.
pub fn borders(definition: &Value, neighbours: &[u8]) -> Tokenizer {
    let mut merges: Vec<[String; 2]> = Vec::new();
    for &neighbour in neighbours {
        for byte in 0..=255 {
            for (left, right) in [(neighbour, byte), (byte, neighbour)] {
                let pair = [alphabet(left), alphabet(right)].map(String::from);
                if !merges.contains(&pair) {
                    merges.push(pair);
                }
            }
        }
    }
    let tokens = (0..=255).map(|byte| alphabet(byte).to_string()).chain(merges.iter().map(|pair| pair.concat()));
    let vocab: Map<String, Value> = tokens.zip(0..).map(|(token, id)| (token, Value::from(id))).collect();
    let json = json!({
        "normalizer": definition["normalizer"],
        "pre_tokenizer": definition["pre_tokenizer"],
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
}

const NEIGHBOURS: &[u8] = b"a1!\n ";

fn pre_tokenizer() -> Value {
    serde_json::from_slice::<Value>(&JSON).unwrap()["pre_tokenizer"].take()
}

#[test]
fn all_code_points_have_the_same_ids() {
    assert_all_equal(&TOKENIZER, 1);
}

#[test]
fn all_code_points_are_cut_at_the_same_places() {
    assert_all_equal(&borders(&json!({"pre_tokenizer": pre_tokenizer()}), NEIGHBOURS), 2);
}

#[test]
fn all_code_points_are_cut_at_the_same_places_without_digits() {
    assert_all_equal(&borders(&json!({"pre_tokenizer": pre_tokenizer()["pretokenizers"][1]}), NEIGHBOURS), 3);
}
