//! Which weights are served: those that the server was started with, or those of the last completed training.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::model::Model;
use kernel::transcript::Sha256Digest;

/// What a training made.
pub struct Trained {
    /// The model with the trained weights, or with the trained adapter.
    pub model: Model,
    /// The digest of what was trained, as binary32.
    pub sha256: Sha256Digest,
}

impl Trained {
    /// The digests of the weights and of the adapter, given that of the base weights, which may not be known yet.
    pub fn digests<T: From<Sha256Digest>>(&self, base: T) -> (T, Option<Sha256Digest>) {
        match self.model.adapter() {
            Some(_) => (base, Some(self.sha256)),
            None => (self.sha256.into(), None),
        }
    }
}

/// The weights that new generations get; none are those that the server was started with.
#[derive(Clone, Default)]
pub struct Served(Arc<Mutex<Option<Arc<Trained>>>>);

impl Served {
    /// The weights at this moment. Whoever holds them computes with them to the end, whatever is served by then.
    pub fn now(&self) -> Option<Arc<Trained>> {
        self.lock().clone()
    }

    /// Serves other weights from now on.
    pub fn publish(&self, trained: Option<Arc<Trained>>) {
        *self.lock() = trained;
    }

    /// Whether `weights` are trained ones that are served no longer.
    pub fn has_replaced(&self, weights: Option<&Arc<Trained>>) -> bool {
        let now = self.now();
        weights.is_some_and(|old| now.is_none_or(|now| !Arc::ptr_eq(old, &now)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Trained>>> {
        // Nothing is half done in there, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const STOPPING: u8 = 2;

/// The one training that may run at a time.
#[derive(Clone, Default)]
pub struct TrainingSlot(Arc<AtomicU8>);

impl TrainingSlot {
    /// Takes the slot, until the claim is dropped; none if it is taken.
    pub fn claim(&self) -> Option<Claim> {
        self.change(IDLE, RUNNING).then(|| Claim(self.clone()))
    }

    /// Whether a training runs, or waits for its turn.
    pub fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire) != IDLE
    }

    /// Asks the training to end after its step; whether there is one.
    pub fn stop(&self) -> bool {
        self.change(RUNNING, STOPPING) || self.is_taken()
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The slot, taken.
pub struct Claim(TrainingSlot);

impl Claim {
    /// Whether the training was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.0.0.load(Ordering::Acquire) == STOPPING
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.0.store(IDLE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_training_at_a_time() {
        let slot = TrainingSlot::default();
        assert!(!slot.stop());
        let claim = slot.claim().unwrap();
        assert!(slot.is_taken() && slot.claim().is_none() && !claim.is_stopped());
        assert!(slot.stop() && slot.stop() && claim.is_stopped());
        drop(claim);
        assert!(!slot.is_taken());
        assert!(!slot.claim().unwrap().is_stopped());
    }
}
