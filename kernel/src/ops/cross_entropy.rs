//! The loss of next-token prediction.

use super::softmax::softmax;
use crate::Exec;
use crate::math::{exp, ln};
use crate::pool::split_rows;
use crate::simd::{LANES, Op, Simd, order, padded, store};
use alloc::vec;

/// Cross-entropy, in nats, of each row of `logits` against its target.
///
/// Shapes: `losses`, `targets`: `[rows]`; `logits`: `[rows, vocab]`.
/// Order: `m = max(l)`, `Z = sum(exp(l - m))` (N3-N5, N7), `loss = ln(Z) - (l_t - m)`.
///
/// # Panics
/// If the lengths do not match these shapes, or a target is outside the vocabulary.
pub fn cross_entropy_forward(exec: Exec<'_>, losses: &mut [f32], logits: &[f32], targets: &[u32]) {
    let vocab = vocab(logits, targets);
    assert_eq!(losses.len(), targets.len(), "cross_entropy: losses for {} targets", targets.len());
    split_rows(exec.pool, losses, 1, |rows, losses| {
        let logits = &logits[rows.start * vocab..rows.end * vocab];
        exec.backend.run(CrossEntropy { losses, logits, targets: &targets[rows], vocab });
    });
}

/// The gradient of the mean of [`cross_entropy_forward`], in place: the logits become their gradients.
///
/// Shapes: `logits`: `[rows, vocab]`; `targets`: `[rows]`; `count`: the targets of the whole batch.
/// Order: `(e / Z - y) / count` with `y` 1 at the target and 0 elsewhere.
///
/// # Panics
/// If the lengths do not match these shapes, or a target is outside the vocabulary.
pub fn cross_entropy_backward(exec: Exec<'_>, logits: &mut [f32], targets: &[u32], count: usize) {
    let vocab = vocab(logits, targets);
    split_rows(exec.pool, logits, vocab, |rows, logits| {
        exec.backend.run(Gradient { logits, targets: &targets[rows], vocab, count: count as f32 });
    });
}

fn vocab(logits: &[f32], targets: &[u32]) -> usize {
    let rows = targets.len();
    assert!(rows > 0 && logits.len().is_multiple_of(rows), "cross_entropy: {} logits, {rows} targets", logits.len());
    let vocab = logits.len() / rows;
    assert!(targets.iter().all(|t| (*t as usize) < vocab), "cross_entropy: a target outside the {vocab} tokens");
    vocab
}

struct CrossEntropy<'a> {
    losses: &'a mut [f32],
    logits: &'a [f32],
    targets: &'a [u32],
    vocab: usize,
}

impl Op for CrossEntropy<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mut e = vec![0.0; self.vocab];
        let rows = self.losses.iter_mut().zip(self.logits.chunks_exact(self.vocab)).zip(self.targets);
        for ((loss, l), target) in rows {
            let (m, ln_z) = normaliser(s, l, &mut e);
            *loss = ln_z - (l[*target as usize] - m);
        }
    }
}

/// `m = max(l)` and `ln(Z)`, `Z = sum(exp(l - m))` (N3-N5, N7), of one row; `e` is working memory of its length.
#[inline(always)]
pub(super) fn normaliser<S: Simd>(s: S, l: &[f32], e: &mut [f32]) -> (f32, f32) {
    let m = order::max_of(s, l);
    let ((e_blocks, e_tail), (l_blocks, l_tail)) = (e.as_chunks_mut::<LANES>(), l.as_chunks());
    for (e, l) in e_blocks.iter_mut().zip(l_blocks) {
        s.store(exp(s, s.sub(s.load(l), s.splat(m))), e);
    }
    store(s, exp(s, s.sub(s.load(&padded(l_tail)), s.splat(m))), e_tail);
    (m, ln(order::sum(s, e)))
}

struct Gradient<'a> {
    logits: &'a mut [f32],
    targets: &'a [u32],
    vocab: usize,
    count: f32,
}

impl Op for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let count = s.splat(self.count);
        for (l, target) in self.logits.chunks_exact_mut(self.vocab).zip(self.targets) {
            softmax(s, l, None);
            l[*target as usize] -= 1.0;
            let (blocks, tail) = l.as_chunks_mut::<LANES>();
            for l in blocks {
                s.store(s.div(s.load(l), count), l);
            }
            store(s, s.div(s.load(&padded(tail)), count), tail);
        }
    }
}
