//! A choice: what is heard of its generation, in words.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bpe::Tokenizer;
use kernel::transcript::hex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::logprobs::{Logprobs, Reader};
use super::shapes::{Proof, Usage};
use crate::run::Timings;
use crate::serve::api_error::ApiError;
use crate::serve::engine::{ENDED, Event, Finished};
use crate::serve::state::State;

/// One of the texts that a request asks for.
pub struct Choice {
    prompt: Arc<[u32]>,
    /// Whether it is the first one of its prompt.
    first: bool,
    /// The prompt as text, where it is told with what follows it and was not yet.
    echo: Option<String>,
    /// Where log-probabilities are told.
    reader: Option<Reader>,
    start: Instant,
    timings: Timings,
    cached: usize,
}

/// What is heard of a choice.
pub enum Heard {
    /// Nothing to tell.
    Nothing,
    /// More of its text, and what is told of the tokens that it was made of.
    Piece(String, Option<Logprobs>),
    /// Its end, and why.
    End(&'static str, Proof),
}

impl Choice {
    /// A choice of which nothing was heard, of a request that came at `start`.
    pub fn new(prompt: Arc<[u32]>, first: bool, start: Instant, chat: bool, logprobs: bool) -> Choice {
        let timings = Timings { prompt_n: prompt.len(), ..Timings::default() };
        Choice { prompt, first, echo: None, reader: logprobs.then(|| Reader::new(chat)), start, timings, cached: 0 }
    }

    /// Tells the prompt, too.
    ///
    /// # Errors
    /// If the tokenizer does not have one of its tokens.
    pub fn echo(&mut self, tokenizer: &Tokenizer) -> Result<(), ApiError> {
        let text = tokenizer.decode(&self.prompt);
        self.echo = Some(text.map_err(|error| ApiError::invalid("prompt", format_args!("prompt: {error}")))?);
        Ok(())
    }

    /// What an event of the engine tells.
    fn hear(&mut self, state: &State, event: Option<Event>) -> Result<Heard, ApiError> {
        let opened = state.model.get().ok_or_else(ApiError::loading)?;
        let tokenizer = &opened.tokenizer;
        match event {
            Some(Event::Begun(cached)) => {
                self.cached = cached;
                // With log-probabilities it waits for those.
                let echo = self.echo.take_if(|_| self.reader.is_none());
                Ok(echo.map_or(Heard::Nothing, |text| Heard::Piece(text, None)))
            }
            Some(Event::Prompt(told)) => match (self.echo.take(), &mut self.reader) {
                (Some(text), Some(reader)) => {
                    Ok(Heard::Piece(text, Some(reader.prompt(tokenizer, &self.prompt, &told)?)))
                }
                _ => Ok(Heard::Nothing),
            },
            Some(Event::Token(_, text, told)) => {
                self.timings.token(self.start);
                let logprobs = match (&mut self.reader, told) {
                    (Some(reader), Some(told)) => Some(reader.token(tokenizer, &told)?),
                    _ => None,
                };
                Ok(Heard::Piece(text, logprobs))
            }
            Some(Event::Finished(finished)) => {
                let Finished { reason, transcript, receipt, .. } = *finished;
                let receipt_id = receipt.and_then(|receipt| state.receipts.issue(&receipt));
                let proof = Proof { receipt_id, transcript_sha256: hex(&transcript), timings: self.timings };
                Ok(Heard::End(reason.as_str(), proof))
            }
            Some(Event::Replaced(replaced)) => Err(ApiError::replaced(&replaced)),
            Some(Event::Failed(error)) => Err(ApiError::internal(error)),
            None => Err(ApiError::internal(ENDED)),
        }
    }
}

/// All choices of a request, and the events of their generations. The engine drops the generations when this is dropped.
pub struct Choices {
    choices: Vec<Choice>,
    /// None of those that have ended.
    events: Vec<Option<UnboundedReceiver<Event>>>,
    /// The one that is listened to first.
    next: usize,
}

impl Choices {
    /// The choices with the events of each.
    pub fn new(choices: Vec<Choice>, events: Vec<UnboundedReceiver<Event>>) -> Choices {
        Choices { choices, events: events.into_iter().map(Some).collect(), next: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    /// What is heard next, and of which; nothing once all have ended. All of them get a hearing by turns.
    ///
    /// # Errors
    /// If one of them fails, or the server is asked to end.
    pub async fn hear(&mut self, state: &State) -> Result<Option<(usize, Heard)>, ApiError> {
        if self.events.iter().all(Option::is_none) {
            return Ok(None);
        }
        let (events, first) = (&mut self.events, self.next);
        let next = poll_fn(|context| {
            for index in (first..events.len()).chain(0..first) {
                if let Some(receiver) = &mut events[index]
                    && let Poll::Ready(event) = receiver.poll_recv(context)
                {
                    return Poll::Ready((index, event));
                }
            }
            Poll::Pending
        });
        let (index, event) = tokio::select! {
            biased;
            () = state.ending.cancelled() => return Err(ApiError::ending()),
            next = next => next,
        };
        self.next = (index + 1) % self.choices.len();
        let heard = self.choices[index].hear(state, event)?;
        if let Heard::End(..) = heard {
            self.events[index] = None;
        }
        Ok(Some((index, heard)))
    }

    /// How many tokens there were.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for choice in &self.choices {
            if choice.first {
                usage.prompt_tokens += choice.prompt.len();
                usage.prompt_tokens_details.cached_tokens += choice.cached;
            }
            usage.completion_tokens += choice.timings.predicted_n;
        }
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
        usage
    }
}
