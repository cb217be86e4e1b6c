//! One generation from start to end, with the clock beside it: what the commands share.

use std::time::Instant;

use kernel::Exec;
use kernel::generate::{FinishReason, Step};
use serde::Serialize;
use session::{Continuation, Progress};

use crate::open::Opened;
use crate::{Failure, Outcome};

/// How long the two phases of a generation took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_n: usize,
    /// Milliseconds until the first token was there.
    pub prompt_ms: f64,
    /// Tokens generated.
    pub predicted_n: usize,
    /// Milliseconds from the first token to the last: the time of `predicted_n - 1` decode steps.
    pub predicted_ms: f64,
}

impl Timings {
    /// Counts a token that has come now, of a generation that began at `start`.
    pub fn token(&mut self, start: Instant) {
        let now = start.elapsed().as_secs_f64() * 1e3;
        if self.predicted_n == 0 {
            self.prompt_ms = now;
        }
        self.predicted_n += 1;
        self.predicted_ms = now - self.prompt_ms;
    }
}

/// For a text that nothing stops.
pub fn never() -> bool {
    false
}

/// Runs `text` to its end, for which the reason is given, or until `stopped`, which is asked before each unit of work. Each step,
/// with what it adds to the text, is handed to `on_step` as it comes.
///
/// # Errors
/// The kernel's, if the tokenizer lacks a token, and those of `on_step`.
pub fn run(
    opened: &Opened,
    exec: Exec<'_>,
    text: &mut Continuation,
    stopped: impl Fn() -> bool,
    mut on_step: impl FnMut(&Step, &str) -> Outcome,
) -> Result<(Option<FinishReason>, Timings), Failure> {
    let start = Instant::now();
    let mut timings = Timings { prompt_n: text.generation().prompt().len(), ..Timings::default() };
    while !stopped() {
        match text.advance(&opened.model, &opened.tokenizer, exec)? {
            Progress::Prefill { .. } => {}
            Progress::Token(step, piece) => {
                timings.token(start);
                on_step(&step, &piece)?;
            }
            Progress::Finished(reason) => return Ok((Some(reason), timings)),
        }
    }
    Ok((None, timings))
}
