//! The receipt of a training, from its steps.

use kernel::model::{LoraConfig, Sequence};
use kernel::train::{Optimizer, Schedule, StepReport, TrainOptions};
use kernel::transcript::{Identity, Sha256Digest, TrainingTranscript, data_digest};
use serde::{Deserialize, Serialize};

use super::data::{Marked, limit_tokens, sequences, shown};
use super::error::{content, limit};
use super::{Bits32, Bits64, Decimal, Digest, Hex, MAX_BATCH_TOKENS, MAX_STEPS, ModelDigests, Receipt, ReceiptError};

/// A training, as a receipt tells it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Trained {
    /// The new adapter that was trained; without one, the adapter in `model`, or all weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<NewAdapter>,
    /// Sequences of a step.
    pub batch_size: u32,
    /// What was learnt from; left out of a private receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<Marked>>,
    /// The digest of what was learnt from.
    pub data_sha256: Digest,
    /// The hyper-parameters.
    pub hyper_parameters: HyperParameters,
    /// The bits of the loss of every step.
    pub loss_bits: Vec<Bits32>,
    /// The seed of the order in which the data was taken.
    pub seed: Decimal,
    /// The digest of the steps up to every one.
    pub step_sha256: Vec<Digest>,
    /// The digest of what came out: of all weights, or of the adapter, as binary32.
    pub trained_sha256: Digest,
}

/// How a new adapter began.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub struct NewAdapter {
    pub alpha: Bits64,
    pub rank: u32,
    pub seed: Decimal,
    pub targets: Vec<String>,
}

/// The hyper-parameters; real numbers by their bits.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub struct HyperParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<Bits64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine_steps: Option<Decimal>,
    pub learning_rate: Bits64,
    pub optimizer: OptimizerBits,
    pub warmup: Decimal,
}

/// The optimiser and its own parameters.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub enum OptimizerBits {
    AdamW { beta1: Bits64, beta2: Bits64, eps: Bits64, weight_decay: Bits64 },
    Sgd { momentum: Bits64 },
}

impl NewAdapter {
    /// How an adapter of this shape begins with this seed.
    pub fn new(lora: &LoraConfig, seed: u64) -> NewAdapter {
        NewAdapter {
            alpha: lora.alpha().into(),
            rank: lora.rank() as u32,
            seed: Decimal(seed),
            targets: lora.targets().to_vec(),
        }
    }
}

impl From<&TrainOptions> for HyperParameters {
    fn from(options: &TrainOptions) -> HyperParameters {
        let &TrainOptions { optimizer, schedule, clip_norm, recompute: _ } = options;
        let optimizer = match optimizer {
            Optimizer::Sgd { momentum } => OptimizerBits::Sgd { momentum: momentum.into() },
            Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
                let [beta1, beta2, eps, weight_decay] = [beta1, beta2, eps, weight_decay].map(Bits64::from);
                OptimizerBits::AdamW { beta1, beta2, eps, weight_decay }
            }
        };
        HyperParameters {
            clip_norm: clip_norm.map(Bits64::from),
            cosine_steps: schedule.cosine_steps.map(Decimal),
            learning_rate: schedule.learning_rate.into(),
            optimizer,
            warmup: Decimal(schedule.warmup),
        }
    }
}

impl HyperParameters {
    /// The options; whether activations are recomputed changes no bit.
    pub(super) fn options(&self, recompute: bool) -> TrainOptions {
        let optimizer = match self.optimizer {
            OptimizerBits::Sgd { momentum } => Optimizer::Sgd { momentum: momentum.value() },
            OptimizerBits::AdamW { beta1, beta2, eps, weight_decay } => {
                let [beta1, beta2, eps, weight_decay] = [beta1, beta2, eps, weight_decay].map(Bits64::value);
                Optimizer::AdamW { beta1, beta2, eps, weight_decay }
            }
        };
        let schedule = Schedule {
            learning_rate: self.learning_rate.value(),
            warmup: self.warmup.0,
            cosine_steps: self.cosine_steps.map(|steps| steps.0),
        };
        TrainOptions { optimizer, schedule, clip_norm: self.clip_norm.map(Bits64::value), recompute }
    }
}

/// Everything about a training that its receipt tells, but for its steps.
#[derive(Clone, Debug)]
pub struct TrainingTerms<'a> {
    /// What it begins with.
    pub base: &'a Identity,
    /// The adapter, if it is a new one.
    pub adapter: Option<NewAdapter>,
    /// The hyper-parameters.
    pub options: &'a TrainOptions,
    /// Sequences of a step.
    pub batch_size: usize,
    /// The seed of the order of the data.
    pub seed: u64,
    /// What is learnt from.
    pub data: &'a [Sequence],
    /// Whether the data is left out.
    pub private: bool,
}

impl TrainingTerms<'_> {
    /// What the training is known by, whether or not a receipt can hold it; `steps` and `trained` as for [`receipt`](Self::receipt).
    pub fn transcript(&self, steps: &[StepReport], trained: Sha256Digest) -> TrainingTranscript {
        TrainingTranscript {
            base: self.base.clone(),
            data: data_digest(self.data),
            options: *self.options,
            steps: steps.last().map_or([0; 32], |step| step.digest),
            trained,
        }
    }

    /// The receipt of these steps, which are all that there were; `trained` is the digest of what came out.
    ///
    /// # Errors
    /// If there are no steps, or more of something than a receipt may hold.
    pub fn receipt(&self, steps: &[StepReport], trained: Sha256Digest) -> Result<Receipt, ReceiptError> {
        let transcript = self.transcript(steps, trained);
        let record = Trained {
            adapter: self.adapter.clone(),
            batch_size: self.batch_size as u32,
            data: shown(self.data, self.private),
            data_sha256: Hex(transcript.data),
            hyper_parameters: self.options.into(),
            loss_bits: steps.iter().map(|step| step.loss.into()).collect(),
            seed: Decimal(self.seed),
            step_sha256: steps.iter().map(|step| Hex(step.digest)).collect(),
            trained_sha256: Hex(trained),
        };
        record.check(&self.base.into())?;
        Ok(Receipt { training: Some(record), ..Receipt::new(self.base, transcript.digest()) })
    }
}

impl Receipt {
    /// Refuses, before anything is computed, a training that would exceed a receipt.
    ///
    /// # Errors
    /// With the numbers.
    pub fn check_training_limits(
        steps: u64,
        data: &[Sequence],
        batch_size: usize,
        private: bool,
    ) -> Result<(), ReceiptError> {
        limit("steps", usize::try_from(steps).unwrap_or(usize::MAX), MAX_STEPS)?;
        check_data(data, batch_size, private)
    }
}

/// Whether the data fits a receipt, and a batch of it into memory.
pub(super) fn check_data(data: &[Sequence], batch_size: usize, private: bool) -> Result<(), ReceiptError> {
    if !private {
        limit_tokens(data)?;
    }
    let longest = data.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(0);
    limit("tokens of a step", batch_size.saturating_mul(longest.max(1)), MAX_BATCH_TOKENS)
}

impl Trained {
    /// Whether its contents can belong together.
    pub(super) fn check(&self, model: &ModelDigests) -> Result<(), ReceiptError> {
        let (steps, digests) = (self.loss_bits.len(), self.step_sha256.len());
        limit("steps", steps, MAX_STEPS)?;
        content(steps > 0, || "the training has no steps".to_string())?;
        content(steps == digests, || format!("{steps} losses and {digests} digests of steps"))?;
        let bad = self.loss_bits.iter().position(|bits| !bits.value().is_finite());
        content(bad.is_none(), || format!("the loss of step {} is not a finite number", bad.unwrap_or(0) + 1))?;
        content(self.batch_size > 0, || "the batch size is 0".to_string())?;
        self.hyper_parameters.options(false).check().map_err(|error| ReceiptError::Content(error.to_string()))?;
        content(self.adapter.is_none() || model.adapter_sha256.is_some(), || {
            "a new adapter has a digest among those of the model".to_string()
        })?;
        match sequences(self.data.as_ref(), self.data_sha256)? {
            Some(sequences) => check_data(&sequences, self.batch_size as usize, false),
            None => Ok(()),
        }
    }
}
