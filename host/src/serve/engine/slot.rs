//! The one training that may run at a time, and how it is asked to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

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
