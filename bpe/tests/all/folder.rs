//! The real model's tokenizer.json.

use std::path::PathBuf;
use std::sync::LazyLock;

use bpe::Tokenizer;

/// The first of these that exists: `LOCKSTEP_TEST_MODEL`, and the folders that fetch-model makes.
pub fn model_dir() -> PathBuf {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models");
    let candidates = match std::env::var_os("LOCKSTEP_TEST_MODEL") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => vec![models.join("SmolLM2-135M-Instruct-q4_1"), models.join("SmolLM2-135M-Instruct")],
    };
    candidates.iter().find(|folder| folder.join("tokenizer.json").is_file()).cloned().unwrap_or_else(|| {
        panic!("no tokenizer.json in any of {candidates:?}; run `cargo run --release -p tools -- fetch-model` first")
    })
}

pub static JSON: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read(model_dir().join("tokenizer.json")).expect("tokenizer.json can be read"));

pub static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::from_json(&JSON).expect("the model's tokenizer.json is supported"));
