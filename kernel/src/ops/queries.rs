//! Queries that go over a key/value head together: their scores, probabilities and sums, forward and backward.

use super::attention::AttentionDims;
use super::keys::Keys;
use super::softmax::{self, softmax};
use crate::pool::Columns;
use crate::simd::side_by_side::{Ahead, dots};
use crate::simd::{LANES, Simd, pages};
use alloc::vec::Vec;
use core::ops::Range;

/// Positions whose values stay in the first-level cache while all queries add them.
const CHUNK: usize = 64;
/// How far ahead of their use keys and values are asked for, in bytes.
const AHEAD: usize = 16384;
/// The same where the beginnings of later pages are asked for, too: where a single stream is foreseen badly.
const AHEAD_WITH_PAGES: usize = 4096;
/// Places of the keys from which a single token reads in turn, where several are read faster than one.
const STREAMS: usize = 4;

/// Whether keys are read in streams and the beginnings of pages asked for. With AVX2 (measured on AMD's Zen 3) neither gained anything,
/// though one token's weights are read in streams there, too.
const fn asks_for_pages<S: Simd>() -> bool {
    S::FAR_STREAMS && S::REGISTERS >= 32
}

/// Whether a processor works on all sixteen lanes at once: such a one is held up by instructions rather than by arithmetic.
const fn at_once<S: Simd>() -> bool {
    S::PARTS == 1 && !S::IN_HALVES
}

/// The queries of one key/value head: of each token, those of the heads that share it.
pub(super) struct Queries<'a> {
    rows: Vec<&'a [f32]>,
    group: usize,
    /// How many positions the first one sees.
    first_sees: usize,
}

impl<'a> Queries<'a> {
    /// Those of `tokens`, the tokens of `q` being at the last of `positions`.
    pub(super) fn new(
        q: &'a [f32],
        dims: AttentionDims,
        positions: usize,
        kv_head: usize,
        tokens: Range<usize>,
    ) -> Queries<'a> {
        let AttentionDims { heads, kv_heads, head_dim } = dims;
        let group = heads / kv_heads;
        let first_sees = positions - q.len() / (heads * head_dim) + tokens.start + 1;
        let mut rows = Vec::with_capacity(tokens.len() * group);
        for token in tokens {
            let heads = &q[(token * heads + kv_head * group) * head_dim..][..group * head_dim];
            rows.extend(heads.chunks_exact(head_dim));
        }
        Queries { rows, group, first_sees }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is but one token.
    fn are_of_one_token(&self) -> bool {
        self.rows.len() == self.group
    }

    /// How many positions query `n` sees.
    pub(super) fn sees(&self, n: usize) -> usize {
        self.first_sees + n / self.group
    }
}

/// What each query gives each position that it sees; row `n` of `p` is query `n`'s. `values` are what is read next: of a single
/// token, which reads them from memory, some are asked for.
#[inline(always)]
pub(super) fn probabilities<S: Simd>(
    s: S,
    p: &mut [f32],
    stride: usize,
    queries: &Queries<'_>,
    keys: &Keys,
    values: &[f32],
) {
    let scale = 1.0 / libm::sqrtf(keys.head_dim() as f32);
    scores(s, &mut Columns::all(p, stride), queries, keys, scale);
    let single = queries.are_of_one_token();
    for (n, p) in p.chunks_exact_mut(stride).enumerate() {
        let ahead = values.as_ptr().wrapping_add(n * stride * softmax::AHEAD);
        softmax(s, &mut p[..queries.sees(n)], single.then_some(ahead));
    }
}

/// `dot(q, k_j) * scale` of the positions that are columns of `p`, which start and end with a block; row `n` is query `n`'s.
/// What lies beyond the positions that a query sees is not written, or holds anything.
#[inline(always)]
pub(super) fn scores<S: Simd>(s: S, p: &mut Columns<'_>, queries: &Queries<'_>, keys: &Keys, scale: f32) {
    let positions = p.range();
    let end = positions.end.min(queries.sees(queries.len() - 1)).div_ceil(LANES);
    let mut block = positions.start / LANES;
    if asks_for_pages::<S>() && queries.are_of_one_token() {
        let apart = (end - block) / STREAMS;
        for first in block..block + apart {
            scores_of_blocks::<S, STREAMS>(s, p, queries, keys, scale, [first, apart]);
        }
        block += STREAMS * apart;
    }
    if S::REGISTERS >= 32 && !at_once::<S>() {
        while block + 4 <= end {
            scores_of_blocks::<S, 4>(s, p, queries, keys, scale, [block, 1]);
            block += 4;
        }
    }
    while block + 2 <= end {
        scores_of_blocks::<S, 2>(s, p, queries, keys, scale, [block, 1]);
        block += 2;
    }
    if block < end {
        scores_of_blocks::<S, 1>(s, p, queries, keys, scale, [block, 1]);
    }
}

/// [`scores`] of `P` blocks of positions, `first` and those `apart` from one another after it.
#[inline(always)]
fn scores_of_blocks<S: Simd, const P: usize>(
    s: S,
    p: &mut Columns<'_>,
    queries: &Queries<'_>,
    keys: &Keys,
    scale: f32,
    [first, apart]: [usize; 2],
) {
    let mut blocks: [&[[f32; LANES]]; P] = [&[]; P];
    for (b, block) in blocks.iter_mut().enumerate() {
        *block = keys.block(first + b * apart);
    }
    let tile = KeyTile { blocks, column: first * LANES - p.range().start, apart: apart * LANES, scale };
    // The first rows bring the keys into the cache, for those after them, too: neighbours as one stream.
    let line = size_of::<[f32; LANES]>();
    let mut next = Ahead { lines: [blocks[0].as_ptr().cast(); P], step: if apart == 1 { P * line } else { line } };
    for (b, (next, block)) in next.lines.iter_mut().zip(&blocks).enumerate() {
        *next = match apart {
            1 => next.wrapping_add(AHEAD + b * line),
            _ => block.as_ptr().cast::<u8>().wrapping_add(AHEAD_WITH_PAGES),
        };
    }
    if apart != 1 {
        for block in blocks {
            pages::ask_ahead(s, block);
        }
    }
    let (mut n, mut ahead) = (0, Some(next));
    while n < queries.len() {
        let rows = &queries.rows[n..];
        let together = match rows.len() {
            4.. if at_once::<S>() => 4,
            3.. => 3,
            _ => 1,
        };
        if queries.sees(n + together - 1) > first * LANES {
            let ahead = ahead.take();
            match together {
                4 => scores_of_rows::<S, P, 4>(s, p, n, rows, tile, ahead),
                3 => scores_of_rows::<S, P, 3>(s, p, n, rows, tile, ahead),
                _ => scores_of_rows::<S, P, 1>(s, p, n, rows, tile, ahead),
            }
        }
        n += together;
    }
}

/// Blocks of keys and where their scores go: the columns from `column` on, and `apart` columns further for each block.
#[derive(Clone, Copy)]
struct KeyTile<'a, const P: usize> {
    blocks: [&'a [[f32; LANES]]; P],
    column: usize,
    apart: usize,
    scale: f32,
}

/// [`scores`] of the first `T` queries of `x`, which are rows of `p` from `first` on.
#[inline(always)]
fn scores_of_rows<S: Simd, const P: usize, const T: usize>(
    s: S,
    p: &mut Columns<'_>,
    first: usize,
    x: &[&[f32]],
    tile: KeyTile<'_, P>,
    ahead: Option<Ahead<P>>,
) {
    let x = *x.first_chunk::<T>().expect("as many queries");
    let mut products = [[[0.0; LANES]; P]; T];
    dots(s, &mut products, tile.blocks, x, ahead);
    for (t, products) in products.iter().enumerate() {
        let row = &mut p.row(first + t)[tile.column..];
        for (dot, scores) in products.iter().zip(row.chunks_mut(tile.apart)) {
            s.store(s.mul(s.load(dot), s.splat(tile.scale)), &mut scores.as_chunks_mut().0[0]);
        }
    }
}

/// What is summed up with which factors: row `n` of `p` (rows of `stride`) has query `n`'s factor of each position, and
/// `values` is `[positions, head_dim]`.
#[derive(Clone, Copy)]
pub(super) struct Weighted<'a> {
    pub(super) p: &'a [f32],
    pub(super) stride: usize,
    pub(super) values: &'a [f32],
    pub(super) head_dim: usize,
}

/// `out = out + Σ_j p_j v_j` in rising `j` (N6) over the positions that each query sees; row `n` of `out` is query `n`'s, its
/// columns are elements of the head.
#[inline(always)]
pub(super) fn weighted_sums<S: Simd>(s: S, out: &mut Columns<'_>, queries: &Queries<'_>, sums: Weighted<'_>) {
    let count = queries.len();
    for start in (0..queries.sees(count - 1)).step_by(CHUNK) {
        if asks_for_pages::<S>() {
            let Weighted { values, head_dim, .. } = sums;
            pages::ask_ahead(s, &values[start * head_dim..values.len().min((start + CHUNK) * head_dim)]);
        }
        let seen = |n: usize| queries.sees(n).clamp(start, start + CHUNK);
        let whole = count / 3 * 3;
        for n in (0..whole).step_by(3) {
            sums.add::<S, 3>(s, out, n, start..seen(n));
            for m in n + 1..n + 3 {
                sums.add::<S, 1>(s, out, m, seen(n)..seen(m));
            }
        }
        for n in whole..count {
            sums.add::<S, 1>(s, out, n, start..seen(n));
        }
    }
}

impl Weighted<'_> {
    /// Adds some positions to the `T` rows from `first` on.
    #[inline(always)]
    fn add<S: Simd, const T: usize>(self, s: S, out: &mut Columns<'_>, first: usize, positions: Range<usize>) {
        if positions.is_empty() {
            return;
        }
        let mut p: [&[f32]; T] = [&[]; T];
        for (t, p) in p.iter_mut().enumerate() {
            *p = &self.p[(first + t) * self.stride..][positions.clone()];
        }
        let width = out.range().len();
        let values = &self.values[positions.start * self.head_dim + out.range().start..];
        let mut column = 0;
        if S::REGISTERS >= 32 {
            while column + 4 * LANES <= width {
                self.add_blocks::<S, T, 4>(s, out, [first, column], p, values);
                column += 4 * LANES;
            }
        }
        while column + 2 * LANES <= width {
            self.add_blocks::<S, T, 2>(s, out, [first, column], p, values);
            column += 2 * LANES;
        }
        if column + LANES <= width {
            self.add_blocks::<S, T, 1>(s, out, [first, column], p, values);
            column += LANES;
        }
        for column in column..width {
            for (t, p) in p.iter().enumerate() {
                let sum = &mut out.row(first + t)[column];
                for (p, values) in p.iter().zip(values.chunks(self.head_dim)) {
                    *sum += p * values[column];
                }
            }
        }
    }

    /// [`add`](Self::add) for `B` blocks of columns; `values` starts with the first position.
    #[inline(always)]
    fn add_blocks<S: Simd, const T: usize, const B: usize>(
        self,
        s: S,
        out: &mut Columns<'_>,
        [first, column]: [usize; 2],
        mut p: [&[f32]; T],
        values: &[f32],
    ) {
        // One length for all, so that the loop below needs no other check.
        let terms = p[0].len();
        for p in &mut p {
            *p = &p[..terms];
        }
        for part in 0..S::PARTS {
            let mut acc = [[s.part_splat(0.0); B]; T];
            for (t, acc) in acc.iter_mut().enumerate() {
                let (blocks, _) = out.row(first + t)[column..].as_chunks();
                for b in 0..B {
                    acc[b] = s.part_load(&blocks[b], part);
                }
            }
            // The first rows bring the values into the cache, for those after them, too. A processor with wide registers that foresees one
            // stream (measured on AMD's Zen 5) foresees values, which lie in the order of their use, by itself.
            let brings = first == 0 && part == 0 && (S::PARTS > 1 || S::FAR_STREAMS);
            let ahead = if asks_for_pages::<S>() { AHEAD_WITH_PAGES } else { AHEAD };
            for (j, row) in values.chunks(self.head_dim).take(terms).enumerate() {
                let (row, _) = row[column..][..B * LANES].as_chunks();
                if brings {
                    for block in row {
                        s.prefetch(block.as_ptr().cast::<u8>().wrapping_add(ahead));
                    }
                }
                for b in 0..B {
                    let v = s.part_load(&row[b], part);
                    for t in 0..T {
                        acc[t][b] = s.part_mul_then_add(acc[t][b], s.part_splat(p[t][j]), v);
                    }
                }
            }
            for (t, acc) in acc.iter().enumerate() {
                let (blocks, _) = out.row(first + t)[column..].as_chunks_mut();
                for b in 0..B {
                    s.part_store(acc[b], &mut blocks[b], part);
                }
            }
        }
    }
}
