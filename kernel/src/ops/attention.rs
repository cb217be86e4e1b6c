//! Grouped-query attention over a key/value cache.

use super::softmax::softmax;
use crate::Exec;
use crate::pool::{Columns, split_columns};
use crate::simd::{LANES, Op, Simd, order};
use alloc::vec;
use alloc::vec::Vec;

/// The shape of an attention layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttentionDims {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

/// Causal attention of `tokens` queries, of which the last one sits at the last position of the cache (Vaswani et al.
/// 2017; grouped queries: Ainslie et al. 2023).
///
/// Shapes: `out`, `q`: `[tokens, heads * head_dim]`; `keys`, `values`: one `[positions, head_dim]` a key/value head, with
/// rotated keys. Positions after a query's own are absent from its sums.
/// Order: `s_j = dot(q, k_j) * (1 / sqrt(head_dim))`, then [`super::softmax_forward`] over the positions, and
/// `out = Σ_j p_j v_j` in rising `j` (N6).
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn attention_forward(
    exec: Exec<'_>,
    out: &mut [f32],
    q: &[f32],
    keys: &[Vec<f32>],
    values: &[Vec<f32>],
    dims: AttentionDims,
) {
    let AttentionDims { heads, kv_heads, head_dim } = dims;
    let row = heads * head_dim;
    assert!(
        out.len() == q.len() && q.len().is_multiple_of(row),
        "attention: out {}, q {}, {dims:?}",
        out.len(),
        q.len()
    );
    assert!(keys.len() == kv_heads && values.len() == kv_heads, "attention: {} key heads, {dims:?}", keys.len());
    assert_eq!(heads % kv_heads, 0, "attention: {dims:?}");
    let tokens = q.len() / row;
    let positions = keys[0].len() / head_dim;
    let whole = |head: &Vec<f32>| head.len() == positions * head_dim;
    assert!(keys.iter().all(whole) && values.iter().all(whole), "attention: caches of unequal length");
    assert!(tokens <= positions, "attention: {tokens} queries, {positions} positions");
    split_columns(exec.pool, out, row, head_dim, |out| {
        exec.backend.run(Attention { out, q, keys, values, dims, tokens, positions });
    });
}

struct Attention<'a, 'b> {
    out: Columns<'b>,
    q: &'a [f32],
    keys: &'a [Vec<f32>],
    values: &'a [Vec<f32>],
    dims: AttentionDims,
    tokens: usize,
    positions: usize,
}

impl Op for Attention<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let AttentionDims { heads, kv_heads, head_dim } = self.dims;
        let columns = self.out.range();
        let mut scores = vec![0.0; self.positions];
        for head in columns.start / head_dim..columns.end / head_dim {
            let kv_head = head / (heads / kv_heads);
            let (keys, values) = (&self.keys[kv_head], &self.values[kv_head]);
            for token in 0..self.tokens {
                let visible = self.positions - self.tokens + token + 1;
                let q = &self.q[(token * heads + head) * head_dim..][..head_dim];
                let scores = &mut scores[..visible];
                probabilities(s, scores, q, keys);
                let first = head * head_dim - columns.start;
                let out = &mut self.out.row(token)[first..first + head_dim];
                weighted_sum(s, out, scores, values);
            }
        }
    }
}

/// What a head gives each position that it sees; `keys`: `[positions, q.len()]`.
#[inline(always)]
pub(super) fn probabilities<S: Simd>(s: S, p: &mut [f32], q: &[f32], keys: &[f32]) {
    let scale = 1.0 / libm::sqrtf(q.len() as f32);
    for (p, k) in p.iter_mut().zip(keys.chunks_exact(q.len())) {
        *p = order::dot(s, q, k) * scale;
    }
    softmax(s, p);
}

/// `out = Σ_j p_j v_j` in rising `j` (N6); `v`: `[positions, out.len()]`.
#[inline(always)]
fn weighted_sum<S: Simd>(s: S, out: &mut [f32], p: &[f32], v: &[f32]) {
    let dim = out.len();
    let (blocks, tail) = out.as_chunks_mut::<LANES>();
    let done = blocks.len() * LANES;
    let (fours, ones) = blocks.as_chunks_mut::<4>();
    for (i, four) in fours.iter_mut().enumerate() {
        sum_blocks(s, four, p, &v[i * 4 * LANES..], dim);
    }
    let start = done - ones.len() * LANES;
    for (i, one) in ones.iter_mut().enumerate() {
        sum_blocks(s, core::array::from_mut(one), p, &v[start + i * LANES..], dim);
    }
    for (d, out) in tail.iter_mut().enumerate() {
        let mut acc = 0.0;
        for (j, p) in p.iter().enumerate() {
            acc += *p * v[j * dim + done + d];
        }
        *out = acc;
    }
}

/// `N` neighbouring blocks of [`weighted_sum`]; row `j` of `v` starts at `j * stride`.
#[inline(always)]
fn sum_blocks<S: Simd, const N: usize>(s: S, out: &mut [[f32; LANES]; N], p: &[f32], v: &[f32], stride: usize) {
    let mut acc = [s.splat(0.0); N];
    for (j, p) in p.iter().enumerate() {
        let (row, _) = v[j * stride..][..N * LANES].as_chunks();
        let p = s.splat(*p);
        for n in 0..N {
            acc[n] = s.add(acc[n], s.mul(p, s.load(&row[n])));
        }
    }
    for n in 0..N {
        s.store(acc[n], &mut out[n]);
    }
}
