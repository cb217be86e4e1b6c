//! The gradients of a linear layer's weights, and gradient descent on them.

use super::matmul_gradients::{WIDE, pack, sum_up};
use crate::Exec;
use crate::pool::{split_rows, split_together};
use crate::simd::tile::{Block, ByTerms, TERMS};
use crate::simd::{LANES, Op, Simd, padded, store};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Rows that are summed up together: what they read fits into the caches. A multiple of every tile and of [`LANES`].
pub(super) const GROUP: usize = 64;

/// The gradients of [`super::matmul_forward`]'s weights: `dw += dout^T x`.
///
/// Shapes: `dw`: `[rows, cols]`; `dout`: `[tokens, rows]`; `x`: `[tokens, cols]`.
/// Order: `dw[o] = dw[o] + Σ_t dout[t][o] x[t]` in rising `t` (N6), from the value in `dw`: micro-batches one after the
/// other give the bits of one batch.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn matmul_backward_weight(exec: Exec<'_>, dw: &mut [f32], dout: &[f32], x: &[f32], tokens: usize) {
    let terms = Terms::new(dout, x, tokens, dw.len());
    split_rows(exec.pool, dw, terms.cols, |range, dw| {
        exec.backend.run(Sums { terms, rows: range, target: Stored { dw, cols: terms.cols } });
    });
}

/// One step of gradient descent on [`super::matmul_forward`]'s weights, whose gradients are never stored: `w = w - rate * g`
/// with `g` of [`matmul_backward_weight`] from +0.0, and the sum of the squares of each of its rows.
///
/// Shapes: `w`: `[rows, cols]`; `squares`: `[rows]`; `dout`: `[tokens, rows]`; `x`: `[tokens, cols]`.
/// Order: that of [`matmul_backward_weight`], [`super::squares_forward`] (its lanes, N3-N5) and [`super::sgd_step`].
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn matmul_sgd_step(
    exec: Exec<'_>,
    [w, squares]: [&mut [f32]; 2],
    dout: &[f32],
    x: &[f32],
    tokens: usize,
    rate: f32,
) {
    let terms = Terms::new(dout, x, tokens, w.len());
    assert_eq!(squares.len(), terms.rows, "matmul: squares of {} rows", terms.rows);
    split_together(exec.pool, terms.rows, [w, squares], |range, [w, squares]| {
        let target = Descent::new([w, squares], terms.cols, rate);
        exec.backend.run(Sums { terms, rows: range, target });
    });
}

/// The terms of the sums: `dout[t][o] * x[t]`.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) dout: &'a [f32],
    pub(super) x: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl<'a> Terms<'a> {
    pub(super) fn new(dout: &'a [f32], x: &'a [f32], tokens: usize, weights: usize) -> Terms<'a> {
        assert!(tokens > 0 && x.len().is_multiple_of(tokens), "matmul: x {} for {tokens} tokens", x.len());
        let (rows, cols) = (dout.len() / tokens, x.len() / tokens);
        assert!(dout.len() == tokens * rows && weights == rows * cols, "matmul: gradients of [{rows}, {cols}]");
        Terms { dout, x, rows, cols }
    }
}

/// What becomes of the sums. Rows count from the first of the part; each goes through its columns in rising order.
pub(super) trait Target {
    /// Writes what the sums of some columns of a row start with to `sums`, which are +0.0.
    fn start<S: Simd>(&mut self, s: S, row: usize, columns: Range<usize>, sums: &mut [Block]);
    /// Takes the sums of some columns of a row; what is missing in a last block is zero (N4).
    fn take<S: Simd>(&mut self, s: S, row: usize, columns: Range<usize>, sums: &[Block]);
    /// Told when all columns of a group of rows are done.
    fn done<S: Simd>(&mut self, s: S, group: Range<usize>);
}

/// Gradients that are added to what is there.
struct Stored<'a> {
    dw: &'a mut [f32],
    cols: usize,
}

impl Target for Stored<'_> {
    #[inline(always)]
    fn start<S: Simd>(&mut self, _: S, row: usize, columns: Range<usize>, sums: &mut [Block]) {
        let (blocks, tail) = self.dw[row * self.cols..][columns].as_chunks();
        for (sum, dw) in sums.iter_mut().zip(blocks) {
            sum.0 = *dw;
        }
        sums[0].0[..tail.len()].copy_from_slice(tail);
    }

    #[inline(always)]
    fn take<S: Simd>(&mut self, _: S, row: usize, columns: Range<usize>, sums: &[Block]) {
        let (blocks, tail) = self.dw[row * self.cols..][columns].as_chunks_mut();
        for (sum, dw) in sums.iter().zip(blocks) {
            *dw = sum.0;
        }
        tail.copy_from_slice(&sums[0].0[..tail.len()]);
    }

    #[inline(always)]
    fn done<S: Simd>(&mut self, _: S, _: Range<usize>) {}
}

/// Weights that change by their gradients.
pub(super) struct Descent<'a> {
    w: &'a mut [f32],
    squares: &'a mut [f32],
    /// The squares of the rows of the group, by lanes.
    lanes: [Block; GROUP],
    cols: usize,
    rate: f32,
}

impl<'a> Descent<'a> {
    pub(super) fn new([w, squares]: [&'a mut [f32]; 2], cols: usize, rate: f32) -> Descent<'a> {
        Descent { w, squares, lanes: [Block::ZERO; GROUP], cols, rate }
    }
}

impl Target for Descent<'_> {
    /// Asks for the weights of the next group, too.
    #[inline(always)]
    fn start<S: Simd>(&mut self, s: S, row: usize, columns: Range<usize>, _: &mut [Block]) {
        for line in self.w[row * self.cols..][columns].chunks(LANES) {
            s.prefetch(line.as_ptr().wrapping_add(GROUP * self.cols).cast());
        }
    }

    #[inline(always)]
    fn take<S: Simd>(&mut self, s: S, row: usize, columns: Range<usize>, sums: &[Block]) {
        let (blocks, tail) = self.w[row * self.cols..][columns].as_chunks_mut();
        let lanes = &mut self.lanes[row % GROUP].0;
        let (mut squares, rate) = (s.load(lanes), s.splat(self.rate));
        for (w, sum) in blocks.iter_mut().zip(sums) {
            let g = s.load(&sum.0);
            squares = s.add(squares, s.mul(g, g));
            s.store(s.sub(s.load(w), s.mul(rate, g)), w);
        }
        if !tail.is_empty() {
            let g = s.load(&sums[0].0);
            squares = s.add(squares, s.mul(g, g));
            store(s, s.sub(s.load(&padded(tail)), s.mul(rate, g)), tail);
        }
        s.store(squares, lanes);
    }

    #[inline(always)]
    fn done<S: Simd>(&mut self, s: S, group: Range<usize>) {
        for (squares, lanes) in self.squares[group].chunks_mut(LANES).zip(self.lanes.as_chunks().0) {
            store(s, s.fold(lanes), squares);
        }
        self.lanes = [Block::ZERO; GROUP];
    }
}

/// The sums of the rows `rows`.
pub(super) struct Sums<'a, G> {
    pub(super) terms: Terms<'a>,
    pub(super) rows: Range<usize>,
    pub(super) target: G,
}

/// Memory of [`Sums`] in tiles of `T` rows. Of each tile of a group, the factors of all terms; of some columns, the vectors of all terms.
pub(super) struct Packed<const T: usize> {
    factors: Vec<[[f32; T]; TERMS]>,
    panel: Vec<Block>,
}

impl<const T: usize> Packed<T> {
    pub(super) fn new(tokens: usize) -> Packed<T> {
        let parts = tokens.div_ceil(TERMS);
        Packed { factors: vec![[[0.0; T]; TERMS]; GROUP / T * parts], panel: vec![Block::ZERO; parts * TERMS * WIDE] }
    }
}

impl<G: Target> Op for Sums<'_, G> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        if S::REGISTERS >= 32 { self.groups::<S, 8>(s) } else { self.groups::<S, 4>(s) }
    }
}

impl<G: Target> Sums<'_, G> {
    #[inline(always)]
    fn groups<S: Simd, const T: usize>(mut self, s: S) {
        let mut packed = Packed::<T>::new(self.terms.x.len() / self.terms.cols);
        for first in (0..self.rows.len()).step_by(GROUP) {
            self.group(s, &mut packed, first..self.rows.len().min(first + GROUP));
        }
    }

    /// A group of rows, in tiles of `T`.
    #[inline(always)]
    pub(super) fn group<S: Simd, const T: usize>(&mut self, s: S, packed: &mut Packed<T>, group: Range<usize>) {
        let Terms { dout, x, rows, cols } = self.terms;
        let Packed { factors, panel } = packed;
        let parts = (x.len() / cols).div_ceil(TERMS);
        for (k, dout) in dout.chunks_exact(rows).enumerate() {
            let dout = &dout[self.rows.start + group.start..self.rows.start + group.end];
            for (dout, tile) in dout.chunks(T).zip(factors.chunks_exact_mut(parts)) {
                for (factor, dout) in tile[k / TERMS][k % TERMS].iter_mut().zip(dout) {
                    *factor = *dout;
                }
            }
        }
        let mut columns = 0..cols;
        while columns.len() >= WIDE * LANES {
            let end = columns.start + WIDE * LANES;
            self.panel::<S, T, WIDE>(s, factors, panel, group.clone(), columns.start..end);
            columns.start = end;
        }
        while !columns.is_empty() {
            let end = cols.min(columns.start + LANES);
            self.panel::<S, T, 1>(s, factors, panel, group.clone(), columns.start..end);
            columns.start = end;
        }
        self.target.done(s, group);
    }

    /// Some columns of a group of rows.
    #[inline(always)]
    fn panel<S: Simd, const T: usize, const B: usize>(
        &mut self,
        s: S,
        factors: &[[[f32; T]; TERMS]],
        panel: &mut [Block],
        group: Range<usize>,
        columns: Range<usize>,
    ) {
        let Terms { x, cols, .. } = self.terms;
        let tokens = x.len() / cols;
        let parts = tokens.div_ceil(TERMS);
        let panel = panel.as_chunks_mut::<B>().0.as_chunks_mut::<TERMS>().0;
        for (part, panel) in panel[..parts].iter_mut().enumerate() {
            let terms = part * TERMS..tokens.min((part + 1) * TERMS);
            pack(s, panel, x, cols, terms, columns.clone(), 0);
        }
        for (first, factors) in group.clone().step_by(T).zip(factors.chunks_exact(parts)) {
            let tile = first..group.end.min(first + T);
            let mut sums = [[Block::ZERO; B]; T];
            for (row, sums) in tile.clone().zip(&mut sums) {
                self.target.start(s, row, columns.clone(), sums);
            }
            for (part, (factors, panel)) in factors.iter().zip(&*panel).enumerate() {
                sum_up(s, &mut sums, ByTerms(factors), panel, TERMS.min(tokens - part * TERMS));
            }
            for (row, sums) in tile.zip(&sums) {
                self.target.take(s, row, columns.clone(), sums);
            }
        }
    }
}
