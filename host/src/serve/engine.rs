//! The one thread that computes for the server.
//!
//! It owns the thread pool and takes generations from a queue that is bounded for each caller. Those it works on advance together:
//! in each round every one of them generates a token, or reads some of its prompt, and each weight is read once for all. The rounds
//! are short while anyone waits for tokens: no more is read of prompts then than makes a round twice as long ([`shares`]). Who
//! begins next, and that no caller takes all the room, is decided in [`waiting`]. A generation whose client
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

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
use super::weights::{Replaced, Served, Weights};
use prefixes::Prefixes;
use rounds::Rounds;
use slot::TrainingSlot;
use training::Training;
use waiting::{Place, Places, Waiting};

mod prefixes;
mod rounds;
mod shares;
mod slot;
mod training;
mod waiting;

pub use training::{TrainEvent, TrainFinished, TrainRequest};

/// Generations that advance together; each has a cache of keys and values of its own.
pub const ACTIVE: usize = 16;
/// How many texts as long as the context those of all of them may be together.
const TEXTS: usize = 4;
/// Generations of a caller that wait for their turn.
pub const WAITING: usize = 32;

/// What a client hears where nothing is computed any more.
pub const ENDED: &str = "the engine has ended; restart the server";
/// What a client hears where its computation panicked.
const PANICKED: &str = "internal error: the computation panicked; the server's log says where";

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
    /// The request that it is of.
    request: u64,
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
    Generation(Box<Job>, Place),
    Training(Box<Training>),
}

/// Where generations and trainings are handed in.
pub struct Engine {
    queue: mpsc::UnboundedSender<Work>,
    /// Which of them wait.
    places: Arc<Places>,
    /// How many advance.
    active: Arc<AtomicUsize>,
    /// How many requests there were.
    requests: AtomicU64,
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
    /// As many of the caller's wait as may.
    Full,
    /// The weights are not what they were.
    Changed(Changed),
    /// The engine has ended.
    Ended,
}

/// The engine's own end of its queue.
pub struct Queue {
    queue: mpsc::UnboundedReceiver<Work>,
    waiting: Waiting,
    active: Arc<AtomicUsize>,
    /// How many may call.
    callers: usize,
    files: Arc<OnceLock<OpenedFiles>>,
    served: Served,
}

/// An engine's two ends: the one takes generations and trainings, of so many callers, the other works on them.
pub fn engine(callers: usize) -> (Engine, Queue) {
    // Bounded by the places, and by the slot of trainings.
    let (sender, receiver) = mpsc::unbounded_channel();
    let (active, files, served): (Arc<AtomicUsize>, Arc<_>, _) = (Arc::default(), Arc::default(), Served::default());
    let engine = Engine {
        queue: sender,
        places: Arc::default(),
        active: active.clone(),
        requests: AtomicU64::new(0),
        time: None,
        files: Arc::clone(&files),
        counts: Arc::default(),
        served: served.clone(),
        training: TrainingSlot::default(),
    };
    (engine, Queue { queue: receiver, waiting: Waiting::default(), active, callers, files, served })
}

impl Engine {
    /// Hands a generation in, for the weights that are served, and returns its events. Dropping them stops it.
    ///
    /// # Errors
    /// If the weights were changed, as many of the caller's wait as may, or the engine has ended.
    pub fn submit(&self, text: Continuation, caller: Caller) -> Result<mpsc::UnboundedReceiver<Event>, SubmitError> {
        let mut events = self.submit_all(vec![text], &Weights::Served, caller)?;
        events.pop().ok_or(SubmitError::Ended)
    }

    /// Hands the generations of a request in, all of them or none, and returns the events of each.
    ///
    /// # Errors
    /// If the weights were changed, there are not as many places for the caller, or the engine has ended.
    pub fn submit_all(
        &self,
        texts: Vec<Continuation>,
        weights: &Weights,
        caller: Caller,
    ) -> Result<Vec<mpsc::UnboundedReceiver<Event>>, SubmitError> {
        check(&self.files).map_err(SubmitError::Changed)?;
        let Some(places) = self.places.take(caller, texts.len()) else {
            self.counts.refused.inc();
            return Err(SubmitError::Full);
        };
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        // A time beyond what a clock can tell is none.
        let end = self.time.and_then(|time| Some((Instant::now().checked_add(time)?, time)));
        let hand_in = |(text, place): (Continuation, Place)| {
            let (events, receiver) = mpsc::unbounded_channel();
            let (weights, watch) = (weights.clone(), Watch::new(self.counts.clone()));
            let job = Job { text, caller, request, weights, end, events, watch };
            self.send(Work::Generation(Box::new(job), place)).map(|()| receiver)
        };
        texts.into_iter().zip(places).map(hand_in).collect()
    }

    /// Hands a training in and returns its events. Dropping them stops it, and what it made is dropped too.
    ///
    /// # Errors
    /// If another training runs, the weights were changed, or the engine has ended.
    pub fn train(&self, request: TrainRequest) -> Result<mpsc::UnboundedReceiver<TrainEvent>, SubmitError> {
        let claim = self.training.claim().ok_or(SubmitError::Training)?;
        check(&self.files).map_err(SubmitError::Changed)?;
        let (events, receiver) = mpsc::unbounded_channel();
        self.send(Work::Training(Box::new(Training::new(request, events, claim)))).map(|()| receiver)
    }

    fn send(&self, work: Work) -> Result<(), SubmitError> {
        self.queue.send(work).map_err(|_| SubmitError::Ended)
    }

    /// Generations that advance at this moment.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Generations that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.places.taken()
    }
}

/// What computations need of the engine.
struct Surroundings<'a> {
    base: &'a Model,
    tokenizer: &'a Tokenizer,
    exec: Exec<'a>,
    identity: &'a dyn Fn() -> Option<Identity>,
    served: &'a Served,
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
        // What the generations have left of the time that the training took.
        let mut turn = Duration::ZERO;
        loop {
            loop {
                let idle = rounds.len() == 0 && self.waiting.is_empty() && training.is_none();
                let work = if idle { self.queue.blocking_recv() } else { self.queue.try_recv().ok() };
                match work {
                    Some(Work::Generation(job, place)) => self.waiting.push(job, place),
                    // The slot lets in one at a time.
                    Some(Work::Training(next)) => training = Some(*next),
                    None if idle => return,
                    None => break,
                }
            }
            self.waiting.end_late();
            while let Some(job) = self.waiting.next(&rounds, self.callers, model.config().context) {
                match self.served.find(&job.weights) {
                    Ok(trained) => rounds.begin(job, trained),
                    // If the client is gone, nobody needs to hear of it.
                    Err(replaced) => drop(job.events.send(Event::Replaced(replaced))),
                }
            }
            self.active.store(rounds.len(), Ordering::Relaxed);
            if let Err(changed) = check(&self.files) {
                tracing::error!("{changed}");
                let why = changed.to_string();
                rounds.fail(&why);
                if let Some(training) = training.take() {
                    training.fail(&why);
                }
            }
            training = training.filter(|training: &Training| !training.is_abandoned());
            if turn.is_zero() && !rounds.use_replaced(&self.served) {
                let start = Instant::now();
                training = training.and_then(|training| training.advance(&around));
                turn = start.elapsed();
            }
            let start = Instant::now();
            if rounds.len() > 0 && check(&self.files).is_ok() {
                rounds.advance(&around);
            }
            turn = if rounds.len() > 0 && training.is_some() {
                turn.saturating_sub(start.elapsed())
            } else {
                Duration::ZERO
            };
            self.active.store(rounds.len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
