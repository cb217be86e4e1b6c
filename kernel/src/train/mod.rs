//! Training: gradients of batches of token ids, and what optimisers make of them.

mod error;
mod evaluate;
mod optimizer;
mod options;
mod order;
mod state;

pub use error::TrainError;
pub use optimizer::{Optimizer, Schedule};
pub use options::{OutOfRange, Range, TrainOptions};
pub use order::{Order, held_out};
pub use state::{Position, ResumeError, StateTensor};

use crate::Exec;
use crate::digest::{Sha256, Sha256Digest, id_bytes};
use crate::model::{BackwardOptions, Gradients, Model, Parameter, Sequence, Tape, Tensor};
use crate::ops::{scale_step, squares_forward};
use alloc::vec::Vec;
use optimizer::Memory;

/// What a step did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepReport {
    /// Its number, from 1.
    pub step: u64,
    /// The mean cross-entropy of the batch before the step, in nats.
    pub loss: f32,
    /// The norm of all gradients together, before clipping.
    pub grad_norm: f32,
    /// The tokens of the batch.
    pub tokens: usize,
    /// The learning rate of the step.
    pub learning_rate: f32,
    /// The digest of all steps up to this one.
    pub digest: Sha256Digest,
}

/// A model in training: its weights, or those of its adapter, in binary32, and what the optimiser remembers.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    options: TrainOptions,
    table: Vec<Parameter>,
    memory: Vec<Memory>,
    tape: Tape,
    step: u64,
    digest: Sha256Digest,
    closed: bool,
}

impl Trainer {
    /// Begins with the weights of `base`, which stays as it is: its adapter is trained where it has one, otherwise all of it.
    pub fn new(base: &Model, options: TrainOptions) -> Trainer {
        let table = base.trainable();
        let memory = table.iter().map(|_| Memory::default()).collect();
        let (model, tape) = (base.to_trainable(), Tape::default());
        Trainer { model, options, table, memory, tape, step: 0, digest: [0; 32], closed: false }
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Whether a step failed in the midst of its changes: there are no further steps, and the model is neither that before it nor
    /// that after it.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The model as training left it.
    ///
    /// # Errors
    /// If a step closed the trainer, or a weight is not a finite number.
    pub fn into_model(mut self) -> Result<Model, TrainError> {
        self.check_state()?;
        Ok(self.model)
    }

    /// Learns from one batch. The bits do not depend on how a batch is read, only on the order of its sequences (N11).
    ///
    /// # Errors
    /// If the batch cannot be read or its loss is not finite, nothing has changed. If a gradient is not finite, or the
    /// weights that an earlier step left are not, no further step is possible.
    pub fn step(&mut self, exec: Exec<'_>, batch: &[Sequence]) -> Result<StepReport, TrainError> {
        if self.closed {
            return Err(TrainError::Closed);
        }
        let count = check(&self.model, batch)?;
        let TrainOptions { optimizer, schedule, clip_norm, recompute } = self.options;
        let step = self.step + 1;
        let rate = schedule.rate(step);
        let mut gradients = Gradients::default();
        let (table, memory) = (&self.table, &mut self.memory);
        let measure = |index: usize, g: &[f32]| {
            let row = table[index].shape.last().copied().unwrap_or(1);
            squares_forward(exec, g, row)
        };

        // With one sequence and nothing that needs all gradients together, a weight changes as soon as its gradient is
        // final, and the gradient is dropped.
        let at_once = batch.len() == 1 && clip_norm.is_none();
        let descend = if at_once { optimizer.plain_rate(rate) } else { None };
        let backward = BackwardOptions { recompute, count, descend };
        let mut ready = |index: usize, tensor: &mut Tensor, gradients: &mut Gradients| {
            if at_once {
                let Some(g) = gradients.take(index) else { return };
                gradients.set_squares(index, measure(index, &g));
                tensor.update(|w| optimizer.step(exec, w, &g, &mut memory[index], rate, step));
            }
        };
        for sequence in batch {
            self.model.backward(exec, sequence, backward, &mut self.tape, &mut gradients, &mut ready);
        }
        if gradients.loss().is_finite() {
            self.model.finish_embedding(exec, backward, &mut gradients, &mut ready);
        }
        let loss = gradients.loss() / count as f32;
        if !loss.is_finite() {
            if self.step > 0 {
                self.check_state()?;
            }
            return Err(TrainError::Loss { step });
        }
        let mut sum = 0.0;
        for (index, parameter) in table.iter().enumerate() {
            let held = gradients.get(index).map(|g| measure(index, g));
            sum += held.or(gradients.squares(index)).unwrap_or(0.0);
            if !f32::is_finite(sum) {
                self.closed = true;
                return Err(TrainError::Gradient { step, tensor: parameter.name.clone() });
            }
        }
        let grad_norm = libm::sqrtf(sum);
        if !at_once {
            let clip = clip_norm.map(|max| max as f32).filter(|max| grad_norm > *max).map(|max| max / grad_norm);
            self.model.update(|index, w| {
                let Some(mut g) = gradients.take(index) else { return };
                if let Some(factor) = clip {
                    scale_step(exec, &mut g, factor);
                }
                optimizer.step(exec, w, &g, &mut memory[index], rate, step);
            });
        }
        self.step = step;
        let learning_rate = rate as f32;
        self.digest = chain(&self.digest, step, batch, [loss, grad_norm, learning_rate]);
        let tokens = batch.iter().map(|sequence| sequence.tokens.len()).sum();
        Ok(StepReport { step, loss, grad_norm, tokens, learning_rate, digest: self.digest })
    }
}

/// The mean loss of a batch and the gradients of what is trainable; nothing is changed.
///
/// # Errors
/// If the batch cannot be read, its loss is not finite or a gradient is not.
pub fn gradients(
    exec: Exec<'_>,
    model: &Model,
    batch: &[Sequence],
    recompute: bool,
) -> Result<(f32, Gradients), TrainError> {
    let count = check(model, batch)?;
    let (mut model, mut tape, mut gradients) = (model.clone(), Tape::default(), Gradients::default());
    let options = BackwardOptions { recompute, count, descend: None };
    let mut ready = |_: usize, _: &mut Tensor, _: &mut Gradients| {};
    for sequence in batch {
        model.backward(exec, sequence, options, &mut tape, &mut gradients, &mut ready);
    }
    let loss = gradients.loss() / count as f32;
    if !loss.is_finite() {
        return Err(TrainError::Loss { step: 1 });
    }
    model.finish_embedding(exec, options, &mut gradients, &mut ready);
    let is_finite = |index| gradients.get(index).is_none_or(|g| g.iter().all(|g| g.is_finite()));
    match model.trainable().into_iter().enumerate().find(|(index, _)| !is_finite(*index)) {
        Some((_, Parameter { name, .. })) => Err(TrainError::Gradient { step: 1, tensor: name }),
        None => Ok((loss, gradients)),
    }
}

/// The number of targets of a batch that can be read.
fn check(model: &Model, batch: &[Sequence]) -> Result<usize, TrainError> {
    let (vocab, context) = (model.config().vocab, model.config().context);
    for Sequence { tokens, counted } in batch {
        if tokens.len() > context {
            return Err(TrainError::Context { tokens: tokens.len(), context });
        }
        if let Some(&token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(TrainError::Token { token, vocab });
        }
        assert_eq!(tokens.len(), counted.len(), "train: a mark for every token");
    }
    match batch.iter().map(Sequence::count).sum() {
        0 => Err(TrainError::NoTargets),
        count if batch.iter().all(|sequence| sequence.count() > 0) => Ok(count),
        _ => Err(TrainError::NoTargets),
    }
}

/// The next digest of a training: over the one before it, the step, the token ids of each sequence, and the bits of loss,
/// norm and rate, each a hashed field.
fn chain(digest: &Sha256Digest, step: u64, batch: &[Sequence], values: [f32; 3]) -> Sha256Digest {
    let mut hash = Sha256::new();
    hash.field(digest);
    hash.field(&step.to_le_bytes());
    for sequence in batch {
        hash.field(&id_bytes(&sequence.tokens));
    }
    for value in values {
        hash.field(&value.to_le_bytes());
    }
    hash.finish()
}
