//! How fast a tokenizer is read and how fast it encodes, on one thread:
//! `cargo bench -p bpe --bench throughput [-- MODEL_DIR [TEXT_FILE]]`.
//!
//! Without a text file: the sources and documents of this repository, over and over up to 6 MB. Texts are encoded in
//! documents of 4,000 characters, the best of a few passes counts.

use bpe::{Special, Tokenizer};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const BYTES: usize = 6_000_000;
const DOCUMENT: usize = 4_000;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let model = arguments.next().map_or_else(|| root.join("models/SmolLM2-135M-Instruct"), Into::into);
    let json = std::fs::read(model.join("tokenizer.json"))?;
    let text = match arguments.next() {
        Some(file) => String::from_utf8_lossy(&std::fs::read(file)?).into_owned(),
        None => sources(&root)?,
    };
    let (load, tokenizer) = best(|| Tokenizer::from_json(&json));
    let tokenizer = tokenizer?;
    println!("load: {:.1} ms", load.as_secs_f64() * 1e3);

    let characters: Vec<char> = text.chars().collect();
    let documents: Vec<String> = characters.chunks(DOCUMENT).map(|document| document.iter().collect()).collect();
    let count = || documents.iter().map(|document| tokenizer.encode(document, Special::Plain).len()).sum::<usize>();
    let (encode, tokens) = best(count);
    let speed = text.len() as f64 / encode.as_secs_f64() / 1e6;
    println!("encode: {speed:.1} MB/s ({} bytes, {tokens} tokens)", text.len());
    let (encode, tokens) = best(|| tokenizer.encode(&text, Special::Plain).len());
    println!("encode, one document: {:.1} MB/s ({tokens} tokens)", text.len() as f64 / encode.as_secs_f64() / 1e6);
    Ok(())
}

/// The shortest time of some calls, and the last result.
fn best<T>(mut f: impl FnMut() -> T) -> (Duration, T) {
    let start = Instant::now();
    let mut shortest = Duration::MAX;
    loop {
        let call = Instant::now();
        let result = f();
        shortest = shortest.min(call.elapsed());
        if start.elapsed() > Duration::from_secs(2) {
            return (shortest, result);
        }
    }
}

/// Rust sources and Markdown of the repository, repeated.
fn sources(root: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    let mut folders: Vec<_> = ["bpe", "docs", "host", "kernel", "loader"].iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
                text.push_str(&std::fs::read_to_string(path)?);
            }
        }
    }
    if text.is_empty() {
        return Err("no sources in the repository".into());
    }
    Ok(text.repeat(BYTES.div_ceil(text.len())))
}
