//! The order in which lanes meet (N3-N5, N7), written once.
//!
//! A lane reduction gives element `i` to accumulator `i mod 16` in rising `i`, rounds each product before it is added,
//! fills the last block up with zero terms, and folds the accumulators by a halving tree.

use super::tile::Block;
use super::{LANES, Simd, Weight, padded};

/// `if a < b { b } else { a }` (N7): of two equal values, zeros of either sign among them, the first.
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

/// The lanes in the order in which N5 can add their sums as soon as they are there: each with the last one that waits, as long as
/// as many lanes went into both.
pub const FOLDING: [usize; LANES] = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];

/// N5: `a[j] = f(a[j], a[j + n])` for `n` = 8, 4, 2, 1.
#[inline(always)]
fn fold<S: Simd>(s: S, v: S::F32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut a = [0.0; LANES];
    s.store(v, &mut a);
    let mut n = LANES / 2;
    while n > 0 {
        for j in 0..n {
            a[j] = f(a[j], a[j + n]);
        }
        n /= 2;
    }
    a[0]
}

/// N5 for the sums of 16 reductions; lane `i` of the result is the fold of `rows[i]`.
#[inline(always)]
pub fn fold_rows<S: Simd>(s: S, rows: &[Block; LANES]) -> S::F32 {
    let mut folded = [0.0; LANES];
    for (out, row) in folded.iter_mut().zip(rows) {
        *out = fold(s, s.load(&row.0), |a, b| a + b);
    }
    s.load(&folded)
}

/// The sum of `x` (N3-N5).
#[inline(always)]
pub fn sum<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (blocks, tail) = x.as_chunks();
    let mut acc = s.splat(0.0);
    for block in blocks {
        acc = s.add(acc, s.load(block));
    }
    if !tail.is_empty() {
        acc = s.add(acc, s.load(&padded(tail)));
    }
    fold(s, acc, |a, b| a + b)
}

/// The largest element of `x` (N3-N5, N7); minus infinity when there is none.
#[inline(always)]
pub fn max_of<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (blocks, tail) = x.as_chunks();
    let mut acc = s.splat(f32::NEG_INFINITY);
    for block in blocks {
        acc = s.max(acc, s.load(block));
    }
    if !tail.is_empty() {
        let mut last = [f32::NEG_INFINITY; LANES];
        last[..tail.len()].copy_from_slice(tail);
        acc = s.max(acc, s.load(&last));
    }
    fold(s, acc, max)
}

/// The dot product of `x` and `y`, of equal length (N3-N5).
#[inline(always)]
pub fn dot<S: Simd>(s: S, x: &[f32], y: &[f32]) -> f32 {
    fold(s, dot_lanes(s, x, y, None), |a, b| a + b)
}

/// The lanes of the dot product of `w` and `x`, of equal length, before they meet (N3, N4).
///
/// `ahead` is how many bytes before their use the weights are asked for; none when they are in the cache already.
#[inline(always)]
pub fn dot_lanes<S: Simd, W: Weight>(s: S, w: &[W], x: &[f32], ahead: Option<usize>) -> S::F32 {
    assert_eq!(w.len(), x.len(), "dot: vectors of unequal length");
    let (w_blocks, w_tail) = w.as_chunks();
    let (x_blocks, x_tail) = x.as_chunks();
    let mut acc = s.splat(0.0);
    for (w, x) in w_blocks.iter().zip(x_blocks) {
        if let Some(bytes) = ahead {
            s.prefetch(w.as_ptr().cast::<u8>().wrapping_add(bytes));
        }
        acc = s.add(acc, s.mul(W::load(s, w), s.load(x)));
    }
    if !w_tail.is_empty() {
        acc = s.add(acc, s.mul(W::load(s, &padded(w_tail)), s.load(&padded(x_tail))));
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::philox;
    use crate::simd::{Backend, Op};

    /// The folds of 16 rows: those of the backend, and the tree of each row.
    struct Folds<'a>(&'a [Block; LANES]);

    impl Op for Folds<'_> {
        type Output = [[f32; LANES]; 2];

        #[inline(always)]
        fn eval<S: Simd>(self, s: S) -> Self::Output {
            let mut folds = [[0.0; LANES]; 2];
            s.store(s.fold(self.0), &mut folds[0]);
            s.store(fold_rows(s, self.0), &mut folds[1]);
            folds
        }
    }

    #[test]
    fn n5_a_transposing_fold_is_the_halving_tree_of_every_row() {
        for seed in 0..50 {
            let number = |i: u32| (philox(seed, [0, 0, 0, i])[0] as i32) as f32 / 65536.0;
            let mut rows = [Block::ZERO; LANES];
            for (row, i) in rows.iter_mut().zip(0..) {
                row.0 = core::array::from_fn(|lane| number(16 * i + lane as u32));
            }
            for backend in Backend::available() {
                let [transposed, tree] = backend.run(Folds(&rows));
                assert_eq!(transposed.map(f32::to_bits), tree.map(f32::to_bits), "{}", backend.name());
            }
        }
    }
}
