//! Training of the loaded model, all of it or an adapter, its way back to the base weights, and the gradients of a text.

use std::rc::Rc;

use bpe::{Message, Special};
use kernel::model::{LoraConfig, Model, Sequence};
use kernel::train::{self, Optimizer, Range, Schedule, StepReport, TrainOptions, Trainer};
use kernel::transcript::{Identity, Sha256Digest};
use loader::digest::weights_digest;
use session::adapter::{AdapterFiles, Shape, adapter_digest, export};
use session::data::Reader;
use session::memory::{KEPT_TOKENS, Plan, gradients_bytes, training_bytes};
use session::receipt::{NewAdapter, TrainingTerms};
use session::tensors::{digest, model_digest};

use crate::engine::{Engine, EngineError, text_of};

/// The smallest pieces in which memory is asked for.
const PIECE: u64 = 16 << 20;

/// What the engine computes with when it is not the base model.
pub(crate) enum Changed {
    /// Steps are being made.
    Training(Box<Training>),
    /// Training has ended with this model, or an adapter was loaded.
    Model(Box<Model>),
}

/// A training under way.
pub(crate) struct Training {
    /// What it began with; a new adapter's digest stands for its shape and seed.
    base: Identity,
    trainer: Trainer,
    options: TrainOptions,
    /// What is learnt, in every step the same.
    batch: [Sequence; 1],
    /// The new adapter that is trained, if one is.
    adapter: Option<NewAdapter>,
    /// What the steps so far did.
    reports: Vec<StepReport>,
    /// Whether the receipt leaves the lesson out.
    private: bool,
}

/// What came of a training.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrainingEnd {
    /// The transcript of the whole training.
    pub transcript: Sha256Digest,
    /// The receipt, as canonical JSON, where one can hold it all.
    pub receipt: Option<String>,
}

/// What to learn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lesson {
    /// A text, of which every token but the first counts.
    Text(String),
    /// A conversation, of which the assistant's answers count.
    Messages(Vec<Message>),
}

/// What learns.
#[derive(Clone, PartialEq, Debug)]
pub enum Method {
    /// All weights.
    Full,
    /// A new low-rank adapter; the weights stay as they are.
    Lora {
        /// Its shape.
        shape: Shape,
        /// Where it begins.
        seed: u64,
    },
}

/// How to learn.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The learning rate of every step.
    pub learning_rate: f64,
    /// How gradients change what learns.
    pub optimizer: Optimizer,
    /// What learns.
    pub method: Method,
    /// Whether the receipt leaves the lesson out.
    pub private: bool,
}

impl Engine {
    /// Begins to train the base weights, or a new adapter beside them, in binary32; returns the tokens of the lesson. What
    /// an earlier training has learnt is given up, and so is a loaded adapter.
    ///
    /// # Errors
    /// If a training or a generation is under way, a setting is out of range, the lesson has nothing to learn or more
    /// tokens than the context, or there is not enough memory. Nothing has changed then, except that what the engine had
    /// learnt may be given up for the memory.
    pub fn begin_training(&mut self, lesson: &Lesson, settings: &Settings) -> Result<usize, EngineError> {
        self.expect_idle()?;
        let &Settings { learning_rate, optimizer, ref method, private } = settings;
        Range::Positive.check("learningRate", learning_rate).map_err(EngineError::Setting)?;
        let adapter = self.adapter_of(method)?;
        let sequence = match lesson {
            Lesson::Text(text) => self.reader().text(text),
            Lesson::Messages(messages) => self.reader().messages(messages),
        };
        let sequence = sequence.map_err(EngineError::Data)?;
        let tokens = sequence.tokens.len();
        self.reset()?;
        let recompute = tokens > KEPT_TOKENS;
        let lora = adapter.as_ref().map(|(lora, _)| lora);
        let new = adapter.as_ref().map(|(lora, seed)| NewAdapter::new(lora, *seed));
        let plan = Plan { tokens, optimizer, recompute, hold_gradients: false, adapter: lora };
        reserve(training_bytes(self.base.config(), plan))?;
        let schedule = Schedule { learning_rate, warmup: 0, cosine_steps: None };
        let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute };
        let adapted = adapter.map(|(lora, seed)| self.base.with_new_adapter(&lora, seed));
        let start = adapted.as_ref().unwrap_or(&self.base);
        let base = Identity { adapter: adapter_digest(start), ..self.base_identity() };
        let trainer = Trainer::new(start, options);
        let training =
            Training { base, trainer, options, batch: [sequence], adapter: new, reports: Vec::new(), private };
        self.changed = Some(Changed::Training(Box::new(training)));
        Ok(tokens)
    }

    /// Makes one step.
    ///
    /// # Errors
    /// If no training is under way. If loss or gradients are no finite numbers, the base weights are there again.
    pub fn train_step(&mut self) -> Result<StepReport, EngineError> {
        let Some(Changed::Training(training)) = &mut self.changed else {
            return Err(EngineError::NotTraining);
        };
        let report = training.trainer.step(self.exec, &training.batch).map_err(EngineError::Train);
        match &report {
            Ok(report) => training.reports.push(*report),
            Err(_) => self.changed = None,
        }
        report
    }

    /// Ends the training; from now on texts are generated with what it has learnt, which [`Engine::identity`] names.
    /// Returns what the training is known by.
    ///
    /// # Errors
    /// If no training is under way. If something that was learnt is not a finite number, the base weights are there again.
    pub fn finish_training(&mut self) -> Result<TrainingEnd, EngineError> {
        let Training { base, trainer, options, batch, adapter, reports, private } = match self.changed.take() {
            Some(Changed::Training(training)) => *training,
            other => {
                self.changed = other;
                return Err(EngineError::NotTraining);
            }
        };
        let model = trainer.into_model().map_err(EngineError::Train)?;
        let trained = model_digest(&model);
        self.adopt(model, trained);
        let (base, options) = (&base, &options);
        let terms = TrainingTerms { base, adapter, options, batch_size: 1, seed: 0, data: &batch, private };
        let receipt = terms.receipt(&reports, trained).ok().map(|receipt| text_of(&receipt));
        let transcript = terms.transcript(&reports, trained).digest();
        Ok(TrainingEnd { transcript, receipt })
    }

    /// Goes back to the base weights, without an adapter; a training under way is given up.
    ///
    /// # Errors
    /// If a generation is under way.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.expect_no_generation()?;
        self.changed = None;
        self.identity = self.base_identity();
        Ok(())
    }

    /// The adapter in use, as the two files that Python's `peft` loads.
    ///
    /// # Errors
    /// If a training is under way, or no adapter is in use.
    pub fn export_adapter(&self) -> Result<AdapterFiles, EngineError> {
        export(self.model()?, self.name()).ok_or(EngineError::NoAdapter)
    }

    /// Puts an adapter beside the base weights: the bytes of `adapter_config.json`, and those of `adapter_model.safetensors`,
    /// as many as `len`, which `fill` puts in place. What was trained or loaded before is given up.
    ///
    /// # Errors
    /// If a training or a generation is under way, there is not enough memory, or the files are no adapter of this model.
    /// Nothing has changed then.
    pub fn load_adapter(&mut self, config: &[u8], len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), EngineError> {
        self.expect_idle()?;
        let model = self.adapted(config, len, fill)?;
        let digest = model_digest(&model);
        self.adopt(model, digest);
        Ok(())
    }

    /// The loss of `text` under the present weights, and the weights digest taken over its gradients (binary32): of the
    /// adapter where one is in use, otherwise of all weights.
    ///
    /// # Errors
    /// If a training is under way, the text has fewer than 2 tokens or more than the context, there is not enough memory, or
    /// the loss is no finite number.
    pub fn gradients(&self, text: &str) -> Result<(f32, Sha256Digest), EngineError> {
        let model = self.model()?;
        let sequence = self.reader().text(text).map_err(EngineError::Data)?;
        let tokens = sequence.tokens.len();
        let recompute = tokens > KEPT_TOKENS;
        reserve(gradients_bytes(model, tokens, recompute, self.changed.is_some()))?;
        let (loss, gradients) =
            train::gradients(self.exec, model, &[sequence], recompute).map_err(EngineError::Train)?;
        let table = model.trainable().into_iter().enumerate();
        let digests = table.filter_map(|(index, parameter)| Some(digest(&parameter, gradients.get(index)?)));
        Ok((loss, weights_digest(digests)))
    }

    /// From now on texts are generated with `model`, whose weights, or whose adapter, have this digest.
    fn adopt(&mut self, model: Model, digest: Sha256Digest) {
        self.identity = match model.adapter() {
            None => Identity { weights: digest, ..self.base_identity() },
            Some(_) => Identity { adapter: Some(digest), ..self.base_identity() },
        };
        self.changed = Some(Changed::Model(Box::new(model)));
    }

    pub(crate) fn base_identity(&self) -> Identity {
        Identity { weights: self.base_weights, adapter: None, tokenizer: self.identity.tokenizer }
    }

    /// The shape of the adapter to train, and where it begins; none if all weights are trained.
    fn adapter_of(&self, method: &Method) -> Result<Option<(LoraConfig, u64)>, EngineError> {
        let Method::Lora { shape, seed } = method else { return Ok(None) };
        Ok(Some((shape.of(self.base.config()).map_err(EngineError::Lora)?, *seed)))
    }

    fn expect_idle(&self) -> Result<(), EngineError> {
        match self.changed {
            Some(Changed::Training(_)) => Err(EngineError::Training),
            _ => self.expect_no_generation(),
        }
    }

    /// Weights must not change between two tokens of a text.
    fn expect_no_generation(&self) -> Result<(), EngineError> {
        if Rc::strong_count(&self.generations) > 1 { Err(EngineError::Generating) } else { Ok(()) }
    }

    /// What turns texts and conversations into what a step can learn from.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            tokenizer: &self.tokenizer,
            special: Special::Parse,
            tokenizer_config: self.tokenizer_config.as_deref(),
            context: self.context(),
            truncate: false,
        }
    }
}

/// Makes sure that so many bytes can be had, by taking them in pieces and giving them back.
pub(crate) fn reserve(bytes: u64) -> Result<(), EngineError> {
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
