//! The linear layer.

use super::Weights;
use crate::Exec;
use crate::pool::{Columns, split_columns_of_each};
use crate::simd::order::FOLDING;
use crate::simd::pages::{self, LINE};
use crate::simd::tile::{Block, lane, lanes_by_pairs, lanes_of_rows};
use crate::simd::{LANES, Op, Simd, Weight, Words, order, padded, store};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Tokens whose sums stay in the first-level cache while a panel of weights goes by, and that lie side by side.
const GROUP: usize = LANES;
/// How far ahead of its use a weight is asked for, in bytes, where rows are read one after the other.
const AHEAD: usize = 8192;
/// The same in each of the [`STREAMS`]; half of it where registers are worked through in halves.
const STREAM_AHEAD: usize = 1024;
/// Streams of weights that are read at the same time, where a single one is foreseen badly.
const STREAMS: usize = 4;
/// Tokens that go over a row of each stream together.
const STREAM_TOKENS: usize = 6;

/// `out = x W^T (+ bias)`, the weights as stored: one row an output.
///
/// Shapes: `out`: `[tokens, rows]`; `x`: `[tokens, cols]`; `w`: `[rows, cols]`; `bias`: `[rows]`.
/// Order: every output is one lane reduction over `cols` (N3-N5), then the bias is added.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn matmul_forward(
    exec: Exec<'_>,
    out: &mut [f32],
    x: &[f32],
    w: Weights<'_>,
    bias: Option<Weights<'_>>,
    tokens: usize,
) {
    matmul_forward_each(exec, [(out, w, bias)], x, tokens);
}

/// [`matmul_forward`] of several layers with the same input, each an `(out, w, bias)`: threads meet once.
///
/// # Panics
/// If the lengths do not match the shapes.
pub fn matmul_forward_each<const N: usize>(
    exec: Exec<'_>,
    layers: [(&mut [f32], Weights<'_>, Option<Weights<'_>>); N],
    x: &[f32],
    tokens: usize,
) {
    assert!(tokens > 0 && x.len().is_multiple_of(tokens), "matmul: x {} for {tokens} tokens", x.len());
    let cols = x.len() / tokens;
    let weights = layers.each_ref().map(|(_, w, bias)| (*w, *bias));
    let outs = layers.map(|(out, w, _)| {
        assert!(out.len().is_multiple_of(tokens), "matmul: out {} for {tokens} tokens", out.len());
        let rows = out.len() / tokens;
        assert_eq!(w.len(), rows * cols, "matmul: weights for [{rows}, {cols}]");
        (out, rows, granule(rows))
    });
    split_columns_of_each(exec.pool, outs, |outs| {
        let packed = exec.backend.run(Pack { x, cols, tokens });
        for (mut out, (w, bias)) in outs.into_iter().zip(weights) {
            let (out, packed) = (&mut out, packed.as_slice());
            match w {
                Weights::F32(w) => exec.backend.run(MatMul { out, x, packed, w, cols, tokens }),
                Weights::Bf16(w) => exec.backend.run(MatMul { out, x, packed, w, cols, tokens }),
            }
            match bias {
                Some(Weights::F32(bias)) => add_bias(out, bias, tokens),
                Some(Weights::Bf16(bias)) => add_bias(out, bias, tokens),
                None => {}
            }
        }
    });
}

/// Threads share a row in whole blocks where they can.
pub(super) fn granule(cols: usize) -> usize {
    if cols.is_multiple_of(LANES) { LANES } else { 1 }
}

fn add_bias<W: Weight>(out: &mut Columns<'_>, bias: &[W], tokens: usize) {
    let range = out.range();
    for token in 0..tokens {
        out.row(token).iter_mut().zip(&bias[range.clone()]).for_each(|(out, b)| *out += b.widen());
    }
}

/// Up to how many tokens weight rows are read as they are stored: to widen them for each tile costs less there than to lay them out first.
pub(super) const fn few<S: Simd>() -> usize {
    match S::PARTS {
        1 => 16,
        2 => 12,
        _ => 1,
    }
}

/// Lays the tokens out for [`MatMul`]: [`GROUP`] at most side by side, lane by lane, or row after row in whole cache lines, where a
/// number that goes to all lanes is dear. Nothing where there are few.
struct Pack<'a> {
    x: &'a [f32],
    cols: usize,
    tokens: usize,
}

impl Op for Pack<'_> {
    type Output = Vec<[Block; 1]>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Vec<[Block; 1]> {
        let Pack { x, cols, tokens } = self;
        if tokens <= few::<S>() {
            return vec![];
        }
        let blocks = blocks(cols);
        if S::IN_HALVES {
            let mut packed = vec![[Block::ZERO]; tokens * blocks];
            widen_rows(s, x, cols, packed.as_flattened_mut());
            return packed;
        }
        let groups = tokens.div_ceil(GROUP);
        // One more, since a tile that starts inside a block reads as much beyond it.
        let mut packed = vec![[Block::ZERO]; groups * LANES * blocks + 1];
        for (group, packed) in tiles(tokens, GROUP).zip(packed.chunks_exact_mut(LANES * blocks)) {
            side_by_side(s, &x[group.start * cols..group.end * cols], cols, packed, 0);
        }
        packed
    }
}

/// Few tokens are read from `x`; many are `packed`.
struct MatMul<'a, 'b, W> {
    out: &'a mut Columns<'b>,
    x: &'a [f32],
    packed: &'a [[Block; 1]],
    w: &'a [W],
    cols: usize,
    tokens: usize,
}

impl<W: Weight> Op for MatMul<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        if self.tokens <= few::<S>() {
            // Two to eight tokens go over neighbouring rows at once, which is faster than two groups in streams; so do more where a register
            // does not hold all lanes.
            let done = match self.tokens {
                1 if S::FAR_STREAMS => self.in_streams::<S, 1>(s),
                9.. if S::FAR_STREAMS && S::PARTS == 1 => self.in_streams::<S, STREAM_TOKENS>(s),
                _ => 0,
            };
            if self.tokens == 1 { self.one_token(s, done) } else { self.few_tokens(s, done) }
        } else if S::IN_HALVES {
            self.many_tokens(s);
        } else if S::PARTS == 1 {
            let rest = self.panels::<S, 3, 3, 8>(s, 0);
            self.panels::<S, 1, 1, 8>(s, rest);
        } else if S::REGISTERS >= 32 {
            self.panels::<S, 1, 4, 6>(s, 0);
        } else if S::PARTS == 2 {
            self.panels::<S, 1, 2, 6>(s, 0);
        } else {
            self.panels::<S, 1, 2, 4>(s, 0);
        }
    }
}

impl<W: Weight> MatMul<'_, '_, W> {
    /// Weight rows in [`STREAMS`] streams far from one another, where a single one is not foreseen beyond a page, or weights cannot be asked
    /// for ahead of their use; up to `M` tokens together. Returns how many rows are done, all but a few at the end.
    #[inline(always)]
    fn in_streams<S: Simd, const M: usize>(&mut self, s: S) -> usize {
        let (cols, range) = (self.cols, self.out.range());
        let w = &self.w[range.start * cols..range.end * cols];
        let each = range.len() / (STREAMS * LANES) * LANES;
        let mut sums = [[[Block::ZERO; LANES]; M]; STREAMS];
        for first in (0..each).step_by(LANES) {
            for group in tiles(self.tokens, M) {
                let x = &self.x[group.start * cols..group.end * cols];
                for row in 0..LANES {
                    let mut rows: [&[W]; STREAMS] = [w; STREAMS];
                    for (i, stream) in rows.iter_mut().enumerate() {
                        let at = (i * each + first + row) * cols;
                        *stream = &w[at..at + cols];
                        if M == 1 && !S::PREFETCHES {
                            pages::read_ahead(w, at..at + cols);
                        }
                    }
                    match group.len() {
                        6 if M >= 6 => row_of_streams::<S, W, 6, M>(s, &mut sums, row, rows, x),
                        5 if M >= 5 => row_of_streams::<S, W, 5, M>(s, &mut sums, row, rows, x),
                        4 if M >= 4 => row_of_streams::<S, W, 4, M>(s, &mut sums, row, rows, x),
                        3 if M >= 3 => row_of_streams::<S, W, 3, M>(s, &mut sums, row, rows, x),
                        2 if M >= 2 => row_of_streams::<S, W, 2, M>(s, &mut sums, row, rows, x),
                        _ => row_of_streams::<S, W, 1, M>(s, &mut sums, row, rows, x),
                    }
                }
                for (i, sums) in sums.iter().enumerate() {
                    for (token, sums) in group.clone().zip(sums) {
                        store(s, s.fold(sums), &mut self.out.row(token)[i * each + first..][..LANES]);
                    }
                }
            }
        }
        STREAMS * each
    }

    /// Weight rows from `first` on as they lie in memory, one after the other: most processors foresee a single stream best.
    #[inline(always)]
    fn one_token<S: Simd>(&mut self, s: S, first: usize) {
        let (cols, range, x) = (self.cols, self.out.range(), self.x);
        let w = &self.w[(range.start + first) * cols..range.end * cols];
        let mut sums = [Block::ZERO; LANES];
        for (out, w) in self.out.row(0)[first..].chunks_mut(LANES).zip(w.chunks(LANES * cols)) {
            for (sums, w) in sums.iter_mut().zip(w.chunks_exact(cols)) {
                s.store(order::dot_lanes(s, w, x, Some(AHEAD)), &mut sums.0);
            }
            store(s, s.fold(&sums), out);
        }
    }

    /// Weight rows from `first` on, sixteen at a time, as they lie in memory.
    #[inline(always)]
    fn few_tokens<S: Simd>(&mut self, s: S, first: usize) {
        let (cols, range) = (self.cols, self.out.range());
        let most = if S::PARTS == 1 { 8 } else { 6 };
        let mut sums = [[Block::ZERO; LANES]; 8];
        for first in (range.start + first..range.end).step_by(LANES) {
            let rows = LANES.min(range.end - first);
            let w = &self.w[first * cols..][..rows * cols];
            for group in tiles(self.tokens, most) {
                let x = &self.x[group.start * cols..group.end * cols];
                let sums = &mut sums[..group.len()];
                sums_of_tokens(s, sums, w, x, Some(AHEAD));
                for (token, sums) in group.zip(sums) {
                    store(s, s.fold(sums), &mut self.out.row(token)[first - range.start..][..rows]);
                }
            }
        }
    }

    /// Widens sixteen weight rows at a time, row after row, each used for all tokens: both sides of a tile are whole registers, since a
    /// number that goes to all lanes of one costs as much as arithmetic on some processors.
    #[inline(always)]
    fn many_tokens<S: Simd>(&mut self, s: S) {
        const MOST: usize = 6;
        let (cols, range) = (self.cols, self.out.range());
        let stride = blocks(cols) * LANES;
        let mut panel = vec![Block::ZERO; LANES * blocks(cols)];
        let x: &[f32] = bytemuck::cast_slice(self.packed);
        let mut sums = [[Block::ZERO; LANES]; MOST];
        let lines = (LANES * cols * size_of::<W>()).div_ceil(LINE * self.tokens.div_ceil(MOST));
        for first in range.clone().step_by(LANES) {
            let rows = LANES.min(range.end - first);
            let stored = &self.w[first * cols..][..rows * cols];
            widen_rows(s, stored, cols, &mut panel);
            let w: &[f32] = &bytemuck::cast_slice(&panel)[..rows * stride];
            let mut next = stored.as_ptr().wrapping_add(LANES * cols).cast::<u8>();
            for group in tiles(self.tokens, MOST) {
                for _ in 0..lines {
                    s.prefetch(next);
                    next = next.wrapping_add(LINE);
                }
                let x = &x[group.start * stride..group.end * stride];
                let sums = &mut sums[..group.len()];
                sums_of_tokens(s, sums, w, x, None);
                for (token, sums) in group.zip(sums) {
                    store(s, s.fold(sums), &mut self.out.row(token)[first - range.start..][..rows]);
                }
            }
        }
    }

    /// Widens panels of `B` blocks of weight rows side by side, each used for all tokens, in tiles of `C` registers of weights and up to
    /// `T` tokens; from row `first` on, as long as there are `B` blocks. Returns the row that comes next.
    #[inline(always)]
    fn panels<S: Simd, const B: usize, const C: usize, const T: usize>(&mut self, s: S, mut first: usize) -> usize {
        let (cols, tokens, range) = (self.cols, self.tokens, self.out.range());
        let blocks = blocks(cols);
        let mut panel = vec![[Block::ZERO; B]; LANES * blocks];
        let mut sums = [[[Block::ZERO; B]; 5]; GROUP];
        let per_panel: usize = LANES * tiles(tokens, GROUP).map(|group| group.len().div_ceil(T)).sum::<usize>();
        let lines = (B * LANES * cols * size_of::<W>()).div_ceil(LINE * per_panel);
        while first + (B - 1) * LANES < range.len() {
            let rows = (B * LANES).min(range.len() - first);
            let stored = &self.w[(range.start + first) * cols..][..rows * cols];
            for (b, stored) in stored.chunks(LANES * cols).enumerate() {
                side_by_side(s, stored, cols, &mut panel, b);
            }
            let mut ahead = stored.as_ptr().wrapping_add(B * LANES * cols).cast::<u8>();
            for (number, group) in tiles(tokens, GROUP).enumerate() {
                let x: &[f32] = bytemuck::cast_slice(&self.packed[number * LANES * blocks..]);
                for (turn, w) in panel.chunks_exact(blocks).enumerate() {
                    for tile in tiles(group.len(), T) {
                        for _ in 0..lines {
                            s.prefetch(ahead);
                            ahead = ahead.wrapping_add(LINE);
                        }
                        let x = x[turn * blocks * LANES + tile.start..][..blocks * LANES].as_chunks().0;
                        let sums = &mut sums[tile];
                        match sums.len() {
                            8 if T >= 8 => lane::<S, B, C, 8>(s, sums, turn, w, x),
                            7 if T >= 7 => lane::<S, B, C, 7>(s, sums, turn, w, x),
                            6 if T >= 6 => lane::<S, B, C, 6>(s, sums, turn, w, x),
                            5 if T >= 5 => lane::<S, B, C, 5>(s, sums, turn, w, x),
                            4 => lane::<S, B, C, 4>(s, sums, turn, w, x),
                            3 => lane::<S, B, C, 3>(s, sums, turn, w, x),
                            2 => lane::<S, B, C, 2>(s, sums, turn, w, x),
                            _ => lane::<S, B, C, 1>(s, sums, turn, w, x),
                        }
                    }
                }
                for (token, sums) in group.zip(&sums) {
                    let out = &mut self.out.row(token)[first..first + rows];
                    for (out, sum) in out.chunks_mut(LANES).zip(&sums[4]) {
                        store(s, s.load(&sum.0), out);
                    }
                }
            }
            first += rows;
        }
        first
    }
}

/// The lanes of one weight row of each stream with each of `T` tokens: `sums[stream][token][row]`.
#[inline(always)]
fn row_of_streams<S: Simd, W: Weight, const T: usize, const M: usize>(
    s: S,
    sums: &mut [[[Block; LANES]; M]; STREAMS],
    row: usize,
    w: [&[W]; STREAMS],
    x: &[f32],
) {
    if S::PARTS == 4 && T == 1 {
        let mut lanes = [Block::ZERO; STREAMS];
        lanes_by_pairs(s, &mut lanes, w, x);
        for (sums, lanes) in sums.iter_mut().zip(&lanes) {
            s.store(s.load(&lanes.0), &mut sums[0][row].0);
        }
        return;
    }
    let cols = x.len() / T;
    let x: [&[f32]; T] = core::array::from_fn(|t| &x[t * cols..(t + 1) * cols]);
    let ahead = if S::IN_HALVES { STREAM_AHEAD / 2 } else { STREAM_AHEAD };
    for (sums, lanes) in sums.iter_mut().zip(lanes_of_rows(s, w, x, Some(ahead))) {
        for (sums, lanes) in sums.iter_mut().zip(lanes) {
            s.store(lanes, &mut sums[row].0);
        }
    }
}

/// [`sums_of_rows`] of as many tokens as there are `sums`: up to eight, or six where a register does not hold all lanes.
#[inline(always)]
fn sums_of_tokens<S: Simd, W: Weight>(s: S, sums: &mut [[Block; LANES]], w: &[W], x: &[f32], ahead: Option<usize>) {
    let cols = x.len() / sums.len();
    match sums.len() {
        8 if S::PARTS == 1 => sums_of_rows::<S, W, 3, 8>(s, sums, w, x, cols, ahead),
        7 if S::PARTS == 1 => sums_of_rows::<S, W, 3, 7>(s, sums, w, x, cols, ahead),
        6 if S::PARTS == 1 => sums_of_rows::<S, W, 4, 6>(s, sums, w, x, cols, ahead),
        5 if S::PARTS == 1 => sums_of_rows::<S, W, 4, 5>(s, sums, w, x, cols, ahead),
        4 if S::PARTS == 1 => sums_of_rows::<S, W, 4, 4>(s, sums, w, x, cols, ahead),
        3 if S::PARTS == 1 => sums_of_rows::<S, W, 4, 3>(s, sums, w, x, cols, ahead),
        2 if S::PARTS == 1 => sums_of_rows::<S, W, 4, 2>(s, sums, w, x, cols, ahead),
        6 => sums_of_rows::<S, W, 1, 6>(s, sums, w, x, cols, ahead),
        5 => sums_of_rows::<S, W, 1, 5>(s, sums, w, x, cols, ahead),
        4 => sums_of_rows::<S, W, 1, 4>(s, sums, w, x, cols, ahead),
        3 => sums_of_rows::<S, W, 1, 3>(s, sums, w, x, cols, ahead),
        _ => sums_of_rows::<S, W, 1, 2>(s, sums, w, x, cols, ahead),
    }
}

/// The lanes of up to sixteen weight rows with each of `T` tokens, `R` rows at a time: `sums[token][row]`.
#[inline(always)]
fn sums_of_rows<S: Simd, W: Weight, const R: usize, const T: usize>(
    s: S,
    sums: &mut [[Block; LANES]],
    w: &[W],
    x: &[f32],
    cols: usize,
    ahead: Option<usize>,
) {
    let x: [&[f32]; T] = core::array::from_fn(|t| &x[t * cols..(t + 1) * cols]);
    let rows = w.len() / cols;
    let mut row = 0;
    while row + R <= rows {
        let w: [&[W]; R] = core::array::from_fn(|r| &w[(row + r) * cols..(row + r + 1) * cols]);
        let lanes = lanes_of_rows(s, w, x, ahead);
        for (r, lanes) in lanes.into_iter().enumerate() {
            for (t, lanes) in lanes.into_iter().enumerate() {
                s.store(lanes, &mut sums[t][row + r].0);
            }
        }
        row += R;
    }
    for row in row..rows {
        let [lanes] = lanes_of_rows(s, [&w[row * cols..(row + 1) * cols]], x, ahead);
        for (t, lanes) in lanes.into_iter().enumerate() {
            s.store(lanes, &mut sums[t][row].0);
        }
    }
}

/// Widens rows, which is exact, each into whole blocks; what is missing is zero (N4).
#[inline(always)]
fn widen_rows<S: Simd, W: Weight>(s: S, rows: &[W], cols: usize, out: &mut [Block]) {
    for (row, out) in rows.chunks_exact(cols).zip(out.chunks_exact_mut(blocks(cols))) {
        let (whole, tail) = row.as_chunks();
        for (w, out) in whole.iter().zip(out.iter_mut()) {
            s.store(W::load(s, w), &mut out.0);
        }
        if !tail.is_empty() {
            s.store(W::load(s, &padded(tail)), &mut out[whole.len()].0);
        }
    }
}

/// Ranges of nearly the same length, `most` at most, one after the other up to `count`.
pub(super) fn tiles(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = count.div_ceil(most);
    (0..parts).map(move |part| part * count / parts..(part + 1) * count / parts)
}

/// Widens up to [`LANES`] rows, which is exact, and lays them out side by side as block `b` of `out`, lane by lane in the order
/// of [`FOLDING`]; what is missing is zero (N4).
#[inline(always)]
fn side_by_side<S: Simd, W: Weight, const B: usize>(s: S, rows: &[W], cols: usize, out: &mut [[Block; B]], b: usize) {
    let blocks = blocks(cols);
    let mut places = [0; LANES];
    for (turn, lane) in FOLDING.into_iter().enumerate() {
        places[lane] = turn * blocks;
    }
    let wide = size_of::<Words>() / size_of::<W>();
    for start in (0..cols).step_by(wide) {
        let end = cols.min(start + wide);
        let mut padded = [[[0; 4]; LANES]; LANES];
        let mut words = padded.each_ref();
        if end - start < wide {
            for (padded, row) in padded.iter_mut().zip(rows.chunks_exact(cols)) {
                let tail: &[u8] = bytemuck::cast_slice(&row[start..end]);
                padded.as_flattened_mut()[..tail.len()].copy_from_slice(tail);
            }
            words = padded.each_ref();
        } else {
            for (words, row) in words.iter_mut().zip(rows.chunks_exact(cols)) {
                *words = &bytemuck::cast_slice(&row[start..end]).as_chunks().0[0];
            }
        }
        let columns = s.transpose(words);
        let per_word = wide / LANES;
        for (j, words) in columns.into_iter().enumerate() {
            for (i, weights) in W::widen_words(s, words).into_iter().enumerate().take(per_word) {
                let column = start + j * per_word + i;
                s.store(weights, &mut out[places[column % LANES] + column / LANES][b].0);
            }
        }
    }
}

/// Blocks that a row takes in a panel, an even number.
fn blocks(cols: usize) -> usize {
    cols.div_ceil(2 * LANES) * 2
}
