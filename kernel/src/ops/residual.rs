//! Residual connections.

use crate::Exec;
use crate::pool::split_values;
use crate::simd::{LANES, Op, Simd, padded, store};

/// Adds `y` to the residual stream `x` (He et al. 2015).
///
/// Shapes: `x`, `y`: the same.
///
/// # Panics
/// If the lengths differ.
pub fn residual_forward(exec: Exec<'_>, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "residual: x and y differ in length");
    split_values(exec.pool, x, |range, x| exec.backend.run(Residual { x, y: &y[range] }));
}

struct Residual<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
}

impl Op for Residual<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        add(s, self.x, self.y);
    }
}

/// `x = x + y`
#[inline(always)]
pub(super) fn add<S: Simd>(s: S, x: &mut [f32], y: &[f32]) {
    let (x, x_tail) = x.as_chunks_mut::<LANES>();
    let (y, y_tail) = y.as_chunks();
    for (x, y) in x.iter_mut().zip(y) {
        s.store(s.add(s.load(x), s.load(y)), x);
    }
    store(s, s.add(s.load(&padded(x_tail)), s.load(&padded(y_tail))), x_tail);
}
