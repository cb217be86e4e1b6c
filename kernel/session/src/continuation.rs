//! A prompt that is being continued: its tokens and their text.

use std::{error, fmt};

use bpe::{Tokenizer, UnknownToken};
use kernel::Exec;
use kernel::generate::{FinishReason, GenerateError, Generation, Progress as Advanced, Request, Step, Turn};
use kernel::model::Model;
use kernel::transcript::Identity;

use crate::receipt::{GenerationTerms, Receipt, ReceiptError};
use crate::{Stop, TextStream};

/// A generation whose tokens become text, which may end it. Dropping it stops it.
#[derive(Debug)]
pub struct Continuation {
    generation: Generation,
    text: TextStream,
}

/// What a unit of work gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// A part of the prompt was read.
    Prefill {
        /// Tokens of the prompt read so far.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was generated, with which this text is given out; all of these texts, joined, are the whole text.
    Token(Step, String),
    /// There is nothing left to do.
    Finished(FinishReason),
}

/// Why a text cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContinueError {
    /// The kernel refuses the request, or cannot go on.
    Generate(GenerateError),
    /// The model generated a token that the tokenizer does not have.
    Token(UnknownToken),
}

impl fmt::Display for ContinueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContinueError::Generate(error) => error.fmt(f),
            ContinueError::Token(error) => write!(f, "model and tokenizer do not belong together: {error}"),
        }
    }
}

impl error::Error for ContinueError {}

impl From<GenerateError> for ContinueError {
    fn from(error: GenerateError) -> ContinueError {
        ContinueError::Generate(error)
    }
}

impl Continuation {
    /// Prepares a generation whose text ends before the first of the stop strings; nothing is computed yet.
    ///
    /// # Errors
    /// As [`Generation::new`].
    pub fn new(model: &Model, request: Request, stop: Stop) -> Result<Continuation, GenerateError> {
        Ok(Continuation { generation: Generation::new(model, request)?, text: TextStream::new(stop) })
    }

    /// Does one unit of work: reads a part of the prompt, or generates a token.
    ///
    /// # Errors
    /// If a logit is not finite, or the tokenizer does not have the token that was generated.
    pub fn advance(&mut self, model: &Model, tokenizer: &Tokenizer, exec: Exec<'_>) -> Result<Progress, ContinueError> {
        let advanced = self.generation.advance(model, exec);
        self.tell(tokenizer, advanced)
    }

    /// Its turn among others, in which it reads at most `most` tokens of its prompt; what comes of it is to be told.
    pub fn turn(&mut self, most: usize) -> Turn<'_> {
        Turn { generation: &mut self.generation, most }
    }

    /// What a turn gave, with its text.
    ///
    /// # Errors
    /// As [`Continuation::advance`].
    pub fn tell(
        &mut self,
        tokenizer: &Tokenizer,
        advanced: Result<Advanced, GenerateError>,
    ) -> Result<Progress, ContinueError> {
        let mut step = match advanced? {
            Advanced::Prefill { done, total } => return Ok(Progress::Prefill { done, total }),
            Advanced::Finished(reason) => return Ok(Progress::Finished(reason)),
            Advanced::Token(step) => step,
        };
        let text = self.text.push(tokenizer, &mut step).map_err(ContinueError::Token)?;
        if step.finish_reason == Some(FinishReason::Stop) {
            self.generation.end();
        }
        Ok(Progress::Token(step, text))
    }

    /// The tokens.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The tokens, which may be given known keys and values to begin with.
    pub fn generation_mut(&mut self) -> &mut Generation {
        &mut self.generation
    }

    /// The tokens of a text that is not gone on with.
    pub fn into_generation(self) -> Generation {
        self.generation
    }

    /// The receipt, once it has ended; `identity` has the digests of `model`, and a private one leaves the token ids out.
    ///
    /// # Errors
    /// If it has not ended, or there is more of something than a receipt may hold.
    pub fn receipt(&self, model: &Model, identity: &Identity, private: bool) -> Result<Receipt, ReceiptError> {
        let (request, eos, stop) = (self.generation.request(), &model.config().eos, self.text.stop());
        GenerationTerms { identity, request, eos, stop, private }.receipt(self.generation.steps())
    }
}
