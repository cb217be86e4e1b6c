//! The linear layer, backward.

use super::matmul::{granule, tiles};
use super::{Weights, residual_forward};
use crate::Exec;
use crate::pool::{Columns, split_columns, split_rows};
use crate::simd::tile::{Block, ByRows, ByTerms, Factors, TERMS, axis_sums};
use crate::simd::{LANES, Op, Simd, Weight, padded, store};
use alloc::vec;
use core::ops::Range;

/// Blocks of columns that a packed panel is wide, where there are as many.
const WIDE: usize = 3;

/// The gradients of [`super::matmul_forward`]'s input: `dx += dout W`.
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
    split_columns(exec.pool, dx, cols, granule(cols), |dx| match w {
        Weights::F32(w) => exec.backend.run(BackwardInput { dx, dout, w, cols }),
        Weights::Bf16(w) => exec.backend.run(BackwardInput { dx, dout, w, cols }),
    });
}

/// The gradients of [`super::matmul_forward`]'s weights: `dw += dout^T x`.
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
    split_rows(exec.pool, dw, cols, |range, dw| {
        exec.backend.run(BackwardWeight { dw, dout, x, first: range.start, rows, cols });
    });
}

/// The gradients of [`super::matmul_forward`]'s bias: `dbias[o] = dbias[o] + Σ_t dout[t][o]` in rising `t` (N6).
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

/// Columns `range` of [`matmul_backward_input`].
struct BackwardInput<'a, 'b, W> {
    dx: Columns<'b>,
    dout: &'a [f32],
    w: &'a [W],
    cols: usize,
}

impl<W: Weight> Op for BackwardInput<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let rows = self.w.len() / self.cols;
        let mut factors = vec![[0.0; TERMS]; self.dx.rows()];
        for start in (0..rows).step_by(TERMS) {
            let terms = start..rows.min(start + TERMS);
            for (factors, dout) in factors.iter_mut().zip(self.dout.chunks_exact(rows)) {
                factors[..terms.len()].copy_from_slice(&dout[terms.clone()]);
            }
            let mut columns = self.dx.range();
            while columns.len() >= WIDE * LANES {
                self.panel::<S, WIDE>(s, &factors, terms.clone(), columns.start..columns.start + WIDE * LANES);
                columns.start += WIDE * LANES;
            }
            while !columns.is_empty() {
                let end = columns.end.min(columns.start + LANES);
                self.panel::<S, 1>(s, &factors, terms.clone(), columns.start..end);
                columns.start = end;
            }
        }
    }
}

impl<W: Weight> BackwardInput<'_, '_, W> {
    /// Adds the terms `terms` to the columns `columns` of all tokens.
    #[inline(always)]
    fn panel<S: Simd, const B: usize>(
        &mut self,
        s: S,
        factors: &[[f32; TERMS]],
        terms: Range<usize>,
        columns: Range<usize>,
    ) {
        let mut panel = [[Block::ZERO; B]; TERMS];
        pack(s, &mut panel, self.w, self.cols, terms.clone(), columns.clone(), TERMS);
        let first = columns.start - self.dx.range().start;
        let (columns, terms) = (first..first + columns.len(), terms.len());
        let most = if S::REGISTERS >= 32 { 8 } else { 4 };
        for tile in tiles(factors.len(), most) {
            let (token, factors) = (tile.start, &factors[tile]);
            match factors.len() {
                8 if S::REGISTERS >= 32 => self.tile::<S, 8, B>(s, token, columns.clone(), factors, &panel, terms),
                7 if S::REGISTERS >= 32 => self.tile::<S, 7, B>(s, token, columns.clone(), factors, &panel, terms),
                6 if S::REGISTERS >= 32 => self.tile::<S, 6, B>(s, token, columns.clone(), factors, &panel, terms),
                5 if S::REGISTERS >= 32 => self.tile::<S, 5, B>(s, token, columns.clone(), factors, &panel, terms),
                4 => self.tile::<S, 4, B>(s, token, columns.clone(), factors, &panel, terms),
                3 => self.tile::<S, 3, B>(s, token, columns.clone(), factors, &panel, terms),
                2 => self.tile::<S, 2, B>(s, token, columns.clone(), factors, &panel, terms),
                _ => self.tile::<S, 1, B>(s, token, columns.clone(), factors, &panel, terms),
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const T: usize, const B: usize>(
        &mut self,
        s: S,
        token: usize,
        columns: Range<usize>,
        factors: &[[f32; TERMS]],
        panel: &[[Block; B]; TERMS],
        terms: usize,
    ) {
        let Some(factors) = factors.first_chunk::<T>() else { return };
        let mut sums = [[Block::ZERO; B]; T];
        sum_up(s, &mut sums, ByRows(factors), panel, terms);
        for (t, sums) in sums.iter().enumerate() {
            let (blocks, tail) = self.dx.row(token + t)[columns.clone()].as_chunks_mut();
            for (dx, sum) in blocks.iter_mut().zip(sums) {
                s.store(s.add(s.load(dx), s.load(&sum.0)), dx);
            }
            if !tail.is_empty() {
                store(s, s.add(s.load(&padded(tail)), s.load(&sums[0].0)), tail);
            }
        }
    }
}

/// Rows from `first` on of [`matmul_backward_weight`].
struct BackwardWeight<'a> {
    dw: &'a mut [f32],
    dout: &'a [f32],
    x: &'a [f32],
    first: usize,
    rows: usize,
    cols: usize,
}

/// Rows of gradients that are summed up together: what they read fits into the caches.
const GROUP: usize = 64;

impl Op for BackwardWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let BackwardWeight { dw, dout, x, mut first, rows, cols } = self;
        for dw in dw.chunks_mut(GROUP * cols) {
            let group = first..first + dw.len() / cols;
            first = group.end;
            if S::REGISTERS >= 32 {
                weight_rows::<S, 8>(s, dw, dout, x, group, rows, cols);
            } else {
                weight_rows::<S, 4>(s, dw, dout, x, group, rows, cols);
            }
        }
    }
}

/// The gradients of a group of rows, in tiles of `T` rows.
#[inline(always)]
fn weight_rows<S: Simd, const T: usize>(
    s: S,
    dw: &mut [f32],
    dout: &[f32],
    x: &[f32],
    group: Range<usize>,
    rows: usize,
    cols: usize,
) {
    let tokens = x.len() / cols;
    let mut factors = [[[0.0; T]; TERMS]; GROUP];
    for start in (0..tokens).step_by(TERMS) {
        let terms = start..tokens.min(start + TERMS);
        for (k, dout) in dout[start * rows..terms.end * rows].chunks_exact(rows).enumerate() {
            for (tile, dout) in factors.iter_mut().zip(dout[group.clone()].chunks(T)) {
                tile[k][..dout.len()].copy_from_slice(dout);
            }
        }
        let mut columns = 0..cols;
        while columns.len() >= WIDE * LANES {
            weight_panel::<S, T, WIDE>(
                s,
                dw,
                &factors,
                x,
                terms.clone(),
                columns.start..columns.start + WIDE * LANES,
                cols,
            );
            columns.start += WIDE * LANES;
        }
        while !columns.is_empty() {
            let end = cols.min(columns.start + LANES);
            weight_panel::<S, T, 1>(s, dw, &factors, x, terms.clone(), columns.start..end, cols);
            columns.start = end;
        }
    }
}

#[inline(always)]
fn weight_panel<S: Simd, const T: usize, const B: usize>(
    s: S,
    dw: &mut [f32],
    factors: &[[[f32; T]; TERMS]; GROUP],
    x: &[f32],
    terms: Range<usize>,
    columns: Range<usize>,
    cols: usize,
) {
    let mut panel = [[Block::ZERO; B]; TERMS];
    pack(s, &mut panel, x, cols, terms.clone(), columns.clone(), 0);
    for (dw, factors) in dw.chunks_mut(T * cols).zip(factors) {
        let mut sums = [[Block::ZERO; B]; T];
        for (sums, dw) in sums.iter_mut().zip(dw.chunks_exact(cols)) {
            let (blocks, tail) = dw[columns.clone()].as_chunks();
            for (sum, dw) in sums.iter_mut().zip(blocks) {
                sum.0 = *dw;
            }
            sums[0].0[..tail.len()].copy_from_slice(tail);
        }
        sum_up(s, &mut sums, ByTerms(factors), &panel, terms.len());
        for (sums, dw) in sums.iter().zip(dw.chunks_exact_mut(cols)) {
            let (blocks, tail) = dw[columns.clone()].as_chunks_mut();
            for (sum, dw) in sums.iter().zip(blocks) {
                *dw = sum.0;
            }
            tail.copy_from_slice(&sums[0].0[..tail.len()]);
        }
    }
}

/// [`axis_sums`] in as many registers as there are.
#[inline(always)]
fn sum_up<S: Simd, F: Factors<T>, const T: usize, const B: usize>(
    s: S,
    sums: &mut [[Block; B]; T],
    factors: F,
    panel: &[[Block; B]; TERMS],
    terms: usize,
) {
    if S::REGISTERS >= 32 && S::PARTS == 1 {
        axis_sums::<S, F, T, B, B>(s, sums, factors, panel, terms);
    } else {
        axis_sums::<S, F, T, B, 2>(s, sums, factors, panel, terms);
    }
}

/// Lays out rows `rows` and columns `columns` of a matrix one after the other, widened, a last block filled up with zeros.
/// Asks for what lies `ahead` rows further on.
#[inline(always)]
fn pack<S: Simd, W: Weight, const B: usize>(
    s: S,
    panel: &mut [[Block; B]; TERMS],
    matrix: &[W],
    cols: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    ahead: usize,
) {
    for (panel, row) in panel.iter_mut().zip(matrix[rows.start * cols..rows.end * cols].chunks_exact(cols)) {
        let (blocks, tail) = row[columns.clone()].as_chunks();
        for (out, block) in panel.iter_mut().zip(blocks) {
            s.store(W::load(s, block), &mut out.0);
            if ahead > 0 {
                s.prefetch(block.as_ptr().wrapping_add(ahead * cols).cast());
            }
        }
        if !tail.is_empty() {
            s.store(W::load(s, &padded(tail)), &mut panel[0].0);
        }
    }
}
