//! How much of their prompts the generations of a round read.
//!
//! A round gives every generation one turn. The fair share of one, until its next token, is for each of the others as many tokens as
//! it needs itself: 1, or what its prompt has left. So that less than twice as many are computed meanwhile, a round reads no more
//! tokens of prompts than the one that needs fewest has as its fair share.

use kernel::generate::PREFILL_CHUNK;

use super::ACTIVE;

/// Tokens of prompts that a round reads beside few generations: fewer make long prompts slow, and save nobody much.
pub const LEAST: usize = ACTIVE / 2;

/// The most tokens that each of the generations of a round reads; `unread` are those that its prompt has left, of which the last
/// one gives a token.
///
/// Those that read share at most a chunk as large as reads best. What the shorter prompts leave of their shares goes to the longer
/// ones, and none gets nothing.
pub fn shares(unread: &[usize]) -> Vec<usize> {
    let mut readers: Vec<usize> = (0..unread.len()).filter(|&place| unread[place] > 1).collect();
    readers.sort_by_key(|&place| unread[place]);
    let (mut shares, mut left) = (vec![1; unread.len()], most(unread));
    for (before, &place) in readers.iter().enumerate() {
        let share = (left / (readers.len() - before)).min(unread[place]);
        shares[place] = share;
        left -= share;
    }
    shares
}

/// How many tokens of prompts a round reads at most.
fn most(unread: &[usize]) -> usize {
    let fewest = unread.iter().min().copied().unwrap_or_default();
    (unread.len() * fewest).clamp(LEAST, PREFILL_CHUNK)
}

#[cfg(test)]
mod tests {
    use kernel::random::{Purpose, random_u64};

    use super::*;

    #[test]
    fn a_round_is_shorter_than_twice_the_fair_share_of_each_and_passes_nobody_over() {
        for case in 0..2000 {
            let random = |index| random_u64(7, Purpose::Golden, case, index) as usize;
            let count = 1 + random(0) % ACTIVE;
            let unread: Vec<usize> =
                (1..=count as u64).map(|n| 1 + [0, random(n) % 6, random(n) % 5000][random(99 + n) % 3]).collect();
            let shares = shares(&unread);
            let (all, wanted): (usize, usize) = (shares.iter().sum(), unread.iter().sum());
            for (&share, &unread) in shares.iter().zip(&unread) {
                assert!((1..=unread).contains(&share), "{share} of {unread}");
                assert!(all < 2 * share * count.max(LEAST), "{share} of {unread}, {all} in all");
            }
            // All that may be read is.
            let generating = unread.iter().filter(|unread| **unread == 1).count();
            assert_eq!(all, wanted.min(generating + most(&unread)), "{unread:?}: {shares:?}");
        }
    }

    #[test]
    fn short_prompts_do_not_wait_for_long_ones() {
        assert_eq!(shares(&[1, 1, 1, 1, 1, 1, 1, 4000]), [1, 1, 1, 1, 1, 1, 1, 8]);
        assert_eq!(shares(&[4000, 1, 4]), [4, 1, 4]);
        assert_eq!(shares(&[4000, 1, 2, 3000]), [3, 1, 2, 3]);
        assert_eq!(shares(&[4000, 20, 4000]), [20, 20, 20]);
        assert_eq!(shares(&[4000, 50, 4000]), [43, 42, 43]);
        assert_eq!(shares(&[4000, 3]), [5, 3]);
        assert_eq!(shares(&[4000]), [PREFILL_CHUNK]);
        assert_eq!(shares(&[1]), [1]);
    }
}
