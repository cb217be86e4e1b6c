//! The generations that advance together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use kernel::generate::{FinishReason, GenerateError, Progress as Advanced, Turn, advance_each};
use kernel::model::{KvCache, Model, Workspace};
use kernel::transcript::{Identity, transcript};
use session::Progress;

use super::prefixes::{Prefixes, common};
use super::shares::shares;
use super::{Event, Finished, Job, PANICKED, Surroundings};
use crate::open::HashError;
use crate::serve::keys::Caller;
use crate::serve::weights::{Served, Trained};

/// What came of a turn, unless the computation panicked.
type Outcome = Option<Result<Advanced, GenerateError>>;

/// A generation that advances, and the weights that it began with.
struct Running {
    job: Job,
    trained: Option<Arc<Trained>>,
    /// Whether it has been given what is known of the beginning of its prompt.
    begun: bool,
    /// The most tokens of its prompt that it reads in this round.
    share: usize,
}

/// How a generation begins.
enum Beginning {
    /// With these keys and values, if any.
    Now(Option<KvCache>),
    /// Once another one has read what both begin with.
    Later,
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

    /// Whose each of them is.
    pub fn callers(&self) -> impl Iterator<Item = Caller> {
        self.running.iter().map(|running| running.job.caller)
    }

    /// How many a caller has.
    pub fn of_caller(&self, caller: Caller) -> usize {
        self.callers().filter(|other| *other == caller).count()
    }

    /// How many are of one request.
    pub fn of_request(&self, request: u64) -> usize {
        self.running.iter().filter(|running| running.job.request == request).count()
    }

    /// Whether one of them uses trained weights that are served no longer.
    pub fn use_replaced(&self, served: &Served) -> bool {
        self.running.iter().any(|running| served.has_replaced(running.trained.as_ref()))
    }

    /// Lets one more advance with the others.
    pub fn begin(&mut self, job: Job, trained: Option<Arc<Trained>>) {
        self.running.push(Running { job, trained, begun: false, share: 0 });
    }

    /// Ends all of them with an error.
    pub fn fail(&mut self, why: &str) {
        self.running.drain(..).for_each(|running| running.job.fail(why));
    }

    /// One round: each reads a part of its prompt or generates a token. Those whose client has gone, or whose time is over, end
    /// before it.
    pub fn advance(&mut self, around: &Surroundings<'_>) {
        let now = Instant::now();
        let all = std::mem::take(&mut self.running).into_iter();
        let (mut rest, ended): (Vec<_>, Vec<_>) = all.partition(|running| !running.job.has_ended(now));
        ended.into_iter().for_each(|running| self.keep(running));
        let (mut groups, mut waiting) = (Vec::new(), Vec::new());
        while let Some(first) = rest.first() {
            let weights = first.trained.clone();
            let same = |running: &mut Running| same_weights(running.trained.as_ref(), weights.as_ref());
            let group = rest.extract_if(.., same).collect();
            let (here, later) = self.enter(group);
            waiting.extend(later);
            groups.push((weights, here));
        }
        // What others compute with makes nobody wait less.
        let unread: Vec<usize> = groups.iter().flat_map(|(_, here)| here).map(Running::unread).collect();
        let here = groups.iter_mut().flat_map(|(_, here)| here);
        here.zip(shares(&unread)).for_each(|(running, share)| running.share = share);
        for (weights, mut here) in groups {
            let model = weights.as_ref().map_or(around.base, |trained| &trained.model);
            let outcomes = compute(&mut here, model, around, &mut self.workspace);
            for (mut running, outcome) in here.into_iter().zip(outcomes) {
                if running.tell(outcome, model, around) {
                    self.running.push(running);
                } else {
                    self.keep(running);
                }
            }
        }
        // Behind those that they wait for.
        self.running.extend(waiting);
    }

    /// Lets those of the same weights begin that have not: who gets a turn, and who waits. A beginning that several prompts have
    /// is read by the first of them, once.
    fn enter(&mut self, here: Vec<Running>) -> (Vec<Running>, Vec<Running>) {
        let (mut ready, mut waiting) = (Vec::new(), Vec::new());
        for mut running in here {
            if !running.begun {
                match self.beginning(&running, &ready) {
                    Beginning::Now(cache) => running.begin(cache),
                    Beginning::Later => {
                        waiting.push(running);
                        continue;
                    }
                }
            }
            ready.push(running);
        }
        (ready, waiting)
    }

    /// From what is known: of past texts, or of those that get a turn.
    fn beginning(&mut self, running: &Running, ready: &[Running]) -> Beginning {
        let request = running.job.text.generation().request();
        // A prompt whose log-probabilities are told is read anew, and its last token is, of any.
        if request.logprobs.is_some_and(|logprobs| logprobs.prompt) {
            return Beginning::Now(None);
        }
        let (prompt, trained, caller) = (&request.prompt, running.trained.as_ref(), running.job.caller);
        let asked = &prompt[..prompt.len() - 1];
        let others = ready.iter().filter(|other| other.job.caller == caller).map(|other| other.job.text.generation());
        let shared = others.map(|other| (common(other.prompt(), asked), other)).max_by_key(|(length, _)| *length);
        match shared {
            Some((length, other)) if length > self.prefixes.known(caller, trained, asked) => {
                let read = other.cache().len() >= length;
                if read { Beginning::Now(Some(other.cache().prefix(length))) } else { Beginning::Later }
            }
            _ => Beginning::Now(self.prefixes.find(caller, trained, prompt)),
        }
    }

    fn keep(&mut self, Running { job, trained, .. }: Running) {
        self.prefixes.keep(job.caller, trained, job.text);
    }
}

fn same_weights(a: Option<&Arc<Trained>>, b: Option<&Arc<Trained>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

/// A turn of each, with its share of what is read. A panic ends one generation only: the pool stays usable, the model is never
/// written, and nobody has advanced, so that each gets its turn alone, which shows whose computation panics.
fn compute(here: &mut [Running], model: &Model, around: &Surroundings<'_>, workspace: &mut Workspace) -> Vec<Outcome> {
    let mut turns: Vec<Turn<'_>> = here.iter_mut().map(|running| running.job.text.turn(running.share)).collect();
    let mut together = |turns: &mut [Turn<'_>]| {
        catch_unwind(AssertUnwindSafe(|| advance_each(model, around.exec, turns, workspace))).ok()
    };
    match together(&mut turns) {
        Some(outcomes) => outcomes.into_iter().map(Some).collect(),
        None => turns.chunks_mut(1).map(|turn| together(turn)?.pop()).collect(),
    }
}

impl Running {
    /// What its prompt has left to read; 1 where its turn gives a token.
    fn unread(&self) -> usize {
        let generation = self.job.text.generation();
        match generation.steps() {
            [] => (generation.prompt().len() - generation.cache().len()).max(1),
            _ => 1,
        }
    }

    /// Gives it what is known of its prompt, and tells how much that is.
    fn begin(&mut self, known: Option<KvCache>) {
        self.begun = true;
        let generation = self.job.text.generation_mut();
        if let Some(cache) = known {
            generation.begin_with(cache);
        }
        // Texts that began together would grow together, and all wait while their keys and values are moved.
        generation.reserve();
        self.job.watch.begins(generation.prompt().len(), generation.cache().len());
        // If the client is gone, it is seen before the next round.
        let _ = self.job.events.send(Event::Begun(generation.cache().len()));
    }

    /// Tells the client what came of its turn; whether the generation goes on.
    fn tell(&mut self, outcome: Outcome, model: &Model, around: &Surroundings<'_>) -> bool {
        let Running { job, trained, .. } = self;
        let told = match outcome {
            None => Err(PANICKED.to_string()),
            Some(outcome) => job.text.tell(around.tokenizer, outcome).map_err(|error| error.to_string()),
        };
        let reason = match told {
            Ok(Progress::Prefill { .. }) => return true,
            Ok(Progress::Token(step, text)) => {
                job.watch.token();
                let generation = job.text.generation();
                let read = (step.step == 1).then(|| Event::Prompt(generation.prompt_logprobs().to_vec()));
                let logprob = generation.logprobs().get(step.step - 1).cloned();
                let mut events = read.into_iter().chain([Event::Token(step, text, logprob)]);
                if events.any(|event| job.events.send(event).is_err()) {
                    return false;
                }
                match step.finish_reason {
                    None => return true,
                    Some(reason) => Ok(reason),
                }
            }
            Ok(Progress::Finished(reason)) => {
                // A prompt that is only read has no step that tells of it.
                let read = job.text.generation().prompt_logprobs().to_vec();
                if job.events.send(Event::Prompt(read)).is_err() {
                    return false;
                }
                Ok(reason)
            }
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
    let base = (around.identity)().ok_or(HashError).map_err(|error| error.to_string())?;
    let (weights, adapter) = trained.map_or((base.weights, base.adapter), |trained| trained.digests(base.weights));
    let identity = Identity { weights, adapter, ..base };
    let transcript = transcript(&identity, job.text.generation());
    let receipt = job.text.receipt(model, &identity, false).ok();
    Ok(Finished { reason, receipt, identity, transcript })
}

#[cfg(test)]
mod tests;
