//! The parts of a measurement: runs our programs and those of the peers, and puts their figures side by side.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::MeasureError;
use super::peers::Peers;
use super::report::{Figure, Unit};
use crate::bundle::walk;
use crate::file::{FileError, at};
use crate::process::{self, field};
use crate::test::{self, Browser};
use crate::workspace::{self, Workspace};

/// Bytes of the text that tokenizers encode.
const TEXT: usize = 6_000_000;

/// The key that a figure of ours is compared with, and what that is.
type Base = Option<(&'static str, &'static str)>;

/// Key of `lockstep bench`, what it is, and the key whose figure with the same threads is the base of a comparison.
const NATIVE: [(&str, &str, Unit, Base); 8] = [
    ("decode_tokens_per_second", "decode, 64 tokens", Unit::Tokens, None),
    (
        "decode_eight_tokens_per_second",
        "decode, 8 texts together",
        Unit::Tokens,
        Some(("decode_tokens_per_second", "ours, one text")),
    ),
    ("decode_short_tokens_per_second", "decode at position 16", Unit::Tokens, None),
    (
        "decode_long_tokens_per_second",
        "decode at position 4,000",
        Unit::Tokens,
        Some(("decode_short_tokens_per_second", "ours at position 16")),
    ),
    ("prefill_tokens_per_second", "prefill, 256 tokens", Unit::Tokens, None),
    (
        "prefill_long_tokens_per_second",
        "prefill, 2,048 tokens",
        Unit::Tokens,
        Some(("prefill_tokens_per_second", "ours, 256 tokens")),
    ),
    ("train_step_ms", "step of SGD, 11 tokens", Unit::Milliseconds, None),
    ("train_long_step_ms", "step of SGD, 256 tokens", Unit::Milliseconds, None),
];

/// `lockstep bench` with one thread and one per core, against llama.cpp, candle and PyTorch.
///
/// # Errors
/// If a program fails or answers something else than expected.
pub fn native(workspace: &Workspace, model: &Path, peers: Option<&Peers>) -> Result<Vec<Figure>, MeasureError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if cores > 1 { format!("1,{cores}") } else { "1".into() };
    let mut bench = Command::new(workspace.lockstep());
    let answer = lines(bench.args(["bench", "--json", "--threads", &threads, "--model"]).arg(model))?;
    let ours: Vec<Value> = answer.first().and_then(|report| report["results"].as_array()).cloned().unwrap_or_default();
    let mut theirs = Vec::new();
    if let Some(peers) = peers {
        let all = "decode,decode-eight,decode-short,decode-long,prefill,prefill-long";
        for (kind, parts) in [("bf16", all), ("f32", "prefill")] {
            let file = peers.gguf_file(kind);
            peers.gguf(kind, &file)?;
            let llama = lines(peers.script("llama.py").arg(file).args([&threads, parts]))?;
            theirs.push((format!("llama.cpp {kind}"), llama));
        }
        let mut candle = Vec::new();
        for threads in threads.split(',') {
            candle.extend(lines(&mut peers.candle(threads)?)?);
        }
        theirs.push(("candle f32".into(), candle));
        theirs.push(("PyTorch f32".into(), lines(peers.script("torch_train.py").arg(&threads).arg(model))?));
    }
    compared(&ours, &theirs)
}

/// Each figure of ours, against each peer that has it too, and against ours that it is to be compared with.
fn compared(ours: &[Value], peers: &[(String, Vec<Value>)]) -> Result<Vec<Figure>, MeasureError> {
    let mut figures = Vec::new();
    for (key, what, unit, base) in NATIVE {
        for row in ours {
            let threads = number(row, "threads")?;
            let ours_here = number(row, key)?;
            let alike = |rows: &[Value]| rows.iter().find(|row| row["threads"].as_f64() == Some(threads)).cloned();
            let mut found: Vec<(String, f64)> =
                peers.iter().filter_map(|(name, rows)| Some((name.clone(), alike(rows)?[key].as_f64()?))).collect();
            if let Some((base, name)) = base {
                found.push((name.into(), number(row, base)?));
            }
            match ours.first() {
                Some(first) if threads > 1.0 => found.push(("ours, 1 thread".into(), number(first, key)?)),
                _ => {}
            }
            figures.extend(Figure::against(format!("{what}, {}", of_threads(threads)), unit, ours_here, found));
        }
    }
    if figures.is_empty() { Err(MeasureError::Answer("lockstep bench", "results")) } else { Ok(figures) }
}

/// Our tokenizer, against tiktoken and Hugging Face's, on one thread and the same text: sources and documents of this repository.
///
/// # Errors
/// If a program fails or answers something else than expected.
pub fn tokenizer(workspace: &Workspace, model: &Path, peers: Option<&Peers>) -> Result<Vec<Figure>, MeasureError> {
    let folder = workspace.target.join("measure");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let file = folder.join("text.txt");
    let text = sources(&workspace.root)?;
    fs::write(&file, text.repeat(TEXT.div_ceil(text.len().max(1)))).map_err(at(&file))?;
    let mut bench = workspace::cargo();
    bench.args(["bench", "--quiet", "-p", "bpe", "--bench", "throughput", "--"]).arg(model).arg(&file);
    let said = captured(bench.current_dir(&workspace.root))?;
    let speed = field(&said, "encode").and_then(|speed| speed.split(' ').next()?.parse().ok());
    let ours: f64 = speed.ok_or(MeasureError::Answer("the tokenizer's benchmark", "encode"))?;
    let theirs = match peers {
        Some(peers) => lines(peers.script("tokenizers_speed.py").arg(model).arg(&file))?,
        None => Vec::new(),
    };
    let speed = |row: &Value| Ok((row["peer"].as_str().unwrap_or_default().to_owned(), number(row, "mb_per_second")?));
    let theirs = theirs.iter().map(speed).collect::<Result<_, MeasureError>>()?;
    Ok(Figure::against("tokenizer, 1 thread".into(), Unit::Megabytes, ours, theirs))
}

/// All Rust sources and documents.
fn sources(root: &Path) -> Result<String, FileError> {
    let mut files = Vec::new();
    for name in ["bpe", "browser", "docs", "host", "kernel", "loader", "tools"] {
        let folder = root.join(name);
        files.extend(walk(&folder, &["node_modules"]).map_err(at(&folder))?);
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "rs" || end == "md"));
    let read = |file: &std::path::PathBuf| fs::read_to_string(file).map_err(at(file));
    files.iter().map(read).collect()
}

/// The engine in Chromium and Firefox, Chromium's against wllama and transformers.js.
///
/// # Errors
/// If a program fails or answers something else than expected.
pub fn browser(workspace: &Workspace, peers: Option<&Peers>) -> Result<Vec<Figure>, MeasureError> {
    let ours = lines(&mut test::speed(workspace, &[Browser::Chromium, Browser::Firefox], "measure.mjs")?)?;
    let theirs = match peers {
        Some(peers) => {
            let web = peers.web()?;
            let mut command = test::speed(workspace, &[Browser::Chromium], "peers.mjs")?;
            lines(command.env("LOCKSTEP_MEASURE_PEERS", web))?
        }
        None => Vec::new(),
    };
    let mut figures = Vec::new();
    for row in &ours {
        let (browser, threads) = (row["browser"].as_str().unwrap_or_default(), number(row, "threads")?);
        for key in ["decode", "prefill"] {
            let mut found = Vec::new();
            for peer in theirs.iter().filter(|peer| browser == "chromium" && peer["threads"] == row["threads"]) {
                found.push((peer["engine"].as_str().unwrap_or_default().to_owned(), number(peer, key)?));
            }
            for other in ours.iter().filter(|other| other["browser"] == row["browser"] && threads > 1.0) {
                if other["threads"].as_f64() == Some(1.0) {
                    found.push(("ours, 1 thread".to_owned(), number(other, key)?));
                }
            }
            for chromium in ours.iter().filter(|other| browser != "chromium" && other["threads"] == row["threads"]) {
                if chromium["browser"] == "chromium" {
                    found.push(("ours in chromium".to_owned(), number(chromium, key)?));
                }
            }
            let tokens = if key == "decode" { "64 tokens" } else { "256 tokens" };
            let what = format!("{browser}, {key}, {tokens}, {}", of_threads(threads));
            figures.extend(Figure::against(what, Unit::Tokens, number(row, key)?, found));
        }
    }
    Ok(figures)
}

/// What the benchmark of the kernel's operators prints.
///
/// # Errors
/// If it fails.
pub fn operators(workspace: &Workspace) -> Result<String, MeasureError> {
    let mut bench = workspace::cargo();
    bench.args(["bench", "--quiet", "-p", "kernel", "--bench", "throughput"]);
    captured(bench.current_dir(&workspace.root))
}

/// The output of a program that takes a while.
fn captured(command: &mut Command) -> Result<String, MeasureError> {
    eprintln!("$ {}", process::line(command));
    Ok(process::capture(command)?)
}

/// The lines of JSON that a program prints.
fn lines(command: &mut Command) -> Result<Vec<Value>, MeasureError> {
    let said = captured(command)?;
    let line = process::line(command);
    let wrong = |_| MeasureError::Said { line: line.clone(), said: said.clone() };
    said.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).map_err(wrong)).collect()
}

fn of_threads(count: f64) -> String {
    if count == 1.0 { "1 thread".into() } else { format!("{count} threads") }
}

fn number(row: &Value, key: &'static str) -> Result<f64, MeasureError> {
    row[key].as_f64().ok_or(MeasureError::Answer("a line of figures", key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_with_the_same_threads_are_compared() {
        let row = |threads: usize, value: f64| {
            let mut row = json!({"threads": threads});
            NATIVE.iter().for_each(|(key, ..)| row[*key] = value.into());
            row
        };
        let theirs = vec![json!({"threads": 2, "train_step_ms": 30.0})];
        let figures = compared(&[row(1, 10.0), row(2, 15.0)], &[("P".into(), theirs)]).unwrap();
        let of = |what: &str| -> Vec<_> {
            figures.iter().filter(|figure| figure.what == what).map(|figure| figure.peer.clone()).collect()
        };
        assert_eq!(of("step of SGD, 11 tokens, 1 thread"), [None]);
        let two = of("step of SGD, 11 tokens, 2 threads");
        assert_eq!(two, [Some(("P".into(), 30.0)), Some(("ours, 1 thread".into(), 10.0))]);
        assert_eq!(of("decode at position 4,000, 1 thread"), [Some(("ours at position 16".into(), 10.0))]);
        assert!(compared(&[], &[]).is_err());
        assert!(compared(&[json!({"threads": 1})], &[]).is_err());
    }
}
