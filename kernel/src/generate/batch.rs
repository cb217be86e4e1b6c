//! Generations that advance together.

use super::{GenerateError, Generation, Progress};
use crate::Exec;
use crate::model::{Model, Reading, Workspace};
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
    let readings: Vec<_> = turns.iter_mut().map(|turn| turn.generation.reading(turn.most)).collect();
    let rows: Vec<usize> = readings.iter().map(|reading| reading.as_ref().map_or(0, Reading::rows)).collect();
    let mut readings: Vec<_> = readings.into_iter().flatten().collect();
    if !readings.is_empty()
        && let Err(error) = model.forward_each(exec, &mut readings, workspace)
    {
        return turns.iter().map(|_| Err(error.into())).collect();
    }
    let mut rest = workspace.logits();
    let outcome = |(turn, rows): (&mut Turn<'_>, usize)| {
        let (logits, others) = rest.split_at(rows * model.config().vocab);
        rest = others;
        turn.generation.outcome(exec, model.config(), logits)
    };
    let outcomes: Vec<_> = turns.iter_mut().zip(rows).map(outcome).collect();
    // Only now: nothing panics any more.
    turns.iter_mut().zip(outcomes).map(|(turn, outcome)| outcome.map(|outcome| turn.generation.note(outcome))).collect()
}
