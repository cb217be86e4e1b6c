//! Generation of text, one unit of work at a time.

mod batch;
mod logprobs;
mod replay;
mod sampler;

pub use batch::{Turn, advance_each};
pub use logprobs::{Logprobs, TokenLogprob};
pub use replay::Replay;
pub(crate) use sampler::argmax;
pub use sampler::{Sampler, SamplerError, SamplerSettings};

use crate::Exec;
use crate::digest::{Sha256Digest, logits_digest};
use crate::model::{Config, ForwardError, KvCache, Logits, Model, Reading, Workspace};
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
    /// The most tokens to generate; 0 only where the prompt's log-probabilities are all that is asked for.
    pub max_tokens: usize,
    /// Whether to go on after a token that ends a text.
    pub ignore_eos: bool,
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Of which tokens the log-probabilities are told, if of any.
    pub logprobs: Option<Logprobs>,
}

impl Request {
    /// Whether a model of this shape can do it.
    fn check(&self, config: &Config) -> Result<(), GenerateError> {
        let (prompt, max_tokens, context) = (self.prompt.len(), self.max_tokens, config.context);
        if prompt == 0 {
            return Err(ForwardError::NoTokens.into());
        }
        config.check_tokens(&self.prompt)?;
        if let Some(token) = self.sampler.highest_bias().filter(|token| *token as usize >= config.vocab) {
            return Err(GenerateError::Bias { token, vocab: config.vocab });
        }
        if max_tokens == 0 && !self.scores_prompt() {
            return Err(GenerateError::NoMaxTokens);
        }
        if max_tokens > context || prompt > context - max_tokens {
            return Err(GenerateError::Context { prompt, max_tokens, context });
        }
        Ok(())
    }

    /// Whether the log-probabilities of the prompt are told.
    fn scores_prompt(&self) -> bool {
        self.logprobs.is_some_and(|logprobs| logprobs.prompt)
    }

    /// The step after the `earlier` tokens, from its logits; `eos` are the tokens that end a text, `room` is working memory.
    fn choose(
        &self,
        exec: Exec<'_>,
        eos: &[u32],
        earlier: impl ExactSizeIterator<Item = u32> + Clone,
        logits: &[f32],
        room: &mut Vec<f32>,
    ) -> Result<Step, GenerateError> {
        let step = earlier.len() + 1;
        let chosen = self.sampler.choose(exec, step, logits, &self.prompt, earlier, room);
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
    /// The logit bias is for a token that is not in the vocabulary.
    Bias {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
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
    /// A logit from which a token of the prompt is predicted, or a logarithm of a probability there, is not a finite number (N9).
    PromptNotFinite {
        /// The place of the token in the prompt, from 1.
        place: usize,
        /// The lowest token with such a logit.
        token: usize,
    },
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMaxTokens => f.write_str("max_tokens is 0; ask for at least 1 token"),
            Self::Bias { token, vocab } => {
                write!(f, "logit_bias: token {token} is outside the vocabulary, whose ids end at {}", vocab - 1)
            }
            Self::Context { prompt, max_tokens, context } => write!(
                f,
                "a prompt of {prompt} tokens and {max_tokens} new ones exceed the context of {context} tokens; \
                 shorten the prompt or ask for fewer tokens"
            ),
            Self::Forward(error) => error.fmt(f),
            Self::NotFinite { step, token } => {
                write!(f, "step {step}: the logit of token {token} is not a finite number; the weights may be damaged")
            }
            Self::PromptNotFinite { place, token } => write!(
                f,
                "token {place} of the prompt: the logit of token {token} before it is not a finite number; the weights may be damaged"
            ),
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
    /// Of each step, where they are asked for.
    logprobs: Vec<TokenLogprob>,
    /// Of the prompt's tokens from the second on, where they are asked for, as far as it was read.
    prompt_logprobs: Vec<TokenLogprob>,
    /// Working memory of the sampler.
    room: Vec<f32>,
}

/// What comes of what was read.
struct Outcome {
    progress: Progress,
    logprob: Option<TokenLogprob>,
    prompt_logprobs: Vec<TokenLogprob>,
}

impl Generation {
    /// Prepares a generation; nothing is computed yet.
    ///
    /// # Errors
    /// If the prompt is empty, has a token outside the vocabulary, or exceeds the context together with `max_tokens`
    /// (which is never shortened); if nothing is asked for; if the bias is for a token outside the vocabulary.
    pub fn new(model: &Model, request: Request) -> Result<Generation, GenerateError> {
        let config = model.config();
        request.check(config)?;
        let (cache, workspace) = (KvCache::new(config), Workspace::default());
        let (steps, logprobs, prompt_logprobs) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Generation { request, cache, workspace, steps, logprobs, prompt_logprobs, room: Vec::new() })
    }

    /// Does one unit of work: reads up to [`PREFILL_CHUNK`] tokens of the prompt, or generates one token (with the last
    /// part of the prompt, both).
    ///
    /// # Errors
    /// If a logit is not finite. No further token can be generated then.
    pub fn advance(&mut self, model: &Model, exec: Exec<'_>) -> Result<Progress, GenerateError> {
        let mut workspace = take(&mut self.workspace);
        let (rows, read) = match self.reading(PREFILL_CHUNK) {
            Some(reading) => (reading.rows(), model.forward_each(exec, &mut [reading], &mut workspace)),
            None => (0, Ok(())),
        };
        let outcome = read.map_err(GenerateError::from).and_then(|()| {
            let logits = &workspace.logits()[..rows * model.config().vocab];
            self.outcome(exec, model.config(), logits)
        });
        self.workspace = workspace;
        outcome.map(|outcome| self.note(outcome))
    }

    /// What it reads next: at most `most` tokens of the prompt, or its last token. Nothing if it has ended, or `most` is 0 where
    /// a prompt is to be read.
    fn reading(&mut self, most: usize) -> Option<Reading<'_>> {
        if self.finish_reason().is_some() {
            return None;
        }
        let (total, scores) = (self.request.prompt.len(), self.request.scores_prompt());
        // What was read for a step that was not made, for log-probabilities that were not told, or not to the end, is read again.
        let read =
            if scores && self.steps.is_empty() { self.prompt_logprobs.len() } else { total + self.steps.len() - 1 };
        self.cache.truncate(read);
        let done = self.cache.len();
        let (tokens, wanted) = match self.steps.last() {
            Some(step) => (slice::from_ref(&step.token_id), Logits::Last),
            None => {
                self.cache.reserve(total);
                // Where no token follows nothing is asked of the last one.
                let end = (done + most).min(if self.request.max_tokens == 0 { total - 1 } else { total });
                let wanted = if end == total { Logits::Last } else { Logits::None };
                (&self.request.prompt[done..end], if scores { Logits::All } else { wanted })
            }
        };
        (!tokens.is_empty()).then_some(Reading { cache: &mut self.cache, tokens, wanted })
    }

    /// Why it has ended, if it has.
    fn finish_reason(&self) -> Option<FinishReason> {
        match self.steps.last() {
            Some(step) => step.finish_reason,
            None if self.request.max_tokens == 0 && self.prompt_logprobs.len() + 1 == self.request.prompt.len() => {
                Some(FinishReason::Length)
            }
            None => None,
        }
    }

    /// What comes of what it read; `logits` are those that were wanted of it.
    fn outcome(&mut self, exec: Exec<'_>, config: &Config, logits: &[f32]) -> Result<Outcome, GenerateError> {
        let (done, total) = (self.cache.len(), self.request.prompt.len());
        let progress = Progress::Prefill { done, total };
        let mut outcome = Outcome { progress, logprob: None, prompt_logprobs: Vec::new() };
        if let Some(reason) = self.finish_reason() {
            outcome.progress = Progress::Finished(reason);
            return Ok(outcome);
        }
        if let Some(Logprobs { top, prompt: true }) = self.request.logprobs
            && self.steps.is_empty()
        {
            // The tokens after those that were read: the last one's logits are those of the first step.
            let first = self.prompt_logprobs.len() + 1;
            let targets = &self.request.prompt[first..total.min(done + 1)];
            let told = logprobs::logprobs(exec, &logits[..targets.len() * config.vocab], targets, top);
            outcome.prompt_logprobs =
                told.map_err(|(row, token)| GenerateError::PromptNotFinite { place: first + row + 1, token })?;
            if self.request.max_tokens == 0 && done + 1 == total {
                outcome.progress = Progress::Finished(FinishReason::Length);
            }
        }
        if done < total {
            return Ok(outcome);
        }
        let logits = &logits[logits.len() - config.vocab..];
        let earlier = self.steps.iter().map(|step| step.token_id);
        let step = self.request.choose(exec, &config.eos, earlier, logits, &mut self.room)?;
        outcome.progress = Progress::Token(step);
        if let Some(Logprobs { top, .. }) = self.request.logprobs {
            let told = logprobs::logprobs(exec, logits, &[step.token_id], top);
            let told = told.map_err(|(_, token)| GenerateError::NotFinite { step: step.step, token })?;
            outcome.logprob = told.into_iter().next();
        }
        Ok(outcome)
    }

    /// Keeps what came of it.
    fn note(&mut self, outcome: Outcome) -> Progress {
        let Outcome { progress, logprob, prompt_logprobs } = outcome;
        self.prompt_logprobs.extend(prompt_logprobs);
        self.logprobs.extend(logprob);
        if let Progress::Token(step) = progress {
            self.steps.push(step);
        }
        progress
    }

    /// Begins with keys and values that are known already: the first positions of `cache` are those of the first tokens of the
    /// prompt. At least the last token of the prompt is read; all of it, and the cache is of no use, where the prompt's
    /// log-probabilities are asked for. The bits are the same (N11).
    ///
    /// # Panics
    /// If something was read before.
    pub fn begin_with(&mut self, mut cache: KvCache) {
        assert!(self.cache.is_empty(), "generation: {} positions were read before", self.cache.len());
        if !self.request.scores_prompt() {
            cache.truncate(self.request.prompt.len() - 1);
            self.cache = cache;
        }
    }

    /// Makes room for the keys and values of the text at its longest, so that none of them moves as it grows: of use where memory
    /// is taken once it is written. Else there is room for the prompt, and more is made step by step.
    pub fn reserve(&mut self) {
        // The last token is not read.
        self.cache.reserve((self.request.prompt.len() + self.request.max_tokens).saturating_sub(1));
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
        if self.finish_reason().is_some() {
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

    /// How likely the tokens generated so far were, if that was asked for: an entry for each step.
    pub fn logprobs(&self) -> &[TokenLogprob] {
        &self.logprobs
    }

    /// How likely the tokens of the prompt were, from the second on, if that was asked for: as far as it was read.
    pub fn prompt_logprobs(&self) -> &[TokenLogprob] {
        &self.prompt_logprobs
    }
}
