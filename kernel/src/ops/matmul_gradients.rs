//! The linear layer, backward.

use super::matmul::{few, granule, tiles};
use super::{Weights, residual_forward};
use crate::Exec;
use crate::pool::{Columns, SerialPool, split_columns, split_rows};
use crate::simd::tile::{Block, ByRows, Factors, TERMS, axis_sums};
use crate::simd::{LANES, Op, Simd, Weight, padded, store};
use alloc::vec::Vec;
use core::ops::Range;

/// Blocks of columns that a packed panel is wide, where there are as many.
pub(super) const WIDE: usize = 3;

/// Weight rows that go by together where there are few tokens.
const ROWS: usize = 8;

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
        Weights::F32(w) => exec.backend.run(BackwardInput { dx, dout: Dout { values: dout, rows, first: 0 }, w, cols }),
        Weights::Bf16(w) => {
            exec.backend.run(BackwardInput { dx, dout: Dout { values: dout, rows, first: 0 }, w, cols })
        }
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
    split_rows(exec.pool, dbias, 1, |range, dbias| {
        let one = Exec { pool: &SerialPool, ..exec };
        dout.chunks_exact(rows).for_each(|dout| residual_forward(one, dbias, &dout[range.clone()]));
    });
}

/// The gradients of the outputs of a matrix of `rows` rows, of which those from `first` on are meant.
#[derive(Clone, Copy)]
pub(super) struct Dout<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) first: usize,
}

/// Some columns of [`matmul_backward_input`].
pub(super) struct BackwardInput<'a, 'b, W> {
    pub(super) dx: Columns<'b>,
    pub(super) dout: Dout<'a>,
    pub(super) w: &'a [W],
    pub(super) cols: usize,
}

/// Memory of [`BackwardInput`] between blocks of terms: their factors, and sums.
#[derive(Default)]
pub(super) struct Scratch {
    factors: Vec<[f32; TERMS]>,
    sums: Vec<[Block; WIDE]>,
}

impl<W: Weight> Op for BackwardInput<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        self.sum_up(s, &mut Scratch::default());
    }
}

impl<W: Weight> BackwardInput<'_, '_, W> {
    /// Adds the terms of all rows of `w`, block by block.
    #[inline(always)]
    pub(super) fn sum_up<S: Simd>(mut self, s: S, Scratch { factors, sums }: &mut Scratch) {
        let rows = self.w.len() / self.cols;
        factors.resize(self.dx.rows(), [0.0; TERMS]);
        for start in (0..rows).step_by(TERMS) {
            let terms = start..rows.min(start + TERMS);
            for (factors, dout) in factors.iter_mut().zip(self.dout.values.chunks_exact(self.dout.rows)) {
                factors[..terms.len()].copy_from_slice(&dout[self.dout.first + start..][..terms.len()]);
            }
            let mut columns = self.dx.range();
            if S::PARTS == 1 && self.dx.rows() <= few::<S>() {
                columns.start += self.rows_as_they_lie(s, factors, terms.clone(), sums);
            }
            while columns.len() >= WIDE * LANES {
                self.panel::<S, WIDE>(s, factors, terms.clone(), columns.start..columns.start + WIDE * LANES);
                columns.start += WIDE * LANES;
            }
            while !columns.is_empty() {
                let end = columns.end.min(columns.start + LANES);
                self.panel::<S, 1>(s, factors, terms.clone(), columns.start..end);
                columns.start = end;
            }
        }
    }

    /// [`Self::panel`] of all columns but those at the end that are not as many, from rows as they lie: to lay them out costs as much as the
    /// sums of a few tokens. [`ROWS`] at a time, so that memory is read in order, while `sums` wait in the first-level cache. Returns how
    /// many columns are done.
    #[inline(always)]
    fn rows_as_they_lie<S: Simd>(
        &mut self,
        s: S,
        factors: &[[f32; TERMS]],
        terms: Range<usize>,
        sums: &mut Vec<[Block; WIDE]>,
    ) -> usize {
        const WIDTH: usize = WIDE * LANES;
        let (cols, range, tokens) = (self.cols, self.dx.range(), factors.len());
        let panels = range.len() / WIDTH;
        sums.clear();
        sums.resize(panels * tokens, [Block::ZERO; WIDE]);
        for first in (0..terms.len()).step_by(ROWS) {
            let rows = first..terms.len().min(first + ROWS);
            let w = &self.w[(terms.start + first) * cols..][..rows.len() * cols];
            for (panel, sums) in sums.chunks_exact_mut(tokens).enumerate() {
                let at = range.start + panel * WIDTH;
                for tile in tiles(tokens, 8) {
                    let (factors, sums, ahead) = (&factors[tile.clone()], &mut sums[tile.clone()], tile.start == 0);
                    let rows = rows.clone();
                    match sums.len() {
                        8 => add_rows::<S, W, 8>(s, sums, factors, rows, w, at, ahead),
                        7 => add_rows::<S, W, 7>(s, sums, factors, rows, w, at, ahead),
                        6 => add_rows::<S, W, 6>(s, sums, factors, rows, w, at, ahead),
                        5 => add_rows::<S, W, 5>(s, sums, factors, rows, w, at, ahead),
                        4 => add_rows::<S, W, 4>(s, sums, factors, rows, w, at, ahead),
                        3 => add_rows::<S, W, 3>(s, sums, factors, rows, w, at, ahead),
                        2 => add_rows::<S, W, 2>(s, sums, factors, rows, w, at, ahead),
                        _ => add_rows::<S, W, 1>(s, sums, factors, rows, w, at, ahead),
                    }
                }
            }
        }
        for token in 0..tokens {
            let panels = self.dx.row(token).as_chunks_mut().0.as_chunks_mut::<WIDE>().0;
            for (dx, sums) in panels.iter_mut().zip(sums.chunks_exact(tokens)) {
                add_blocks(s, dx, &sums[token]);
            }
        }
        panels * WIDTH
    }

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
            add_blocks(s, blocks, sums);
            if !tail.is_empty() {
                store(s, s.add(s.load(&padded(tail)), s.load(&sums[0].0)), tail);
            }
        }
    }
}

/// Adds a few terms to sums of [`WIDE`] blocks of columns, from column `at` on: term `k` of sum `t` has the factor `factors[t][k]` and
/// the next row of `w`. Asks for the rows after these, too, if `ahead`.
#[inline(always)]
fn add_rows<S: Simd, W: Weight, const T: usize>(
    s: S,
    sums: &mut [[Block; WIDE]],
    factors: &[[f32; TERMS]],
    terms: Range<usize>,
    w: &[W],
    at: usize,
    ahead: bool,
) {
    let (Some(sums), Some(factors)) = (sums.first_chunk_mut::<T>(), factors.first_chunk::<T>()) else { return };
    let cols = w.len() / terms.len();
    let mut acc = [[s.splat(0.0); WIDE]; T];
    for t in 0..T {
        for b in 0..WIDE {
            acc[t][b] = s.load(&sums[t][b].0);
        }
    }
    for (k, row) in terms.zip(w.chunks_exact(cols)) {
        let (blocks, _) = row[at..][..WIDE * LANES].as_chunks();
        let mut v = [s.splat(0.0); WIDE];
        for b in 0..WIDE {
            if ahead {
                s.prefetch(blocks[b].as_ptr().wrapping_add(w.len()).cast());
            }
            v[b] = W::load(s, &blocks[b]);
        }
        for t in 0..T {
            let factor = s.splat(factors[t][k]);
            for b in 0..WIDE {
                acc[t][b] = s.add(acc[t][b], s.mul(factor, v[b]));
            }
        }
    }
    for t in 0..T {
        for b in 0..WIDE {
            s.store(acc[t][b], &mut sums[t][b].0);
        }
    }
}

/// `dx = dx + sums`
#[inline(always)]
fn add_blocks<S: Simd, const B: usize>(s: S, dx: &mut [[f32; LANES]], sums: &[Block; B]) {
    for (dx, sum) in dx.iter_mut().zip(sums) {
        s.store(s.add(s.load(dx), s.load(&sum.0)), dx);
    }
}

/// [`axis_sums`] in as many registers as there are.
#[inline(always)]
pub(super) fn sum_up<S: Simd, F: Factors<T>, const T: usize, const B: usize>(
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
pub(super) fn pack<S: Simd, W: Weight, const B: usize>(
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
