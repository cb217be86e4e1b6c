//! The backward pass of [`super::attention_forward`] over a whole sequence.

use super::attention::{AttentionDims, QUERIES};
use super::keys::Keys;
use super::queries::{Queries, Weighted, probabilities, scores, weighted_sums};
use super::softmax::softmax_gradient;
use crate::Exec;
use crate::pool::{Columns, split_blocks, split_rows};
use crate::simd::axis::{Factors, Terms, accumulate};
use crate::simd::{LANES, Op, Simd};
use alloc::vec::Vec;
use core::ops::Range;

/// Positions whose gradients are summed up together; queries before one of them count as zero in its sums.
const BLOCK: usize = 16;

/// Memory between the steps of [`attention_backward`]. One value serves any number of calls.
#[derive(Default, Debug)]
pub struct AttentionScratch {
    /// `q`, `dout`, `k` and `v`, head by head.
    inputs: [Vec<f32>; 4],
    /// `dq`, `dk` and `dv`, head by head.
    gradients: [Vec<f32>; 3],
    /// Of the heads that share a key/value head: what each query gives each position, and the gradient of its score.
    scores: [Vec<f32>; 2],
}

/// The gradients of attention over a sequence that starts at position 0, written to `dq`, `dk` and `dv`.
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
    scratch: &mut AttentionScratch,
) {
    let AttentionDims { heads, kv_heads, head_dim } = dims;
    let (row, kv_row) = (heads * head_dim, kv_heads * head_dim);
    assert!(dq.len() == q.len() && dout.len() == q.len() && q.len().is_multiple_of(row), "attention: {dims:?}");
    let tokens = q.len() / row;
    assert!([&*dk, &*dv, k, v].iter().all(|m| m.len() == tokens * kv_row), "attention: {tokens} tokens, {dims:?}");
    let group = heads / kv_heads;
    let one = AttentionDims { heads: group, kv_heads: 1, head_dim };
    let stride = tokens.next_multiple_of(LANES);
    let AttentionScratch { inputs, gradients, scores } = scratch;
    let rows = QUERIES.div_ceil(group) * group;
    for (heads, matrix) in inputs.iter_mut().zip([q, dout, k, v]) {
        heads.resize(matrix.len(), 0.0);
        by_head(exec, heads, matrix, tokens, kv_heads);
    }
    for (heads, matrix) in gradients.iter_mut().zip([&dq, &dk, &dv]) {
        heads.resize(matrix.len(), 0.0);
    }
    // Row `token * group + head` of these two, and of the head's `q`, `dout` and `dq`, is one query's.
    let [p, ds] = scores.each_mut().map(|scores| {
        scores.resize(tokens * group * stride, 0.0);
        &mut scores[..]
    });
    let [q, dout, k, v] = &*inputs;
    let [dq_heads, dk_heads, dv_heads] = &mut *gradients;
    for kv_head in 0..kv_heads {
        let (head, kv) = (part(kv_head, tokens * group * head_dim), part(kv_head, tokens * head_dim));
        let (q, dout, k, v) = (&q[head.clone()], &dout[head.clone()], &k[kv.clone()], &v[kv.clone()]);
        let (dq, dk, dv) = (&mut dq_heads[head], &mut dk_heads[kv.clone()], &mut dv_heads[kv]);
        let (keys, values) = (Keys::of_rows(head_dim, k), Keys::of_rows(head_dim, v));
        let queries = |of, rows: Range<usize>| Queries::new(of, one, tokens, 0, rows.start / group..rows.end / group);
        split_blocks(exec.pool, p, stride, rows, |rows, p| {
            exec.backend.run(Probabilities { p, stride, queries: queries(q, rows), keys: &keys });
        });
        split_blocks(exec.pool, ds, stride, rows, |rows, ds| {
            let p = &p[rows.start * stride..rows.end * stride];
            exec.backend.run(ScoreGradients { ds, p, stride, queries: queries(dout, rows), values: &values });
        });
        split_blocks(exec.pool, dq, head_dim, rows, |rows, dq| {
            let sums = Weighted { p: &ds[rows.start * stride..], stride, values: k, head_dim };
            exec.backend.run(QueryGradients { dq, queries: queries(q, rows), sums });
        });
        split_blocks(exec.pool, dk, head_dim, BLOCK, |rows, out| {
            exec.backend.run(PositionSums { out, first: rows.start, factors: ds, vectors: q, stride, group, head_dim });
        });
        split_blocks(exec.pool, dv, head_dim, BLOCK, |rows, out| {
            exec.backend.run(PositionSums {
                out,
                first: rows.start,
                factors: p,
                vectors: dout,
                stride,
                group,
                head_dim,
            });
        });
    }
    for (matrix, heads) in [dq, dk, dv].into_iter().zip(gradients) {
        by_token(exec, matrix, heads, tokens, kv_heads);
    }
}

/// Where a key/value head's values are, if each has `len`.
fn part(kv_head: usize, len: usize) -> Range<usize> {
    kv_head * len..(kv_head + 1) * len
}

/// Puts the columns that each key/value head has of each row of a matrix head by head: `[kv_heads, tokens, columns]`.
fn by_head(exec: Exec<'_>, heads: &mut [f32], matrix: &[f32], tokens: usize, kv_heads: usize) {
    let (row, columns) = (matrix.len() / tokens, matrix.len() / tokens / kv_heads);
    split_rows(exec.pool, heads, columns, |range, heads| {
        for (n, head) in range.zip(heads.chunks_exact_mut(columns)) {
            head.copy_from_slice(&matrix[n % tokens * row + n / tokens * columns..][..columns]);
        }
    });
}

/// The way back from [`by_head`].
fn by_token(exec: Exec<'_>, matrix: &mut [f32], heads: &[f32], tokens: usize, kv_heads: usize) {
    let (row, columns) = (matrix.len() / tokens, matrix.len() / tokens / kv_heads);
    split_rows(exec.pool, matrix, row, |range, matrix| {
        for (token, row) in range.zip(matrix.chunks_exact_mut(row)) {
            for (kv_head, head) in row.chunks_exact_mut(columns).enumerate() {
                head.copy_from_slice(&heads[(kv_head * tokens + token) * columns..][..columns]);
            }
        }
    });
}

struct Probabilities<'a, 'c> {
    p: &'a mut [f32],
    stride: usize,
    queries: Queries<'c>,
    keys: &'a Keys,
}

impl Op for Probabilities<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        probabilities(s, self.p, self.stride, &self.queries, self.keys, &[]);
        for (n, p) in self.p.chunks_exact_mut(self.stride).enumerate() {
            p[self.queries.sees(n)..].fill(0.0);
        }
    }
}

struct ScoreGradients<'a, 'c> {
    ds: &'a mut [f32],
    p: &'a [f32],
    stride: usize,
    /// The gradients of the queries' outputs.
    queries: Queries<'c>,
    values: &'a Keys,
}

impl Op for ScoreGradients<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let scale = 1.0 / libm::sqrtf(self.values.head_dim() as f32);
        scores(s, &mut Columns::all(self.ds, self.stride), &self.queries, self.values, 1.0);
        for (n, (ds, p)) in self.ds.chunks_exact_mut(self.stride).zip(self.p.chunks_exact(self.stride)).enumerate() {
            let sees = self.queries.sees(n);
            let (seen, unseen) = ds.split_at_mut(sees);
            softmax_gradient(s, seen, &p[..sees]);
            for ds in seen {
                *ds *= scale;
            }
            unseen.fill(0.0);
        }
    }
}

struct QueryGradients<'a, 'c> {
    dq: &'a mut [f32],
    queries: Queries<'c>,
    sums: Weighted<'a>,
}

impl Op for QueryGradients<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        self.dq.fill(0.0);
        weighted_sums(s, &mut Columns::all(self.dq, self.sums.head_dim), &self.queries, self.sums);
    }
}

/// What the positions from `first` on receive from all queries from there on.
struct PositionSums<'a> {
    out: &'a mut [f32],
    first: usize,
    /// `[tokens * group, stride]`
    factors: &'a [f32],
    /// `[tokens * group, head_dim]`
    vectors: &'a [f32],
    stride: usize,
    group: usize,
    head_dim: usize,
}

impl Op for PositionSums<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let PositionSums { out, first, stride, group, head_dim, .. } = self;
        let tokens = self.vectors.len() / (group * head_dim);
        out.fill(0.0);
        let mut out = Columns::all(out, head_dim);
        for head in 0..group {
            let factors = Factors { values: &self.factors[head * stride + first..], term: group * stride, row: 1 };
            let vectors = Terms { values: &self.vectors[head * head_dim..], stride: group * head_dim };
            accumulate::<S, f32>(s, &mut out, first..tokens, factors, vectors);
        }
    }
}
