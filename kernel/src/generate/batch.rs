//! Generations that advance together.

use super::{GenerateError, Generation, Progress};
use crate::Exec;
use crate::model::{Model, Workspace};
use alloc::vec::Vec;

/// A generation that has its turn.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The generation.
    pub generation: &'a mut Generation,
    /// The most tokens of its prompt that it reads; one that has read its prompt reads one token.
    pub most: usize,
}

/// Does one unit of work of each: reads up to `most` tokens of a prompt, or generates one token (with the last part of a
/// prompt, both). Each weight is read once for all of them. The steps of a generation are those that
/// [`Generation::advance`] makes, whatever else advances with it (N11).
///
/// If this panics, none has advanced, and all can be advanced again.
///
/// # Errors
/// Of each on its own: if a logit is not finite. That generation cannot go on then.
pub fn advance_each(
    model: &Model,
    exec: Exec<'_>,
    turns: &mut [Turn<'_>],
    workspace: &mut Workspace,
) -> Vec<Result<Progress, GenerateError>> {
    let mut readings: Vec<_> = turns.iter_mut().filter_map(|turn| turn.generation.reading(turn.most)).collect();
    if !readings.is_empty()
        && let Err(error) = model.forward_each(exec, &mut readings, workspace)
    {
        return turns.iter().map(|_| Err(error.into())).collect();
    }
    let mut rows = workspace.logits().chunks_exact(model.config().vocab);
    let eos = &model.config().eos;
    let outcome = |turn: &mut Turn<'_>| turn.generation.outcome(exec, eos, || rows.next().unwrap_or_default());
    let progress: Vec<_> = turns.iter_mut().map(outcome).collect();
    turns.iter_mut().zip(&progress).for_each(|(turn, progress)| turn.generation.note(progress));
    progress
}
