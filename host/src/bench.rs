//! `lockstep bench`: the speed of prefill, decoding and training, for some numbers of threads.
//!
//! The best of a few runs counts: the others measure the neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use clap::ValueEnum;
use kernel::Exec;
use kernel::generate::{Generation, PREFILL_CHUNK, Request, Sampler, Turn, advance_each};
use kernel::model::{KvCache, Logits, Model, Sequence, Workspace};
use kernel::pool::ThreadPool;
use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer};
use kernel::transcript::{PROFILE, hex, logits_digest};
use serde::Serialize;
use session::memory::{Plan, training_bytes};
use session::{Continuation, Stop};

use crate::cli::Part;
use crate::open::Opened;
use crate::run::{Timings, never, run};
use crate::terminal::print_json;
use crate::{Failure, Outcome, cli, memory};

const RUNS: usize = 3;
const PROMPT: &str = "Once upon a time";
const PREFILL: usize = 256;
const PREFILL_LONG: usize = 2048;
const DECODE: usize = 64;
const EIGHT: usize = 8;
/// The tokens that are decoded around a position.
const WINDOW: usize = 16;
const SHORT: usize = 16;
const LONG: usize = 4000;
const TRAIN: usize = 11;
const TRAIN_LONG: usize = 256;
const SGD: Optimizer = Optimizer::Sgd { momentum: 0.0 };

/// What `bench --json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    weights_sha256: String,
    /// The digest of the adapter, where there is one.
    adapter_sha256: Option<String>,
    profile: &'static str,
    backend: &'static str,
    cores: usize,
    prefill_tokens: usize,
    prefill_long_tokens: usize,
    decode_tokens: usize,
    decode_short_position: usize,
    decode_long_position: usize,
    train_tokens: usize,
    train_long_tokens: usize,
    runs: usize,
    results: Vec<Measured>,
}

/// The best of some runs with one number of threads.
#[derive(Serialize)]
struct Measured {
    threads: usize,
    /// By [`Part::key`].
    #[serde(flatten)]
    figures: BTreeMap<&'static str, f64>,
}

impl Part {
    /// Its key in `bench --json`.
    fn key(self) -> &'static str {
        match self {
            Part::Prefill => "prefill_tokens_per_second",
            Part::PrefillLong => "prefill_long_tokens_per_second",
            Part::Decode => "decode_tokens_per_second",
            Part::DecodeEight => "decode_eight_tokens_per_second",
            Part::DecodeShort => "decode_short_tokens_per_second",
            Part::DecodeLong => "decode_long_tokens_per_second",
            Part::Train => "train_step_ms",
            Part::TrainLong => "train_long_step_ms",
        }
    }

    /// Its line in the table.
    fn title(self) -> String {
        match self {
            Part::Prefill => format!("prefill, {PREFILL} tokens, tok/s"),
            Part::PrefillLong => format!("prefill, {PREFILL_LONG} tokens, tok/s"),
            Part::Decode => format!("decode, {DECODE} tokens, tok/s"),
            Part::DecodeEight => format!("decode, {EIGHT} texts of {DECODE}, tok/s"),
            Part::DecodeShort => format!("decode at position {SHORT}, tok/s"),
            Part::DecodeLong => format!("decode at position {LONG}, tok/s"),
            Part::Train => format!("train step, {TRAIN} tokens, ms"),
            Part::TrainLong => format!("train step, {TRAIN_LONG} tokens, ms"),
        }
    }

    /// How many positions it needs.
    fn positions(self) -> usize {
        match self {
            Part::Prefill => PREFILL + 1,
            Part::PrefillLong => PREFILL_LONG + 1,
            Part::Decode | Part::DecodeEight => PROMPT.len() + DECODE + 1,
            Part::DecodeShort => SHORT + WINDOW / 2,
            Part::DecodeLong => LONG + WINDOW / 2,
            Part::Train => TRAIN,
            Part::TrainLong => TRAIN_LONG,
        }
    }

    /// The best of some runs: tokens per second, or milliseconds a step.
    fn measure(self, opened: &Opened, exec: Exec<'_>) -> Result<f64, Failure> {
        let model = &opened.model;
        match self {
            Part::Prefill => prefill(opened, exec, PREFILL),
            Part::PrefillLong => prefill(opened, exec, PREFILL_LONG),
            Part::Decode => decode(opened, exec),
            Part::DecodeEight => decode_eight(opened, exec),
            Part::DecodeShort => decode_at(model, exec, SHORT),
            Part::DecodeLong => decode_at(model, exec, LONG),
            Part::Train => train_step(model, exec, TRAIN),
            Part::TrainLong => train_step(model, exec, TRAIN_LONG),
        }
    }
}

/// Runs the command: a table, or one JSON object, on stdout.
///
/// # Errors
/// If the model cannot be opened, its context is shorter than what was asked for by name, or the memory does not suffice.
pub fn bench(arguments: cli::Bench) -> Outcome {
    let opened = arguments.model.open(cli::Context::default())?;
    let parts = parts(&arguments.only, opened.model.config().context)?;
    // Before the measurement, not beside it; it also brings the weights into memory.
    let weights = opened.checkpoint.digest();
    let backend = arguments.model.base.backend;
    let cores = ThreadPool::cores();
    let mut results = Vec::new();
    for threads in thread_counts(&arguments.threads, cores) {
        let pool = ThreadPool::new(threads)?;
        let exec = Exec { backend, pool: &pool };
        let figure = |part: &Part| Ok((part.key(), part.measure(&opened, exec)?));
        results.push(Measured { threads, figures: parts.iter().map(figure).collect::<Result<_, Failure>>()? });
    }
    let report = Report {
        model: opened.name,
        weights_sha256: hex(&weights),
        adapter_sha256: opened.adapter.as_ref().map(hex),
        profile: PROFILE,
        backend: backend.name(),
        cores,
        prefill_tokens: PREFILL,
        prefill_long_tokens: PREFILL_LONG,
        decode_tokens: DECODE,
        decode_short_position: SHORT,
        decode_long_position: LONG,
        train_tokens: TRAIN,
        train_long_tokens: TRAIN_LONG,
        runs: RUNS,
        results,
    };
    if arguments.json {
        print_json(&report)
    } else {
        Ok(std::io::stdout().write_all(table(&report, &parts).as_bytes())?)
    }
}

/// What was asked for, each once and in one order, or all that the context suffices for.
fn parts(only: &[Part], context: usize) -> Result<BTreeSet<Part>, Failure> {
    match only.iter().find(|part| part.positions() > context) {
        Some(part) => {
            let (title, needed) = (part.title(), part.positions());
            Err(format!("\"{title}\" takes {needed} positions, and the model has {context}: leave it out of --only")
                .into())
        }
        None if only.is_empty() => {
            Ok(Part::value_variants().iter().copied().filter(|part| part.positions() <= context).collect())
        }
        None => Ok(only.iter().copied().collect()),
    }
}

/// What was asked for, or 1, 2, 4, ... and one per core.
fn thread_counts(asked: &[usize], cores: usize) -> Vec<usize> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let doubled = std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|count| *count < cores);
    doubled.chain([cores]).collect()
}

/// The speed until the first token is there.
fn prefill(opened: &Opened, exec: Exec<'_>, tokens: usize) -> Result<f64, Failure> {
    let prompt = ids(&opened.model, tokens);
    let milliseconds = best(|| Ok(timings(opened, exec, &prompt, 1)?.prompt_ms))?;
    Ok(tokens as f64 / milliseconds * 1e3)
}

/// The speed of the tokens after the first one, as a client gets them.
fn decode(opened: &Opened, exec: Exec<'_>) -> Result<f64, Failure> {
    let prompt = opened.tokenizer.encode(PROMPT, bpe::Special::Parse);
    let milliseconds = best(|| Ok(timings(opened, exec, &prompt, DECODE + 1)?.predicted_ms))?;
    Ok(DECODE as f64 / milliseconds * 1e3)
}

/// The speed of the tokens after the first ones of texts that advance together, all of them counted.
fn decode_eight(opened: &Opened, exec: Exec<'_>) -> Result<f64, Failure> {
    let prompt = opened.tokenizer.encode(PROMPT, bpe::Special::Parse);
    let (model, mut workspace) = (&opened.model, Workspace::default());
    let milliseconds = best(|| {
        let generation = || Generation::new(model, request(&prompt, DECODE + 1));
        let mut generations = (0..EIGHT).map(|_| generation()).collect::<Result<Vec<_>, _>>()?;
        let mut advance = || {
            let turn = |generation| Turn { generation, most: PREFILL_CHUNK };
            let mut turns: Vec<Turn<'_>> = generations.iter_mut().map(turn).collect();
            advance_each(model, exec, &mut turns, &mut workspace)
                .into_iter()
                .try_for_each(|progress| progress.map(|_| ()))
        };
        advance()?;
        let begin = Instant::now();
        (0..DECODE).try_for_each(|_| advance())?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    })?;
    Ok((EIGHT * DECODE) as f64 / milliseconds * 1e3)
}

/// The speed of tokens around a position, each with the digest of its logits. The prompt is read once.
fn decode_at(model: &Model, exec: Exec<'_>, position: usize) -> Result<f64, Failure> {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    let start = position - WINDOW / 2;
    let ids = ids(model, start + WINDOW);
    for chunk in ids[..start].chunks(PREFILL_CHUNK) {
        model.forward(exec, &mut cache, chunk, Logits::None, &mut workspace)?;
    }
    let milliseconds = best(|| {
        cache.truncate(start);
        let begin = Instant::now();
        for token in ids[start..].chunks(1) {
            model.forward(exec, &mut cache, token, Logits::Last, &mut workspace)?;
            black_box(logits_digest(workspace.logits()));
        }
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    })?;
    Ok(WINDOW as f64 / milliseconds * 1e3)
}

/// The milliseconds of a step of SGD.
fn train_step(model: &Model, exec: Exec<'_>, tokens: usize) -> Result<f64, Failure> {
    let adapter = model.adapter();
    let plan = Plan { tokens, optimizer: SGD, recompute: false, hold_gradients: false, adapter };
    let advice = vec!["--only prefill,decode"];
    memory::require("the step of training that is measured", training_bytes(model.config(), plan), advice)?;
    let schedule = Schedule { learning_rate: 0.001, warmup: 0, cosine_steps: None };
    let options = TrainOptions { optimizer: SGD, schedule, clip_norm: None, recompute: false };
    let mut trainer = Trainer::new(model, options);
    let batch = [Sequence::new(ids(model, tokens))];
    best(|| {
        let begin = Instant::now();
        trainer.step(exec, &batch)?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    })
}

/// Token ids of no particular text.
fn ids(model: &Model, count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| ((i * 37) % 40_000 + 20) % model.config().vocab as u32).collect()
}

/// The least of some runs.
fn best(mut milliseconds: impl FnMut() -> Result<f64, Failure>) -> Result<f64, Failure> {
    (0..RUNS).try_fold(f64::INFINITY, |least, _| Ok(least.min(milliseconds()?)))
}

fn timings(opened: &Opened, exec: Exec<'_>, prompt: &[u32], max_tokens: usize) -> Result<Timings, Failure> {
    let mut text = Continuation::new(&opened.model, request(prompt, max_tokens), Stop::default())?;
    Ok(run(opened, exec, &mut text, never, |_, _| Ok(()))?.1)
}

fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request { prompt: prompt.to_vec(), max_tokens, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None }
}

/// A line for each part, a column for each number of threads.
fn table(report: &Report, parts: &BTreeSet<Part>) -> String {
    let Report { model, weights_sha256, backend, profile, results, .. } = report;
    let mut table = format!("{model} (weights {}), {backend}, {profile}, best of {RUNS}\n\n", &weights_sha256[..16]);
    // Writing to a String cannot fail.
    let _ = write!(table, "{:<32}", "threads");
    results.iter().for_each(|row| _ = write!(table, "{:>10}", row.threads));
    for part in parts {
        let _ = write!(table, "\n{:<32}", part.title());
        results.iter().for_each(|row| _ = write!(table, "{:>10.1}", row.figures[part.key()]));
    }
    table + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_those_asked_for_or_double_up_to_the_cores() {
        assert_eq!(thread_counts(&[3, 1], 8), [3, 1]);
        assert_eq!(thread_counts(&[], 1), [1]);
        assert_eq!(thread_counts(&[], 2), [1, 2]);
        assert_eq!(thread_counts(&[], 6), [1, 2, 4, 6]);
    }

    #[test]
    fn a_short_context_leaves_out_what_does_not_fit_unless_it_is_asked_for() {
        let all: Vec<Part> = parts(&[], 8192).unwrap().into_iter().collect();
        assert_eq!(all, Part::value_variants());
        let few: Vec<Part> = parts(&[], 100).unwrap().into_iter().collect();
        assert_eq!(few, [Part::Decode, Part::DecodeEight, Part::DecodeShort, Part::Train]);
        assert_eq!(parts(&[Part::Train, Part::Train], 100).unwrap().len(), 1);
        let error = parts(&[Part::DecodeLong], 100).unwrap_err().to_string();
        assert!(error.contains("4008") && error.contains("100"), "{error}");
    }
}
