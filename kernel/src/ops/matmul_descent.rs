//! The linear layer, backward, and gradient descent on it: each weight is read once for both.

use super::Weights;
use super::matmul::granule;
use super::matmul_gradients::{BackwardInput, Dout, Scratch, matmul_backward_input};
use super::matmul_weights::{Descent, GROUP, Packed, Sums, Terms, matmul_sgd_step};
use super::residual::add;
use crate::Exec;
use crate::pool::{Columns, split_columns, split_items, split_together};
use crate::simd::tile::TERMS;
use crate::simd::{Op, Simd};
use alloc::vec::Vec;

/// Up to how many tokens the weights are read once: the sums of a block of rows take `tokens / 64` of the memory that its weights do.
const FEW: usize = 16;

/// The most values of `sums` that [`matmul_backward_sgd_step`] makes, whatever the number of threads.
pub const fn waiting_sums(rows: usize, cols: usize, tokens: usize) -> usize {
    if tokens > FEW { 0 } else { rows / TERMS * tokens * cols }
}

/// [`matmul_backward_input`], and then [`matmul_sgd_step`]: the same bits. Of a few tokens each thread goes over some of the rows for
/// both, while they are in its cache.
///
/// Shapes: `dx`, `x`: `[tokens, cols]`; `w`: `[rows, cols]`; `squares`: `[rows]`; `dout`: `[tokens, rows]`. `sums` is memory for the time between
/// the two, of any length and with anything in it.
///
/// # Panics
/// If the lengths do not match these shapes.
#[expect(clippy::too_many_arguments, reason = "those of two operators")]
pub fn matmul_backward_sgd_step(
    exec: Exec<'_>,
    dx: &mut [f32],
    [w, squares]: [&mut [f32]; 2],
    dout: &[f32],
    x: &[f32],
    tokens: usize,
    rate: f32,
    sums: &mut Vec<f32>,
) {
    let terms = Terms::new(dout, x, tokens, w.len());
    let Terms { rows, cols, .. } = terms;
    assert!(dx.len() == x.len() && squares.len() == rows, "matmul: a step of [{rows}, {cols}]");
    let threads = exec.pool.threads();
    // Whole blocks of terms (N6), as many for each thread.
    let blocks = rows / TERMS / threads;
    if tokens > FEW || blocks == 0 {
        matmul_backward_input(exec, dx, dout, Weights::F32(w), tokens);
        return matmul_sgd_step(exec, [w, squares], dout, x, tokens, rate);
    }
    let own = blocks * TERMS;
    let (w, w_left) = w.split_at_mut(threads * own * cols);
    let (squares, squares_left) = squares.split_at_mut(threads * own);
    // The first rows' sums come first in `dx`, those of other threads wait.
    sums.resize((threads - 1) * blocks * dx.len(), 0.0);
    let waiting = sums.chunks_exact_mut(blocks * dx.len()).map(Into::Sums);
    let parts = core::iter::once(Into::Dx(&mut *dx)).chain(waiting);
    let weights = w.chunks_exact_mut(own * cols).zip(squares.chunks_exact_mut(own)).zip((0..).step_by(own));
    let mut parts: Vec<_> = parts.zip(weights).collect();
    split_items(exec.pool, &mut parts, |(into, ((w, squares), first))| {
        exec.backend.run(Rows { terms, first: *first, into, w, squares, rate });
    });
    drop(parts);
    let left = Dout { values: dout, rows, first: threads * own };
    split_columns(exec.pool, dx, cols, granule(cols), |dx| {
        exec.backend.run(Rest { sums, left: BackwardInput { dx, dout: left, w: w_left, cols } });
    });
    split_together(exec.pool, rows - left.first, [w_left, squares_left], |range, weights| {
        let (rows, target) = (left.first + range.start..left.first + range.end, Descent::new(weights, cols, rate));
        exec.backend.run(Sums { terms, rows, target });
    });
}

/// Where the sums of blocks of rows go.
enum Into<'a> {
    /// To the gradients themselves, one block after the other.
    Dx(&'a mut [f32]),
    /// Each to a place of its own.
    Sums(&'a mut [f32]),
}

/// The rows of a thread from `first` on, whole blocks.
struct Rows<'a, 'b> {
    terms: Terms<'a>,
    first: usize,
    into: &'a mut Into<'b>,
    w: &'a mut [f32],
    squares: &'a mut [f32],
    rate: f32,
}

impl Op for Rows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        if S::REGISTERS >= 32 { self.blocks::<S, 8>(s) } else { self.blocks::<S, 4>(s) }
    }
}

impl Rows<'_, '_> {
    #[inline(always)]
    fn blocks<S: Simd, const T: usize>(self, s: S) {
        const { assert!(GROUP == TERMS) };
        let Terms { dout, x, rows, cols } = self.terms;
        let (mut scratch, mut packed) = (Scratch::default(), Packed::<T>::new(x.len() / cols));
        let blocks = self.w.chunks_exact_mut(TERMS * cols).zip(self.squares.chunks_exact_mut(TERMS)).enumerate();
        for (n, (w, squares)) in blocks {
            let first = self.first + n * TERMS;
            let dx = match self.into {
                Into::Dx(dx) => &mut **dx,
                Into::Sums(sums) => {
                    let sums = &mut sums[n * x.len()..][..x.len()];
                    // A sum that begins at +0.0 is never -0.0: added to +0.0 it stays what it is.
                    sums.fill(0.0);
                    sums
                }
            };
            let dout = Dout { values: dout, rows, first };
            BackwardInput { dx: Columns::all(dx, cols), dout, w, cols }.sum_up(s, &mut scratch);
            let target = Descent::new([w, squares], cols, self.rate);
            Sums { terms: self.terms, rows: first..first + TERMS, target }.group(s, &mut packed, 0..TERMS);
        }
    }
}

/// Adds the sums that wait to the gradients, and then what the rows give that are left.
struct Rest<'a, 'b> {
    sums: &'a [f32],
    left: BackwardInput<'a, 'b, f32>,
}

impl Op for Rest<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Rest { sums, mut left } = self;
        let (tokens, cols, range) = (left.dx.rows(), left.cols, left.dx.range());
        for token in 0..tokens {
            for block in sums.chunks_exact(tokens * cols) {
                add(s, left.dx.row(token), &block[token * cols..][range.clone()]);
            }
        }
        left.sum_up(s, &mut Scratch::default());
    }
}
