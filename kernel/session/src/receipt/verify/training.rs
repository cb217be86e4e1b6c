//! A training that is verified: its steps are made again.

use kernel::Exec;
use kernel::model::{LoraConfig, Model, Sequence};
use kernel::train::{StepReport, TrainError, TrainOptions, Trainer};
use kernel::transcript::{Identity, Sha256Digest};

use super::{Given, Progress, Verdict, compare, data_of, expect_adapter};
use crate::Batches;
use crate::adapter::adapter_digest;
use crate::memory::{KEPT_TOKENS, Plan, training_bytes};
use crate::receipt::training::{Trained, TrainingTerms, check_data};
use crate::receipt::{Bits32, Hex, ModelDigests, Receipt};
use crate::tensors::model_digest;

/// A training under way.
#[derive(Debug)]
pub(super) struct TrainingCheck {
    base: Identity,
    data: Vec<Sequence>,
    options: TrainOptions,
    /// None once the training has ended.
    trainer: Option<Trainer>,
    steps: Vec<StepReport>,
}

impl TrainingCheck {
    pub(super) fn begin(
        told: &Trained,
        digests: &ModelDigests,
        model: &Model,
        identity: &Identity,
        given: Given,
        reserve: &dyn Fn(u64) -> Result<(), String>,
    ) -> Result<TrainingCheck, Verdict> {
        let data = data_of(told.data.as_ref(), told.data_sha256, given.data)?;
        check_data(&data, told.batch_size as usize, true).map_err(Verdict::cannot)?;
        if data.is_empty() {
            return Err(Verdict::cannot("there is no data"));
        }
        let lora = new_adapter(told, model, identity)?;
        let tokens = data.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(0);
        let options = told.hyper_parameters.options(tokens > KEPT_TOKENS);
        let plan = Plan {
            tokens,
            optimizer: options.optimizer,
            recompute: options.recompute,
            hold_gradients: told.batch_size > 1 || options.clip_norm.is_some(),
            adapter: lora.as_ref().map(|(lora, _)| lora).or(model.adapter()),
        };
        reserve(training_bytes(model.config(), plan)).map_err(Verdict::cannot)?;
        let new = lora.map(|(lora, seed)| model.with_new_adapter(&lora, seed));
        let base = begin_with(new.as_ref(), digests, identity)?;
        let trainer = Some(Trainer::new(new.as_ref().unwrap_or(model), options));
        Ok(TrainingCheck { base, data, options, trainer, steps: Vec::new() })
    }

    pub(super) fn advance(&mut self, receipt: &Receipt, exec: Exec<'_>) -> Result<Progress, Verdict> {
        let (Some(told), Some(trainer)) = (&receipt.training, &mut self.trainer) else {
            return Err(Verdict::cannot("it is of no training that goes on"));
        };
        let (done, size) = (self.steps.len(), told.batch_size as usize);
        // Made anew for every step: it costs the order of an epoch, beside which a step is long.
        let batch = Batches::new(&self.data, told.seed.0, size).after(done as u64);
        let report = trainer.step(exec, &batch).map_err(|error| match error {
            TrainError::Context { .. } | TrainError::Token { .. } => {
                Verdict::cannot(format_args!("the model here does not take it: {error}"))
            }
            error => Verdict::Mismatch { step: Some(done as u64 + 1), why: error.to_string() },
        })?;
        expect(told, &report)?;
        self.steps.push(report);
        let total = told.step_sha256.len();
        if self.steps.len() < total {
            return Ok(Progress::Going { done: done as u64 + 1, total: total as u64 });
        }
        let trained = self.trained()?;
        if told.trained_sha256 != Hex(trained) {
            let why = format!(
                "every step is as the receipt says; what came out has the digest {}, and not {}",
                Hex(trained).digits(),
                told.trained_sha256.digits()
            );
            return Err(Verdict::Mismatch { step: None, why });
        }
        let terms = TrainingTerms {
            base: &self.base,
            adapter: told.adapter.clone(),
            options: &self.options,
            batch_size: size,
            seed: told.seed.0,
            data: &self.data,
            private: told.data.is_none(),
        };
        Ok(Progress::Done(compare(receipt, terms.receipt(&self.steps, trained))))
    }

    /// The digest of what came out.
    fn trained(&mut self) -> Result<Sha256Digest, Verdict> {
        let model = self.trainer.take().map(Trainer::into_model).transpose();
        let step = Some(self.steps.len() as u64);
        match model {
            Ok(Some(model)) => Ok(model_digest(&model)),
            Ok(None) => Err(Verdict::cannot("the training has ended")),
            Err(error) => Err(Verdict::Mismatch { step, why: error.to_string() }),
        }
    }
}

/// The adapter that is trained from the start, if one is, and the seed of its first values.
fn new_adapter(told: &Trained, model: &Model, identity: &Identity) -> Result<Option<(LoraConfig, u64)>, Verdict> {
    let Some(new) = &told.adapter else { return Ok(None) };
    if identity.adapter.is_some() {
        return Err(Verdict::cannot("it began with a new adapter; verify it with the model alone"));
    }
    let lora = LoraConfig::new(model.config(), new.rank as usize, new.alpha.value(), &new.targets);
    let lora =
        lora.map_err(|error| Verdict::cannot(format_args!("the adapter does not fit the model here: {error}")))?;
    Ok(Some((lora, new.seed.0)))
}

/// The digests that the training begins with: those of the receipt, or it is of another one.
fn begin_with(new: Option<&Model>, digests: &ModelDigests, identity: &Identity) -> Result<Identity, Verdict> {
    let Some(model) = new else {
        expect_adapter(digests, identity)?;
        return Ok(identity.clone());
    };
    let base = Identity { adapter: adapter_digest(model), ..identity.clone() };
    if base.adapter.map(Hex) != digests.adapter_sha256 {
        let why = "the new adapter that it began with has another digest".to_string();
        return Err(Verdict::Mismatch { step: None, why });
    }
    Ok(base)
}

/// Whether a step is the one that the receipt tells.
fn expect(told: &Trained, report: &StepReport) -> Result<(), Verdict> {
    let (index, step) = (report.step as usize - 1, Some(report.step));
    let (loss, computed) = (told.loss_bits.get(index), Bits32::from(report.loss));
    if loss != Some(&computed) {
        let told = loss.map(Hex::digits).unwrap_or_default();
        let why = format!("the loss is {} ({}), and not {told}", report.loss, computed.digits());
        return Err(Verdict::Mismatch { step, why });
    }
    if told.step_sha256.get(index) != Some(&Hex(report.digest)) {
        let why = "the loss is as the receipt says; the norm of the gradients or the learning rate is not".to_string();
        return Err(Verdict::Mismatch { step, why });
    }
    Ok(())
}
