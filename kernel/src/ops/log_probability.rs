//! How likely a token was.

use super::cross_entropy::{cross_entropy_forward, normaliser};
use crate::Exec;
use crate::pool::split_rows;
use crate::simd::{Op, Simd};
use alloc::vec;

/// The logarithm of the probability of each row's target, in nats.
///
/// Shapes: `out`, `targets`: `[rows]`; `logits`: `[rows, vocab]`.
/// Order: `m = max(l)`, `Z = sum(exp(l - m))` (N3-N5, N7), `(l_t - m) - ln(Z)`.
///
/// # Panics
/// If the lengths do not match these shapes, or a target is outside the vocabulary.
pub fn log_probability_forward(exec: Exec<'_>, out: &mut [f32], logits: &[f32], targets: &[u32]) {
    cross_entropy_forward(exec, out, logits, targets);
    // Rounding to nearest is symmetric: the loss, `ln(Z) - (l_t - m)`, is this difference with the other sign, and where the
    // two terms are equal both differences are +0.
    out.iter_mut().for_each(|value| *value = 0.0 - *value);
}

/// What [`log_probability_forward`] computes of each row but for its target: `m` and `ln(Z)`, for any number of its tokens.
///
/// Shapes: `out`: `[rows, 2]`; `logits`: `[rows, vocab]`.
///
/// # Panics
/// If the lengths do not match these shapes.
pub(crate) fn log_normalisers(exec: Exec<'_>, out: &mut [f32], logits: &[f32], vocab: usize) {
    assert_eq!(out.len() * vocab, 2 * logits.len(), "log_normalisers: {} for rows of {vocab}", out.len());
    split_rows(exec.pool, out, 2, |rows, out| {
        exec.backend.run(Normalisers { out, logits: &logits[rows.start * vocab..rows.end * vocab], vocab });
    });
}

/// The logarithm of the probability of a token with this logit, by what [`log_normalisers`] gave its row.
pub(crate) fn log_probability([m, ln_z]: [f32; 2], logit: f32) -> f32 {
    (logit - m) - ln_z
}

struct Normalisers<'a> {
    out: &'a mut [f32],
    logits: &'a [f32],
    vocab: usize,
}

impl Op for Normalisers<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mut e = vec![0.0; self.vocab];
        for (out, l) in self.out.as_chunks_mut().0.iter_mut().zip(self.logits.chunks_exact(self.vocab)) {
            *out = normaliser(s, l, &mut e).into();
        }
    }
}
