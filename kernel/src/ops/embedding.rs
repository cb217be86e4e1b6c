//! Token embedding.

use super::Weights;
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
