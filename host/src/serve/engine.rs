//! The one thread that computes for the server.
//!
//! It owns the thread pool and takes generations from a bounded queue. Those it works on advance in turn, one token (or one
//! chunk of a prompt) each, so that all clients see progress. A generation whose client is gone is dropped before its next
//! token. Which others run beside it decides no bit of a generation (N11).
//!
//! A training advances by turns with the generations: after each of its steps they get as much time as the step took. It
//! always begins with the weights of the model folder, works on a copy of its own (of the weights, or of a new adapter beside
//! them), and what came out is served once it is complete; a generation keeps the weights that it began with.
//!
//! Memory: a training does not begin while a generation uses trained weights that are served no longer. So there are at most
//! two sets of trained weights at a time, each of 4 bytes a parameter, besides those of the model folder.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bpe::Tokenizer;
use kernel::Exec;
use kernel::generate::{FinishReason, Step};
use kernel::model::Model;
use kernel::transcript::{Identity, Sha256Digest, transcript};
use session::receipt::Receipt;
use session::{Continuation, Progress};
use tokio::sync::mpsc;

use super::weights::{Served, Trained, TrainingSlot};
use training::{Surroundings, Training};

mod training;

pub use training::{TrainEvent, TrainFinished, TrainRequest};

/// Generations that advance in turn; each has a cache of keys and values of its own.
const ACTIVE: usize = 4;
/// Generations, and a training, that wait for their turn.
const WAITING: usize = 32;

/// What a client hears of its generation.
pub enum Event {
    /// The next token, and what it adds to the text.
    Token(Step, String),
    /// The end.
    Finished(Box<Finished>),
    /// The end, by an error.
    Failed(String),
}

/// How a generation ended, and the proof of it.
pub struct Finished {
    /// Why.
    pub reason: FinishReason,
    /// With which weights and tokenizer.
    pub identity: Identity,
    /// The digest of all that went in and came out.
    pub transcript: Sha256Digest,
    /// The receipt, where one can hold it all.
    pub receipt: Option<Receipt>,
}

/// A generation on its way through the engine.
struct Job {
    text: Continuation,
    /// Holds all events of the generation, whose number its context bounds: a slow reader neither stops the engine nor keeps
    /// its cache. Closed when the client is gone.
    events: mpsc::UnboundedSender<Event>,
}

/// A generation that has its turn, and the weights that it began with.
struct Running {
    job: Job,
    trained: Option<Arc<Trained>>,
}

/// What waits in the queue.
enum Work {
    Generation(Box<Job>),
    Training(Box<Training>),
}

/// Where generations and trainings are handed in.
pub struct Engine {
    queue: mpsc::Sender<Work>,
    active: Arc<AtomicUsize>,
    /// The weights that generations get.
    pub served: Served,
    /// The training that runs.
    pub training: TrainingSlot,
}

/// Why a generation or a training is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// Another training runs.
    Training,
    /// As many wait as may.
    Full,
    /// The engine has ended.
    Ended,
}

/// The engine's own end of its queue.
pub struct Queue {
    queue: mpsc::Receiver<Work>,
    active: Arc<AtomicUsize>,
    served: Served,
}

/// An engine's two ends: the one takes generations and trainings, the other works on them.
pub fn engine() -> (Engine, Queue) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let active = Arc::new(AtomicUsize::new(0));
    let served = Served::default();
    let queue = Queue { queue: receiver, active: active.clone(), served: served.clone() };
    (Engine { queue: sender, active, served, training: TrainingSlot::default() }, queue)
}

impl Engine {
    /// Hands a generation in and returns its events. Dropping them stops it.
    ///
    /// # Errors
    /// If the queue is full, or the engine has ended.
    pub fn submit(&self, text: Continuation) -> Result<mpsc::UnboundedReceiver<Event>, SubmitError> {
        let (events, receiver) = mpsc::unbounded_channel();
        self.send(Work::Generation(Box::new(Job { text, events }))).map(|()| receiver)
    }

    /// Hands a training in and returns its events. Dropping them stops it, and what it made is dropped too.
    ///
    /// # Errors
    /// If another training runs, the queue is full, or the engine has ended.
    pub fn train(&self, request: TrainRequest) -> Result<mpsc::UnboundedReceiver<TrainEvent>, SubmitError> {
        let claim = self.training.claim().ok_or(SubmitError::Training)?;
        let (events, receiver) = mpsc::unbounded_channel();
        self.send(Work::Training(Box::new(Training::new(request, events, claim)))).map(|()| receiver)
    }

    fn send(&self, work: Work) -> Result<(), SubmitError> {
        self.queue.try_send(work).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Full,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Ended,
        })
    }

    /// Generations that advance at this moment.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Generations that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

impl Queue {
    /// Works until every [`Engine`] is gone. `identity` may take its time (the weights are hashed beside the computation); it
    /// is asked for when a generation ends, and gives none if the weights could not be hashed.
    pub fn work(
        mut self,
        model: &Model,
        tokenizer: &Tokenizer,
        exec: Exec<'_>,
        identity: &dyn Fn() -> Option<Identity>,
    ) {
        let around = Surroundings { base: model, tokenizer, exec, identity, served: &self.served };
        let (mut jobs, mut training) = (VecDeque::new(), None);
        loop {
            while jobs.len() < ACTIVE {
                let idle = jobs.is_empty() && training.is_none();
                let work = if idle { self.queue.blocking_recv() } else { self.queue.try_recv().ok() };
                match work {
                    Some(Work::Generation(job)) => jobs.push_back(Running { job: *job, trained: self.served.now() }),
                    // The slot lets in one at a time.
                    Some(Work::Training(next)) => training = Some(*next),
                    None if idle => return,
                    None => break,
                }
            }
            self.active.store(jobs.len(), Ordering::Relaxed);
            let start = Instant::now();
            training = training.filter(|training: &Training| !training.is_abandoned());
            if !jobs.iter().any(|job| self.served.has_replaced(job.trained.as_ref())) {
                training = training.and_then(|training| training.advance(&around));
            }
            let (turn, start) = (start.elapsed(), Instant::now());
            while let Some(job) = jobs.pop_front() {
                jobs.extend(advance(job, &around));
                if start.elapsed() >= turn {
                    break;
                }
            }
            self.active.store(jobs.len(), Ordering::Relaxed);
        }
    }
}

/// Advances a generation by one unit of work and says so to its client; `None` when it has ended.
fn advance(mut running: Running, around: &Surroundings<'_>) -> Option<Running> {
    let Running { job, trained } = &mut running;
    let model = trained.as_ref().map_or(around.base, |trained| &trained.model);
    if job.events.is_closed() {
        return None;
    }
    // A panic ends this generation only: the pool stays usable, and the model is never written.
    let progress = catch_unwind(AssertUnwindSafe(|| job.text.advance(model, around.tokenizer, around.exec)));
    let reason = match progress {
        Ok(Ok(Progress::Prefill { .. })) => return Some(running),
        Ok(Ok(Progress::Token(step, text))) => {
            job.events.send(Event::Token(step, text)).ok()?;
            match step.finish_reason {
                None => return Some(running),
                Some(reason) => Ok(reason),
            }
        }
        Ok(Ok(Progress::Finished(reason))) => Ok(reason),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("internal error: the computation panicked; the server's log says where".to_string()),
    };
    let finished = reason.and_then(|reason| {
        let base = (around.identity)().ok_or("the weights could not be hashed")?;
        let start = (base.weights, base.adapter);
        let (weights, adapter) = trained.as_ref().map_or(start, |trained| trained.digests(base.weights));
        let identity = Identity { weights, adapter, ..base };
        let transcript = transcript(&identity, job.text.generation());
        let receipt = job.text.receipt(model, &identity, false);
        Ok(Box::new(Finished { reason, receipt: receipt.ok(), identity, transcript }))
    });
    // If the client is gone, nobody needs to hear of the end.
    let _ = job.events.send(finished.map_or_else(Event::Failed, Event::Finished));
    None
}

#[cfg(test)]
mod tests;
