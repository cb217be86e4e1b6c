//! Root-mean-square normalisation.

use super::Weights;
use super::matmul::granule;
use crate::Exec;
use crate::pool::{Columns, split_columns, split_rows, split_together};
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
            let r = s.splat(scale(s, x, self.eps));
            let (out, out_tail) = out.as_chunks_mut::<LANES>();
            let (x, x_tail) = x.as_chunks();
            for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
                s.store(s.mul(s.mul(s.load(x), r), W::load(s, w)), out);
            }
            let last = s.mul(s.mul(s.load(&padded(x_tail)), r), W::load(s, &padded(w_tail)));
            store(s, last, out_tail);
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
    let tokens = x.len() / dim;
    let mut scales = vec![0.0; tokens];
    split_together(exec.pool, tokens, [dx, &mut scales], |rows, [dx, scales]| {
        let (dout, x) = (&dout[rows.start * dim..rows.end * dim], &x[rows.start * dim..rows.end * dim]);
        match w {
            Weights::F32(w) => exec.backend.run(RmsNormInput { dx, scales, dout, x, w, eps }),
            Weights::Bf16(w) => exec.backend.run(RmsNormInput { dx, scales, dout, x, w, eps }),
        }
    });
    if let Some(dw) = dw {
        assert_eq!(dw.len(), dim, "rmsnorm: dw for dim {dim}");
        split_columns(exec.pool, dw, dim, granule(dim), |dw| {
            exec.backend.run(RmsNormWeight { dw, scales: &scales, dout, x });
        });
    }
}

/// `r` of a row, as the forward pass computes it.
#[inline(always)]
fn scale<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    let mean = order::dot(s, x, x) / x.len() as f32;
    1.0 / libm::sqrtf(mean + eps)
}

struct RmsNormInput<'a, W> {
    dx: &'a mut [f32],
    /// `r` of each row, for the gradients of the weights.
    scales: &'a mut [f32],
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
        let (w, w_tail) = self.w.as_chunks();
        let whole = w.len();
        let blocks = dim.div_ceil(LANES);
        let (mut g, mut n) = (vec![[0.0; LANES]; blocks], vec![[0.0; LANES]; blocks]);
        let rows = self.dx.chunks_exact_mut(dim).zip(self.dout.chunks_exact(dim)).zip(self.x.chunks_exact(dim));
        for (((dx, dout), x), scale_of_row) in rows.zip(self.scales) {
            *scale_of_row = scale(s, x, self.eps);
            let r = s.splat(*scale_of_row);
            let ((dout, dout_tail), (x, x_tail)) = (dout.as_chunks(), x.as_chunks());
            for ((((g, n), dout), x), w) in g.iter_mut().zip(&mut n).zip(dout).zip(x).zip(w) {
                s.store(s.mul(s.load(dout), W::load(s, w)), g);
                s.store(s.mul(s.load(x), r), n);
            }
            if whole < blocks {
                s.store(s.mul(s.load(&padded(dout_tail)), W::load(s, &padded(w_tail))), &mut g[whole]);
                s.store(s.mul(s.load(&padded(x_tail)), r), &mut n[whole]);
            }
            let c = s.splat(order::dot(s, &g.as_flattened()[..dim], &n.as_flattened()[..dim]) / dim as f32);
            let (dx, dx_tail) = dx.as_chunks_mut();
            for ((dx, g), n) in dx.iter_mut().zip(&g).zip(&n) {
                let change = s.mul(r, s.sub(s.load(g), s.mul(s.load(n), c)));
                s.store(s.add(s.load(dx), change), dx);
            }
            if whole < blocks {
                let change = s.mul(r, s.sub(s.load(&g[whole]), s.mul(s.load(&n[whole]), c)));
                store(s, s.add(s.load(&padded(dx_tail)), change), dx_tail);
            }
        }
    }
}

struct RmsNormWeight<'a, 'b> {
    dw: Columns<'b>,
    scales: &'a [f32],
    dout: &'a [f32],
    x: &'a [f32],
}

impl Op for RmsNormWeight<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let (dim, range) = (self.x.len() / self.scales.len(), self.dw.range());
        let (dw, dw_tail) = self.dw.row(0).as_chunks_mut();
        for ((dout, x), r) in self.dout.chunks_exact(dim).zip(self.x.chunks_exact(dim)).zip(self.scales) {
            let r = s.splat(*r);
            let ((dout, dout_tail), (x, x_tail)) = (dout[range.clone()].as_chunks(), x[range.clone()].as_chunks());
            for ((dw, dout), x) in dw.iter_mut().zip(dout).zip(x) {
                s.store(s.add(s.load(dw), s.mul(s.load(dout), s.mul(s.load(x), r))), dw);
            }
            let term = s.mul(s.load(&padded(dout_tail)), s.mul(s.load(&padded(x_tail)), r));
            store(s, s.add(s.load(&padded(dw_tail)), term), dw_tail);
        }
    }
}
