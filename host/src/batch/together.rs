//! Lines that are answered together: each weight is read once for all of them, and no bit of an answer changes (N11).

use std::collections::VecDeque;
use std::time::Instant;

use kernel::Exec;
use kernel::generate::{FinishReason, PREFILL_CHUNK, Turn, advance_each};
use kernel::model::Workspace;
use session::{Continuation, Progress};

use super::requests::Prompted;
use crate::Failure;
use crate::open::Opened;
use crate::run::Timings;

/// The most lines that advance together.
const TOGETHER: usize = 8;
/// The most lines that are under way, with those that wait for the answer to one before them.
const UNDER_WAY: usize = 4 * TOGETHER;

/// A line that is being answered, or whose answer waits for those before it.
pub struct Running<'a> {
    /// What is asked.
    pub prompted: &'a Prompted,
    /// The number of the line, from 1.
    pub line: usize,
    /// The tokens.
    pub text: Continuation,
    /// The text so far.
    pub whole: String,
    /// How long it took, beside the others.
    pub timings: Timings,
    start: Instant,
    /// Why it ended, once it has.
    ended: Option<Result<FinishReason, Failure>>,
}

/// The answers to lines, in their order.
pub struct Together<'a> {
    opened: &'a Opened,
    exec: Exec<'a>,
    prompts: &'a [Prompted],
    /// Lines that were begun, or answered before.
    begun: usize,
    running: VecDeque<Running<'a>>,
    workspace: Workspace,
}

impl<'a> Together<'a> {
    /// Prepares to answer all lines but the first `kept`; nothing is computed yet.
    pub fn new(opened: &'a Opened, exec: Exec<'a>, prompts: &'a [Prompted], kept: usize) -> Together<'a> {
        let (running, workspace) = (VecDeque::new(), Workspace::default());
        Together { opened, exec, prompts, begun: kept, running, workspace }
    }

    /// The next line that has ended, with the reason; none after the last one.
    ///
    /// # Errors
    /// If a line cannot go on, once those before it have ended.
    pub fn next(&mut self) -> Result<Option<(Running<'a>, FinishReason)>, Failure> {
        loop {
            self.begin()?;
            let Some(first) = self.running.front_mut() else { return Ok(None) };
            if let Some(ended) = first.ended.take() {
                let line = first.line;
                let reason = ended.map_err(|error| format!("line {line}: {error}"))?;
                return Ok(self.running.pop_front().map(|running| (running, reason)));
            }
            self.advance();
        }
    }

    /// Begins lines, as far as the texts that advance have no more tokens together than one text may have.
    fn begin(&mut self) -> Result<(), Failure> {
        let tokens = |prompted: &Prompted| prompted.request.prompt.len() + prompted.request.max_tokens;
        while let Some(prompted) = self.prompts.get(self.begun) {
            let active = || self.running.iter().filter(|running| running.ended.is_none());
            let all = active().map(|running| tokens(running.prompted)).sum::<usize>() + tokens(prompted);
            let room = active().count() < TOGETHER && all <= self.opened.model.config().context;
            if self.running.len() >= UNDER_WAY || !(room || active().next().is_none()) {
                break;
            }
            let Prompted { request, stop, .. } = prompted;
            self.begun += 1;
            self.running.push_back(Running {
                prompted,
                line: self.begun,
                text: Continuation::new(&self.opened.model, request.clone(), stop.clone())?,
                whole: String::new(),
                timings: Timings { prompt_n: request.prompt.len(), ..Timings::default() },
                start: Instant::now(),
                ended: None,
            });
        }
        Ok(())
    }

    /// Lets each line that has not ended read a part of its prompt, or generate a token.
    fn advance(&mut self) {
        let mut active: Vec<&mut Running<'a>> =
            self.running.iter_mut().filter(|running| running.ended.is_none()).collect();
        let mut turns: Vec<Turn<'_>> = active.iter_mut().map(|running| running.text.turn(PREFILL_CHUNK)).collect();
        let outcomes = advance_each(&self.opened.model, self.exec, &mut turns, &mut self.workspace);
        for (running, outcome) in active.into_iter().zip(outcomes) {
            match running.text.tell(&self.opened.tokenizer, outcome) {
                Ok(Progress::Prefill { .. }) => {}
                Ok(Progress::Token(step, piece)) => {
                    running.timings.token(running.start);
                    running.whole.push_str(&piece);
                    running.ended = step.finish_reason.map(Ok);
                }
                Ok(Progress::Finished(reason)) => running.ended = Some(Ok(reason)),
                Err(error) => running.ended = Some(Err(error.into())),
            }
            // It may wait for a long time until those before it have ended.
            running.text.generation_mut().release();
        }
    }
}
