//! The linear layer.

use super::Weights;
use crate::Exec;
use crate::pool::{Columns, split_columns_of_each};
use crate::simd::tile::{Block, dot_lanes};
use crate::simd::{LANES, Op, Simd, Weight, order, padded, store};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Tokens that stay in the first-level cache while a panel of weights goes by.
const GROUP: usize = 12;
/// Weights and tokens of a tile, with 32 registers and with 16.
const WIDE: [usize; 2] = [4, 6];
const NARROW: [usize; 2] = [2, 4];
/// How far ahead of its use a weight is asked for, in bytes.
const AHEAD: usize = 8192;

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
        let packed = if tokens == 1 { vec![] } else { exec.backend.run(Pack { x, cols, tokens }) };
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

/// Lays the tokens out for the tiles of [`MatMul`]: those of a tile side by side, block by block.
struct Pack<'a> {
    x: &'a [f32],
    cols: usize,
    tokens: usize,
}

impl Op for Pack<'_> {
    type Output = Vec<Block>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Vec<Block> {
        let Pack { x, cols, tokens } = self;
        let most = if S::REGISTERS >= 32 { WIDE[1] } else { NARROW[1] };
        let blocks = cols.div_ceil(LANES);
        let mut packed = vec![Block::ZERO; tokens * blocks];
        for group in tiles(tokens, GROUP) {
            for tile in tiles(group.len(), most) {
                let (start, end) = (group.start + tile.start, group.start + tile.end);
                let rows = x[start * cols..end * cols].chunks_exact(cols);
                interleave(s, rows, tile.len(), &mut packed[start * blocks..end * blocks]);
            }
        }
        packed
    }
}

/// One token is `x`; several are `packed`.
struct MatMul<'a, 'b, W> {
    out: &'a mut Columns<'b>,
    x: &'a [f32],
    packed: &'a [Block],
    w: &'a [W],
    cols: usize,
    tokens: usize,
}

impl<W: Weight> Op for MatMul<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        if self.tokens == 1 {
            self.one_token(s);
        } else if S::REGISTERS >= 32 {
            self.panels::<S, { WIDE[0] }, { WIDE[1] }>(s);
        } else {
            self.panels::<S, { NARROW[0] }, { NARROW[1] }>(s);
        }
    }
}

impl<W: Weight> MatMul<'_, '_, W> {
    /// One weight row after the other, as they lie in memory: the processor foresees a single stream best.
    #[inline(always)]
    fn one_token<S: Simd>(&mut self, s: S) {
        let (cols, range) = (self.cols, self.out.range());
        let w = &self.w[range.start * cols..range.end * cols];
        let mut sums = [Block::ZERO; LANES];
        for (out, w) in self.out.row(0).chunks_mut(LANES).zip(w.chunks(LANES * cols)) {
            for (sums, w) in sums.iter_mut().zip(w.chunks_exact(cols)) {
                s.store(order::dot_lanes(s, w, self.x, Some(AHEAD)), &mut sums.0);
            }
            store(s, s.fold(&sums), out);
        }
    }

    /// Widens [`LANES`] weight rows at a time and uses them for all tokens, in tiles of `R` weights and up to `T` tokens.
    #[inline(always)]
    fn panels<S: Simd, const R: usize, const T: usize>(&mut self, s: S) {
        let (cols, tokens, range) = (self.cols, self.tokens, self.out.range());
        let blocks = cols.div_ceil(LANES);
        let x = self.packed;
        let mut panel = vec![[Block::ZERO; R]; LANES / R * blocks];
        let mut sums = [[Block::ZERO; LANES]; GROUP];
        let per_panel: usize = LANES / R * tiles(tokens, GROUP).map(|group| group.len().div_ceil(T)).sum::<usize>();
        let lines = (LANES * cols * size_of::<W>()).div_ceil(LINE * per_panel);
        for first in (0..range.len()).step_by(LANES) {
            let rows = LANES.min(range.len() - first);
            let stored = &self.w[(range.start + first) * cols..][..rows * cols];
            for (stored, panel) in stored.chunks(R * cols).zip(panel.chunks_exact_mut(blocks)) {
                interleave(s, stored.chunks_exact(cols), R, panel.as_flattened_mut());
            }
            let mut ahead = stored.as_ptr().wrapping_add(LANES * cols).cast::<u8>();
            for group in tiles(tokens, GROUP) {
                for (r, w) in panel.chunks_exact(blocks).enumerate() {
                    for tile in tiles(group.len(), T) {
                        let x = &x[(group.start + tile.start) * blocks..(group.start + tile.end) * blocks];
                        let sums = &mut sums[tile];
                        for _ in 0..lines {
                            s.prefetch(ahead);
                            ahead = ahead.wrapping_add(LINE);
                        }
                        match sums.len() {
                            6 if T >= 6 => dot_lanes::<S, R, 6>(s, sums, r * R, w, x.as_chunks().0, true),
                            5 if T >= 5 => dot_lanes::<S, R, 5>(s, sums, r * R, w, x.as_chunks().0, true),
                            4 => dot_lanes::<S, R, 4>(s, sums, r * R, w, x.as_chunks().0, true),
                            3 => dot_lanes::<S, R, 3>(s, sums, r * R, w, x.as_chunks().0, true),
                            2 => dot_lanes::<S, R, 2>(s, sums, r * R, w, x.as_chunks().0, true),
                            _ => dot_lanes::<S, R, 1>(s, sums, r * R, w, x.as_chunks().0, true),
                        }
                    }
                }
                for (token, sums) in group.zip(&sums) {
                    store(s, s.fold(sums), &mut self.out.row(token)[first..first + rows]);
                }
            }
        }
    }
}

/// Ranges of nearly the same length, `most` at most, one after the other up to `count`.
pub(super) fn tiles(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = count.div_ceil(most);
    (0..parts).map(move |part| part * count / parts..(part + 1) * count / parts)
}

/// Widens rows, which is exact, and lays them out block by block, `width` rows side by side; what is missing in a last
/// block is zero (N4).
#[inline(always)]
fn interleave<'a, S: Simd, W: Weight>(s: S, rows: impl Iterator<Item = &'a [W]>, width: usize, out: &mut [Block]) {
    for (r, row) in rows.enumerate() {
        let (blocks, tail) = row.as_chunks();
        for (out, block) in out[r..].iter_mut().step_by(width).zip(blocks) {
            s.store(W::load(s, block), &mut out.0);
        }
        if !tail.is_empty() {
            s.store(W::load(s, &padded(tail)), &mut out[r + blocks.len() * width].0);
        }
    }
}
