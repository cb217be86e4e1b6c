//! The backward pass of [`super::attention_forward`] over a whole sequence.

use super::attention::{AttentionDims, probabilities};
use super::softmax::softmax_gradient;
use crate::Exec;
use crate::pool::{Columns, split_rows};
use crate::simd::axis::{Factors, Terms, accumulate};
use crate::simd::{Op, Simd, order};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Rows that share the bounds of their sums; what a row does not see counts as zero there.
const BLOCK: usize = 16;

/// The gradients of attention over a sequence that starts at position 0, added to `dq`, `dk` and `dv`.
///
/// Shapes: `dq`, `dout`, `q`: `[tokens, heads * head_dim]`; `dk`, `dv`, `k`, `v`: `[tokens, kv_heads * head_dim]`; `q` and
/// `k` are rotated. The probabilities are computed again, with the bits of the forward pass.
/// Order: `dp_j = dot(do, v_j)`, `c = sum(p * dp)`, `ds_j = (p_j * (dp_j - c)) * scale`; `dq = Σ_j ds_j k_j`;
/// `dk_j = Σ ds_j q` and `dv_j = Σ p_j do` over the group's heads rising, within a head over the queries rising (N6).
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn attention_backward(
    exec: Exec<'_>,
    [dq, dk, dv]: [&mut [f32]; 3],
    dout: &[f32],
    [q, k, v]: [&[f32]; 3],
    dims: AttentionDims,
) {
    let AttentionDims { heads, kv_heads, head_dim } = dims;
    let (row, kv_row) = (heads * head_dim, kv_heads * head_dim);
    assert!(dq.len() == q.len() && dout.len() == q.len() && q.len().is_multiple_of(row), "attention: {dims:?}");
    let tokens = q.len() / row;
    assert!([&*dk, &*dv, k, v].iter().all(|m| m.len() == tokens * kv_row), "attention: {tokens} tokens, {dims:?}");
    // Of one head at a time: what each query gives each position, and the gradient of its score.
    let (mut p, mut ds) = (vec![0.0; tokens * tokens], vec![0.0; tokens * tokens]);
    for kv_head in 0..kv_heads {
        let columns = kv_head * head_dim..(kv_head + 1) * head_dim;
        let (k, v) = (take(k, kv_row, &columns), take(v, kv_row, &columns));
        let (mut dk_head, mut dv_head) = (take(dk, kv_row, &columns), take(dv, kv_row, &columns));
        let group = heads / kv_heads;
        for head in kv_head * group..(kv_head + 1) * group {
            let columns = head * head_dim..(head + 1) * head_dim;
            let (q, dout) = (take(q, row, &columns), take(dout, row, &columns));
            let mut dq_head = take(dq, row, &columns);
            split_rows(exec.pool, &mut p, tokens, |queries, p| exec.backend.run(Scores { p, queries, q: &q, k: &k }));
            split_rows(exec.pool, &mut ds, tokens, |queries, ds| {
                let p = &p[queries.start * tokens..];
                exec.backend.run(ScoreGradients { ds, queries, p, dout: &dout, v: &v, head_dim });
            });
            let rows = |out: &mut [f32],
                        factors: Factors<'_>,
                        vectors: &[f32],
                        seen: &(dyn Fn(Range<usize>) -> Range<usize> + Sync)| {
                split_rows(exec.pool, out, head_dim, |rows, out| {
                    exec.backend.run(Sums { out, rows, factors, vectors, head_dim, seen });
                });
            };
            // A query sees the positions up to its own; a position is seen by the queries from its own on.
            rows(&mut dq_head, Factors { values: &ds, term: 1, row: tokens }, &k, &|rows| 0..rows.end);
            rows(&mut dk_head, Factors { values: &ds, term: tokens, row: 1 }, &q, &|rows| rows.start..tokens);
            rows(&mut dv_head, Factors { values: &p, term: tokens, row: 1 }, &dout, &|rows| rows.start..tokens);
            put(dq, row, &columns, &dq_head);
        }
        put(dk, kv_row, &columns, &dk_head);
        put(dv, kv_row, &columns, &dv_head);
    }
}

/// A head's columns of a matrix.
fn take(matrix: &[f32], row: usize, columns: &Range<usize>) -> Vec<f32> {
    matrix.chunks_exact(row).flat_map(|row| &row[columns.clone()]).copied().collect()
}

/// Puts a head's columns back.
fn put(matrix: &mut [f32], row: usize, columns: &Range<usize>, head: &[f32]) {
    for (row, head) in matrix.chunks_exact_mut(row).zip(head.chunks_exact(columns.len())) {
        row[columns.clone()].copy_from_slice(head);
    }
}

struct Scores<'a> {
    p: &'a mut [f32],
    queries: Range<usize>,
    q: &'a [f32],
    k: &'a [f32],
}

impl Op for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let tokens = self.p.len() / self.queries.len();
        let head_dim = self.q.len() / tokens;
        for (query, p) in self.queries.zip(self.p.chunks_exact_mut(tokens)) {
            let (seen, unseen) = p.split_at_mut(query + 1);
            probabilities(s, seen, &self.q[query * head_dim..(query + 1) * head_dim], self.k);
            unseen.fill(0.0);
        }
    }
}

struct ScoreGradients<'a> {
    ds: &'a mut [f32],
    queries: Range<usize>,
    p: &'a [f32],
    dout: &'a [f32],
    v: &'a [f32],
    head_dim: usize,
}

impl Op for ScoreGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (head_dim, tokens) = (self.head_dim, self.ds.len() / self.queries.len());
        let scale = 1.0 / libm::sqrtf(head_dim as f32);
        for ((query, ds), p) in self.queries.zip(self.ds.chunks_exact_mut(tokens)).zip(self.p.chunks_exact(tokens)) {
            let (seen, unseen) = ds.split_at_mut(query + 1);
            let dout = &self.dout[query * head_dim..(query + 1) * head_dim];
            for (dp, v) in seen.iter_mut().zip(self.v.chunks_exact(head_dim)) {
                *dp = order::dot(s, dout, v);
            }
            softmax_gradient(s, seen, &p[..=query]);
            for ds in seen {
                *ds *= scale;
            }
            unseen.fill(0.0);
        }
    }
}

struct Sums<'a> {
    out: &'a mut [f32],
    rows: Range<usize>,
    factors: Factors<'a>,
    vectors: &'a [f32],
    head_dim: usize,
    seen: &'a (dyn Fn(Range<usize>) -> Range<usize> + Sync),
}

impl Op for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let vectors = Terms { values: self.vectors, stride: self.head_dim };
        for (out, first) in self.out.chunks_mut(BLOCK * self.head_dim).zip(self.rows.step_by(BLOCK)) {
            let rows = first..first + out.len() / self.head_dim;
            let factors = Factors { values: &self.factors.values[first * self.factors.row..], ..self.factors };
            accumulate::<S, f32, false>(s, &mut Columns::all(out, self.head_dim), (self.seen)(rows), factors, vectors);
        }
    }
}
