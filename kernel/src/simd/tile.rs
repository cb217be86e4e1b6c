//! Register tiles of matrix products: many sums side by side, each in its own order (N3, N6).
//!
//! Lanes are independent, so a tile goes through the sixteen lanes one register width at a time ([`Simd::PARTS`]): as many
//! outputs as there are registers are in flight, whatever the width of a register. Operands are packed
//! in the order in which a tile reads them: one address a stream, and no index to check.

#![allow(clippy::needless_range_loop, reason = "both sides of a tile are indexed alike")]

use super::{LANES, Simd, Weight, padded};

/// Sixteen neighbours, in one cache line: a load that touches two lines takes twice as long.
#[derive(Clone, Copy, PartialEq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct Block(pub [f32; LANES]);

impl Block {
    /// Sixteen zeros.
    pub const ZERO: Block = Block([0.0; LANES]);
}

/// The sums of the lanes of some dot products that wait for one another: `[level]` is what `2^level` lanes have become, and the
/// last is the fold of all.
pub type Folds<const B: usize> = [[Block; B]; 5];

/// One lane of `T` dot products with each of `B` blocks of sixteen vectors, and the folds (N3-N5): `w[k][b]` and `x[k][t]`
/// are the lane's terms, vectors side by side. `C` registers of vectors at a time.
///
/// Lanes come one after the other, `turn` 0 being the first of [`FOLDING`](super::order::FOLDING); after the last one `sums[t][4]` are the products.
#[inline(always)]
pub fn lane<S: Simd, const B: usize, const C: usize, const T: usize>(
    s: S,
    sums: &mut [Folds<B>],
    turn: usize,
    w: &[[Block; B]],
    x: &[[f32; LANES]],
) {
    assert!((B * S::PARTS).is_multiple_of(C), "lane: {C} registers of {B} blocks");
    let Some(sums) = sums.first_chunk_mut::<T>() else { return };
    let level = (turn + 1).trailing_zeros() as usize;
    for first in (0..B * S::PARTS).step_by(C) {
        let mut acc = [[s.part_splat(0.0); C]; T];
        for (w, x) in w.iter().zip(x) {
            let mut v = [s.part_splat(0.0); C];
            for c in 0..C {
                let at = first + c;
                v[c] = s.part_load(&w[at / S::PARTS].0, at % S::PARTS);
            }
            for t in 0..T {
                let x = s.part_splat(x[t]);
                for c in 0..C {
                    acc[t][c] = s.part_mul_then_add(acc[t][c], v[c], x);
                }
            }
        }
        // What came before has the lower lanes.
        for level in 0..level {
            for t in 0..T {
                for c in 0..C {
                    let at = first + c;
                    let before = s.part_load(&sums[t][level][at / S::PARTS].0, at % S::PARTS);
                    acc[t][c] = s.part_add(before, acc[t][c]);
                }
            }
        }
        for t in 0..T {
            for c in 0..C {
                let at = first + c;
                s.part_store(acc[t][c], &mut sums[t][level][at / S::PARTS].0, at % S::PARTS);
            }
        }
    }
}

/// The lanes of the dot products of `R` weight rows with `T` vectors, all of one length, before they meet (N3, N4): each those
/// of [`dot_lanes`](super::order::dot_lanes). `ahead` is how many bytes before their use the weights are asked for; none when they are
/// in the cache already.
#[inline(always)]
pub fn lanes_of_rows<S: Simd, W: Weight, const R: usize, const T: usize>(
    s: S,
    mut w: [&[W]; R],
    mut x: [&[f32]; T],
    ahead: Option<usize>,
) -> [[S::F32; T]; R] {
    // One length for all, so that the loop below needs no other check.
    let cols = x[0].len();
    for r in 0..R {
        w[r] = &w[r][..cols];
    }
    for t in 0..T {
        x[t] = &x[t][..cols];
    }
    let mut acc = [[s.splat(0.0); T]; R];
    for i in 0..cols / LANES {
        let mut v = [s.splat(0.0); R];
        for r in 0..R {
            let w = &w[r].as_chunks().0[i];
            if let Some(bytes) = ahead {
                s.prefetch(w.as_ptr().cast::<u8>().wrapping_add(bytes));
            }
            v[r] = W::load(s, w);
        }
        for t in 0..T {
            let x = s.load(&x[t].as_chunks().0[i]);
            for r in 0..R {
                acc[r][t] = s.add(acc[r][t], s.mul(v[r], x));
            }
        }
    }
    if !cols.is_multiple_of(LANES) {
        let whole = cols / LANES * LANES;
        for t in 0..T {
            let x = s.load(&padded(&x[t][whole..]));
            for r in 0..R {
                acc[r][t] = s.add(acc[r][t], s.mul(W::load(s, &padded(&w[r][whole..])), x));
            }
        }
    }
    acc
}

/// Columns of which [`lanes_by_pairs`] takes one half of the lanes and then the other: what the second reads again is in the
/// first-level cache, and each row is read for no longer than a processor foresees.
const SEGMENT: usize = 6 * LANES;

/// [`lanes_of_rows`] of one vector where sixteen lanes take four registers, `sums[r]` being those of row `r`: two registers of each
/// row at a time, so that the sums of all rows fit.
///
/// # Panics
/// If a register does not hold four lanes.
#[inline(always)]
pub fn lanes_by_pairs<S: Simd, W: Weight, const R: usize>(s: S, sums: &mut [Block; R], w: [&[W]; R], x: &[f32]) {
    assert!(S::PARTS == 4, "pairs of {} registers", S::PARTS);
    for sums in &mut *sums {
        s.store(s.splat(0.0), &mut sums.0);
    }
    let whole = x.len() / LANES * LANES;
    let mut segment = w;
    for start in (0..whole).step_by(SEGMENT) {
        let end = whole.min(start + SEGMENT);
        for r in 0..R {
            segment[r] = &w[r][start..end];
        }
        add_pair::<S, W, R, 0>(s, sums, segment, &x[start..end]);
        add_pair::<S, W, R, 2>(s, sums, segment, &x[start..end]);
    }
    if whole < x.len() {
        let (x, mut tails) = (padded(&x[whole..]), [[W::zeroed(); LANES]; R]);
        for r in 0..R {
            tails[r] = padded(&w[r][whole..]);
        }
        for (segment, tail) in segment.iter_mut().zip(&tails) {
            *segment = tail;
        }
        add_pair::<S, W, R, 0>(s, sums, segment, &x);
        add_pair::<S, W, R, 2>(s, sums, segment, &x);
    }
}

/// Adds the terms of whole blocks to two parts of the lanes, `FIRST` and the next.
#[inline(always)]
fn add_pair<S: Simd, W: Weight, const R: usize, const FIRST: usize>(
    s: S,
    sums: &mut [Block; R],
    w: [&[W]; R],
    x: &[f32],
) {
    let x: &[[f32; LANES]] = x.as_chunks().0;
    let mut blocks: [&[[W; LANES]]; R] = [&[]; R];
    let mut acc = [[s.part_splat(0.0); 2]; R];
    for r in 0..R {
        // One length for all, so that the loop below needs no other check.
        blocks[r] = &w[r].as_chunks().0[..x.len()];
        acc[r] = [s.part_load(&sums[r].0, FIRST), s.part_load(&sums[r].0, FIRST + 1)];
    }
    for i in 0..x.len() {
        let x = [s.part_load(&x[i], FIRST), s.part_load(&x[i], FIRST + 1)];
        for r in 0..R {
            // What is not used of sixteen weights is not read.
            let w = W::load(s, &blocks[r][i]);
            for p in 0..2 {
                acc[r][p] = s.part_mul_then_add(acc[r][p], s.part(w, FIRST + p), x[p]);
            }
        }
    }
    for r in 0..R {
        for p in 0..2 {
            s.part_store(acc[r][p], &mut sums[r].0, FIRST + p);
        }
    }
}

/// How many terms an axis sum takes at a time: the blocks of N6.
pub const TERMS: usize = 64;

/// The factors of `T` axis sums.
pub trait Factors<const T: usize>: Copy {
    /// That of sum `t` in term `k`.
    fn at(self, k: usize, t: usize) -> f32;
}

/// Factors of which each sum has its own in a row.
#[derive(Clone, Copy)]
pub struct ByRows<'a, const T: usize>(pub &'a [[f32; TERMS]; T]);

impl<const T: usize> Factors<T> for ByRows<'_, T> {
    #[inline(always)]
    fn at(self, k: usize, t: usize) -> f32 {
        self.0[t][k]
    }
}

/// Factors of which each term has its own in a row.
#[derive(Clone, Copy)]
pub struct ByTerms<'a, const T: usize>(pub &'a [[f32; T]; TERMS]);

impl<const T: usize> Factors<T> for ByTerms<'_, T> {
    #[inline(always)]
    fn at(self, k: usize, t: usize) -> f32 {
        self.0[k][t]
    }
}

/// `T` axis sums of `B` blocks of columns (N6): `sums[t] = sums[t] + Σ_k factors[k][t] * panel[k]` over the first `terms`, `C`
/// registers of columns at a time.
///
/// # Panics
/// If there are more than [`TERMS`].
#[inline(always)]
pub fn axis_sums<S: Simd, F: Factors<T>, const T: usize, const B: usize, const C: usize>(
    s: S,
    sums: &mut [[Block; B]; T],
    factors: F,
    panel: &[[Block; B]; TERMS],
    terms: usize,
) {
    assert!((B * S::PARTS).is_multiple_of(C), "axis: {C} registers of {B} blocks");
    assert!(terms <= TERMS, "axis: {terms} terms");
    for first in (0..B * S::PARTS).step_by(C) {
        let mut acc = [[s.part_splat(0.0); C]; T];
        for t in 0..T {
            for c in 0..C {
                let at = first + c;
                acc[t][c] = s.part_load(&sums[t][at / S::PARTS].0, at % S::PARTS);
            }
        }
        for k in 0..terms {
            let mut v = [s.part_splat(0.0); C];
            for c in 0..C {
                let at = first + c;
                v[c] = s.part_load(&panel[k][at / S::PARTS].0, at % S::PARTS);
            }
            for t in 0..T {
                let factor = s.part_splat(factors.at(k, t));
                for c in 0..C {
                    acc[t][c] = s.part_mul_then_add(acc[t][c], factor, v[c]);
                }
            }
        }
        for t in 0..T {
            for c in 0..C {
                let at = first + c;
                s.part_store(acc[t][c], &mut sums[t][at / S::PARTS].0, at % S::PARTS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Backend, Bf16, Op, order};
    use alloc::vec::Vec;

    /// The lanes of two rows, by pairs of registers and each row's alone.
    struct Lanes<'a, W>([&'a [W]; 2], &'a [f32]);

    impl<W: Weight> Op for Lanes<'_, W> {
        type Output = [[[u32; LANES]; 2]; 2];

        #[inline(always)]
        fn eval<S: Simd>(self, s: S) -> Self::Output {
            let Lanes(w, x) = self;
            // What was there before is not added to.
            let (mut pairs, mut alone) = ([Block([7.0; LANES]); 2], [Block::ZERO; 2]);
            lanes_by_pairs(s, &mut pairs, w, x);
            for (lanes, w) in alone.iter_mut().zip(w) {
                s.store(order::dot_lanes(s, w, x, None), &mut lanes.0);
            }
            [pairs, alone].map(|rows| rows.map(|row| row.0.map(f32::to_bits)))
        }
    }

    #[test]
    fn lanes_by_pairs_are_those_of_each_row() {
        let number = |i: usize| ((i * 7919 % 1013) as f32 - 500.0) / 7.0;
        // The backends whose registers hold four lanes.
        let quarters = Backend::available().into_iter().filter(|b| !b.name().starts_with("x86"));
        for (backend, cols) in quarters
            .flat_map(|b| [1, 16, 17, SEGMENT - 1, SEGMENT, SEGMENT + 16, 3 * SEGMENT + 5].map(|cols| (b, cols)))
        {
            let x: Vec<f32> = (0..cols).map(|i| number(i + 31)).collect();
            let wide: Vec<f32> = (0..2 * cols).map(number).collect();
            let narrow: Vec<Bf16> = wide.iter().map(|v| Bf16((v.to_bits() >> 16) as u16)).collect();
            let [pairs, alone] = backend.run(Lanes([&wide[..cols], &wide[cols..]], &x));
            assert_eq!(pairs, alone, "{}: {cols} columns, f32", backend.name());
            let [pairs, alone] = backend.run(Lanes([&narrow[..cols], &narrow[cols..]], &x));
            assert_eq!(pairs, alone, "{}: {cols} columns, bf16", backend.name());
        }
    }
}
