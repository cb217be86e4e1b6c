//! Generation of text, one unit of work at a time.

mod batch;
mod replay;
mod sampler;

pub use batch::{Turn, advance_each};
pub use replay::Replay;
pub(crate) use sampler::argmax;
pub use sampler::{Sampler, SamplerError, SamplerSettings};

use crate::Exec;
use crate::model::{Config, ForwardError, KvCache, Logits, Model, Reading, Workspace};
use crate::transcript::{Sha256Digest, logits_digest};
use alloc::vec::Vec;
use core::fmt;
use core::mem::take;
use core::slice;

/// The most tokens of a prompt that one unit of work reads.
pub const PREFILL_CHUNK: usize = 128;

/// What to generate.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The token ids to go on from.
    pub prompt: Vec<u32>,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// Whether to go on after a token that ends a text.
    pub ignore_eos: bool,
    /// How tokens are chosen.
    pub sampler: Sampler,
}

impl Request {
    /// Whether a model of this shape can do it.
    fn check(&self, config: &Config) -> Result<(), GenerateError> {
        let (prompt, max_tokens, context) = (self.prompt.len(), self.max_tokens, config.context);
        if prompt == 0 {
            return Err(ForwardError::NoTokens.into());
        }
        if let Some(&token) = self.prompt.iter().find(|token| **token as usize >= config.vocab) {
            return Err(ForwardError::Token { token, vocab: config.vocab }.into());
        }
        if max_tokens == 0 {
            return Err(GenerateError::NoMaxTokens);
        }
        if max_tokens > context || prompt > context - max_tokens {
            return Err(GenerateError::Context { prompt, max_tokens, context });
        }
        Ok(())
    }

    /// The step after the `earlier` tokens, from its logits; `eos` are the tokens that end a text, `room` is working memory.
    fn choose(
        &self,
        exec: Exec<'_>,
        eos: &[u32],
        earlier: impl ExactSizeIterator<Item = u32>,
        logits: &[f32],
        room: &mut Vec<f32>,
    ) -> Result<Step, GenerateError> {
        let step = earlier.len() + 1;
        let seen = self.prompt.iter().copied().chain(earlier);
        let chosen = self.sampler.choose(exec, step, logits, seen, room);
        let token_id = chosen.map_err(|token| GenerateError::NotFinite { step, token })?;
        let finish_reason = if eos.contains(&token_id) && !self.ignore_eos {
            Some(FinishReason::Stop)
        } else if step == self.max_tokens {
            Some(FinishReason::Length)
        } else {
            None
        };
        Ok(Step { step, token_id, logits_sha256: logits_digest(logits), finish_reason })
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FinishReason {
    /// A token that ends a text was generated, or one that completes a text to stop at; it is the last one.
    Stop,
    /// As many tokens as were asked for were generated.
    Length,
}

impl FinishReason {
    /// `stop` or `length`.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        }
    }
}

/// One generated token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number, from 1.
    pub step: usize,
    /// The token.
    pub token_id: u32,
    /// The digest of the logits that it was chosen from.
    pub logits_sha256: Sha256Digest,
    /// Why it is the last one, if it is.
    pub finish_reason: Option<FinishReason>,
}

/// What a unit of work gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// A part of the prompt was read.
    Prefill {
        /// Tokens of the prompt read so far.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was generated.
    Token(Step),
    /// There is nothing left to do.
    Finished(FinishReason),
}

/// Why a generation cannot start or go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GenerateError {
    /// No token is asked for.
    NoMaxTokens,
    /// Prompt and output together exceed the model's context.
    Context {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// The prompt cannot be read.
    Forward(ForwardError),
    /// A logit is not a finite number (N9).
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// The lowest token with such a logit.
        token: usize,
    },
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMaxTokens => f.write_str("max_tokens is 0; ask for at least 1 token"),
            Self::Context { prompt, max_tokens, context } => write!(
                f,
                "a prompt of {prompt} tokens and {max_tokens} new ones exceed the context of {context} tokens; \
                 shorten the prompt or ask for fewer tokens"
            ),
            Self::Forward(error) => error.fmt(f),
            Self::NotFinite { step, token } => {
                write!(f, "step {step}: the logit of token {token} is not a finite number; the weights may be damaged")
            }
        }
    }
}

impl core::error::Error for GenerateError {}

impl From<ForwardError> for GenerateError {
    fn from(error: ForwardError) -> GenerateError {
        GenerateError::Forward(error)
    }
}

/// A generation under way. Dropping it stops it.
#[derive(Debug)]
pub struct Generation {
    request: Request,
    cache: KvCache,
    workspace: Workspace,
    steps: Vec<Step>,
    /// Working memory of the sampler.
    room: Vec<f32>,
}

impl Generation {
    /// Prepares a generation; nothing is computed yet.
    ///
    /// # Errors
    /// If the prompt is empty, has a token outside the vocabulary, or exceeds the context together with `max_tokens`
    /// (which is never shortened).
    pub fn new(model: &Model, request: Request) -> Result<Generation, GenerateError> {
        let config = model.config();
        request.check(config)?;
        let (cache, workspace) = (KvCache::new(config), Workspace::default());
        Ok(Generation { request, cache, workspace, steps: Vec::new(), room: Vec::new() })
    }

    /// Does one unit of work: reads up to [`PREFILL_CHUNK`] tokens of the prompt, or generates one token (with the last
    /// part of the prompt, both).
    ///
    /// # Errors
    /// If a logit is not finite. No further token can be generated then.
    pub fn advance(&mut self, model: &Model, exec: Exec<'_>) -> Result<Progress, GenerateError> {
        let mut workspace = take(&mut self.workspace);
        let read = match self.reading(PREFILL_CHUNK) {
            Some(reading) => model.forward_each(exec, &mut [reading], &mut workspace),
            None => Ok(()),
        };
        self.workspace = workspace;
        read?;
        let workspace = take(&mut self.workspace);
        let progress = self.outcome(exec, &model.config().eos, || workspace.logits());
        self.workspace = workspace;
        self.note(&progress);
        progress
    }

    /// What it reads next: at most `most` tokens of the prompt, or its last token. Nothing if it has ended, or `most` is 0 where
    /// a prompt is to be read.
    fn reading(&mut self, most: usize) -> Option<Reading<'_>> {
        let total = self.request.prompt.len();
        // What was read for a step that was not made, or not to the end, is read again.
        self.cache.truncate(total + self.steps.len() - 1);
        let done = self.cache.len();
        let (tokens, wanted) = match self.steps.last() {
            Some(Step { finish_reason: Some(_), .. }) => return None,
            Some(step) => (slice::from_ref(&step.token_id), Logits::Last),
            None => {
                let end = total.min(done + most);
                (&self.request.prompt[done..end], if end == total { Logits::Last } else { Logits::None })
            }
        };
        (!tokens.is_empty()).then_some(Reading { cache: &mut self.cache, tokens, wanted })
    }

    /// What comes of what it read; `logits` are those of its last token, which are asked for if a token is to be chosen.
    fn outcome<'a>(
        &mut self,
        exec: Exec<'_>,
        eos: &[u32],
        logits: impl FnOnce() -> &'a [f32],
    ) -> Result<Progress, GenerateError> {
        if let Some(reason) = self.steps.last().and_then(|step| step.finish_reason) {
            return Ok(Progress::Finished(reason));
        }
        let (done, total) = (self.cache.len(), self.request.prompt.len());
        if done < total {
            return Ok(Progress::Prefill { done, total });
        }
        let earlier = self.steps.iter().map(|step| step.token_id);
        self.request.choose(exec, eos, earlier, logits(), &mut self.room).map(Progress::Token)
    }

    /// Keeps the token that was generated.
    fn note(&mut self, progress: &Result<Progress, GenerateError>) {
        if let Ok(Progress::Token(step)) = progress {
            self.steps.push(*step);
        }
    }

    /// Begins with keys and values that are known already: the first positions of `cache` are those of the first tokens of the
    /// prompt. At least the last token of the prompt is read. The bits are the same (N11).
    ///
    /// # Panics
    /// If something was read before.
    pub fn begin_with(&mut self, mut cache: KvCache) {
        assert!(self.cache.is_empty(), "generation: {} positions were read before", self.cache.len());
        cache.truncate(self.request.prompt.len() - 1);
        self.cache = cache;
    }

    /// The keys and values of the positions read so far: of the prompt, and of the tokens generated after it but for the last.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The cache of a generation that is not gone on with.
    pub fn into_cache(self) -> KvCache {
        self.cache
    }

    /// Gives up the keys and values of a generation that has ended: its steps stay.
    pub fn release(&mut self) {
        if self.steps.last().is_some_and(|step| step.finish_reason.is_some()) {
            self.cache = self.cache.prefix(0);
        }
    }

    /// Ends it with the token that was generated last, as if that were one that ends a text: whoever reads the text has found
    /// its end there. Does nothing before the first token.
    pub fn end(&mut self) {
        if let Some(step) = self.steps.last_mut() {
            step.finish_reason = Some(FinishReason::Stop);
        }
    }

    /// The token ids it goes on from.
    pub fn prompt(&self) -> &[u32] {
        &self.request.prompt
    }

    /// What is generated.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The tokens generated so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}
