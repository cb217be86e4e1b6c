//! The loss of data that is not learnt from.

use super::{TrainError, Trainer, check};
use crate::Exec;
use crate::model::{KvCache, Logits, Model, Sequence, Workspace};
use crate::ops::cross_entropy_forward;

/// Tokens that are read at a time, and rows of logits that are in memory at a time.
const ROWS: usize = 64;

impl Trainer {
    /// The mean loss of `sequences`, in nats, over all positions that count, under the weights as they are now. Nothing is
    /// changed, and the bits are those that a step would report of them as its batch: summed in the order of the sequences and
    /// divided once (N6).
    ///
    /// # Errors
    /// If the sequences cannot be read, or their loss is not a finite number.
    pub fn evaluate(&self, exec: Exec<'_>, sequences: &[Sequence]) -> Result<f32, TrainError> {
        let count = check(&self.model, sequences)?;
        let sum = sequences.iter().fold(0.0, |sum, sequence| add_losses(exec, &self.model, sequence, sum));
        let loss = sum / count as f32;
        if loss.is_finite() { Ok(loss) } else { Err(TrainError::Evaluation { step: self.step }) }
    }
}

/// Adds the loss of each position that counts to `sum`.
fn add_losses(exec: Exec<'_>, model: &Model, sequence: &Sequence, mut sum: f32) -> f32 {
    let vocab = model.config().vocab;
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    // The last token predicts nothing.
    let inputs = sequence.tokens.len().saturating_sub(1);
    for start in (0..inputs).step_by(ROWS) {
        let positions = start..inputs.min(start + ROWS);
        let counted = || positions.clone().filter(|position| sequence.counted[position + 1]);
        let wanted = if counted().next().is_some() { Logits::All } else { Logits::None };
        let read = model.forward(exec, &mut cache, &sequence.tokens[positions.clone()], wanted, &mut workspace);
        read.expect("the sequence was checked");
        for position in counted() {
            let logits = &workspace.logits()[(position - start) * vocab..][..vocab];
            let mut loss = [0.0];
            cross_entropy_forward(exec, &mut loss, logits, &sequence.tokens[position + 1..position + 2]);
            sum += loss[0];
        }
    }
    sum
}
