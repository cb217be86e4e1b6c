//! Softmax over the contiguous axis.

use crate::Exec;
use crate::math::exp;
use crate::pool::split_rows;
use crate::simd::{LANES, Op, Simd, order, padded, store};

/// How much [`softmax`] can ask for while it computes, as a multiple of its row.
pub(super) const AHEAD: usize = 4;

/// Turns each row of `x` into probabilities, in place.
///
/// Shapes: `x`: `[rows, len]`.
/// Order: `m = max(x)`, `e = exp(x - m)`, `Z = sum(e)`, `e / Z`; maximum and sum are lane reductions (N3-N5, N7).
///
/// # Panics
/// If `x` is no whole number of rows.
pub fn softmax_forward(exec: Exec<'_>, x: &mut [f32], len: usize) {
    split_rows(exec.pool, x, len, |_, x| exec.backend.run(Softmax { x, len }));
}

struct Softmax<'a> {
    x: &'a mut [f32],
    len: usize,
}

impl Op for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        for row in self.x.chunks_exact_mut(self.len) {
            softmax(s, row, None);
        }
    }
}

/// One row of [`softmax_forward`]. Asks for what lies at `ahead`, [`AHEAD`] times as much as the row has.
#[inline(always)]
pub(super) fn softmax<S: Simd>(s: S, x: &mut [f32], mut ahead: Option<*const f32>) {
    let m = s.splat(order::max_of(s, x));
    let (blocks, tail) = x.as_chunks_mut::<LANES>();
    for block in blocks {
        if let Some(line) = &mut ahead {
            for _ in 0..AHEAD {
                s.prefetch(line.cast());
                *line = line.wrapping_add(LANES);
            }
        }
        s.store(exp(s, s.sub(s.load(block), m)), block);
    }
    store(s, exp(s, s.sub(s.load(&padded(tail)), m)), tail);

    let z = s.splat(order::sum(s, x));
    let (blocks, tail) = x.as_chunks_mut::<LANES>();
    for block in blocks {
        s.store(s.div(s.load(block), z), block);
    }
    store(s, s.div(s.load(&padded(tail)), z), tail);
}

/// The gradient of [`softmax_forward`], in place: from that of the probabilities to that of the inputs.
///
/// Shapes: `dp`, `p`: `[rows, len]`; `p` is the forward pass's result.
/// Order: `c = sum(p * dp)` by lanes (N3-N5), `p * (dp - c)`.
///
/// # Panics
/// If `p` and `dp` differ in length or are no whole number of rows.
pub fn softmax_backward(exec: Exec<'_>, dp: &mut [f32], p: &[f32], len: usize) {
    assert_eq!(dp.len(), p.len(), "softmax: dp and p differ in length");
    split_rows(exec.pool, dp, len, |rows, dp| {
        exec.backend.run(SoftmaxBackward { dp, p: &p[rows.start * len..rows.end * len], len });
    });
}

struct SoftmaxBackward<'a> {
    dp: &'a mut [f32],
    p: &'a [f32],
    len: usize,
}

impl Op for SoftmaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        for (dp, p) in self.dp.chunks_exact_mut(self.len).zip(self.p.chunks_exact(self.len)) {
            softmax_gradient(s, dp, p);
        }
    }
}

/// One row of [`softmax_backward`].
#[inline(always)]
pub(super) fn softmax_gradient<S: Simd>(s: S, dp: &mut [f32], p: &[f32]) {
    let c = s.splat(order::dot(s, p, dp));
    let (blocks, tail) = dp.as_chunks_mut::<LANES>();
    let (p_blocks, p_tail) = p.as_chunks();
    for (dp, p) in blocks.iter_mut().zip(p_blocks) {
        s.store(s.mul(s.load(p), s.sub(s.load(dp), c)), dp);
    }
    let last = s.mul(s.load(&padded(p_tail)), s.sub(s.load(&padded(tail)), c));
    store(s, last, tail);
}
