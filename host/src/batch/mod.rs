//! `lockstep generate --input`: answers a file of prompts, line by line.
//!
//! A line is answered as it would be alone, since no bit depends on what else is computed (N11).

mod answers;
mod requests;
mod together;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use kernel::Exec;
use kernel::generate::FinishReason;
use kernel::transcript::Identity;
use serde::Serialize;
use session::receipt::{GenerationTerms, Receipt, SecretKey};

use crate::data::is_same_file;
use crate::generate::Report;
use crate::open::Opened;
use crate::receipt::{key, signed};
use crate::terminal::{bar, print_json};
use crate::{Failure, Outcome, cli};
use answers::Answers;
use requests::{Name, Prompted};
use together::{Running, Together};

/// A line of the output.
#[derive(Serialize)]
struct Answer<'a> {
    /// The number of the line that it answers, from 1.
    line: usize,
    #[serde(flatten)]
    name: &'a Name,
    #[serde(flatten)]
    report: Report,
    /// None before it has ended.
    receipt: Option<Receipt>,
}

/// What is printed at the end.
#[derive(Serialize)]
struct Summary {
    lines: usize,
    /// Lines that were answered before.
    kept: usize,
    /// Lines that were answered now.
    generated: usize,
    /// Tokens that were generated now.
    predicted_n: usize,
    output: String,
}

/// Runs the command: an answer for each line of `input`, appended to `output` as it is there.
///
/// # Errors
/// If a line cannot be answered (its number is told, before anything is computed), if `output` is of something else, or if
/// it cannot be written. Answers that are there stay.
pub fn batch(arguments: cli::Generate, input: PathBuf, output: PathBuf) -> Outcome {
    let key = key(arguments.receipt.sign.as_deref())?;
    let opened = arguments.compute.open()?;
    let lines = fs::read(&input).map_err(|error| format!("{} cannot be read: {error}", input.display()))?;
    let prompts = requests::read(&lines, &arguments, &opened);
    let prompts = prompts.map_err(|error| format!("{}: {error}", input.display()))?;
    if is_same_file(&input, &output) {
        return Err(format!("--output {}: this is the input; name another file", output.display()).into());
    }
    let identity = opened.identity(opened.checkpoint.digest());
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);
    let work = Work { opened: &opened, identity: &identity, exec, private: arguments.receipt.private, key };
    let (mut answers, kept) = Answers::open(&output, |line, bytes| work.is_answer(&prompts, line, bytes))?;

    let bar = bar(prompts.len() as u64, "{bar:30} {pos}/{len} lines, {eta} left");
    bar.set_position(kept as u64);
    bar.reset_eta();
    let mut predicted_n = 0;
    let mut together = Together::new(&opened, exec, &prompts, kept);
    let failed = |error: Failure| format!("{}: {error}", input.display());
    while let Some((ended, reason)) = together.next().map_err(failed)? {
        let answer = work.answer(ended, reason)?;
        predicted_n += answer.report.tokens();
        answers.add(&serde_json::to_string(&answer)?)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (lines, output) = (prompts.len(), output.display().to_string());
    let summary = Summary { lines, kept, generated: lines - kept, predicted_n, output };
    if arguments.json { print_json(&summary) } else { Ok(print(&summary)?) }
}

/// What the lines are answered with.
struct Work<'a> {
    opened: &'a Opened,
    identity: &'a Identity,
    exec: Exec<'a>,
    private: bool,
    key: Option<SecretKey>,
}

impl Work<'_> {
    /// The answer of a line that has ended.
    fn answer<'a>(&self, ended: Running<'a>, reason: FinishReason) -> Result<Answer<'a>, Failure> {
        let Running { prompted, line, text, whole, timings, .. } = ended;
        let mut report = self.report(prompted);
        report.end(self.identity, text.generation(), whole, (Some(reason), timings));
        let receipt = text.receipt(&self.opened.model, self.identity, self.private)?;
        let receipt = Some(signed(receipt, self.key.as_ref()));
        Ok(Answer { line, name: &prompted.name, report, receipt })
    }

    /// Whether `bytes` are the answer to a line, counted from 1, or the beginning of one where there is no line feed.
    fn is_answer(&self, prompts: &[Prompted], line: usize, bytes: &[u8]) -> Result<(), String> {
        let Some(prompted) = prompts.get(line - 1) else {
            return Err(format!("the input has {} lines", prompts.len()));
        };
        let Some(whole) = bytes.strip_suffix(b"\n") else {
            let begun = Answer { line, name: &prompted.name, report: self.report(prompted), receipt: None };
            return answers::has_begun(bytes, &begun);
        };
        let (name, receipt) = answers::read(whole)?;
        if name != prompted.name {
            return Err("it has another id".to_string());
        }
        let (eos, private) = (&self.opened.model.config().eos, receipt.is_private());
        let Prompted { request, stop, .. } = prompted;
        if receipt.is_of(&GenerationTerms { identity: self.identity, request, eos, stop, private }) {
            Ok(())
        } else {
            Err("its receipt is of another prompt, other settings or another model".to_string())
        }
    }

    /// What is known of an answer before it is computed.
    fn report(&self, prompted: &Prompted) -> Report {
        Report::new(self.opened, self.identity, self.exec, &prompted.request.prompt)
    }
}

fn print(summary: &Summary) -> io::Result<()> {
    let Summary { lines, kept, generated, predicted_n, output } = summary;
    writeln!(io::stdout(), "{output}: {lines} lines, {kept} were there, {generated} are new ({predicted_n} tokens)")
}
