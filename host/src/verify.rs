//! `lockstep verify`: computes again what a receipt tells.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use kernel::Exec;
use kernel::model::{Model, Sequence};
use kernel::transcript::Identity;
use serde::Serialize;
use session::receipt::{Given, Progress, Receipt, SignatureState, Verdict, Verification};

use crate::data::{lines, one_text};
use crate::keys::public_key;
use crate::open::{OpenError, Opened};
use crate::prompt::messages_ids;
use crate::terminal::print_json;
use crate::{Failure, cli, memory, receipt, terminal};

/// The exit code of a missing or bad signature, where one is asked for.
const BAD_SIGNATURE: u8 = 6;

/// What `verify --json` prints.
#[derive(Serialize)]
struct Report {
    /// MATCH, MISMATCH, CANNOT_VERIFY or MALFORMED.
    verdict: &'static str,
    /// The first step that is not as the receipt says, where it is a step.
    step: Option<u64>,
    why: Option<String>,
    signature: Signature,
    /// `generation`, `training`, `scoring` or `aggregation`.
    kind: Option<&'static str>,
    /// The steps that the receipt tells of; of a scoring the lines, of an aggregation the clients.
    steps: Option<usize>,
    backend: &'static str,
    threads: usize,
    timings: Timings,
}

/// What the signature is; it says nothing about the computation.
#[derive(Serialize)]
struct Signature {
    /// none, valid or invalid.
    state: &'static str,
    /// Whose it is.
    public_key: Option<String>,
    /// Whether it is one of the key that --require-signature names; null without that flag.
    is_required: Option<bool>,
}

#[derive(Serialize, Default)]
struct Timings {
    /// Milliseconds to hash the weights.
    hash_ms: f64,
    /// Milliseconds to compute everything again.
    verify_ms: f64,
}

/// Runs the command: the verdict on stdout, and as exit code 0, 3, 4 or 5; or 6 if the signature is not the required one,
/// whatever the verdict.
///
/// # Errors
/// If the receipt or what was given with it cannot be read, or stdout cannot be written.
pub fn verify(arguments: cli::Verify) -> Result<ExitCode, Failure> {
    let required = arguments.require_signature.as_deref().map(public_key).transpose()?;
    let bytes = receipt::read(&arguments.receipt)?;
    let receipt = Receipt::from_json(&bytes).map_err(Verdict::from);
    let signature = receipt.as_ref().map_or(SignatureState::None, Receipt::signature_state);
    let is_required = required.map(|key| signature == SignatureState::Valid(key));
    let mut timings = Timings::default();
    let verdict = match &receipt {
        Err(verdict) => verdict.clone(),
        Ok(receipt) => compute(&arguments, receipt, &mut timings)?,
    };
    let report = Report {
        verdict: verdict.word(),
        step: verdict.step(),
        why: verdict.why().map(String::from),
        signature: Signature {
            state: signature.word(),
            public_key: signature.public_key().map(|key| key.digits()),
            is_required,
        },
        kind: receipt.as_ref().ok().map(Receipt::kind),
        steps: receipt.as_ref().ok().map(Receipt::steps),
        backend: arguments.model.backend.name(),
        threads: arguments.threads.count(),
        timings,
    };
    if arguments.json {
        print_json(&report)?
    } else {
        print(&report)?
    }
    // Of what is no receipt there is nothing that could be signed.
    let refused = receipt.is_ok() && is_required == Some(false);
    Ok(ExitCode::from(if refused { BAD_SIGNATURE } else { code(&verdict) }))
}

fn code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Match => 0,
        Verdict::Mismatch { .. } => 3,
        Verdict::CannotVerify { .. } => 4,
        Verdict::Malformed { .. } => 5,
    }
}

fn compute(arguments: &cli::Verify, receipt: &Receipt, timings: &mut Timings) -> Result<Verdict, Failure> {
    let (opened, adapters) = match open(arguments, receipt) {
        Ok(opened) => opened,
        Err(error) => return Ok(Verdict::CannotVerify { why: error.to_string() }),
    };
    let start = Instant::now();
    let identity = opened.identity(opened.checkpoint.digest());
    timings.hash_ms = start.elapsed().as_secs_f64() * 1e3;
    let pool = arguments.threads.pool()?;
    let exec = arguments.model.exec(&pool);
    let given = given(arguments, &opened, adapters)?;
    let start = Instant::now();
    let verdict = recompute(&opened, exec, receipt, &identity, given);
    timings.verify_ms = start.elapsed().as_secs_f64() * 1e3;
    Ok(verdict)
}

/// Computes what a receipt tells with the model `opened`, of which `identity` has the digests.
pub fn recompute(opened: &Opened, exec: Exec<'_>, receipt: &Receipt, identity: &Identity, given: Given) -> Verdict {
    let reserve = |bytes| memory::require("this training", bytes, Vec::new()).map_err(|error| error.to_string());
    let mut verification = match Verification::begin(receipt, &opened.model, identity, given, &reserve) {
        Ok(verification) => verification,
        Err(verdict) => return verdict,
    };
    let bar = terminal::bar(0, "{bar:30} {pos}/{len}, {eta} left");
    loop {
        match verification.advance(&opened.model, &opened.tokenizer, exec) {
            Progress::Going { done, total } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Progress::Done(verdict) => {
                bar.finish_and_clear();
                return verdict;
            }
        }
    }
}

/// The model, with the adapter that a generation or a training is of; of an aggregation the base model, and beside it the models
/// with the adapters of its clients.
fn open(arguments: &cli::Verify, receipt: &Receipt) -> Result<(Opened, Vec<Model>), OpenError> {
    let opened = arguments.model.open(arguments.context)?;
    match &arguments.adapters[..] {
        [] => Ok((opened, Vec::new())),
        [one] if receipt.aggregation.is_none() => Ok((opened.with_adapter(one)?, Vec::new())),
        [_, _, ..] if receipt.aggregation.is_none() => Err(OpenError::Adapters),
        several => {
            let adapters = several.iter().map(|dir| opened.adapted(dir)).collect::<Result<_, _>>()?;
            Ok((opened, adapters))
        }
    }
}

/// What a receipt leaves out.
fn given(arguments: &cli::Verify, opened: &Opened, adapters: Vec<Model>) -> Result<Given, Failure> {
    let cli::Missing { prompt, prompt_ids, messages, text, data } = &arguments.missing;
    let encode = |text: &String| opened.tokenizer.encode(text, arguments.special.mode());
    let data: Option<Vec<Sequence>> = match (text, data) {
        (Some(text), _) => Some(vec![one_text(text, arguments.special, opened)?]),
        (None, Some(path)) => Some(lines(path, arguments.special, arguments.truncate, opened)?),
        (None, None) => None,
    };
    let prompt = match messages {
        Some(file) => Some(messages_ids(file, opened)?),
        None => prompt_ids.clone().or_else(|| prompt.as_ref().map(encode)),
    };
    let (output, step_by_step) = (arguments.output_ids.clone(), arguments.step_by_step);
    Ok(Given { prompt, output, data, adapters, step_by_step })
}

fn print(report: &Report) -> io::Result<()> {
    let mut stdout = io::stdout();
    write!(stdout, "{}", report.verdict)?;
    if let Some(step) = report.step {
        write!(stdout, " at step {step}")?;
    }
    match (&report.why, report.kind, report.steps) {
        (Some(why), ..) => writeln!(stdout, ": {}", terminal::line(why))?,
        (None, Some(kind), Some(steps)) => {
            let parts = match kind {
                "scoring" => "lines",
                "aggregation" => "clients",
                _ => "steps",
            };
            writeln!(stdout, ": {kind}, {steps} {parts}")?;
        }
        _ => writeln!(stdout)?,
    }
    match (report.signature.state, &report.signature.public_key) {
        ("valid", Some(key)) => writeln!(stdout, "signed by {key}")?,
        ("invalid", Some(key)) => writeln!(stdout, "the signature is not one of {key}")?,
        _ => writeln!(stdout, "not signed")?,
    }
    match report.signature.is_required {
        Some(false) => writeln!(stdout, "REFUSED: it has no valid signature of the key that --require-signature names"),
        _ => Ok(()),
    }
}
