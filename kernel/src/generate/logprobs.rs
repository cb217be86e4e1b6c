//! How likely tokens were at their places, and which ones were likelier.

use super::argmax;
use crate::Exec;
use crate::ops::{log_normalisers, log_probability};
use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Of which tokens a generation tells the probabilities.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Logprobs {
    /// How many of the most likely tokens are told at each place, beside the one that is there.
    pub top: usize,
    /// Whether the tokens of the prompt are told, too: all but the first, which nothing predicts.
    pub prompt: bool,
}

/// How likely a token was at its place, given all tokens before it: natural logarithms of probabilities, from the raw logits, before
/// penalties, bias and temperature.
#[derive(Clone, PartialEq, Debug)]
pub struct TokenLogprob {
    /// The token.
    pub token_id: u32,
    /// The logarithm of its probability.
    pub logprob: f32,
    /// The most likely tokens at this place with theirs, by falling logit, the lowest token first among equals (N7).
    pub top: Vec<(u32, f32)>,
}

/// The log-probabilities of `targets` and of the `top` most likely tokens at their places.
///
/// Shapes: `targets`: `[rows]`; `logits`: `[rows, vocab]`.
///
/// # Errors
/// The first row, and the lowest token in it, whose logit, or the logarithm of whose probability, is not finite (N9).
pub(super) fn logprobs(
    exec: Exec<'_>,
    logits: &[f32],
    targets: &[u32],
    top: usize,
) -> Result<Vec<TokenLogprob>, (usize, usize)> {
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let vocab = logits.len() / targets.len();
    let mut normalisers = vec![[0.0; 2]; targets.len()];
    log_normalisers(exec, normalisers.as_flattened_mut(), logits, vocab);
    let rows = logits.chunks_exact(vocab).zip(normalisers).zip(targets).enumerate();
    let told = rows.map(|(row, ((logits, normaliser), target))| {
        argmax(logits).map_err(|token| (row, token))?;
        let value = |token: u32| {
            let logprob = log_probability(normaliser, logits[token as usize]);
            if logprob.is_finite() { Ok((token, logprob)) } else { Err((row, token as usize)) }
        };
        let (token_id, logprob) = value(*target)?;
        Ok(TokenLogprob {
            token_id,
            logprob,
            top: most_likely(logits, top).into_iter().map(value).collect::<Result<_, _>>()?,
        })
    });
    told.collect()
}

/// The `count` tokens with the largest logits, falling, the lowest first among equals.
fn most_likely(logits: &[f32], count: usize) -> Vec<u32> {
    // The best of those seen, the worst of them on top.
    let mut best = BinaryHeap::with_capacity(count.min(logits.len()));
    for (token, l) in (0_u32..).zip(logits) {
        let entry = Reverse((ordered(*l), Reverse(token)));
        if best.len() < count {
            best.push(entry);
        } else if let Some(mut worst) = best.peek_mut()
            && entry < *worst
        {
            *worst = entry;
        }
    }
    best.into_sorted_vec().into_iter().map(|Reverse((_, Reverse(token)))| token).collect()
}

/// Integers that are ordered like finite numbers; those of 0 and -0 are equal.
fn ordered(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, uniform};

    /// Everything sorted, by the numbers themselves.
    fn plain(logits: &[f32], count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|a, b| logits[*b as usize].partial_cmp(&logits[*a as usize]).unwrap());
        order.truncate(count);
        order
    }

    #[test]
    fn the_most_likely_tokens_are_those_of_a_sorted_list() {
        for case in 0..200 {
            let steps = [2.0, 7.0, 1e6][case as usize % 3];
            // Few different values have many ties, zeros of both signs among them.
            let value = |i| ((uniform(case, Purpose::Golden, 0, i) - 0.5) * steps) as i32 as f32;
            let logits: Vec<f32> = (0..1 + case % 60).map(|i| value(i) * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            for count in [0, 1, 2, 5, 20, 59, 100] {
                assert_eq!(most_likely(&logits, count), plain(&logits, count), "{count} of {logits:?}");
            }
        }
        assert_eq!(most_likely(&[-0.0, 0.0, -1e-45, 1e-45], 4), [3, 0, 1, 2]);
        assert_eq!(most_likely(&[f32::MIN, f32::MAX, -1.0], 2), [1, 2]);
    }

    #[test]
    fn n9_values_that_are_not_finite_are_refused() {
        let told =
            |logits: &[f32], targets: &[u32]| logprobs(Exec::serial(), logits, targets, 2).map(|told| told.len());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(told(&[1.0, 2.0, 3.0, 1.0, bad, bad], &[0, 0]), Err((1, 1)));
        }
        // The logits are finite, and the probability of the lower one is so small that its logarithm is not.
        assert_eq!(told(&[f32::MAX, 0.0, f32::MIN], &[2]), Err((0, 2)));
        assert_eq!(told(&[f32::MAX, 0.0, f32::MIN], &[0]), Ok(1));
        assert_eq!(told(&[], &[]), Ok(0));
    }
}
