//! What each step of a training learns from.

use kernel::model::Sequence;
use kernel::train::Order;

/// The batches of a training, in the order that its seed decides.
#[derive(Debug)]
pub struct Batches<'a> {
    sequences: &'a [Sequence],
    order: Order,
    size: usize,
}

impl<'a> Batches<'a> {
    /// Batches of `size` of these sequences.
    ///
    /// # Panics
    /// If there are no sequences.
    pub fn new(sequences: &'a [Sequence], seed: u64, size: usize) -> Batches<'a> {
        Batches { sequences, order: Order::new(seed, sequences.len() as u32), size }
    }

    /// The batch of the step after `step` others.
    pub fn after(&mut self, step: u64) -> Vec<Sequence> {
        let taken = step * self.size as u64;
        (taken..taken + self.size as u64).map(|taken| self.sequences[self.order.at(taken)].clone()).collect()
    }
}
