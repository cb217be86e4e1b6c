//! The sum of squares of a gradient.

use crate::Exec;
use crate::pool::split_rows;
use crate::simd::{Op, Simd, order};
use alloc::vec;

/// The sum of the squares of all elements of `x`.
///
/// Shapes: `x`: `[rows, row_len]`.
/// Order: the squares of a row by lanes (N3-N5), then Σ over the rows (N6).
///
/// # Panics
/// If `x` is no whole number of rows.
pub fn squares_forward(exec: Exec<'_>, x: &[f32], row_len: usize) -> f32 {
    assert!(row_len > 0 && x.len().is_multiple_of(row_len), "squares: {} values in rows of {row_len}", x.len());
    let mut rows = vec![0.0; x.len() / row_len];
    split_rows(exec.pool, &mut rows, 1, |range, sums| {
        exec.backend.run(Squares { sums, x: &x[range.start * row_len..range.end * row_len], row_len });
    });
    rows.iter().fold(0.0, |sum, row| sum + row)
}

struct Squares<'a> {
    sums: &'a mut [f32],
    x: &'a [f32],
    row_len: usize,
}

impl Op for Squares<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        for (sum, row) in self.sums.iter_mut().zip(self.x.chunks_exact(self.row_len)) {
            *sum = order::dot(s, row, row);
        }
    }
}
