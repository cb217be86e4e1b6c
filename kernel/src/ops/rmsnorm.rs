//! Root-mean-square normalisation.

use super::Weights;
use crate::Exec;
use crate::pool::split_rows;
use crate::simd::{LANES, Op, Simd, Weight, order, padded, store};
use alloc::vec;

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
            let r = scale(s, x, self.eps);
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

/// The gradients of [`rmsnorm_forward`], added to `dx` and `dw`.
///
/// Shapes: `dx`, `dout`, `x`: `[tokens, dim]`; `dw`, `w`: `[dim]`.
/// Order: with the forward pass's `r` and `n = x * r`: `g = dout * w`, `c = sum(g * n) / dim`, `dx += r * (g - n * c)`,
/// `dw = dw + Σ_t dout * n` in rising `t` (N6).
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn rmsnorm_backward(
    exec: Exec<'_>,
    dx: &mut [f32],
    dw: Option<&mut [f32]>,
    dout: &[f32],
    x: &[f32],
    w: Weights<'_>,
    eps: f32,
) {
    let dim = w.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "rmsnorm: {} values, dim {dim}", x.len());
    assert!(dx.len() == x.len() && dout.len() == x.len(), "rmsnorm: dx {}, dout {}", dx.len(), dout.len());
    split_rows(exec.pool, dx, dim, |rows, dx| {
        let (dout, x) = (&dout[rows.start * dim..rows.end * dim], &x[rows.start * dim..rows.end * dim]);
        match w {
            Weights::F32(w) => exec.backend.run(RmsNormInput { dx, dout, x, w, eps }),
            Weights::Bf16(w) => exec.backend.run(RmsNormInput { dx, dout, x, w, eps }),
        }
    });
    if let Some(dw) = dw {
        assert_eq!(dw.len(), dim, "rmsnorm: dw for dim {dim}");
        exec.backend.run(RmsNormWeight { dw, dout, x, eps });
    }
}

/// `r` of a row, as the forward pass computes it.
#[inline(always)]
fn scale<S: Simd>(s: S, x: &[f32], eps: f32) -> S::F32 {
    let mean = order::dot(s, x, x) / x.len() as f32;
    s.splat(1.0 / libm::sqrtf(mean + eps))
}

struct RmsNormInput<'a, W> {
    dx: &'a mut [f32],
    dout: &'a [f32],
    x: &'a [f32],
    w: &'a [W],
    eps: f32,
}

impl<W: Weight> Op for RmsNormInput<'_, W> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let dim = self.w.len();
        let blocks = dim.div_ceil(LANES);
        let (mut g, mut n) = (vec![0.0; dim], vec![0.0; dim]);
        let rows = self.dx.chunks_exact_mut(dim).zip(self.dout.chunks_exact(dim)).zip(self.x.chunks_exact(dim));
        for ((dx, dout), x) in rows {
            let r = scale(s, x, self.eps);
            for b in 0..blocks {
                let at = b * LANES..dim.min((b + 1) * LANES);
                let w = W::load(s, &padded(&self.w[at.clone()]));
                store(s, s.mul(s.load(&padded(&dout[at.clone()])), w), &mut g[at.clone()]);
                store(s, s.mul(s.load(&padded(&x[at.clone()])), r), &mut n[at]);
            }
            let c = s.splat(order::dot(s, &g, &n) / dim as f32);
            for b in 0..blocks {
                let at = b * LANES..dim.min((b + 1) * LANES);
                let (g, n) = (s.load(&padded(&g[at.clone()])), s.load(&padded(&n[at.clone()])));
                let change = s.mul(r, s.sub(g, s.mul(n, c)));
                let sum = s.add(s.load(&padded(&dx[at.clone()])), change);
                store(s, sum, &mut dx[at]);
            }
        }
    }
}

struct RmsNormWeight<'a> {
    dw: &'a mut [f32],
    dout: &'a [f32],
    x: &'a [f32],
    eps: f32,
}

impl Op for RmsNormWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let dim = self.dw.len();
        for (dout, x) in self.dout.chunks_exact(dim).zip(self.x.chunks_exact(dim)) {
            let r = scale(s, x, self.eps);
            for start in (0..dim).step_by(LANES) {
                let at = start..dim.min(start + LANES);
                let n = s.mul(s.load(&padded(&x[at.clone()])), r);
                let term = s.mul(s.load(&padded(&dout[at.clone()])), n);
                let sum = s.add(s.load(&padded(&self.dw[at.clone()])), term);
                store(s, sum, &mut self.dw[at]);
            }
        }
    }
}
