//! Every code point, in all the surroundings of `reference/make_reference.py`, gives the reference's ids.

use std::thread;

use bpe::{Special, Tokenizer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::folder::{JSON, TOKENIZER};

const DIGESTS: &str = include_str!("../reference/code_points.txt");
const BLOCK: u32 = 1024;

fn surroundings(c: char) -> [String; 13] {
    [
        format!("{c}"),
        format!("a{c}"),
        format!(" {c}"),
        format!("1{c}"),
        format!("!{c}"),
        format!("\n{c}"),
        format!("'{c}"),
        format!("{c}a"),
        format!("{c}1"),
        format!("{c} a"),
        format!("  {c}"),
        format!("x{c}y"),
        format!("{c}{c}"),
    ]
}

/// The first 8 bytes, in hexadecimal, of the SHA-256 over the ids of all texts of a block, each with its number of ids first.
fn digest(tokenizer: &Tokenizer, block: u32) -> String {
    let mut hash = Sha256::new();
    for text in (block..block + BLOCK).filter_map(char::from_u32).flat_map(surroundings) {
        let ids = tokenizer.encode(&text, Special::Parse);
        hash.update((ids.len() as u32).to_le_bytes());
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_all_equal(tokenizer: &Tokenizer, column: usize) {
    let expected: Vec<(u32, &str)> = DIGESTS
        .lines()
        .map(|line| (u32::from_str_radix(&line[..6], 16).unwrap(), line.split(' ').nth(column).unwrap()))
        .collect();
    assert!(expected.iter().map(|&(block, _)| block).eq((0..0x110000).step_by(BLOCK as usize)));
    let half = expected.len() / 2;
    thread::scope(|scope| {
        for part in [&expected[..half], &expected[half..]] {
            scope.spawn(move || {
                for &(block, digest_there) in part {
                    assert_eq!(digest(tokenizer, block), digest_there, "in the block at U+{block:04X}");
                }
            });
        }
    });
}

#[test]
fn all_code_points_are_equal() {
    assert_all_equal(&TOKENIZER, 1);
}

#[test]
fn all_code_points_are_equal_without_digits() {
    let mut json: Value = serde_json::from_slice(&JSON).unwrap();
    json["pre_tokenizer"] = json["pre_tokenizer"]["pretokenizers"][1].take();
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
    assert_all_equal(&tokenizer, 2);
}
