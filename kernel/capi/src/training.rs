//! Training, step by step.

use std::mem::MaybeUninit;

use kernel::Exec;
use kernel::model::Sequence;
use kernel::train::{Optimizer, Schedule, TrainError, TrainOptions, Trainer};

use crate::foreign;
use crate::model::{LockstepDigest, LockstepModel, hand_over};
use crate::status::{Failure, LockstepError, LockstepStatus, Whole, environment, given, guard, quietly};

/// A model in training: copies of the weights in binary32, and what the optimiser remembers.
pub struct LockstepTrainer {
    trainer: Whole<Trainer>,
}

/// How gradients change weights.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockstepOptimizer {
    /// Gradient descent, with `momentum`.
    Sgd = 0,
    /// Adam with decoupled weight decay.
    Adamw = 1,
}

/// How to train.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LockstepTraining {
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Gradient descent: the part of the last step that goes on; 0 for none.
    pub momentum: f64,
    /// AdamW: the decay of the first moments.
    pub beta1: f64,
    /// AdamW: the decay of the second moments.
    pub beta2: f64,
    /// AdamW: what keeps the divisor from zero.
    pub eps: f64,
    /// AdamW: the part of a weight that a step of rate 1 takes away.
    pub weight_decay: f64,
    /// The largest norm of all gradients together, longer ones are scaled down to it; 0 for no limit.
    pub clip_norm: f64,
    /// Steps over which the learning rate rises, in equal parts.
    pub warmup: u64,
    /// The step at which the learning rate has fallen to zero, along a cosine; 0: it stays.
    pub cosine_steps: u64,
    /// A LockstepOptimizer.
    pub optimizer: u32,
    /// Not 0: computes activations again instead of keeping them, the same bits in less memory and more time.
    pub recompute: u32,
}

/// What a step did.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LockstepReport {
    /// Its number, from 1.
    pub step: u64,
    /// The tokens of the batch.
    pub tokens: usize,
    /// The mean cross-entropy of the batch before the step, in nats.
    pub loss: f32,
    /// The norm of all gradients together, before clipping.
    pub grad_norm: f32,
    /// The learning rate of the step.
    pub learning_rate: f32,
    /// The digest of all steps up to this one: of token ids, losses, norms and rates.
    pub digest: LockstepDigest,
}

/// Gradient descent with a learning rate of 0.001 that stays, and AdamW's customary numbers should it be chosen.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_training_defaults() -> LockstepTraining {
    LockstepTraining {
        learning_rate: 0.001,
        momentum: 0.0,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        clip_norm: 0.0,
        warmup: 0,
        cosine_steps: 0,
        optimizer: LockstepOptimizer::Sgd as u32,
        recompute: 0,
    }
}

impl LockstepTraining {
    fn options(&self) -> Result<TrainOptions, Failure> {
        let &Self { learning_rate, momentum, beta1, beta2, eps, weight_decay, warmup, .. } = self;
        let optimizer = if self.optimizer == LockstepOptimizer::Sgd as u32 {
            Optimizer::Sgd { momentum }
        } else if self.optimizer == LockstepOptimizer::Adamw as u32 {
            Optimizer::AdamW { beta1, beta2, eps, weight_decay }
        } else {
            let number = self.optimizer;
            return Err(Failure::argument(format!("there is no optimizer {number}: choose a LockstepOptimizer")));
        };
        let cosine_steps = (self.cosine_steps > 0).then_some(self.cosine_steps);
        let schedule = Schedule { learning_rate, warmup, cosine_steps };
        let clip_norm = (self.clip_norm != 0.0).then_some(self.clip_norm);
        let options = TrainOptions { optimizer, schedule, clip_norm, recompute: self.recompute != 0 };
        options.check().map_err(|error| Failure::new(LockstepStatus::Argument, error))?;
        Ok(options)
    }
}

fn failure(error: TrainError) -> Failure {
    let status = match error {
        TrainError::NoTargets | TrainError::Context { .. } | TrainError::Token { .. } => LockstepStatus::Argument,
        _ => LockstepStatus::Compute,
    };
    Failure::new(status, error)
}

/// Begins a training with the weights of `model`, which stays as it is. `training` may be null: the defaults.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_trainer_new(
    model: Option<&LockstepModel>,
    training: Option<&LockstepTraining>,
    trainer: Option<&mut MaybeUninit<*mut LockstepTrainer>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    hand_over(trainer, error, || {
        let model = given("model", model)?;
        let options = training.copied().unwrap_or_else(|| lockstep_training_defaults()).options()?;
        Ok(Box::new(LockstepTrainer { trainer: Whole::new(Trainer::new(&model.model, options)) }))
    })
}

/// Learns from one batch: `texts` texts, whose token ids follow each other in `ids`; `lengths` says how many are of each.
///
/// After LOCKSTEP_STATUS_ARGUMENT nothing has changed; after LOCKSTEP_STATUS_COMPUTE the message says whether the training can go on.
///
/// # Safety
/// `lengths` has `texts` values, and `ids` has as many as these say together.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lockstep_trainer_step(
    trainer: Option<&mut LockstepTrainer>,
    ids: *const u32,
    lengths: *const usize,
    texts: usize,
    report: Option<&mut MaybeUninit<LockstepReport>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    guard(error, || {
        let LockstepTrainer { trainer } = given("trainer", trainer)?;
        let place = given("report", report)?;
        // SAFETY: as this function asks for.
        let lengths = unsafe { foreign::slice("lengths", lengths, texts) }?;
        let total = lengths.iter().try_fold(0_usize, |total, len| total.checked_add(*len));
        let total = total.ok_or_else(|| Failure::argument("lengths are together more than memory has"))?;
        // SAFETY: as this function asks for.
        let mut ids = unsafe { foreign::slice("ids", ids, total) }?;
        let mut batch = Vec::with_capacity(texts);
        for &len in lengths {
            let (text, rest) = ids.split_at(len);
            batch.push(Sequence::new(text.to_vec()));
            ids = rest;
        }
        environment()?;
        let report = trainer.change(|trainer| trainer.step(Exec::serial(), &batch).map_err(failure))?;
        place.write(LockstepReport {
            step: report.step,
            tokens: report.tokens,
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate: report.learning_rate,
            digest: report.digest.into(),
        });
        Ok(())
    })
}

/// A copy of the model as it is now, for generations and for its digest; the training can go on. Refused where a step failed
/// in the midst of its changes.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_trainer_model(
    trainer: Option<&LockstepTrainer>,
    model: Option<&mut MaybeUninit<*mut LockstepModel>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    hand_over(model, error, || {
        let trainer = given("trainer", trainer)?.trainer.get()?;
        if trainer.is_closed() {
            return Err(failure(TrainError::Closed));
        }
        Ok(LockstepModel::new(trainer.model().clone()))
    })
}

/// Ends a handle.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_trainer_free(trainer: Option<Box<LockstepTrainer>>) {
    quietly(|| drop(trainer));
}
