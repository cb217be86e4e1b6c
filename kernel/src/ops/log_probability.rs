//! How likely a token was.

use super::cross_entropy_forward;
use crate::Exec;

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
