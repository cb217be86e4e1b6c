//! Grouped-query attention over a key/value cache.

use super::keys::Keys;
use super::queries::{Queries, Weighted, probabilities, scores, weighted_sums};
use super::softmax::{self, softmax};
use crate::Exec;
use crate::pool::{Columns, split_items, split_items_and_tiles, split_rows, split_tiles};
use crate::simd::{LANES, Op, Simd};
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

/// Queries that go over a key/value head together: as many as keep their scores in the cache at a few thousand positions.
pub(super) const QUERIES: usize = 24;
/// From how many positions on a single token is shared out among threads by positions, too.
const LONG: usize = 512;
/// The fewest and the most positions that are one part of a long single token: each part begins with keys that nobody asked for.
const PART: [usize; 2] = [256, 1024];

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
    keys: &[Keys],
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
    let (tokens, positions) = (q.len() / row, keys[0].len());
    let whole = |(k, v): (&Keys, &Vec<f32>)| k.len() == positions && v.len() == positions * head_dim;
    assert!(keys.iter().zip(values).all(whole), "attention: caches of unequal length");
    assert!(keys.iter().all(|keys| keys.head_dim() == head_dim), "attention: keys for {dims:?}");
    assert!(tokens <= positions, "attention: {tokens} queries, {positions} positions");
    let group = heads / kv_heads;
    if tokens == 1 && positions >= LONG && exec.pool.threads() > 1 {
        return one_long_token(exec, out, q, keys, values, group);
    }
    let together = tokens_together(tokens, group, kv_heads, exec.pool.threads());
    split_tiles(exec.pool, out, row, [together, group * head_dim], |tokens, mut out| {
        let kv_head = out.range().start / (group * head_dim);
        let queries = Queries::new(q, dims, positions, kv_head, tokens);
        exec.backend.run(Attention { out: &mut out, queries, keys: &keys[kv_head], values: &values[kv_head] });
    });
}

/// How many of the tokens go over a key/value head together: as many as may, or fewer, where threads would have unequal work of few parts.
fn tokens_together(tokens: usize, group: usize, kv_heads: usize, threads: usize) -> usize {
    let least = tokens.div_ceil(QUERIES.div_ceil(group));
    let equal = |together: &usize| {
        let parts = tokens.div_ceil(*together) * kv_heads;
        parts.is_multiple_of(threads) || parts >= 4 * threads
    };
    (least.max(1)..=tokens).map(|parts| tokens.div_ceil(parts)).find(equal).unwrap_or(1)
}

struct Attention<'a, 'b, 'c> {
    out: &'a mut Columns<'b>,
    queries: Queries<'c>,
    keys: &'a Keys,
    values: &'a [f32],
}

impl Op for Attention<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Attention { out, queries, keys, values } = self;
        let (count, head_dim) = (queries.len(), keys.head_dim());
        let stride = queries.sees(count - 1).next_multiple_of(LANES);
        let (mut p, mut sums) = (vec![0.0; count * stride], vec![0.0; count * head_dim]);
        probabilities(s, &mut p, stride, &queries, keys, values);
        let weighted = Weighted { p: &p, stride, values, head_dim };
        weighted_sums(s, &mut Columns::all(&mut sums, head_dim), &queries, weighted);
        for (token, heads) in sums.chunks_exact(out.range().len()).enumerate() {
            out.row(token).copy_from_slice(heads);
        }
    }
}

/// [`attention_forward`] of one token at many positions: scores are shared out by positions, what follows by key/value heads, whose
/// values each are one stream. Heads that are left over when all threads have as many come first, and their sums are computed
/// beside the scores of the others.
fn one_long_token(exec: Exec<'_>, out: &mut [f32], q: &[f32], keys: &[Keys], values: &[Vec<f32>], group: usize) {
    let (head_dim, positions) = (keys[0].head_dim(), keys[0].len());
    let dims = AttentionDims { heads: q.len() / head_dim, kv_heads: keys.len(), head_dim };
    let (pool, threads) = (exec.pool, exec.pool.threads());
    let stride = positions.next_multiple_of(LANES);
    let part = (dims.kv_heads * positions / (2 * threads)).clamp(PART[0], PART[1]).next_multiple_of(4 * LANES);
    let tile = [group, part];
    let queries = |kv_head| Queries::new(q, dims, positions, kv_head, 0..1);
    let scores = |kv_head: usize, mut p: Columns<'_>| {
        exec.backend.run(Scores { p: &mut p, queries: queries(kv_head), keys: &keys[kv_head] });
    };
    let weighted_sums = |kv_head: usize, out: &mut Columns<'_>, p: &[f32]| {
        let sums = Weighted { p, stride, values: &values[kv_head], head_dim };
        exec.backend.run(WeightedSums { out, queries: queries(kv_head), sums });
    };
    let mut p = vec![0.0; dims.heads * stride];
    out.fill(0.0);
    if threads > dims.kv_heads {
        // By elements, too: each thread brings whole rows of values into its cache then.
        split_tiles(pool, &mut p, stride, tile, |rows, p| scores(rows.start / group, p));
        split_rows(pool, &mut p, stride, |_, p| exec.backend.run(Softmax { p, stride, positions, next: None }));
        let elements = (head_dim / threads.div_ceil(dims.kv_heads) / LANES * LANES).max(LANES);
        return split_tiles(pool, out, head_dim, [group, elements], |rows, mut out| {
            weighted_sums(rows.start / group, &mut out, &p[rows.start * stride..]);
        });
    }
    let sums = |head: &mut Head<'_>| {
        let Head { kv_head, p, out } = head;
        exec.backend.run(Softmax { p, stride, positions, next: Some(&values[*kv_head]) });
        weighted_sums(*kv_head, &mut Columns::all(out, head_dim), p);
    };
    let left_over = dims.kv_heads % threads;
    let (first_p, other_p) = p.split_at_mut(left_over * group * stride);
    let (first_out, other_out) = out.split_at_mut(left_over * group * head_dim);
    let heads = |p, out, first| Head::all(p, out, [group * stride, group * head_dim], first);
    split_tiles(pool, first_p, stride, tile, |rows, p| scores(rows.start / group, p));
    split_items_and_tiles(pool, (&mut heads(first_p, first_out, 0), sums), (other_p, stride, tile), |rows, p| {
        scores(left_over + rows.start / group, p);
    });
    split_items(pool, &mut heads(other_p, other_out, left_over), sums);
}

/// What a key/value head has of one token: its scores, and where its sums go.
struct Head<'a> {
    kv_head: usize,
    p: &'a mut [f32],
    out: &'a mut [f32],
}

impl<'a> Head<'a> {
    /// The heads from `first` on, whose scores and sums are so many values each.
    fn all(p: &'a mut [f32], out: &'a mut [f32], [scores, sums]: [usize; 2], first: usize) -> Vec<Head<'a>> {
        let heads = p.chunks_exact_mut(scores).zip(out.chunks_exact_mut(sums)).zip(first..);
        heads.map(|((p, out), kv_head)| Head { kv_head, p, out }).collect()
    }
}

struct Scores<'a, 'b, 'c> {
    p: &'a mut Columns<'b>,
    queries: Queries<'c>,
    keys: &'a Keys,
}

impl Op for Scores<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        scores(s, self.p, &self.queries, self.keys, 1.0 / libm::sqrtf(self.keys.head_dim() as f32));
    }
}

/// Probabilities of the scores of one token; of the values that are read next, some are asked for.
struct Softmax<'a> {
    p: &'a mut [f32],
    stride: usize,
    positions: usize,
    next: Option<&'a [f32]>,
}

impl Op for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Softmax { p, stride, positions, next } = self;
        for (n, p) in p.chunks_exact_mut(stride).enumerate() {
            let mut ahead = None;
            if let Some(values) = next {
                ahead = Some(values.as_ptr().wrapping_add(n * stride * softmax::AHEAD));
            }
            softmax(s, &mut p[..positions], ahead);
        }
    }
}

struct WeightedSums<'a, 'b, 'c> {
    out: &'a mut Columns<'b>,
    queries: Queries<'c>,
    sums: Weighted<'a>,
}

impl Op for WeightedSums<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        weighted_sums(s, self.out, &self.queries, self.sums);
    }
}

#[cfg(test)]
mod tests {
    use super::tokens_together;

    #[test]
    fn threads_have_equal_work_of_few_parts() {
        let of_threads = |tokens| [1, 2, 3, 7, 16].map(|threads| tokens_together(tokens, 3, 3, threads));
        assert_eq!(of_threads(0), [1; 5]);
        assert_eq!(of_threads(1), [1; 5]);
        // Three parts of all eight, six of four, or one for each token and head.
        assert_eq!(of_threads(8), [8, 4, 8, 1, 1]);
        // 16 parts of each head.
        assert_eq!(of_threads(128), [8; 5]);
    }
}
