//! A training on its way through the engine, in units of work: the copy of the weights, each step, the digest of each tensor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernel::model::{LoraConfig, Model, Sequence};
use kernel::train::{StepReport, TrainOptions, Trainer};
use kernel::transcript::{Identity, Sha256Digest, TrainingTranscript};
use loader::digest::{TensorDigest, weights_digest};
use session::adapter::adapter_digest;
use session::receipt::{NewAdapter, Receipt, TrainingTerms};
use session::tensors::{digest, trained};
use tokio::sync::mpsc;

use super::slot::Claim;
use super::{PANICKED, Surroundings};
use crate::open::HashError;
use crate::serve::weights::Trained;

/// The seed of new adapters: a request has none.
const SEED: u64 = 0;

/// What to train.
pub struct TrainRequest {
    /// The text, the same one at every step.
    pub sequence: Sequence,
    /// Steps, at least one.
    pub steps: u64,
    /// How.
    pub options: TrainOptions,
    /// The new adapter that is trained; all weights without one.
    pub adapter: Option<LoraConfig>,
}

/// What a client hears of its training.
pub enum TrainEvent {
    /// A step was done.
    Step(StepReport),
    /// The end; the weights are served from now on.
    Finished(Box<TrainFinished>),
    /// The end, before the first step, because it was asked for; the weights served are the same as before.
    Stopped,
    /// The end, by an error; the weights served are the same as before.
    Failed(String),
}

/// How a training ended, and the proof of it.
pub struct TrainFinished {
    /// The last step.
    pub steps: u64,
    /// What it began with, the text, and what came out.
    pub transcript: TrainingTranscript,
    /// The receipt, where one can hold it all.
    pub receipt: Option<Receipt>,
}

/// A training and how far it has come.
pub struct Training {
    request: TrainRequest,
    /// Holds all events, whose number the steps bound. Closed when the client is gone.
    events: mpsc::UnboundedSender<TrainEvent>,
    claim: Claim,
    phase: Phase,
    /// What the steps did.
    reports: Vec<StepReport>,
    /// The digest of the adapter that it began with.
    new_adapter: Option<Sha256Digest>,
}

enum Phase {
    Waiting,
    Steps(Box<Trainer>),
    Digest { model: Box<Model>, digests: Vec<TensorDigest> },
}

impl Training {
    /// A training that has not begun.
    pub fn new(request: TrainRequest, events: mpsc::UnboundedSender<TrainEvent>, claim: Claim) -> Training {
        Training { request, events, claim, phase: Phase::Waiting, reports: Vec::new(), new_adapter: None }
    }

    /// Whether its client has gone: then nothing of it is kept.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Ends it with an error.
    pub fn fail(self, why: &str) {
        let events = self.events.clone();
        // First the slot, as below.
        drop(self);
        let _ = events.send(failed(why));
    }

    /// Does one unit of work; `None` when the training has ended.
    pub fn advance(mut self, around: &Surroundings<'_>) -> Option<Training> {
        let (phase, events) = (std::mem::replace(&mut self.phase, Phase::Waiting), self.events.clone());
        // A panic ends this training only: the weights that are served are never written.
        let next = catch_unwind(AssertUnwindSafe(|| self.unit(phase, around)));
        match next.unwrap_or_else(|_| Err(failed(PANICKED))) {
            Ok(phase) => Some(Training { phase, ..self }),
            Err(end) => {
                // First the slot: who hears of the end may begin the next training.
                drop(self);
                // If the client is gone, nobody needs to hear of the end.
                let _ = events.send(end);
                None
            }
        }
    }

    /// The next phase, or the last event.
    fn unit(&mut self, phase: Phase, around: &Surroundings<'_>) -> Result<Phase, TrainEvent> {
        let TrainRequest { sequence, steps, options, adapter } = &self.request;
        Ok(match phase {
            Phase::Waiting => {
                let base = match adapter {
                    Some(lora) => around.base.with_new_adapter(lora, SEED),
                    None => around.base.without_adapter(),
                };
                self.new_adapter = adapter_digest(&base);
                Phase::Steps(Box::new(Trainer::new(&base, *options)))
            }
            Phase::Steps(_) if self.claim.is_stopped() && self.reports.is_empty() => return Err(TrainEvent::Stopped),
            Phase::Steps(trainer) if self.claim.is_stopped() || trainer.position().step == *steps => {
                let model = Box::new(trainer.into_model().map_err(failed)?);
                Phase::Digest { model, digests: Vec::new() }
            }
            Phase::Steps(mut trainer) => {
                let report = trainer.step(around.exec, std::slice::from_ref(sequence)).map_err(failed)?;
                // If the client is gone, the next unit is not done.
                let _ = self.events.send(TrainEvent::Step(report));
                self.reports.push(report);
                Phase::Steps(trainer)
            }
            Phase::Digest { model, mut digests } => {
                // An adapter is small.
                if let Some(sha256) = adapter_digest(&model) {
                    return Err(self.publish(*model, sha256, around));
                }
                let tensor = trained(&model).nth(digests.len()).map(|(row, values)| digest(&row, values));
                match tensor {
                    Some(tensor) => digests.push(tensor),
                    None => return Err(self.publish(*model, weights_digest(digests), around)),
                }
                Phase::Digest { model, digests }
            }
        })
    }

    /// Serves the trained weights from now on.
    fn publish(&self, model: Model, sha256: Sha256Digest, around: &Surroundings<'_>) -> TrainEvent {
        let Some(base) = (around.identity)() else { return failed(HashError) };
        let base = Identity { adapter: self.new_adapter, ..base };
        let TrainRequest { sequence, options, .. } = &self.request;
        let terms = TrainingTerms {
            base: &base,
            adapter: model.adapter().map(|lora| NewAdapter::new(lora, SEED)),
            options,
            batch_size: 1,
            seed: 0,
            data: std::slice::from_ref(sequence),
            private: false,
        };
        let receipt = terms.receipt(&self.reports, sha256).ok();
        let transcript = terms.transcript(&self.reports, sha256);
        let steps = self.reports.last().map_or(0, |last| last.step);
        around.served.publish(Some(Arc::new(Trained { model, sha256, stays: false })));
        TrainEvent::Finished(Box::new(TrainFinished { steps, transcript, receipt }))
    }
}

fn failed(error: impl ToString) -> TrainEvent {
    TrainEvent::Failed(error.to_string())
}
