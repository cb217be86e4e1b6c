//! `lockstep generate`: continues a prompt.

use std::io::{self, IsTerminal, Write};

use kernel::Exec;
use kernel::generate::{FinishReason, Generation, Request};
use kernel::transcript::{Identity, PROFILE, hex, transcript};
use serde::Serialize;
use session::receipt::Receipt;
use session::{Continuation, Stop};

use crate::batch::batch;
use crate::open::Opened;
use crate::prompt::prompt_ids;
use crate::receipt::{Issue, IssueError};
use crate::run::{Timings, never, run};
use crate::terminal::{print_json, shown};
use crate::{Outcome, cli};

/// What `generate --json` prints, and what is known of it before anything is computed first.
#[derive(Serialize)]
pub struct Report {
    model: String,
    profile: &'static str,
    weights_sha256: String,
    /// The digest of the adapter, where there is one.
    adapter_sha256: Option<String>,
    tokenizer_sha256: String,
    prompt_token_ids: Vec<u32>,
    token_ids: Vec<u32>,
    /// The generated text, without the prompt.
    text: String,
    finish_reason: &'static str,
    /// One digest per generated token.
    logits_sha256: Vec<String>,
    transcript_sha256: String,
    backend: &'static str,
    threads: usize,
    timings: Timings,
}

/// Runs the command: the text, piece by piece, or one JSON object, on stdout.
///
/// # Errors
/// If the model cannot be opened, the prompt is empty, unknown to it or too long for its context, or a stop string is empty
/// or too long.
pub fn generate(mut arguments: cli::Generate) -> Outcome {
    if let (Some(input), Some(output)) = (arguments.batch.input.take(), arguments.batch.output.take()) {
        return batch(arguments, input, output);
    }
    let stop = Stop::new(arguments.stop)?;
    let opened = arguments.compute.open()?;
    let request = Request {
        prompt: prompt_ids(&arguments.prompt, &opened)?,
        max_tokens: arguments.max_tokens.get(),
        ignore_eos: arguments.ignore_eos,
        sampler: arguments.sampling.sampler()?,
        logprobs: None,
    };
    let text = Continuation::new(&opened.model, request, stop)?;
    let issue = Issue::new(&arguments.receipt)?;
    if issue.is_some() {
        Receipt::check_generation_limits(text.generation().request()).map_err(IssueError::Receipt)?;
    }
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);
    if arguments.json { report(&opened, exec, text, issue) } else { stream(&opened, exec, text, issue) }
}

/// Writes the receipt of a generation that has ended, if one is asked for.
fn write_receipt(opened: &Opened, identity: &Identity, text: &Continuation, issue: Option<Issue>) -> Outcome {
    let Some(issue) = issue else { return Ok(()) };
    let receipt = text.receipt(&opened.model, identity, issue.private);
    issue.write(receipt)
}

fn stream(opened: &Opened, exec: Exec<'_>, mut text: Continuation, issue: Option<Issue>) -> Outcome {
    let hashing = issue.is_some().then(|| opened.weights_digest());
    let mut stdout = io::stdout().lock();
    let terminal = stdout.is_terminal();
    run(opened, exec, &mut text, never, |_, piece| {
        stdout.write_all(shown(piece, terminal).as_bytes())?;
        Ok(stdout.flush()?)
    })?;
    // A prompt of the shell belongs on a line of its own; a file gets the text and nothing else.
    if terminal {
        writeln!(stdout)?;
    }
    match hashing {
        Some(hashing) => write_receipt(opened, &opened.identity(hashing.finish()?), &text, issue),
        None => Ok(()),
    }
}

fn report(opened: &Opened, exec: Exec<'_>, mut text: Continuation, issue: Option<Issue>) -> Outcome {
    let hashing = opened.weights_digest();
    let mut whole = String::new();
    let ended = run(opened, exec, &mut text, never, |_, piece| {
        whole.push_str(piece);
        Ok(())
    })?;
    let identity = opened.identity(hashing.finish()?);
    let mut report = Report::new(opened, &identity, exec, text.generation().prompt());
    report.end(&identity, text.generation(), whole, ended);
    print_json(&report)?;
    write_receipt(opened, &identity, &text, issue)
}

impl Report {
    /// What is known before anything is computed.
    pub fn new(opened: &Opened, identity: &Identity, exec: Exec<'_>, prompt: &[u32]) -> Report {
        Report {
            model: opened.name.clone(),
            profile: PROFILE,
            weights_sha256: hex(&identity.weights),
            adapter_sha256: identity.adapter.as_ref().map(hex),
            tokenizer_sha256: hex(&identity.tokenizer),
            prompt_token_ids: prompt.to_vec(),
            token_ids: Vec::new(),
            text: String::new(),
            finish_reason: "",
            logits_sha256: Vec::new(),
            transcript_sha256: String::new(),
            backend: exec.backend.name(),
            threads: exec.pool.threads(),
            timings: Timings::default(),
        }
    }

    /// What came out, and how it ended: without a reason it was interrupted.
    pub fn end(
        &mut self,
        identity: &Identity,
        generation: &Generation,
        text: String,
        (reason, timings): (Option<FinishReason>, Timings),
    ) {
        self.token_ids = generation.steps().iter().map(|step| step.token_id).collect();
        self.text = text;
        self.finish_reason = reason.map_or("interrupted", FinishReason::as_str);
        self.logits_sha256 = generation.steps().iter().map(|step| hex(&step.logits_sha256)).collect();
        self.transcript_sha256 = hex(&transcript(identity, generation));
        self.timings = timings;
    }

    /// How many tokens came out.
    pub fn tokens(&self) -> usize {
        self.token_ids.len()
    }
}
