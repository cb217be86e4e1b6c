//! Register tiles of matrix products: many sums side by side, each in its own order (N3, N6).
//!
//! Lanes are independent, so a tile goes through the sixteen lanes one register width at a time ([`Simd::PARTS`]): as many
//! outputs as there are registers are in flight, whatever the width of a register. No lanes meet here. Operands are packed
//! in the order in which a tile reads them: one address a stream, and no index to check.

#![allow(clippy::needless_range_loop, reason = "both sides of a tile are indexed alike")]

use super::{LANES, Simd};

/// Sixteen neighbours, in one cache line: a load that touches two lines takes twice as long.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Block(pub [f32; LANES]);

impl Block {
    /// Sixteen zeros.
    pub const ZERO: Block = Block([0.0; LANES]);
}

/// The lanes of `T x R` dot products (N3): `sums[t][first + r] += w[k][r] * x[k][t]` lane by lane, in rising `k`. The sums
/// start at +0.0 if `fresh`, otherwise at what they hold.
///
/// # Panics
/// If `sums` are of fewer rows.
#[inline(always)]
pub fn dot_lanes<S: Simd, const R: usize, const T: usize>(
    s: S,
    sums: &mut [[Block; LANES]],
    first: usize,
    w: &[[Block; R]],
    x: &[[Block; T]],
    fresh: bool,
) {
    for part in 0..S::PARTS {
        let mut acc = [[s.part_splat(0.0); R]; T];
        if !fresh {
            for t in 0..T {
                for r in 0..R {
                    acc[t][r] = s.part_load(&sums[t][first + r].0, part);
                }
            }
        }
        for (w, x) in w.iter().zip(x) {
            let mut row = [s.part_splat(0.0); R];
            for r in 0..R {
                row[r] = s.part_load(&w[r].0, part);
            }
            for t in 0..T {
                let v = s.part_load(&x[t].0, part);
                for r in 0..R {
                    acc[t][r] = s.part_mul_then_add(acc[t][r], row[r], v);
                }
            }
        }
        for t in 0..T {
            for r in 0..R {
                s.part_store(acc[t][r], &mut sums[t][first + r].0, part);
            }
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
