//! Root-mean-square normalisation.

use super::Weights;
use crate::Exec;
use crate::pool::split_rows;
use crate::simd::{LANES, Op, Simd, Weight, order, padded};

/// Normalises each row of `x` by its root mean square and scales it by `w` (Zhang & Sennrich 2019).
///
/// Shapes: `out`, `x`: `[tokens, dim]`; `w`: `[dim]`.
/// Order: `r = 1 / sqrt(sum(x * x) / dim + eps)`, `out = (x * r) * w`; the sum is a lane reduction (N3-N5).
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn rmsnorm_forward(exec: Exec<'_>, out: &mut [f32], x: &[f32], w: Weights<'_>, eps: f32) {
    let dim = w.len();
    assert!(dim > 0 && out.len() == x.len() && x.len().is_multiple_of(dim), "rmsnorm: {} values, dim {dim}", x.len());
    split_rows(exec.pool, out, dim, |rows, out| {
        let x = &x[rows.start * dim..rows.end * dim];
        match w {
            Weights::F32(w) => exec.backend.run(RmsNorm { out, x, w, eps }),
            Weights::Bf16(w) => exec.backend.run(RmsNorm { out, x, w, eps }),
        }
    });
}

struct RmsNorm<'a, W> {
    out: &'a mut [f32],
    x: &'a [f32],
    w: &'a [W],
    eps: f32,
}

impl<W: Weight> Op for RmsNorm<'_, W> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let dim = self.w.len();
        let (w, w_tail) = self.w.as_chunks();
        for (out, x) in self.out.chunks_exact_mut(dim).zip(self.x.chunks_exact(dim)) {
            let mean = order::dot(s, x, x) / dim as f32;
            let r = s.splat(1.0 / libm::sqrtf(mean + self.eps));
            let (out, out_tail) = out.as_chunks_mut::<LANES>();
            let (x, x_tail) = x.as_chunks();
            for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
                s.store(s.mul(s.mul(s.load(x), r), W::load(s, w)), out);
            }
            let mut last = padded(x_tail);
            s.store(s.mul(s.mul(s.load(&last), r), W::load(s, &padded(w_tail))), &mut last);
            out_tail.copy_from_slice(&last[..out_tail.len()]);
        }
    }
}
