//! Training of the loaded model on one text, its way back to the base weights, and the gradients of a text.

use std::rc::Rc;

use bpe::Special;
use kernel::Exec;
use kernel::model::{Model, Sequence};
use kernel::train::{self, Optimizer, Schedule, StepReport, TrainError, TrainOptions, Trainer};
use kernel::transcript::Sha256Digest;
use loader::digest::weights_digest;
use session::memory::{Plan, gradients_bytes, training_bytes};
use session::tensors::{digest, model_digest};

use crate::engine::{Engine, EngineError};

/// Texts up to so many tokens keep their activations; those of longer ones are computed again, which gives the same bits.
const KEPT_TOKENS: usize = 128;
/// The smallest pieces in which memory is asked for.
const PIECE: u64 = 16 << 20;

/// What the engine computes with when it is not the base model.
pub(crate) enum Trained {
    /// Steps are being made.
    Under {
        /// The weights and what the optimiser remembers.
        trainer: Box<Trainer>,
        /// The text, every step the same.
        batch: [Sequence; 1],
    },
    /// Training has ended with these weights.
    Done(Box<Model>),
}

impl Trained {
    /// The model, once training has ended.
    pub(crate) fn model(&self) -> Option<&Model> {
        match self {
            Trained::Under { .. } => None,
            Trained::Done(model) => Some(model),
        }
    }
}

impl Engine {
    /// Begins to train all base weights, in binary32, on `text`; returns its tokens. Weights of an earlier training are
    /// given up.
    ///
    /// # Errors
    /// If a training or a generation is under way, the rate is no positive number, the text has fewer than 2 tokens or more
    /// than the context, or there is not enough memory. Nothing has changed then, except that an earlier training may be
    /// given up for the memory.
    pub fn begin_training(
        &mut self,
        text: &str,
        learning_rate: f64,
        optimizer: Optimizer,
    ) -> Result<usize, EngineError> {
        self.expect_idle()?;
        if !(learning_rate > 0.0 && (learning_rate as f32).is_finite()) {
            return Err(EngineError::LearningRate(learning_rate));
        }
        let sequence = self.readable(text)?;
        let tokens = sequence.tokens.len();
        self.reset()?;
        let recompute = tokens > KEPT_TOKENS;
        let plan = Plan { tokens, optimizer, recompute, hold_gradients: false, adapter: None };
        reserve(training_bytes(self.base.config(), plan))?;
        let schedule = Schedule { learning_rate, warmup: 0, cosine_steps: None };
        let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute };
        let trainer = Box::new(Trainer::new(&self.base, options));
        self.trained = Some(Trained::Under { trainer, batch: [sequence] });
        Ok(tokens)
    }

    /// Makes one step.
    ///
    /// # Errors
    /// If no training is under way. If loss or gradients are no finite numbers, the base weights are there again.
    pub fn train_step(&mut self) -> Result<StepReport, EngineError> {
        let Some(Trained::Under { trainer, batch }) = &mut self.trained else {
            return Err(EngineError::NotTraining);
        };
        trainer.step(Exec::serial(), &batch[..]).map_err(|error| {
            self.trained = None;
            EngineError::Train(error)
        })
    }

    /// Ends the training; from now on texts are generated with its weights, whose digest is returned.
    ///
    /// # Errors
    /// If no training is under way. If a weight is no finite number, the base weights are there again.
    pub fn finish_training(&mut self) -> Result<Sha256Digest, EngineError> {
        match self.trained.take() {
            Some(Trained::Under { trainer, .. }) => {
                let model = trainer.into_model().map_err(EngineError::Train)?;
                self.identity.weights = model_digest(&model);
                self.trained = Some(Trained::Done(Box::new(model)));
                Ok(self.identity.weights)
            }
            other => {
                self.trained = other;
                Err(EngineError::NotTraining)
            }
        }
    }

    /// Goes back to the base weights; a training under way is given up.
    ///
    /// # Errors
    /// If a generation is under way.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.expect_no_generation()?;
        self.trained = None;
        self.identity.weights = self.base_weights;
        Ok(())
    }

    /// The loss of `text` under the present weights, and the weights digest taken over its gradients (binary32).
    ///
    /// # Errors
    /// If a training is under way, the text has fewer than 2 tokens or more than the context, there is not enough memory, or
    /// the loss is no finite number.
    pub fn gradients(&self, text: &str) -> Result<(f32, Sha256Digest), EngineError> {
        let model = self.model()?;
        let sequence = self.readable(text)?;
        let tokens = sequence.tokens.len();
        let recompute = tokens > KEPT_TOKENS;
        reserve(gradients_bytes(model.config(), tokens, recompute, self.trained.is_some()))?;
        let (loss, gradients) =
            train::gradients(Exec::serial(), model, &[sequence], recompute).map_err(EngineError::Train)?;
        let table = model.trainable().into_iter().enumerate();
        let digests = table.filter_map(|(index, parameter)| Some(digest(&parameter, gradients.get(index)?)));
        Ok((loss, weights_digest(digests)))
    }

    fn expect_idle(&self) -> Result<(), EngineError> {
        match self.trained {
            Some(Trained::Under { .. }) => Err(EngineError::Training),
            _ => self.expect_no_generation(),
        }
    }

    /// Weights must not change between two tokens of a text.
    fn expect_no_generation(&self) -> Result<(), EngineError> {
        if Rc::strong_count(&self.generations) > 1 { Err(EngineError::Generating) } else { Ok(()) }
    }

    /// The tokens of a text that a step can learn from.
    fn readable(&self, text: &str) -> Result<Sequence, EngineError> {
        let tokens = self.encode(text, Special::Parse);
        let (count, context) = (tokens.len(), self.context());
        match count {
            0 | 1 => Err(EngineError::Train(TrainError::NoTargets)),
            _ if count > context => Err(EngineError::Train(TrainError::Context { tokens: count, context })),
            _ => Ok(Sequence::new(tokens)),
        }
    }
}

/// Makes sure that so many bytes can be had, by taking them in pieces and giving them back.
fn reserve(bytes: u64) -> Result<(), EngineError> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let (piece, mut left) = (PIECE.max(bytes / 256), bytes);
    while left > 0 {
        let piece = piece.min(left);
        let mut room = Vec::new();
        let refused = room.try_reserve_exact(piece as usize).is_err() || pieces.try_reserve(1).is_err();
        if refused {
            return Err(EngineError::NoMemory { needed: bytes, found: bytes - left });
        }
        pieces.push(room);
        left -= piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_an_error_with_the_numbers() {
        reserve(3 * PIECE + 1).unwrap();
        let error = reserve(u64::MAX / 2).unwrap_err().to_string();
        assert!(error.contains(&format!("{} MB", u64::MAX / 2 / 1_000_000)), "{error}");
    }
}
