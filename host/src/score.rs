//! `lockstep score`: how likely the tokens of given texts are.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;
use kernel::Exec;
use kernel::model::{Model, Sequence};
use kernel::score::{ScoreError, Scores, Scoring, check};
use kernel::transcript::{PROFILE, data_digest, hex, scoring_transcript};
use loader::SafeFile;
use serde::Serialize;
use session::receipt::{Bits32, Receipt, ScoringTerms};

use crate::data::{is_same_file, lines};
use crate::receipt::{Issue, IssueError};
use crate::terminal::{bar, print_json};
use crate::{Failure, Outcome, cli};

/// What is told of a line.
#[derive(Serialize)]
struct Line<'a> {
    /// Its number, from 1.
    line: usize,
    token_ids: &'a [u32],
    /// For each token its log-probability in nats, null where it was not scored.
    logprobs: Vec<Option<f32>>,
    /// Their bits.
    logprob_bits: Vec<Option<Bits32>>,
    /// How many were scored.
    tokens: usize,
    /// The sum of the log-probabilities, by the contract.
    sum: f32,
    sum_bits: Bits32,
    /// Whether each scored token is the most likely one.
    greedy: bool,
    /// The digest of the logits of the scored tokens, one row after another.
    logits_sha256: String,
}

/// What is told at the end.
#[derive(Serialize)]
struct Summary {
    lines: usize,
    /// How many tokens were scored.
    tokens: usize,
    /// The sum of the lines' sums, in the order of the file.
    sum: f32,
    sum_bits: Bits32,
    /// How many lines are what greedy choice says.
    greedy: usize,
    model: String,
    profile: &'static str,
    weights_sha256: String,
    /// The digest of the adapter, where there is one.
    adapter_sha256: Option<String>,
    tokenizer_sha256: String,
    data_sha256: String,
    transcript_sha256: String,
    backend: &'static str,
    threads: usize,
    /// Milliseconds that the scoring took.
    score_ms: f64,
}

/// Runs the command: the lines, in a file or on stdout, and what they are together.
///
/// # Errors
/// If the model cannot be opened, a line cannot be scored (its number is told, before anything is computed), or a file
/// cannot be written.
pub fn score(arguments: cli::Score) -> Outcome {
    let opened = arguments.compute.open()?;
    let data = lines(&arguments.data, arguments.special, arguments.truncate, &opened)?;
    let at = |line: usize| {
        let path = arguments.data.display().to_string();
        move |error: ScoreError| format!("{path}: line {line}: {error}")
    };
    for (sequence, line) in data.iter().zip(1..) {
        check(&opened.model, sequence).map_err(at(line))?;
    }
    let issue = Issue::new(&arguments.receipt)?;
    if let Some(issue) = &issue {
        Receipt::check_scoring_limits(&data, issue.private).map_err(IssueError::Receipt)?;
    }
    let mut sink = Sink::new(&arguments)?;
    let digest = opened.weights_digest();
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);

    let start = Instant::now();
    let length: usize = data.iter().map(|sequence| sequence.tokens.len()).sum();
    let bar = bar(length as u64, "{bar:30} {pos}/{len} tokens, {eta} left");
    let (mut scores, mut scoring): (Vec<Scores>, Option<Scoring>) = (Vec::new(), None);
    for (sequence, line) in data.iter().zip(1..) {
        let scored = scored(&opened.model, exec, sequence, &mut scoring, &bar).map_err(at(line))?;
        bar.suspend(|| sink.line(line, sequence, &scored))?;
        // What the line had is written; the rest needs the sums alone.
        scores.push(Scores { log_probabilities: Vec::new(), ..scored });
    }
    bar.finish_and_clear();
    let score_ms = start.elapsed().as_secs_f64() * 1e3;

    let weights = digest.finish()?;
    let identity = opened.identity(weights);
    let data_sha256 = data_digest(&data);
    let sum = scores.iter().fold(0.0, |sum, scores| sum + scores.sum); // N6
    let summary = Summary {
        lines: data.len(),
        tokens: data.iter().map(Sequence::count).sum(),
        sum,
        sum_bits: sum.into(),
        greedy: scores.iter().filter(|scores| scores.greedy).count(),
        model: opened.name.clone(),
        profile: PROFILE,
        weights_sha256: hex(&identity.weights),
        adapter_sha256: identity.adapter.as_ref().map(hex),
        tokenizer_sha256: hex(&identity.tokenizer),
        data_sha256: hex(&data_sha256),
        transcript_sha256: hex(&scoring_transcript(&identity, &data_sha256, &scores)),
        backend: exec.backend.name(),
        threads: exec.pool.threads(),
        score_ms,
    };
    sink.finish()?;
    if let Some(issue) = issue {
        let terms = ScoringTerms { identity: &identity, data: &data, private: issue.private };
        issue.write(terms.receipt(&scores))?;
    }
    if arguments.json { print_json(&summary) } else { Ok(print(&summary)?) }
}

/// The scores of one line, after that of `before`.
fn scored(
    model: &Model,
    exec: Exec<'_>,
    sequence: &Sequence,
    before: &mut Option<Scoring>,
    bar: &ProgressBar,
) -> Result<Scores, ScoreError> {
    let start = bar.position();
    let scoring = match before {
        Some(scoring) => {
            scoring.next(model, sequence.clone())?;
            scoring
        }
        None => before.insert(Scoring::new(model, sequence.clone())?),
    };
    loop {
        if let Some(scores) = scoring.advance(model, exec)? {
            bar.set_position(start + sequence.tokens.len() as u64);
            return Ok(scores);
        }
        bar.set_position(start + scoring.progress().0 as u64);
    }
}

/// Where the lines go.
enum Sink {
    /// Whole or not at all.
    File { file: io::BufWriter<SafeFile>, path: PathBuf },
    /// As they come, as JSON or for people.
    Stdout { json: bool },
}

impl Sink {
    fn new(arguments: &cli::Score) -> Result<Sink, Failure> {
        let Some(path) = arguments.output.clone() else { return Ok(Sink::Stdout { json: arguments.json }) };
        if is_same_file(&path, &arguments.data) || path.is_dir() {
            return Err(format!("--output {}: name a file of its own", path.display()).into());
        }
        let file = SafeFile::create(&path).map_err(|error| unwritten(&path, error))?;
        Ok(Sink::File { file: io::BufWriter::new(file), path })
    }

    fn line(&mut self, line: usize, sequence: &Sequence, scores: &Scores) -> Outcome {
        let mut values = scores.log_probabilities.iter().copied();
        let marks = sequence.counted.iter().enumerate();
        let logprobs: Vec<Option<f32>> =
            marks.map(|(at, counts)| if at > 0 && *counts { values.next() } else { None }).collect();
        let told = Line {
            line,
            token_ids: &sequence.tokens,
            logprob_bits: logprobs.iter().map(|value| value.map(Bits32::from)).collect(),
            logprobs,
            tokens: scores.log_probabilities.len(),
            sum: scores.sum,
            sum_bits: scores.sum.into(),
            greedy: scores.greedy,
            logits_sha256: hex(&scores.logits_sha256),
        };
        match self {
            Sink::File { file, path } => {
                let json = serde_json::to_string(&told)?;
                Ok(writeln!(file, "{json}").map_err(|error| unwritten(path, error))?)
            }
            Sink::Stdout { json: true } => print_json(&told),
            Sink::Stdout { json: false } => {
                let greedy = if told.greedy { ", greedy" } else { "" };
                Ok(writeln!(io::stdout(), "line {line}: {}, {} tokens{greedy}", told.sum, told.tokens)?)
            }
        }
    }

    fn finish(self) -> Outcome {
        let Sink::File { file, path } = self else { return Ok(()) };
        let written = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(SafeFile::commit);
        Ok(written.map_err(|error| unwritten(&path, error))?)
    }
}

/// The message for a file that the system does not write.
fn unwritten(path: &Path, error: io::Error) -> String {
    format!("--output {}: {error}", path.display())
}

/// The end, for people; the perplexity is no number of the contract.
fn print(summary: &Summary) -> io::Result<()> {
    let Summary { lines, tokens, sum, greedy, .. } = summary;
    let perplexity = (-f64::from(*sum) / *tokens as f64).exp();
    writeln!(io::stdout(), "all: {sum}, {tokens} tokens, {greedy} of {lines} lines greedy, perplexity {perplexity:.4}")
}
