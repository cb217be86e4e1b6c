//! The one thread that computes for the server.
//!
//! It owns the thread pool and takes generations from a bounded queue. Those it works on advance in turn, one token (or one
//! chunk of a prompt) each, so that all clients see progress. A generation whose client is gone is dropped before its next
//! token. Which others run beside it decides no bit of a generation (N11).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel::Exec;
use kernel::generate::{FinishReason, Generation, Progress, Step};
use kernel::model::Model;
use kernel::transcript::{Identity, Sha256Digest, transcript};
use tokio::sync::mpsc;

/// Generations that advance in turn; each has a cache of keys and values of its own.
const ACTIVE: usize = 4;
/// Generations that wait for one of these to end.
const WAITING: usize = 32;

/// What a client hears of its generation.
pub enum Event {
    /// The next token.
    Token(Step),
    /// The end.
    Finished(Finished),
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
}

/// A generation on its way through the engine.
struct Job {
    generation: Generation,
    /// Holds all events of the generation, whose number its context bounds: a slow reader neither stops the engine nor keeps
    /// its cache. Closed when the client is gone.
    events: mpsc::UnboundedSender<Event>,
}

/// Where generations are handed in.
pub struct Engine {
    queue: mpsc::Sender<Job>,
    active: Arc<AtomicUsize>,
}

/// Why a generation is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// As many wait as may.
    Full,
    /// The engine has ended.
    Ended,
}

/// The engine's own end of its queue.
pub struct Queue {
    queue: mpsc::Receiver<Job>,
    active: Arc<AtomicUsize>,
}

/// An engine's two ends: the one takes generations, the other works on them.
pub fn engine() -> (Engine, Queue) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let active = Arc::new(AtomicUsize::new(0));
    (Engine { queue: sender, active: active.clone() }, Queue { queue: receiver, active })
}

impl Engine {
    /// Hands a generation in and returns its events. Dropping them stops it.
    ///
    /// # Errors
    /// If the queue is full, or the engine has ended.
    pub fn submit(&self, generation: Generation) -> Result<mpsc::UnboundedReceiver<Event>, SubmitError> {
        let (events, receiver) = mpsc::unbounded_channel();
        match self.queue.try_send(Job { generation, events }) {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => Err(SubmitError::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SubmitError::Ended),
        }
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
    pub fn work(mut self, model: &Model, exec: Exec<'_>, identity: &dyn Fn() -> Option<Identity>) {
        let mut jobs = VecDeque::new();
        loop {
            if jobs.is_empty() {
                let Some(job) = self.queue.blocking_recv() else { return };
                jobs.push_back(job);
            }
            while jobs.len() < ACTIVE {
                let Ok(job) = self.queue.try_recv() else { break };
                jobs.push_back(job);
            }
            self.active.store(jobs.len(), Ordering::Relaxed);
            if let Some(job) = jobs.pop_front().and_then(|job| advance(job, model, exec, identity)) {
                jobs.push_back(job);
            }
            self.active.store(jobs.len(), Ordering::Relaxed);
        }
    }
}

/// Advances a generation by one unit of work and says so to its client; `None` when it has ended.
fn advance(mut job: Job, model: &Model, exec: Exec<'_>, identity: &dyn Fn() -> Option<Identity>) -> Option<Job> {
    if job.events.is_closed() {
        return None;
    }
    // A panic ends this generation only: the pool stays usable, and the model is never written.
    let progress = catch_unwind(AssertUnwindSafe(|| job.generation.advance(model, exec)));
    let reason = match progress {
        Ok(Ok(Progress::Prefill { .. })) => return Some(job),
        Ok(Ok(Progress::Token(step))) => {
            job.events.send(Event::Token(step)).ok()?;
            match step.finish_reason {
                None => return Some(job),
                Some(reason) => Ok(reason),
            }
        }
        Ok(Ok(Progress::Finished(reason))) => Ok(reason),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("internal error: the computation panicked; the server's log says where".to_string()),
    };
    let finished = reason.and_then(|reason| {
        let identity = identity().ok_or("the weights could not be hashed")?;
        let transcript = transcript(&identity, &job.generation);
        Ok(Finished { reason, identity, transcript })
    });
    // If the client is gone, nobody needs to hear of the end.
    let _ = job.events.send(finished.map_or_else(Event::Failed, Event::Finished));
    None
}

#[cfg(test)]
mod tests;
