//! `lockstep bench`: prefill and decode speed, for every number of threads.
//!
//! Prefill: 256 tokens until the first token is there. Decode: the 64 tokens that follow the first one after "Once upon a
//! time", with their digests, as a client gets them. The best of three runs counts: the others measure the neighbours.

use std::fmt::Write;
use std::io::Write as _;

use kernel::Exec;
use kernel::generate::{Generation, Request, Sampler};
use kernel::model::Model;
use kernel::transcript::{PROFILE, hex};
use serde::Serialize;

use crate::generate::print_json;
use crate::open::Opened;
use crate::pool::ThreadPool;
use crate::run::{Timings, run};
use crate::{Failure, Outcome, cli};

const PREFILL: usize = 256;
const DECODE: usize = 64;
const RUNS: usize = 3;
const PROMPT: &str = "Once upon a time";

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
    decode_tokens: usize,
    runs: usize,
    results: Vec<Measured>,
}

/// The best of some runs with one number of threads.
#[derive(Serialize)]
struct Measured {
    threads: usize,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
}

/// Runs the command: a table, or one JSON object, on stdout.
///
/// # Errors
/// If the model cannot be opened, or its context is shorter than what is measured.
pub fn bench(arguments: cli::Bench) -> Outcome {
    let opened = arguments.model.open(cli::Context::default())?;
    // Before the measurement, not beside it; it also brings the weights into memory.
    let weights = opened.weights_digest().join().map_err(|_| Failure::from("the weights could not be hashed"))?;
    let backend = arguments.model.backend;
    let cores = ThreadPool::cores();
    let counts = arguments.threads.map_or(1..=cores, |count| count..=count);
    let mut results = Vec::new();
    for threads in counts {
        let pool = ThreadPool::new(threads)?;
        results.push(measure(&opened, Exec { backend, pool: &pool }, threads)?);
    }
    let report = Report {
        model: opened.name,
        weights_sha256: hex(&weights),
        adapter_sha256: opened.adapter.as_ref().map(hex),
        profile: PROFILE,
        backend: backend.name(),
        cores,
        prefill_tokens: PREFILL,
        decode_tokens: DECODE,
        runs: RUNS,
        results,
    };
    if arguments.json { print_json(&report) } else { Ok(std::io::stdout().write_all(table(&report).as_bytes())?) }
}

fn measure(opened: &Opened, exec: Exec<'_>, threads: usize) -> Result<Measured, Failure> {
    let vocab = opened.model.config().vocab as u32;
    let long: Vec<u32> = (0..PREFILL as u32).map(|i| ((i * 37) % 40_000 + 20) % vocab).collect();
    let short = opened.tokenizer.encode(PROMPT, bpe::Special::Parse);
    let (mut prefill_ms, mut decode_ms) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        prefill_ms = prefill_ms.min(timings(&opened.model, exec, &long, 1)?.prompt_ms);
        decode_ms = decode_ms.min(timings(&opened.model, exec, &short, DECODE + 1)?.predicted_ms);
    }
    Ok(Measured {
        threads,
        prefill_tokens_per_second: PREFILL as f64 / prefill_ms * 1e3,
        decode_tokens_per_second: DECODE as f64 / decode_ms * 1e3,
    })
}

fn timings(model: &Model, exec: Exec<'_>, prompt: &[u32], max_tokens: usize) -> Result<Timings, Failure> {
    let request = Request { prompt: prompt.to_vec(), max_tokens, ignore_eos: true, sampler: Sampler::GREEDY };
    let mut generation = Generation::new(model, request)?;
    Ok(run(model, exec, &mut generation, |_| Ok(()))?.1)
}

fn table(report: &Report) -> String {
    let mut table = format!(
        "{} (weights {}), {}, {}, best of {RUNS}\n\nthreads  prefill {PREFILL} tok/s  decode {DECODE} tok/s\n",
        report.model,
        &report.weights_sha256[..16],
        report.backend,
        report.profile
    );
    for row in &report.results {
        let (prefill, decode) = (row.prefill_tokens_per_second, row.decode_tokens_per_second);
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{:>7}  {prefill:>17.1}  {decode:>15.1}", row.threads);
    }
    table
}
