//! Token embedding.

use super::{Weights, residual_forward};
use crate::Exec;
use crate::pool::split_rows;
use crate::simd::Weight;

/// Looks up the rows of `table` for `tokens`.
///
/// Shapes: `out`: `[tokens, dim]`; `table`: `[vocab, dim]`.
///
/// # Panics
/// If the lengths do not match these shapes, or a token is outside the vocabulary.
pub fn embedding_forward(exec: Exec<'_>, out: &mut [f32], table: Weights<'_>, tokens: &[u32], dim: usize) {
    assert_eq!(out.len(), tokens.len() * dim, "embedding: {} tokens of {dim}", tokens.len());
    split_rows(exec.pool, out, dim, |range, out| {
        for (out, token) in out.chunks_exact_mut(dim).zip(&tokens[range]) {
            let row = *token as usize * dim;
            match table {
                Weights::F32(table) => out.copy_from_slice(&table[row..row + dim]),
                Weights::Bf16(table) => {
                    out.iter_mut().zip(&table[row..row + dim]).for_each(|(out, w)| *out = w.widen());
                }
            }
        }
    });
}

/// The gradient of [`embedding_forward`]'s table: every token's row receives its gradient, in the order of the tokens.
///
/// Shapes: `dtable`: `[vocab, dim]`; `dout`: `[tokens, dim]`.
/// Order: `dtable[token] = dtable[token] + dout[t]` in rising `t` (N6).
///
/// # Panics
/// If the lengths do not match these shapes, or a token is outside the vocabulary.
pub fn embedding_backward(exec: Exec<'_>, dtable: &mut [f32], dout: &[f32], tokens: &[u32], dim: usize) {
    assert_eq!(dout.len(), tokens.len() * dim, "embedding: {} tokens of {dim}", tokens.len());
    for (dout, token) in dout.chunks_exact(dim).zip(tokens) {
        let row = *token as usize * dim;
        residual_forward(exec, &mut dtable[row..row + dim], dout);
    }
}
