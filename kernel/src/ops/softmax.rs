//! Softmax over the contiguous axis.

use crate::Exec;
use crate::math::exp;
use crate::pool::split_rows;
use crate::simd::{LANES, Op, Simd, order, padded};

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
            softmax(s, row);
        }
    }
}

/// One row of [`softmax_forward`].
#[inline(always)]
pub(super) fn softmax<S: Simd>(s: S, x: &mut [f32]) {
    let m = s.splat(order::max_of(s, x));
    let (blocks, tail) = x.as_chunks_mut::<LANES>();
    for block in blocks {
        s.store(exp(s, s.sub(s.load(block), m)), block);
    }
    let mut last = padded(tail);
    s.store(exp(s, s.sub(s.load(&last), m)), &mut last);
    tail.copy_from_slice(&last[..tail.len()]);

    let z = s.splat(order::sum(s, x));
    let (blocks, tail) = x.as_chunks_mut::<LANES>();
    for block in blocks {
        s.store(s.div(s.load(block), z), block);
    }
    let mut last = padded(tail);
    s.store(s.div(s.load(&last), z), &mut last);
    tail.copy_from_slice(&last[..tail.len()]);
}
