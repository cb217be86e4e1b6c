//! The generations that advance together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernel::generate::{FinishReason, GenerateError, PREFILL_CHUNK, Progress as Advanced, Turn, advance_each};
use kernel::model::{Model, Workspace};
use kernel::transcript::{Identity, transcript};
use session::Progress;

use super::prefixes::Prefixes;
use super::training::Surroundings;
use super::{Event, Finished, Job};
use crate::serve::weights::{Served, Trained};

/// Tokens of prompts that are read in a round in which others generate a token: reading them takes about as long.
const SHARED_CHUNK: usize = 16;
const PANICKED: &str = "internal error: the computation panicked; the server's log says where";

/// What came of a turn, unless the computation panicked.
type Outcome = Option<Result<Advanced, GenerateError>>;

/// A generation that advances, and the weights that it began with.
struct Running {
    job: Job,
    trained: Option<Arc<Trained>>,
}

/// Those that advance.
pub struct Rounds {
    running: Vec<Running>,
    workspace: Workspace,
    prefixes: Prefixes,
}

impl Rounds {
    /// None yet.
    pub fn new(prefixes: Prefixes) -> Rounds {
        Rounds { running: Vec::new(), workspace: Workspace::default(), prefixes }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// The tokens that their texts have at most, all together.
    pub fn tokens(&self) -> usize {
        self.running.iter().map(|running| running.job.tokens()).sum()
    }

    /// Whether one of them uses trained weights that are served no longer.
    pub fn use_replaced(&self, served: &Served) -> bool {
        self.running.iter().any(|running| served.has_replaced(running.trained.as_ref()))
    }

    /// Lets one more advance with the others, from what is known of the beginning of its prompt.
    pub fn begin(&mut self, mut job: Job, trained: Option<Arc<Trained>>) {
        let generation = job.text.generation_mut();
        if let Some(cache) = self.prefixes.find(trained.as_ref(), generation.prompt()) {
            generation.begin_with(cache);
        }
        job.watch.begins(generation.prompt().len(), generation.cache().len());
        self.running.push(Running { job, trained });
    }

    /// One round: each reads a part of its prompt or generates a token. Those whose client has gone end before it.
    pub fn advance(&mut self, around: &Surroundings<'_>) {
        let mut rest = std::mem::take(&mut self.running);
        while let Some(first) = rest.first() {
            let weights = first.trained.clone();
            let same = |running: &mut Running| same_weights(running.trained.as_ref(), weights.as_ref());
            let group: Vec<Running> = rest.extract_if(.., same).collect();
            let (mut here, gone): (Vec<_>, Vec<_>) =
                group.into_iter().partition(|running| !running.job.events.is_closed());
            gone.into_iter().for_each(|running| self.prefixes.keep(running.trained, running.job.text));
            let model = weights.as_ref().map_or(around.base, |trained| &trained.model);
            let outcomes = compute(&mut here, model, around, &mut self.workspace);
            for (mut running, outcome) in here.into_iter().zip(outcomes) {
                if running.tell(outcome, model, around) {
                    self.running.push(running);
                } else {
                    self.prefixes.keep(running.trained, running.job.text);
                }
            }
        }
    }
}

fn same_weights(a: Option<&Arc<Trained>>, b: Option<&Arc<Trained>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

/// A turn of each. A panic ends one generation only: the pool stays usable, the model is never written, and nobody has advanced,
/// so that each gets its turn alone, which shows whose computation panics.
fn compute(here: &mut [Running], model: &Model, around: &Surroundings<'_>, workspace: &mut Workspace) -> Vec<Outcome> {
    let reads = |running: &&Running| {
        let generation = running.job.text.generation();
        generation.steps().is_empty() && generation.cache().len() + 1 < generation.prompt().len()
    };
    let reading = here.iter().filter(reads).count();
    let chunk = if reading == here.len() { PREFILL_CHUNK } else { SHARED_CHUNK };
    let most = chunk.div_ceil(reading.max(1));
    let mut turns: Vec<Turn<'_>> = here.iter_mut().map(|running| running.job.text.turn(most)).collect();
    let mut together = |turns: &mut [Turn<'_>]| {
        catch_unwind(AssertUnwindSafe(|| advance_each(model, around.exec, turns, workspace))).ok()
    };
    match together(&mut turns) {
        Some(outcomes) => outcomes.into_iter().map(Some).collect(),
        None => turns.chunks_mut(1).map(|turn| together(turn)?.pop()).collect(),
    }
}

impl Running {
    /// Tells the client what came of its turn; whether the generation goes on.
    fn tell(&mut self, outcome: Outcome, model: &Model, around: &Surroundings<'_>) -> bool {
        let Running { job, trained } = self;
        let told = match outcome {
            None => Err(PANICKED.to_string()),
            Some(outcome) => job.text.tell(around.tokenizer, outcome).map_err(|error| error.to_string()),
        };
        let reason = match told {
            Ok(Progress::Prefill { .. }) => return true,
            Ok(Progress::Token(step, text)) => {
                job.watch.token();
                if job.events.send(Event::Token(step, text)).is_err() {
                    return false;
                }
                match step.finish_reason {
                    None => return true,
                    Some(reason) => Ok(reason),
                }
            }
            Ok(Progress::Finished(reason)) => Ok(reason),
            Err(error) => Err(error),
        };
        let finished = reason.and_then(|reason| finished(reason, job, trained.as_ref(), model, around));
        // If the client is gone, nobody needs to hear of the end.
        let _ = job.events.send(finished.map_or_else(Event::Failed, |finished| Event::Finished(Box::new(finished))));
        false
    }
}

/// The end of a generation, with its proof.
fn finished(
    reason: FinishReason,
    job: &Job,
    trained: Option<&Arc<Trained>>,
    model: &Model,
    around: &Surroundings<'_>,
) -> Result<Finished, String> {
    let base = (around.identity)().ok_or("the weights could not be hashed")?;
    let (weights, adapter) = trained.map_or((base.weights, base.adapter), |trained| trained.digests(base.weights));
    let identity = Identity { weights, adapter, ..base };
    let transcript = transcript(&identity, job.text.generation());
    let receipt = job.text.receipt(model, &identity, false).ok();
    Ok(Finished { reason, receipt, identity, transcript })
}
