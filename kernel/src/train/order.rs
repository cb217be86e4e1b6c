//! The order in which a training takes its data, and what is set apart from it.

use crate::random::{Purpose, shuffled};
use alloc::vec::Vec;

/// The order in which sequences are taken: epoch after epoch, each shuffled anew.
///
/// Which one is next follows from the seed and from how many were taken before, so a training that goes on needs no more
/// than its step.
#[derive(Debug)]
pub struct Order {
    seed: u64,
    count: u32,
    /// The epoch that was shuffled last, and its order.
    shuffled: Option<(u32, Vec<u32>)>,
}

impl Order {
    /// The order of `count` sequences.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(seed: u64, count: u32) -> Order {
        assert!(count > 0, "order: there are no sequences");
        Order { seed, count, shuffled: None }
    }

    /// The number of the sequence that is taken after `taken` others. Epochs are counted modulo 2^32.
    pub fn at(&mut self, taken: u64) -> usize {
        let count = u64::from(self.count);
        let (epoch, place) = ((taken / count) as u32, (taken % count) as usize);
        let order = match self.shuffled.take() {
            Some((known, order)) if known == epoch => order,
            _ => shuffled(self.seed, Purpose::Shuffle, epoch, self.count),
        };
        let number = order[place];
        self.shuffled = Some((epoch, order));
        number as usize
    }
}

/// Which of `count` sequences are set apart to evaluate a model: `held` of them, in rising order. They are the first ones of
/// a shuffled order of their own.
///
/// # Panics
/// If there are not so many.
pub fn held_out(seed: u64, count: u32, held: u32) -> Vec<usize> {
    let mut numbers: Vec<usize> =
        shuffled(seed, Purpose::Split, 0, count)[..held as usize].iter().map(|number| *number as usize).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn every_epoch_takes_every_sequence_once_in_an_order_of_its_own() {
        let mut order = Order::new(7, 20);
        let all: Vec<usize> = (0..60).map(|taken| order.at(taken)).collect();
        let epochs: Vec<&[usize]> = all.chunks_exact(20).collect();
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        for (number, epoch) in (0..).zip(&epochs) {
            let expected = shuffled(7, Purpose::Shuffle, number, 20);
            assert!(epoch.iter().zip(expected).all(|(a, b)| *a == b as usize));
        }
        let mut sorted = epochs[0].to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        // Whoever comes later, or goes back, finds the same.
        for taken in [59, 0, 25] {
            assert_eq!(Order::new(7, 20).at(taken), all[taken as usize]);
            assert_eq!(order.at(taken), all[taken as usize]);
        }
    }

    #[test]
    fn what_is_set_apart_follows_from_the_seed() {
        assert_eq!(held_out(3, 5, 0), vec![]);
        assert_eq!(held_out(3, 5, 5), vec![0, 1, 2, 3, 4]);
        let (some, others) = (held_out(3, 100, 10), held_out(4, 100, 10));
        assert!(some.len() == 10 && some.is_sorted() && some != others);
        // More of the same seed has those in it, and the order of the training is another one.
        assert!(some.iter().all(|number| held_out(3, 100, 20).contains(number)));
        let mut first: Vec<usize> = (0..10).map(|taken| Order::new(3, 100).at(taken)).collect();
        first.sort_unstable();
        assert_ne!(some, first);
    }
}
