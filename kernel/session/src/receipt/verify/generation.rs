//! A generation that is verified: read at once, or token by token.

use bpe::Tokenizer;
use kernel::Exec;
use kernel::generate::{GenerateError, Progress as Advanced};
use kernel::generate::{Generation, Replay, Request, Step};
use kernel::model::Model;
use kernel::transcript::{Identity, ids_digest};

use super::{Given, Progress, Verdict, compare};
use crate::TextStream;
use crate::receipt::generation::{Finish, Generated, GenerationTerms};
use crate::receipt::{Hex, Receipt};

/// The steps that were computed so far, and those to come.
#[derive(Debug)]
pub(super) struct GenerationCheck {
    source: Source,
    /// The text, which may end it.
    text: TextStream,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Source {
    /// The tokens are known: all of them are read at once.
    Replay(Replay),
    /// They are generated again.
    Generation(Generation),
}

impl GenerationCheck {
    pub(super) fn begin(told: &Generated, model: &Model, given: Given) -> Result<GenerationCheck, Verdict> {
        let (asked, eos) = (&told.request, &model.config().eos);
        if !asked.end_tokens.is_empty() && asked.end_tokens != *eos {
            return Err(Verdict::cannot(format_args!(
                "its texts end at the tokens {:?}, those of the model here at {eos:?}",
                &asked.end_tokens[..asked.end_tokens.len().min(8)]
            )));
        }
        let prompt = match (&asked.prompt_ids, given.prompt) {
            (Some(prompt), None) => prompt.clone(),
            (Some(prompt), Some(given)) if *prompt == given => given,
            (None, Some(given)) if asked.prompt_sha256 == Some(Hex(ids_digest(&given))) => given,
            (None, None) => {
                return Err(Verdict::cannot("it is private: it has no token ids. Give the prompt to verify it"));
            }
            (_, Some(_)) => return Err(Verdict::cannot("the prompt that was given is not that of the receipt")),
        };
        let output = output(told, given.output)?;
        let request = told.request(prompt).map_err(Verdict::from)?;
        let source = match &output {
            Some(ids) if !given.step_by_step => Source::Replay(Replay::new(model, request, ids).map_err(refused)?),
            _ => Source::Generation(Generation::new(model, request).map_err(refused)?),
        };
        let text = TextStream::new(told.stop().map_err(Verdict::from)?);
        Ok(GenerationCheck { source, text, steps: Vec::new() })
    }

    pub(super) fn advance(
        &mut self,
        receipt: &Receipt,
        identity: &Identity,
        model: &Model,
        tokenizer: &Tokenizer,
        exec: Exec<'_>,
    ) -> Result<Progress, Verdict> {
        let Some(told) = &receipt.generation else { return Err(Verdict::cannot("it is of no generation")) };
        let all = told.logits_sha256.len();
        let new = match &mut self.source {
            Source::Replay(replay) => replay.advance(model, exec),
            Source::Generation(generation) => generation.advance(model, exec).map(|advanced| match advanced {
                Advanced::Token(step) => vec![step],
                Advanced::Prefill { .. } | Advanced::Finished(_) => Vec::new(),
            }),
        };
        for mut step in new.map_err(failed)? {
            // A receipt does not tell the text: it is read for its end only.
            if !self.text.stop().is_empty() {
                self.text.push(tokenizer, &mut step).map_err(Verdict::cannot)?;
            }
            expect(told, &step)?;
            self.steps.push(step);
        }
        if self.steps.len() < all {
            let (done, total) = match &self.source {
                Source::Replay(replay) => replay.progress(),
                Source::Generation(_) => (self.steps.len(), all),
            };
            return Ok(Progress::Going { done: done as u64, total: total as u64 });
        }
        let private = told.token_ids.is_none();
        let (request, eos, stop) = (self.request(), &model.config().eos, self.text.stop());
        let terms = GenerationTerms { identity, request, eos, stop, private };
        Ok(Progress::Done(compare(receipt, terms.receipt(&self.steps))))
    }

    fn request(&self) -> &Request {
        match &self.source {
            Source::Replay(replay) => replay.request(),
            Source::Generation(generation) => generation.request(),
        }
    }
}

/// The tokens that came out, where they are known.
fn output(told: &Generated, given: Option<Vec<u32>>) -> Result<Option<Vec<u32>>, Verdict> {
    let steps = told.logits_sha256.len();
    match (&told.token_ids, given) {
        (ids, None) => Ok(ids.clone()),
        (Some(ids), Some(given)) if *ids == given => Ok(Some(given)),
        (None, Some(given)) if told.token_ids_sha256 == Some(Hex(ids_digest(&given))) => {
            let why = format!("its digest is of {} tokens, and it has {steps} steps", given.len());
            if given.len() == steps { Ok(Some(given)) } else { Err(Verdict::Mismatch { step: None, why }) }
        }
        (_, Some(_)) => Err(Verdict::cannot("the output that was given is not that of the receipt")),
    }
}

/// Whether a step is the one that the receipt tells.
fn expect(told: &Generated, step: &Step) -> Result<(), Verdict> {
    let (index, last) = (step.step - 1, step.step == told.logits_sha256.len());
    let mismatch = |why: String| Err(Verdict::Mismatch { step: Some(step.step as u64), why });
    let digest = told.logits_sha256.get(index).copied().unwrap_or(Hex([0; 32]));
    if digest != Hex(step.logits_sha256) {
        let computed = Hex(step.logits_sha256).digits();
        return mismatch(format!("the logits have the digest {computed}, and not {}", digest.digits()));
    }
    let token = told.token_ids.as_ref().and_then(|ids| ids.get(index)).copied();
    if let Some(token) = token.filter(|token| *token != step.token_id) {
        return mismatch(format!("the token is {}, and not {token}", step.token_id));
    }
    let finish = step.finish_reason.map(Finish::from);
    if finish != last.then_some(told.finish_reason) {
        return mismatch("the text ends at another step, or for another reason".to_string());
    }
    Ok(())
}

/// A generation that this model does not begin.
fn refused(error: GenerateError) -> Verdict {
    Verdict::cannot(format_args!("the model here does not take it: {error}"))
}

/// A generation that cannot go on.
fn failed(error: GenerateError) -> Verdict {
    let step = match error {
        GenerateError::NotFinite { step, .. } => Some(step as u64),
        _ => None,
    };
    Verdict::Mismatch { step, why: error.to_string() }
}
