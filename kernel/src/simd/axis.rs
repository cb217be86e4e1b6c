//! Axis accumulation (N6), written once: sums along an outer axis, in rising index, vectorised over their outputs.

use super::{LANES, Simd, Weight, padded, store};
use crate::pool::Columns;
use core::array::from_fn;
use core::ops::Range;

/// The factors of an accumulation, one for each term `k` and row `i`: `values[k * term + i * row]`.
#[derive(Clone, Copy)]
pub struct Factors<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// From one term to the next.
    pub term: usize,
    /// From one row to the next.
    pub row: usize,
}

/// Vectors of which a sum is made, one for each term `k`: `values[k * stride..]`.
#[derive(Clone, Copy)]
pub struct Terms<'a, W> {
    /// The numbers.
    pub values: &'a [W],
    /// From one vector to the next.
    pub stride: usize,
}

/// `out[i][c] = out[i][c] + Σ_k factor(k, i) * vector(k)[c]`, for `k` in `range` rising, over all rows `i` and the columns
/// `c` of `out`.
#[inline(always)]
pub fn accumulate<S: Simd, W: Weight>(
    s: S,
    out: &mut Columns<'_>,
    range: Range<usize>,
    factors: Factors<'_>,
    terms: Terms<'_, W>,
) {
    let columns = out.range();
    let whole = columns.len() / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        if S::ACCUMULATORS >= 4 {
            block::<S, W, 4>(s, out, first, range.clone(), factors, terms);
        } else {
            block::<S, W, 2>(s, out, first, range.clone(), factors, terms);
        }
    }
    if whole < columns.len() {
        for i in 0..out.rows() {
            let tail = &mut out.row(i)[whole..];
            let width = tail.len();
            let mut acc = s.load(&padded(tail));
            for k in range.clone() {
                let at = k * terms.stride + columns.start + whole;
                let vector = W::load(s, &padded(&terms.values[at..at + width]));
                let factor = s.splat(factors.values[k * factors.term + i * factors.row]);
                acc = s.add(acc, s.mul(factor, vector));
            }
            store(s, acc, tail);
        }
    }
}

/// The 16 columns from `first` on of all rows, in tiles of `R` rows.
#[inline(always)]
fn block<S: Simd, W: Weight, const R: usize>(
    s: S,
    out: &mut Columns<'_>,
    first: usize,
    range: Range<usize>,
    factors: Factors<'_>,
    terms: Terms<'_, W>,
) {
    let rows = out.rows();
    let whole = rows / R * R;
    for i in (0..whole).step_by(R) {
        tile::<S, W, R>(s, out, i, first, range.clone(), factors, terms);
    }
    for i in whole..rows {
        tile::<S, W, 1>(s, out, i, first, range.clone(), factors, terms);
    }
}

#[inline(always)]
fn tile<S: Simd, W: Weight, const R: usize>(
    s: S,
    out: &mut Columns<'_>,
    i: usize,
    first: usize,
    range: Range<usize>,
    factors: Factors<'_>,
    terms: Terms<'_, W>,
) {
    let column = out.range().start + first;
    let mut acc: [S::F32; R] = from_fn(|_| s.splat(0.0));
    for (r, acc) in acc.iter_mut().enumerate() {
        *acc = s.load(&out.row(i + r).as_chunks().0[first / LANES]);
    }
    for k in range {
        let (vector, _) = terms.values[k * terms.stride + column..][..LANES].as_chunks();
        let vector = W::load(s, &vector[0]);
        let at = k * factors.term + i * factors.row;
        for (r, acc) in acc.iter_mut().enumerate() {
            let factor = s.splat(factors.values[at + r * factors.row]);
            *acc = s.add(*acc, s.mul(factor, vector));
        }
    }
    for (r, acc) in acc.into_iter().enumerate() {
        s.store(acc, &mut out.row(i + r).as_chunks_mut().0[first / LANES]);
    }
}
