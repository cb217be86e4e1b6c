//! What a training needs to go on as if it had never stopped: out of one trainer, into another.

use super::optimizer::Memory;
use super::{TrainError, TrainOptions, Trainer};
use crate::digest::Sha256Digest;
use crate::model::{LoadError, Model, Parameter, RawTensor, load_one};
use crate::ops::Weights;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How far a training has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The last step that was done; 0 before the first one.
    pub step: u64,
    /// The digest of all steps up to it: that of its report.
    pub digest: Sha256Digest,
}

/// A part of a trainer's state.
#[derive(Clone, PartialEq, Debug)]
pub struct StateTensor<'a> {
    /// Name and shape: the parameter's own for its weights, `optimizer.exp_avg.<name>` and the like for what the optimiser
    /// remembers of it.
    pub parameter: Parameter,
    /// The values, row-major.
    pub values: &'a [f32],
}

/// Why a training cannot go on from a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResumeError {
    /// A tensor is missing or has another shape.
    Load(LoadError),
    /// A value of a tensor is not a finite number.
    NotFinite {
        /// Its name.
        tensor: String,
    },
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "the state does not fit this training: {error}"),
            Self::NotFinite { tensor } => {
                write!(f, "the state is damaged: {tensor} has values that are no finite numbers")
            }
        }
    }
}

impl core::error::Error for ResumeError {}

impl Trainer {
    /// How far training has come.
    pub fn position(&self) -> Position {
        Position { step: self.step, digest: self.digest }
    }

    /// The weights of what is trained, then what the optimiser remembers of each, in the order of the table: with the
    /// [`Position`] all that [`Trainer::resume`] needs.
    ///
    /// # Errors
    /// If a step closed the trainer, or a value is not a finite number: there is nothing to go on from then.
    pub fn state(&mut self) -> Result<Vec<StateTensor<'_>>, TrainError> {
        self.check_state()?;
        let weights = self.table.iter().cloned().zip(self.weights());
        let memories = self.table.iter().zip(&self.memory).flat_map(|(parameter, memory)| {
            let names = self.options.optimizer.remembers().iter();
            names.zip(&memory.0).map(|(name, values)| (remembered(name, parameter), &values[..]))
        });
        Ok(weights.chain(memories).map(|(parameter, values)| StateTensor { parameter, values }).collect())
    }

    /// Goes on from a state: every later step has the bits that it would have had without the interruption. `base` and
    /// `options` are those of the training that was interrupted; `source` gives the tensors of [`Trainer::state`] by name.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape, or holds a value that is not a finite number.
    pub fn resume(
        base: &Model,
        options: TrainOptions,
        position: Position,
        source: &dyn Fn(&str) -> Option<RawTensor>,
    ) -> Result<Trainer, ResumeError> {
        let mut trainer = Trainer::new(base, options);
        let mut refused = None;
        let table = trainer.table.clone();
        trainer.model.update(|index, w| match load(table[index].clone(), source) {
            Ok(values) => w.copy_from_slice(&values),
            Err(error) => refused = refused.take().or(Some(error)),
        });
        if let Some(error) = refused {
            return Err(error);
        }
        if position.step > 0 {
            let names = options.optimizer.remembers();
            for (memory, row) in trainer.memory.iter_mut().zip(&table) {
                let values = names.iter().map(|name| load(remembered(name, row), source));
                *memory = Memory(values.collect::<Result<_, _>>()?);
            }
        }
        Ok(Trainer { step: position.step, digest: position.digest, ..trainer })
    }

    /// Closes the trainer if a weight, or what the optimiser remembers of it, is not a finite number.
    pub(super) fn check_state(&mut self) -> Result<(), TrainError> {
        if self.closed {
            return Err(TrainError::Closed);
        }
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let bad = self
            .weights()
            .zip(&self.memory)
            .position(|(weights, memory)| !(finite(weights) && memory.0.iter().all(|values| finite(values))));
        let Some(bad) = bad else { return Ok(()) };
        self.closed = true;
        Err(TrainError::Weight { step: self.step, tensor: self.table[bad].name.clone() })
    }

    /// The weights of what is trained, in the order of the table.
    fn weights(&self) -> impl Iterator<Item = &[f32]> {
        self.model.trainable_weights().into_iter().map(|weights| match weights {
            Weights::F32(values) => values,
            Weights::Bf16(_) => unreachable!("a trainer's weights are binary32"),
        })
    }
}

/// The row of what an optimiser remembers of a parameter.
fn remembered(name: &str, parameter: &Parameter) -> Parameter {
    Parameter { name: format!("optimizer.{name}.{}", parameter.name), shape: parameter.shape.clone() }
}

fn load(parameter: Parameter, source: &dyn Fn(&str) -> Option<RawTensor>) -> Result<Vec<f32>, ResumeError> {
    let name = parameter.name.clone();
    let tensor = load_one(parameter, source).map_err(ResumeError::Load)?.to_owned_f32();
    match tensor.into_f32() {
        values if values.iter().all(|value| value.is_finite()) => Ok(values),
        _ => Err(ResumeError::NotFinite { tensor: name }),
    }
}
