//! The linear layer.

use super::{Weights, residual_forward};
use crate::Exec;
use crate::pool::{Columns, split_columns};
use crate::simd::axis::{Factors, Terms, accumulate};
use crate::simd::order::{dot_tile, dot_tile_by_parts};
use crate::simd::{LANES, Op, Simd, Weight};
use alloc::vec;
use core::array::from_fn;

/// Weight rows and tokens of a tile: nine sums leave registers for the operands where there are sixteen.
const ROWS: usize = 3;
const TOKENS: usize = 3;
/// How far ahead of its use a weight stream is asked for, in bytes.
const AHEAD: usize = 8192;

/// `out = x W^T (+ bias)`, the weights as stored: one row an output.
///
/// Shapes: `out`: `[tokens, rows]`; `x`: `[tokens, cols]`; `w`: `[rows, cols]`; `bias`: `[rows]`.
/// Order: every output is one lane reduction over `cols` (N3-N5), then the bias is added.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn matmul_forward(
    exec: Exec<'_>,
    out: &mut [f32],
    x: &[f32],
    w: Weights<'_>,
    bias: Option<Weights<'_>>,
    tokens: usize,
) {
    assert!(
        tokens > 0 && out.len().is_multiple_of(tokens) && x.len().is_multiple_of(tokens),
        "matmul: out {} and x {} for {tokens} tokens",
        out.len(),
        x.len()
    );
    let (rows, cols) = (out.len() / tokens, x.len() / tokens);
    assert_eq!(w.len(), rows * cols, "matmul: weights for [{rows}, {cols}]");
    split_columns(exec.pool, out, rows, 1, |mut out| {
        match w {
            Weights::F32(w) => exec.backend.run(MatMul { out: &mut out, x, w, cols, tokens }),
            Weights::Bf16(w) => exec.backend.run(MatMul { out: &mut out, x, w, cols, tokens }),
        }
        match bias {
            Some(Weights::F32(bias)) => add_bias(&mut out, bias, tokens),
            Some(Weights::Bf16(bias)) => add_bias(&mut out, bias, tokens),
            None => {}
        }
    });
}

/// The gradients of [`matmul_forward`]'s input: `dx += dout W`.
///
/// Shapes: `dx`: `[tokens, cols]`; `dout`: `[tokens, rows]`; `w`: `[rows, cols]`.
/// Order: `dx[t] = dx[t] + Σ_o dout[t][o] W[o]` in rising `o`, in blocks (N6).
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn matmul_backward_input(exec: Exec<'_>, dx: &mut [f32], dout: &[f32], w: Weights<'_>, tokens: usize) {
    assert!(tokens > 0 && dx.len().is_multiple_of(tokens), "matmul: dx {} for {tokens} tokens", dx.len());
    let (rows, cols) = (dout.len() / tokens, dx.len() / tokens);
    assert!(dout.len() == tokens * rows && w.len() == rows * cols, "matmul: weights for [{rows}, {cols}]");
    let factors = Factors { values: dout, term: 1, row: rows };
    split_columns(exec.pool, dx, cols, granule(cols), |out| match w {
        Weights::F32(values) => {
            exec.backend.run(Accumulate::<_, true> {
                out,
                terms: rows,
                factors,
                vectors: Terms { values, stride: cols },
            });
        }
        Weights::Bf16(values) => {
            exec.backend.run(Accumulate::<_, true> {
                out,
                terms: rows,
                factors,
                vectors: Terms { values, stride: cols },
            });
        }
    });
}

/// The gradients of [`matmul_forward`]'s weights: `dw += dout^T x`.
///
/// Shapes: `dw`: `[rows, cols]`; `dout`: `[tokens, rows]`; `x`: `[tokens, cols]`.
/// Order: `dw[o] = dw[o] + Σ_t dout[t][o] x[t]` in rising `t` (N6), from the value in `dw`: micro-batches one after the
/// other give the bits of one batch.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn matmul_backward_weight(exec: Exec<'_>, dw: &mut [f32], dout: &[f32], x: &[f32], tokens: usize) {
    assert!(tokens > 0 && x.len().is_multiple_of(tokens), "matmul: x {} for {tokens} tokens", x.len());
    let (rows, cols) = (dout.len() / tokens, x.len() / tokens);
    assert!(dout.len() == tokens * rows && dw.len() == rows * cols, "matmul: gradients of [{rows}, {cols}]");
    let factors = Factors { values: dout, term: rows, row: 1 };
    let vectors = Terms { values: x, stride: cols };
    split_columns(exec.pool, dw, cols, granule(cols), |out| {
        exec.backend.run(Accumulate::<_, false> { out, terms: tokens, factors, vectors });
    });
}

/// The gradients of [`matmul_forward`]'s bias: `dbias[o] = dbias[o] + Σ_t dout[t][o]` in rising `t` (N6).
///
/// Shapes: `dbias`: `[rows]`; `dout`: `[tokens, rows]`.
///
/// # Panics
/// If `dout` is no whole number of rows.
pub fn matmul_backward_bias(exec: Exec<'_>, dbias: &mut [f32], dout: &[f32]) {
    let rows = dbias.len();
    assert!(rows > 0 && dout.len().is_multiple_of(rows), "matmul: dout {} for {rows} rows", dout.len());
    for dout in dout.chunks_exact(rows) {
        residual_forward(exec, dbias, dout);
    }
}

/// Threads share columns in whole vectors where they can.
fn granule(cols: usize) -> usize {
    if cols.is_multiple_of(LANES) { LANES } else { 1 }
}

struct Accumulate<'a, 'b, W, const BLOCKED: bool> {
    out: Columns<'b>,
    terms: usize,
    factors: Factors<'a>,
    vectors: Terms<'a, W>,
}

impl<W: Weight, const BLOCKED: bool> Op for Accumulate<'_, '_, W, BLOCKED> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        accumulate::<S, W, BLOCKED>(s, &mut self.out, 0..self.terms, self.factors, self.vectors);
    }
}

fn add_bias<W: Weight>(out: &mut Columns<'_>, bias: &[W], tokens: usize) {
    let range = out.range();
    for token in 0..tokens {
        out.row(token).iter_mut().zip(&bias[range.clone()]).for_each(|(out, b)| *out += b.widen());
    }
}

struct MatMul<'a, 'b, W> {
    out: &'a mut Columns<'b>,
    x: &'a [f32],
    w: &'a [W],
    cols: usize,
    tokens: usize,
}

impl<W: Weight> Op for MatMul<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        if self.tokens == 1 {
            // Weight rows side by side, where their sums fit: memory has as many streams to work on.
            if S::ACCUMULATORS >= 4 { self.one_token::<S, 4>(s) } else { self.one_token::<S, 1>(s) }
        } else {
            self.tiles(s);
        }
    }
}

impl<W: Weight> MatMul<'_, '_, W> {
    #[inline(always)]
    fn one_token<S: Simd, const STREAMS: usize>(&mut self, s: S) {
        let (cols, range) = (self.cols, self.out.range());
        let (tiles, rest) = self.out.row(0).as_chunks_mut::<STREAMS>();
        let mut w = self.w[range.start * cols..range.end * cols].chunks_exact(cols);
        // Whole tiles ahead: what lies nearer belongs to the streams of this tile.
        let tile = STREAMS * cols * size_of::<W>();
        let ahead = AHEAD.next_multiple_of(tile);
        for tile in tiles {
            let rows = from_fn(|_| w.next().unwrap_or_default());
            [*tile] = dot_tile::<S, W, STREAMS, 1>(s, rows, [self.x], Some(ahead));
        }
        for (out, w) in rest.iter_mut().zip(w) {
            [[*out]] = dot_tile::<S, W, 1, 1>(s, [w], [self.x], Some(ahead));
        }
    }

    /// Widens a few weight rows at a time and uses them for all tokens, in tiles.
    #[inline(always)]
    fn tiles<S: Simd>(&mut self, s: S) {
        let (cols, tokens, range) = (self.cols, self.tokens, self.out.range());
        let mut panel = vec![0.0; ROWS * cols];
        for first in (0..range.len()).step_by(ROWS) {
            let count = ROWS.min(range.len() - first);
            let start = (range.start + first) * cols;
            let stored = &self.w[start..start + count * cols];
            widen(s, stored, &mut panel[..count * cols]);
            let whole = if count == ROWS { tokens / TOKENS * TOKENS } else { 0 };
            for token in (0..whole).step_by(TOKENS) {
                let rows: [&[f32]; ROWS] = from_fn(|r| &panel[r * cols..(r + 1) * cols]);
                let x: [&[f32]; TOKENS] = from_fn(|t| &self.x[(token + t) * cols..(token + t + 1) * cols]);
                for (t, y) in dot_tile_by_parts(s, rows, x).iter().enumerate() {
                    self.out.row(token + t)[first..first + ROWS].copy_from_slice(y);
                }
            }
            for token in whole..tokens {
                let x = &self.x[token * cols..(token + 1) * cols];
                for (r, w) in panel[..count * cols].chunks_exact(cols).enumerate() {
                    [[self.out.row(token)[first + r]]] = dot_tile::<S, f32, 1, 1>(s, [w], [x], None);
                }
            }
        }
    }
}

/// Widens weights, which is exact.
#[inline(always)]
fn widen<S: Simd, W: Weight>(s: S, stored: &[W], out: &mut [f32]) {
    let (blocks, tail) = stored.as_chunks::<LANES>();
    let (out, out_tail) = out.as_chunks_mut();
    for (out, block) in out.iter_mut().zip(blocks) {
        s.store(W::load(s, block), out);
    }
    for (out, w) in out_tail.iter_mut().zip(tail) {
        *out = w.widen();
    }
}
