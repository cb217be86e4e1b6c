//! The one thread that computes for the server.
//!
//! It owns the thread pool and takes generations from a bounded queue. Those it works on advance together: in each round every
//! one of them generates a token, or reads some of its prompt, and each weight is read once for all. The rounds are short while
//! anyone waits for tokens: prompts share a few tokens then, so that a long one holds nobody up. A generation whose client
//! is gone is dropped before its next round. Which others run beside it decides no bit of a generation (N11).
//!
//! The keys and values of the last texts are kept, and a prompt that begins like one of them begins with those. What several that
//! advance begin with is read once, too.
//!
//! A training advances by turns with the generations: after each of its steps they get as much time as the step took. It
//! always begins with the weights of the model folder, works on a copy of its own (of the weights, or of a new adapter beside
//! them), and what came out is served once it is complete; a generation keeps the weights that it began with.
//!
//! Memory: the texts of the generations that advance, complete, have at most [`TEXTS`] times as many tokens as the context; the
//! next one waits until there is room. A training does not begin while a generation uses trained weights that are served no longer. So there are at most
//! two sets of trained weights at a time, each of 4 bytes a parameter, besides those of the model folder.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bpe::Tokenizer;
use kernel::Exec;
use kernel::generate::{FinishReason, Step, TokenLogprob};
use kernel::model::Model;
use kernel::transcript::{Identity, Sha256Digest};
use session::Continuation;
use session::receipt::Receipt;
use tokio::sync::mpsc;

use super::keys::Caller;
use super::metrics::{Generations, Watch};
use super::opened_files::{Changed, OpenedFiles};
use super::weights::{Replaced, Served, TrainingSlot, Weights};
use prefixes::Prefixes;
use rounds::Rounds;
use training::{Surroundings, Training};

mod prefixes;
mod rounds;
mod training;

pub use training::{TrainEvent, TrainFinished, TrainRequest};

/// Generations that advance together; each has a cache of keys and values of its own.
pub const ACTIVE: usize = 16;
/// How many texts as long as the context those of all of them may be together.
const TEXTS: usize = 4;
/// Generations, and a training, that wait for their turn.
pub const WAITING: usize = 32;

/// What a client hears of its generation.
pub enum Event {
    /// It begins, with this many tokens of its prompt that need not be read.
    Begun(usize),
    /// The prompt was read: the log-probabilities of its tokens, but for the first, if they were asked for.
    Prompt(Vec<TokenLogprob>),
    /// The next token, what it adds to the text, and its log-probability if that was asked for.
    Token(Step, String, Option<TokenLogprob>),
    /// The end.
    Finished(Box<Finished>),
    /// The end, by an error.
    Failed(String),
    /// The end before the beginning: its weights are there no longer.
    Replaced(Replaced),
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
    caller: Caller,
    /// What it computes with.
    weights: Weights,
    /// When it is to end, and how much time it had.
    end: Option<(Instant, Duration)>,
    /// Holds all events of the generation, whose number its context bounds: a slow reader neither stops the engine nor keeps
    /// its cache. Closed when the client is gone.
    events: mpsc::UnboundedSender<Event>,
    watch: Watch,
}

/// What waits in the queue.
enum Work {
    Generation(Box<Job>),
    Training(Box<Training>),
}

/// How many generations there are.
#[derive(Default)]
struct Load {
    /// That advance.
    active: AtomicUsize,
    /// That were taken from the queue and wait for room.
    held: AtomicUsize,
}

/// Where generations and trainings are handed in.
pub struct Engine {
    queue: mpsc::Sender<Work>,
    load: Arc<Load>,
    /// The time that a generation may take.
    pub time: Option<Duration>,
    /// The weight files, once they are open.
    pub files: Arc<OnceLock<OpenedFiles>>,
    /// What all generations did.
    pub counts: Arc<Generations>,
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
    /// The weights are not what they were.
    Changed(Changed),
    /// The engine has ended.
    Ended,
}

/// The engine's own end of its queue.
pub struct Queue {
    queue: mpsc::Receiver<Work>,
    load: Arc<Load>,
    files: Arc<OnceLock<OpenedFiles>>,
    served: Served,
}

/// An engine's two ends: the one takes generations and trainings, the other works on them.
pub fn engine() -> (Engine, Queue) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let load = Arc::new(Load::default());
    let served = Served::default();
    let files = Arc::default();
    let queue = Queue { queue: receiver, load: load.clone(), files: Arc::clone(&files), served: served.clone() };
    let (counts, training) = (Arc::default(), TrainingSlot::default());
    (Engine { queue: sender, load, time: None, files, counts, served, training }, queue)
}

impl Engine {
    /// Hands a generation in, for the weights that are served, and returns its events. Dropping them stops it.
    ///
    /// # Errors
    /// If the weights were changed, the queue is full, or the engine has ended.
    pub fn submit(&self, text: Continuation, caller: Caller) -> Result<mpsc::UnboundedReceiver<Event>, SubmitError> {
        let (events, receiver) = mpsc::unbounded_channel();
        self.send(Work::Generation(Box::new(self.job(text, Weights::Served, caller, events)))).map(|()| receiver)
    }

    /// Hands several generations in, all of them or none, and returns the events of each.
    ///
    /// # Errors
    /// If the weights were changed, the queue has no room for all, or the engine has ended.
    pub fn submit_all(
        &self,
        texts: Vec<Continuation>,
        weights: &Weights,
        caller: Caller,
    ) -> Result<Vec<mpsc::UnboundedReceiver<Event>>, SubmitError> {
        check(&self.files).map_err(SubmitError::Changed)?;
        let places = self.queue.try_reserve_many(texts.len()).map_err(|error| self.refused(&error))?;
        let hand_in = |(text, place): (Continuation, mpsc::Permit<'_, Work>)| {
            let (events, receiver) = mpsc::unbounded_channel();
            place.send(Work::Generation(Box::new(self.job(text, weights.clone(), caller, events))));
            receiver
        };
        Ok(texts.into_iter().zip(places).map(hand_in).collect())
    }

    fn job(&self, text: Continuation, weights: Weights, caller: Caller, events: mpsc::UnboundedSender<Event>) -> Job {
        let end = self.time.map(|time| (Instant::now() + time, time));
        Job { text, caller, weights, end, events, watch: Watch::new(self.counts.clone()) }
    }

    /// Hands a training in and returns its events. Dropping them stops it, and what it made is dropped too.
    ///
    /// # Errors
    /// If another training runs, the weights were changed, the queue is full, or the engine has ended.
    pub fn train(&self, request: TrainRequest) -> Result<mpsc::UnboundedReceiver<TrainEvent>, SubmitError> {
        let claim = self.training.claim().ok_or(SubmitError::Training)?;
        let (events, receiver) = mpsc::unbounded_channel();
        self.send(Work::Training(Box::new(Training::new(request, events, claim)))).map(|()| receiver)
    }

    fn send(&self, work: Work) -> Result<(), SubmitError> {
        check(&self.files).map_err(SubmitError::Changed)?;
        self.queue.try_send(work).map_err(|error| self.refused(&error))
    }

    fn refused<T>(&self, error: &mpsc::error::TrySendError<T>) -> SubmitError {
        match error {
            mpsc::error::TrySendError::Full(_) => {
                self.counts.refused.inc();
                SubmitError::Full
            }
            mpsc::error::TrySendError::Closed(_) => SubmitError::Ended,
        }
    }

    /// Generations that advance at this moment.
    pub fn active(&self) -> usize {
        self.load.active.load(Ordering::Relaxed)
    }

    /// Generations that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity() + self.load.held.load(Ordering::Relaxed)
    }
}

/// Whether the weights are those that were opened.
fn check(files: &OnceLock<OpenedFiles>) -> Result<(), Changed> {
    files.get().map_or(Ok(()), OpenedFiles::check)
}

impl Job {
    /// The tokens that the text has at most.
    fn tokens(&self) -> usize {
        let request = self.text.generation().request();
        request.prompt.len() + request.max_tokens
    }

    /// Whether its client has gone, or its time is over, which the client is told.
    fn has_ended(&self, now: Instant) -> bool {
        match self.end {
            _ if self.events.is_closed() => true,
            Some((end, time)) if end <= now => {
                let seconds = time.as_secs_f64();
                self.fail(&format!(
                    "the generation took longer than the {seconds} s that it may take (--request-timeout)"
                ));
                true
            }
            _ => false,
        }
    }

    /// Tells the client of an end by an error.
    fn fail(&self, why: &str) {
        // If the client is gone, nobody needs to hear of it.
        let _ = self.events.send(Event::Failed(why.to_string()));
    }
}

impl Queue {
    /// Works until every [`Engine`] is gone. `identity` may take its time (the weights are hashed beside the computation); it
    /// is asked for when a generation ends, and gives none if the weights could not be hashed. `kept` is how many bytes of
    /// keys and values of past texts are kept.
    pub fn work(
        mut self,
        model: &Model,
        tokenizer: &Tokenizer,
        exec: Exec<'_>,
        identity: &dyn Fn() -> Option<Identity>,
        kept: usize,
    ) {
        let around = Surroundings { base: model, tokenizer, exec, identity, served: &self.served };
        let (mut rounds, mut training) = (Rounds::new(Prefixes::new(kept)), None);
        // Waits until there is room.
        let mut held: Option<Box<Job>> = None;
        loop {
            while rounds.len() < ACTIVE {
                let idle = rounds.len() == 0 && training.is_none();
                let work = match held.take().filter(|job| !job.events.is_closed()) {
                    Some(job) => Some(Work::Generation(job)),
                    None if idle => self.queue.blocking_recv(),
                    None => self.queue.try_recv().ok(),
                };
                match work {
                    Some(Work::Generation(job)) => {
                        if rounds.tokens() + job.tokens() > TEXTS * model.config().context {
                            held = Some(job);
                            break;
                        }
                        match self.served.find(&job.weights) {
                            Ok(trained) => rounds.begin(*job, trained),
                            // If the client is gone, nobody needs to hear of it.
                            Err(replaced) => drop(job.events.send(Event::Replaced(replaced))),
                        }
                    }
                    // The slot lets in one at a time.
                    Some(Work::Training(next)) => training = Some(*next),
                    None if idle => return,
                    None => break,
                }
            }
            self.load.held.store(usize::from(held.is_some()), Ordering::Relaxed);
            self.load.active.store(rounds.len(), Ordering::Relaxed);
            if let Err(changed) = check(&self.files) {
                tracing::error!("{changed}");
                let why = changed.to_string();
                rounds.fail(&why);
                if let Some(training) = training.take() {
                    training.fail(&why);
                }
            }
            let start = Instant::now();
            training = training.filter(|training: &Training| !training.is_abandoned());
            if !rounds.use_replaced(&self.served) {
                training = training.and_then(|training| training.advance(&around));
            }
            let (turn, start) = (start.elapsed(), Instant::now());
            while rounds.len() > 0 && check(&self.files).is_ok() {
                rounds.advance(&around);
                if start.elapsed() >= turn {
                    break;
                }
            }
            self.load.active.store(rounds.len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
