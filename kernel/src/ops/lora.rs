//! Low-rank adapters of linear layers (Hu et al. 2021).

use super::Weights;
use super::matmul::matmul_forward;
use super::matmul_gradients::matmul_backward_input;
use super::matmul_weights::matmul_backward_weight;
use crate::Exec;
use crate::pool::{Columns, split_rows};
use crate::simd::axis::{Factors, Terms, accumulate};
use crate::simd::{LANES, Op, Simd, padded, store};
use alloc::vec;
use alloc::vec::Vec;

/// An adapter as the operators read it: `a` is `[rank, cols]`, `b` is `[rows, rank]`.
#[derive(Clone, Copy, Debug)]
pub struct Lora<'a> {
    /// From the layer's input to the rank.
    pub a: Weights<'a>,
    /// From the rank to the layer's output.
    pub b: Weights<'a>,
    /// `alpha / rank`
    pub scale: f32,
}

/// Adds what an adapter makes of `x` to the layer's output: `out + scale * dot(B, dot(A, x))`.
///
/// Shapes: `out`: `[tokens, rows]`; `x`: `[tokens, cols]`.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn lora_forward(exec: Exec<'_>, out: &mut [f32], x: &[f32], lora: Lora<'_>, tokens: usize) {
    let low = low(exec, x, lora, tokens);
    let mut high = vec![0.0; out.len()];
    matmul_forward(exec, &mut high, &low, lora.b, None, tokens);
    split_rows(exec.pool, out, 1, |range, out| {
        exec.backend.run(Scaled { out, y: &high[range], scale: lora.scale, add: true });
    });
}

/// The gradients of [`lora_forward`], added to `dx`, `da` and `db`.
///
/// Shapes: `dx`, `x`: `[tokens, cols]`; `da`: `[rank, cols]`; `db`: `[rows, rank]`; `dout`: `[tokens, rows]`.
/// Order: `d = scale * dout`, `u = dot(A, x)`, `du = Σ_o d[o] B[o]` in blocks, `db = Σ_t d[t] u[t]`, `da = Σ_t du[t] x[t]`,
/// `dx = Σ_r du[r] A[r]` in blocks (N6).
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn lora_backward(
    exec: Exec<'_>,
    [dx, da, db]: [&mut [f32]; 3],
    dout: &[f32],
    x: &[f32],
    lora: Lora<'_>,
    tokens: usize,
) {
    let low = low(exec, x, lora, tokens);
    let mut d = vec![0.0; dout.len()];
    split_rows(exec.pool, &mut d, 1, |range, out| {
        exec.backend.run(Scaled { out, y: &dout[range], scale: lora.scale, add: false });
    });
    let mut dlow = vec![0.0; low.len()];
    matmul_backward_input(exec, &mut dlow, &d, lora.b, tokens);
    matmul_backward_weight(exec, db, &d, &low, tokens);
    matmul_backward_weight(exec, da, &dlow, x, tokens);
    matmul_backward_input(exec, dx, &dlow, lora.a, tokens);
}

/// The weights of a layer with its adapter in them: `w + scale * Σ_r B[o][r] A[r]` in rising `r` (N6).
///
/// Shapes: `w`: `[rows, cols]`; `a`: `[rank, cols]`; `b`: `[rows, rank]`.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn lora_merge(exec: Exec<'_>, w: &mut [f32], a: &[f32], b: &[f32], scale: f32, rank: usize) {
    assert!(rank > 0 && a.len().is_multiple_of(rank) && b.len().is_multiple_of(rank), "lora: rank {rank}");
    let (rows, cols) = (b.len() / rank, a.len() / rank);
    assert_eq!(w.len(), rows * cols, "lora: weights for [{rows}, {cols}]");
    split_rows(exec.pool, w, cols, |range, w| {
        let b = &b[range.start * rank..range.end * rank];
        exec.backend.run(Merge { w, a, b, scale, rank, cols });
    });
}

/// `dot(A, x)` of every token.
fn low(exec: Exec<'_>, x: &[f32], lora: Lora<'_>, tokens: usize) -> Vec<f32> {
    let cols = x.len() / tokens.max(1);
    assert!(cols > 0 && lora.a.len().is_multiple_of(cols), "lora: a {} for {cols} columns", lora.a.len());
    let mut low = vec![0.0; tokens * (lora.a.len() / cols)];
    matmul_forward(exec, &mut low, x, lora.a, None, tokens);
    low
}

/// `out + scale * y`, or `scale * y`.
struct Scaled<'a> {
    out: &'a mut [f32],
    y: &'a [f32],
    scale: f32,
    add: bool,
}

impl Op for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        for (out, y) in self.out.chunks_mut(LANES).zip(self.y.chunks(LANES)) {
            let scaled = s.mul(scale, s.load(&padded(y)));
            store(s, if self.add { s.add(s.load(&padded(out)), scaled) } else { scaled }, out);
        }
    }
}

struct Merge<'a> {
    w: &'a mut [f32],
    a: &'a [f32],
    b: &'a [f32],
    scale: f32,
    rank: usize,
    cols: usize,
}

impl Op for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mut change = vec![0.0; self.w.len()];
        let factors = Factors { values: self.b, term: 1, row: self.rank };
        let vectors = Terms { values: self.a, stride: self.cols };
        accumulate::<S, f32>(s, &mut Columns::all(&mut change, self.cols), 0..self.rank, factors, vectors);
        Scaled { out: self.w, y: &change, scale: self.scale, add: true }.eval(s);
    }
}
