//! Who waits, and whose turn it is next.
//!
//! Of all that wait, the one begins next whose caller has the fewest generations that advance; of these, the one whose request
//! has the fewest, so that a request of many choices does not hold up one of a single choice; of these, the one that came first.
//! Nobody who comes later begins while there is no room for that one, so that long texts are not passed over for ever.
//!
//! Where there are several keys, a caller that has a generation already leaves some room to those that have none: a place for
//! each of them, half of all places at most, and the memory of one text as long as the context.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::rounds::Rounds;
use super::{ACTIVE, Job, TEXTS, WAITING};
use crate::serve::keys::Caller;

/// Those that wait, as they came.
#[derive(Default)]
pub struct Waiting(Vec<(Box<Job>, Place)>);

/// How many generations of each caller wait.
#[derive(Default)]
pub struct Places(Mutex<HashMap<Caller, usize>>);

/// The place of one that waits, which is free again when this is dropped.
pub struct Place {
    places: Arc<Places>,
    caller: Caller,
}

impl Places {
    /// So many places for a caller; none if it has not as many left.
    pub fn take(self: &Arc<Places>, caller: Caller, count: usize) -> Option<Vec<Place>> {
        let mut waiting = self.lock();
        let own = waiting.entry(caller).or_default();
        (*own + count <= WAITING).then(|| {
            *own += count;
            (0..count).map(|_| Place { places: self.clone(), caller }).collect()
        })
    }

    /// How many wait, of all callers.
    pub fn taken(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Caller, usize>> {
        // Nothing is half done in there, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(own) = self.places.lock().get_mut(&self.caller) {
            *own -= 1;
        }
    }
}

impl Waiting {
    /// One more.
    pub fn push(&mut self, job: Box<Job>, place: Place) {
        self.0.push((job, place));
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends those whose client has gone, or whose time is over.
    pub fn end_late(&mut self) {
        let now = Instant::now();
        self.0.retain(|(job, _)| !job.has_ended(now));
    }

    /// The next one to begin beside those that advance, if there is room; `callers` may call, and texts may be as long as `context`.
    pub fn next(&mut self, rounds: &Rounds, callers: usize, context: usize) -> Option<Job> {
        let has = |job: &Job| (rounds.of_caller(job.caller), rounds.of_request(job.request));
        // Of equals, the first.
        let (place, (job, _)) = self.0.iter().enumerate().min_by_key(|(_, (job, _))| has(job))?;
        let kept = match rounds.of_caller(job.caller) {
            0 => 0,
            _ => callers.saturating_sub(rounds.callers().collect::<HashSet<_>>().len()),
        };
        let has_place = rounds.len() + kept.min(ACTIVE / 2) < ACTIVE;
        let has_memory = rounds.tokens() + job.tokens() <= (TEXTS - kept.min(1)) * context;
        (has_place && has_memory).then(|| *self.0.remove(place).0)
    }
}

#[cfg(test)]
mod tests;
