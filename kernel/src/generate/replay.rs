//! A generation whose tokens are known already, computed again: all of them are read at once.

use super::{GenerateError, PREFILL_CHUNK, Request, Step};
use crate::Exec;
use crate::model::{KvCache, Logits, Model, Workspace};
use alloc::vec::Vec;

/// The steps of a generation, computed from what it is said to have generated.
///
/// Reading a text at once and token by token give the same logits (N11), so these are the steps that
/// [`Generation`](super::Generation) makes, at the cost of reading the text: up to the first one that chooses another token
/// than it is said to have, or that ends. Those after it go on from the tokens as they are said to be.
#[derive(Debug)]
pub struct Replay {
    request: Request,
    /// Prompt and tokens, but for the last one, from which nothing is chosen.
    ids: Vec<u32>,
    cache: KvCache,
    workspace: Workspace,
    steps: usize,
    room: Vec<f32>,
}

impl Replay {
    /// Prepares to compute the steps of `tokens`; nothing is computed yet.
    ///
    /// # Errors
    /// As [`Generation::new`](super::Generation::new), and if one of the tokens is outside the vocabulary.
    ///
    /// # Panics
    /// If there are no tokens, or more than the request may have.
    pub fn new(model: &Model, request: Request, tokens: &[u32]) -> Result<Replay, GenerateError> {
        let config = model.config();
        request.check(config)?;
        let (count, most) = (tokens.len(), request.max_tokens);
        assert!((1..=most).contains(&count), "replay: {count} tokens, of a request of at most {most}");
        config.check_tokens(tokens)?;
        let ids = [&request.prompt, &tokens[..count - 1]].concat();
        let (cache, workspace) = (KvCache::new(config), Workspace::default());
        Ok(Replay { request, ids, cache, workspace, steps: 0, room: Vec::new() })
    }

    /// Reads up to [`PREFILL_CHUNK`] tokens and returns the steps that follow from them: none while the prompt is read, and
    /// none after the last one.
    ///
    /// # Errors
    /// If a logit is not finite.
    pub fn advance(&mut self, model: &Model, exec: Exec<'_>) -> Result<Vec<Step>, GenerateError> {
        let prompt = self.request.prompt.len();
        let done = self.cache.len();
        let end = self.ids.len().min(done + PREFILL_CHUNK);
        if done == end {
            return Ok(Vec::new());
        }
        // The last position of the prompt is the first one that a token is chosen from.
        let wanted = (end + 1).saturating_sub(prompt.max(done + 1));
        let chunk = &self.ids[done..end];
        model.forward(exec, &mut self.cache, chunk, Logits::Tail(wanted), &mut self.workspace)?;
        let rows = self.workspace.logits().chunks_exact(model.config().vocab);
        let mut steps = Vec::with_capacity(wanted);
        for logits in rows {
            let earlier = self.ids[prompt..prompt + self.steps].iter().copied();
            steps.push(self.request.choose(exec, &model.config().eos, earlier, logits, &mut self.room)?);
            self.steps += 1;
        }
        Ok(steps)
    }

    /// What is generated.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// How many tokens have been read, of how many.
    pub fn progress(&self) -> (usize, usize) {
        (self.cache.len(), self.ids.len())
    }
}
