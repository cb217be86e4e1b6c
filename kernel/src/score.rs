//! How likely the tokens of a text were, one unit of work at a time.

use crate::Exec;
use crate::digest::{Sha256, Sha256Digest};
use crate::generate::{PREFILL_CHUNK, argmax};
use crate::model::{ForwardError, KvCache, Logits, Model, Sequence, Workspace};
use crate::ops::log_probability_forward;
use alloc::vec::Vec;
use core::fmt;

/// What a text was given, of its tokens that count.
#[derive(Clone, PartialEq, Debug)]
pub struct Scores {
    /// The logarithm of the probability of each, in nats, given all tokens before it.
    pub log_probabilities: Vec<f32>,
    /// Their sum, by N6.
    pub sum: f32,
    /// Whether each is the most likely token at its place (N7): what greedy choice would have said.
    pub greedy: bool,
    /// SHA-256 over the logits of their places, one after another.
    pub logits_sha256: Sha256Digest,
}

/// Why a text is given nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScoreError {
    /// No token counts that has one before it.
    NoTargets,
    /// The text cannot be read.
    Forward(ForwardError),
    /// A logit, or a logarithm, is not a finite number (N9).
    NotFinite {
        /// The token of the text that it is about, from 1.
        token: usize,
    },
}

impl fmt::Display for ScoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTargets => f.write_str("no token counts: at least one is needed that has another one before it"),
            Self::Forward(error) => error.fmt(f),
            Self::NotFinite { token } => {
                write!(f, "token {token}: its logits are not finite numbers; the weights may be damaged")
            }
        }
    }
}

impl core::error::Error for ScoreError {}

impl From<ForwardError> for ScoreError {
    fn from(error: ForwardError) -> ScoreError {
        ScoreError::Forward(error)
    }
}

/// Whether `model` can score a text.
///
/// # Errors
/// If nothing counts, a token is outside the vocabulary, or the text exceeds the context.
///
/// # Panics
/// If there is not a mark for every token.
pub fn check(model: &Model, sequence: &Sequence) -> Result<(), ScoreError> {
    let context = model.config().context;
    let Sequence { tokens, counted } = sequence;
    let positions = tokens.len();
    assert_eq!(positions, counted.len(), "score: a mark for every token");
    model.config().check_tokens(tokens)?;
    if positions > context {
        return Err(ForwardError::Context { positions, context }.into());
    }
    if sequence.count() == 0 { Err(ScoreError::NoTargets) } else { Ok(()) }
}

/// A text that is being scored. Its bits do not depend on how it is read, nor on other texts (N11). Dropping it stops it.
#[derive(Debug)]
pub struct Scoring {
    sequence: Sequence,
    cache: KvCache,
    workspace: Workspace,
    log_probabilities: Vec<f32>,
    sum: f32,
    greedy: bool,
    logits: Sha256,
}

impl Scoring {
    /// Prepares to score a text; nothing is computed yet.
    ///
    /// # Errors
    /// As [`check`].
    ///
    /// # Panics
    /// As [`check`].
    pub fn new(model: &Model, sequence: Sequence) -> Result<Scoring, ScoreError> {
        check(model, &sequence)?;
        let cache = KvCache::new(model.config());
        Ok(Scoring {
            sequence,
            cache,
            workspace: Workspace::default(),
            log_probabilities: Vec::new(),
            sum: 0.0,
            greedy: true,
            logits: Sha256::new(),
        })
    }

    /// Prepares to score another text with the same model: what it begins with as the one before is not read again, as far as
    /// nothing counts there. Several completions of one prompt cost its reading once, and the bits are the same (N11).
    ///
    /// # Errors
    /// As [`check`]; nothing has changed then.
    ///
    /// # Panics
    /// As [`check`].
    pub fn next(&mut self, model: &Model, sequence: Sequence) -> Result<(), ScoreError> {
        check(model, &sequence)?;
        let read = &self.sequence.tokens[..self.cache.len()];
        let same = read.iter().zip(&sequence.tokens).take_while(|(before, now)| before == now).count();
        // The logits are needed from the token on that is before the first one that counts.
        let needed = sequence.counted.iter().skip(1).position(|counts| *counts).unwrap_or(0);
        self.cache.truncate(same.min(needed));
        self.sequence = sequence;
        (self.log_probabilities, self.sum, self.greedy, self.logits) = (Vec::new(), 0.0, true, Sha256::new());
        Ok(())
    }

    /// Reads up to [`PREFILL_CHUNK`] tokens; the scores, once all that count have one.
    ///
    /// # Errors
    /// If a logit is not finite. The text has no scores then.
    pub fn advance(&mut self, model: &Model, exec: Exec<'_>) -> Result<Option<Scores>, ScoreError> {
        let (done, total) = self.progress();
        let end = total.min(done + PREFILL_CHUNK);
        // From the first place on whose next token counts.
        let first = (done..end).find(|place| self.sequence.counted[place + 1]).unwrap_or(end);
        if done < end {
            let wanted = Logits::Tail(end - first);
            model.forward(exec, &mut self.cache, &self.sequence.tokens[done..end], wanted, &mut self.workspace)?;
        }
        for (place, logits) in (first..end).zip(self.workspace.logits().chunks_exact(model.config().vocab)) {
            let token = place + 1;
            if !self.sequence.counted[token] {
                continue;
            }
            let (target, mut value) = (self.sequence.tokens[token], [0.0]);
            let best = argmax(logits).map_err(|_| ScoreError::NotFinite { token: token + 1 })?;
            log_probability_forward(exec, &mut value, logits, &[target]);
            self.sum += value[0]; // N6
            if !self.sum.is_finite() {
                return Err(ScoreError::NotFinite { token: token + 1 });
            }
            self.log_probabilities.push(value[0]);
            self.greedy &= best == target;
            self.logits.logits(logits);
        }
        Ok((end == total).then(|| Scores {
            log_probabilities: self.log_probabilities.clone(),
            sum: self.sum,
            greedy: self.greedy,
            logits_sha256: self.logits.clone().finish(),
        }))
    }

    /// The text.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// How many tokens have been read, of how many; nothing follows the last one that counts.
    pub fn progress(&self) -> (usize, usize) {
        let last = self.sequence.counted.iter().rposition(|counts| *counts);
        (self.cache.len(), last.unwrap_or(0))
    }
}
