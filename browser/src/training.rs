//! Training of the loaded model on one text, its way back to the base weights, and the gradients of a text.

use std::rc::Rc;

use bpe::Special;
use kernel::Exec;
use kernel::model::{Config, Model, Parameter, Sequence, parameters};
use kernel::ops::Weights;
use kernel::train::{self, Optimizer, Schedule, StepReport, TrainError, TrainOptions, Trainer};
use kernel::transcript::{Sha256Digest, logits_digest};
use loader::DType;
use loader::digest::{TensorDigest, weights_digest};

use crate::engine::{Engine, EngineError};

/// Texts up to so many tokens keep their activations; those of longer ones are computed again, which gives the same bits.
const KEPT_TOKENS: usize = 128;
/// Rows of logits that the backward pass holds at a time, and the buffers of the head's size for each.
const HEAD_ROWS: u64 = 32;
/// Room for what is small: one layer's buffers, attention scores, the allocator's gaps.
const SLACK: u64 = 64 << 20;
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
    Done(Box<Trainer>),
}

impl Trained {
    /// The model, once training has ended.
    pub(crate) fn model(&self) -> Option<&Model> {
        match self {
            Trained::Under { .. } => None,
            Trained::Done(trainer) => Some(trainer.model()),
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
        reserve(training_bytes(self.base.config(), tokens, optimizer))?;
        let schedule = Schedule { learning_rate, warmup: 0, cosine_steps: None };
        let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute: tokens > KEPT_TOKENS };
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
    /// If no training is under way.
    pub fn finish_training(&mut self) -> Result<Sha256Digest, EngineError> {
        match self.trained.take() {
            Some(Trained::Under { trainer, .. }) => {
                self.identity.weights = model_digest(trainer.model());
                self.trained = Some(Trained::Done(trainer));
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
        let copies = if self.trained.is_some() { 2 } else { 1 };
        reserve(copies * weight_bytes(model.config()) + activation_bytes(model.config(), tokens) + SLACK)?;
        let (loss, gradients) =
            train::gradients(Exec::serial(), model, &[sequence], tokens > KEPT_TOKENS).map_err(EngineError::Train)?;
        let table = model.trainable().into_iter().enumerate();
        let digests = table.filter_map(|(index, parameter)| Some(tensor_digest(parameter, gradients.get(index)?)));
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

/// The weights digest of a trained model, all of whose weights are binary32.
fn model_digest(model: &Model) -> Sha256Digest {
    weights_digest(model.tensors().map(|(parameter, weights)| match weights {
        Weights::F32(values) => tensor_digest(parameter, values),
        Weights::Bf16(_) => panic!("{}: a trainer's weights are binary32", parameter.name),
    }))
}

fn tensor_digest(Parameter { name, shape }: Parameter, values: &[f32]) -> TensorDigest {
    // Of the values as little-endian binary32, which is what the digest of logits is taken over, too.
    TensorDigest { name, dtype: DType::F32, shape, sha256: logits_digest(values) }
}

/// Bytes of all weights in binary32.
fn weight_bytes(config: &Config) -> u64 {
    parameters(config).iter().map(bytes_of).sum()
}

fn bytes_of(parameter: &Parameter) -> u64 {
    4 * parameter.shape.iter().map(|axis| *axis as u64).product::<u64>()
}

/// Bytes that a training takes beside the loaded model, about and not less.
///
/// That is the weights, what the optimiser remembers of each, the embedding's gradient, which is final last, and those of
/// one layer.
pub fn training_bytes(config: &Config, tokens: usize, optimizer: Optimizer) -> u64 {
    let weights = weight_bytes(config);
    let head = 4 * (config.vocab as u64) * (config.dim as u64) * if config.tied { 1 } else { 2 };
    let gradients = head + weights.saturating_sub(head) / (config.layers.max(1) as u64);
    let memory = match optimizer {
        Optimizer::Sgd { momentum: 0.0 } => 0,
        Optimizer::Sgd { .. } => weights,
        Optimizer::AdamW { .. } => 2 * weights,
    };
    weights + gradients + memory + activation_bytes(config, tokens) + SLACK
}

/// Bytes of what the backward pass keeps of the forward pass, and of the logits that it holds.
fn activation_bytes(config: &Config, tokens: usize) -> u64 {
    let (dim, hidden, layers) = (config.dim as u64, config.hidden as u64, config.layers as u64);
    let (q, kv) = ((config.heads * config.head_dim) as u64, (config.kv_heads * config.head_dim) as u64);
    let layer = 2 * dim + 2 * q + 2 * kv + 2 * hidden;
    // A layer's buffers and their gradients are there three times at most while it is computed.
    let kept = if tokens > KEPT_TOKENS { layers * dim + 3 * layer } else { (layers + 3) * layer };
    4 * (tokens as u64 * kept + HEAD_ROWS * config.vocab as u64)
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

    /// SmolLM2-135M.
    fn config() -> Config {
        Config {
            vocab: 49152,
            dim: 576,
            hidden: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            context: 8192,
            rope_theta: 1e5,
            rms_norm_eps: 1e-5,
            tied: true,
            attention_bias: false,
            mlp_bias: false,
            eos: vec![],
        }
    }

    const BASE: u64 = 269_060_552;
    const ADAMW: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };

    #[test]
    fn estimates_of_135_million_parameters() {
        assert_eq!(weight_bytes(&config()), 538_060_032);
        let sgd = BASE + training_bytes(&config(), 128, Optimizer::Sgd { momentum: 0.0 });
        assert!((1_000_000_000..1_200_000_000).contains(&sgd), "{sgd}");
        let adamw = BASE + training_bytes(&config(), 128, ADAMW);
        assert!((2_000_000_000..2_300_000_000).contains(&adamw), "{adamw}");
        // Longer texts are computed again rather than kept.
        let long = training_bytes(&config(), 1024, Optimizer::Sgd { momentum: 0.0 });
        assert!(BASE + long < 1_200_000_000, "{long}");
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_with_the_numbers() {
        reserve(3 * PIECE + 1).unwrap();
        let error = reserve(u64::MAX / 2).unwrap_err().to_string();
        assert!(error.contains(&format!("{} MB", u64::MAX / 2 / 1_000_000)), "{error}");
    }
}
