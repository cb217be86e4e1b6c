//! What a user waits for at the start, and the memory that a server takes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::report::{Figure, Unit};
use super::{MeasureError, RUNS};
use crate::process::field;
use crate::served::{Served, when_loaded};
use crate::workspace::Workspace;

/// Starts of which the fastest counts.
const STARTS: usize = 4 * RUNS;
const CONTEXT: usize = 512;
/// Of which so many tokens are generated; the others are the prompt.
const NEW: usize = 32;

/// The time from the start of `lockstep generate` to its first byte, and the most memory of its own that `lockstep serve` has
/// while it fills a context of 512 tokens (Linux tells it).
///
/// # Errors
/// If the program does not run.
pub fn figures(workspace: &Workspace, model: &Path) -> Result<Vec<Figure>, MeasureError> {
    let mut start = f64::INFINITY;
    for _ in 0..STARTS {
        start = start.min(first_byte(workspace, model)?);
    }
    let mut figures = vec![Figure {
        what: "start of `generate` until its first byte".into(),
        unit: Unit::Milliseconds,
        ours: start,
        peer: None,
    }];
    if cfg!(target_os = "linux") {
        figures.push(Figure {
            what: format!("memory of its own (RssAnon) of `serve` at context {CONTEXT}"),
            unit: Unit::Memory,
            ours: server_memory(workspace, model)?,
            peer: None,
        });
    }
    Ok(figures)
}

/// Ends the program with the value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell otherwise.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn started(command: &mut Command) -> Result<Ended, MeasureError> {
    let line = crate::process::line(command);
    command
        .stdin(Stdio::null())
        .spawn()
        .map(Ended)
        .map_err(|error| MeasureError::Said { line, said: error.to_string() })
}

/// Milliseconds.
fn first_byte(workspace: &Workspace, model: &Path) -> Result<f64, MeasureError> {
    let mut command = Command::new(workspace.lockstep());
    command.args(["generate", "--prompt", "Once upon a time", "--max-tokens", "2", "--model"]).arg(model);
    let begin = Instant::now();
    let mut child = started(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
    let read = child.0.stdout.take().map(|mut output| output.read_exact(&mut [0]));
    let time = begin.elapsed().as_secs_f64() * 1e3;
    match read {
        Some(Ok(())) => Ok(time),
        _ => Err(MeasureError::silent(&command)),
    }
}

/// Megabytes.
fn server_memory(workspace: &Workspace, model: &Path) -> Result<f64, MeasureError> {
    let mut command = Command::new(workspace.lockstep());
    command.args(["serve", "--port", "0", "--log-level", "error", "--ctx-size", &CONTEXT.to_string(), "--model"]);
    let server = Served::start(command.arg(model))?;
    let origin = &server.origin;
    let prompt = "%20word".repeat(CONTEXT - NEW);
    let url = format!("{origin}api/generate?prompt={prompt}&max_tokens={NEW}");
    let said = |error: ureq::Error| MeasureError::Said { line: origin.into(), said: error.to_string() };
    let answer = when_loaded(|| ureq::get(&url).call()).map_err(said)?;
    let (mut most, mut tokens) = (0.0_f64, 0);
    for event in BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok) {
        tokens += usize::from(event == "event: token");
        most = most.max(own_memory(server.process()).unwrap_or_default());
    }
    if tokens == 0 || most == 0.0 {
        return Err(MeasureError::Said { line: origin.into(), said: format!("{tokens} tokens, {most} MB") });
    }
    Ok(most)
}

/// The memory of a process that is no file's, in megabytes.
fn own_memory(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kilobytes: f64 = field(&status, "RssAnon")?.strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}
