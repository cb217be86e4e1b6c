//! Sixteen lanes of binary32, the same on every machine.
//!
//! [`Simd`] has a *fixed* logical width of 16 and neither a fused multiply-add nor a horizontal sum (N2): an operator
//! that is generic over it computes the same bits with every implementation. Lanes meet as `order` has them; tiles and a backend's
//! own [`Simd::fold`] are held to it by tests.
//!
//! Everything generic over the trait is `#[inline(always)]`: a function that is not inlined into the dispatcher's entry
//! is compiled without the instruction set, with the right bits at a fraction of the speed.

pub(crate) mod axis;
mod dispatch;
pub(crate) mod order;
pub(crate) mod pages;
pub(crate) mod scalar;
pub(crate) mod side_by_side;
pub(crate) mod tile;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(crate) mod neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod simd128;

use tile::Block;

pub use dispatch::{Backend, BackendError, Op};

/// The logical width of [`Simd`] and of every lane reduction (N3).
pub const LANES: usize = 16;

/// Sixteen lanes and what may be done with them; every method works lane by lane and rounds once.
///
/// A value of an implementing type is proof that the CPU has its instructions.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen binary32 values.
    type F32: Copy;

    /// The lanes of one register.
    type Part: Copy;

    /// How many registers sixteen lanes take. Lanes are independent, so sums may go through the parts one after another.
    const PARTS: usize;

    /// How many registers of one part there are.
    const REGISTERS: usize;

    /// How many sums of sixteen lanes fit into the registers while others pass through.
    const ACCUMULATORS: usize;

    /// Whether the processor works through a register of all sixteen lanes in halves. On such a one (AMD's Zen 4) a number that goes to
    /// all lanes costs as much as arithmetic.
    const IN_HALVES: bool = false;

    /// Whether the processor foresees a single stream of memory badly, and reads several that are far from one another faster (AMD's
    /// Zen 3 and Zen 4, Intel's Emerald Rapids), or cannot be asked for what comes (WebAssembly).
    const FAR_STREAMS: bool = false;

    /// Whether [`prefetch`](Self::prefetch) asks for anything.
    const PREFETCHES: bool = true;

    /// `v` in every lane of a part.
    fn part_splat(self, v: f32) -> Self::Part;
    /// Reads the lanes of part `part`.
    fn part_load(self, src: &[f32; LANES], part: usize) -> Self::Part;
    /// Part `part` of sixteen lanes.
    fn part(self, v: Self::F32, part: usize) -> Self::Part;
    /// Writes the lanes of part `part`.
    fn part_store(self, v: Self::Part, dst: &mut [f32; LANES], part: usize);
    /// `a + b`
    fn part_add(self, a: Self::Part, b: Self::Part) -> Self::Part;
    /// `acc + a * b`, the product rounded before it is added.
    fn part_mul_then_add(self, acc: Self::Part, a: Self::Part, b: Self::Part) -> Self::Part;

    /// `v` in every lane.
    fn splat(self, v: f32) -> Self::F32;
    /// Reads 16 values.
    fn load(self, src: &[f32; LANES]) -> Self::F32;
    /// Reads 16 bfloat16 values and widens them, which is exact.
    fn load_bf16(self, src: &[Bf16; LANES]) -> Self::F32;
    /// Writes 16 values.
    fn store(self, v: Self::F32, dst: &mut [f32; LANES]);
    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The square root.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// `if a < b { b } else { a }` (N7)
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if b < a { b } else { a }`, the mirror of N7.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Two to the power of `n`, where every lane of `n` is an integer in `-126..=127`; a lane that is not gives any value.
    fn pow2(self, n: Self::F32) -> Self::F32;
    /// The folds of the sums of 16 reductions (N5), `order::fold_rows`: transposing, where that is faster.
    #[inline(always)]
    fn fold(self, rows: &[Block; LANES]) -> Self::F32 {
        order::fold_rows(self, rows)
    }
    /// Lane `i` of the result `j` is word `j` of row `i`: moves bits, computes nothing.
    #[inline(always)]
    fn transpose(self, rows: [&Words; LANES]) -> [Self::F32; LANES] {
        let mut columns = [self.splat(0.0); LANES];
        for (j, column) in columns.iter_mut().enumerate() {
            let mut lanes = [0.0; LANES];
            for (lane, row) in lanes.iter_mut().zip(rows) {
                *lane = f32::from_bits(u32::from_ne_bytes(row[j]));
            }
            *column = self.load(&lanes);
        }
        columns
    }
    /// Words of two bfloat16 numbers each, widened: those that are the lower halves, and the upper ones.
    fn widen_pairs(self, words: Self::F32) -> [Self::F32; 2];
    /// Asks for the cache line at `at` ahead of its use. The address need not be valid: nothing is read.
    fn prefetch(self, at: *const u8);
}

/// Sixteen words of four bytes: as many binary32 numbers, or twice as many bfloat16 numbers.
pub type Words = [[u8; 4]; LANES];

/// A bfloat16 number: the upper half of a binary32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Bf16(pub u16);

/// A stored weight: binary32, or bfloat16 that widens exactly (N1).
pub trait Weight: bytemuck::Pod + Send + Sync {
    /// Reads 16 weights, widened.
    fn load<S: Simd>(s: S, src: &[Self; LANES]) -> S::F32;
    /// One weight, widened.
    fn widen(self) -> f32;
    /// The weights of sixteen words, those that come first in their word and those that come second; widened. Where a word
    /// holds but one, both are the same.
    fn widen_words<S: Simd>(s: S, words: S::F32) -> [S::F32; 2];
}

impl Weight for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[f32; LANES]) -> S::F32 {
        s.load(src)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn widen_words<S: Simd>(_: S, words: S::F32) -> [S::F32; 2] {
        [words; 2]
    }
}

impl Weight for Bf16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[Bf16; LANES]) -> S::F32 {
        s.load_bf16(src)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn widen_words<S: Simd>(s: S, words: S::F32) -> [S::F32; 2] {
        let [low, high] = s.widen_pairs(words);
        // In memory the lower half comes first where bytes rise from the lowest, otherwise the upper one.
        if cfg!(target_endian = "little") { [low, high] } else { [high, low] }
    }
}

/// The last block of a row that is no multiple of 16 long, filled up with zeros (N4).
#[inline(always)]
pub(crate) fn padded<W: Weight>(tail: &[W]) -> [W; LANES] {
    let mut block = [W::zeroed(); LANES];
    block[..tail.len()].copy_from_slice(tail);
    block
}

/// Writes the first lanes of `v`, as many as `dst` is long.
#[inline(always)]
pub(crate) fn store<S: Simd>(s: S, v: S::F32, dst: &mut [f32]) {
    if let Ok(whole) = dst.try_into() {
        return s.store(v, whole);
    }
    let mut block = [0.0; LANES];
    s.store(v, &mut block);
    dst.copy_from_slice(&block[..dst.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::philox;

    /// The transposed rows, and their words widened.
    struct Transposed<'a>(&'a [Words; LANES]);

    impl Op for Transposed<'_> {
        type Output = [[[f32; LANES]; LANES]; 3];

        #[inline(always)]
        fn eval<S: Simd>(self, s: S) -> Self::Output {
            let mut out = [[[0.0; LANES]; LANES]; 3];
            for (j, words) in s.transpose(self.0.each_ref()).into_iter().enumerate() {
                s.store(words, &mut out[0][j]);
                let [first, second] = s.widen_pairs(words);
                s.store(first, &mut out[1][j]);
                s.store(second, &mut out[2][j]);
            }
            out
        }
    }

    #[test]
    fn transposing_moves_words_and_pairs_are_widened() {
        let mut rows = [[[0; 4]; LANES]; LANES];
        for (i, word) in rows.as_flattened_mut().iter_mut().enumerate() {
            // NaNs, infinities and subnormals are among them.
            let bits = philox(7, [0, 0, 0, i as u32])[0];
            *word = if i % 5 == 0 { bits | 0x7f80_ff80 } else { bits }.to_le_bytes();
        }
        for backend in Backend::available() {
            let [words, first, second] = backend.run(Transposed(&rows));
            for (i, row) in rows.iter().enumerate() {
                for (j, word) in row.iter().enumerate() {
                    let bits = u32::from_ne_bytes(*word);
                    let expected = [bits, bits << 16, bits & 0xffff_0000];
                    let got = [words[j][i], first[j][i], second[j][i]].map(f32::to_bits);
                    assert_eq!(got, expected, "{}: word {j} of row {i}", backend.name());
                }
            }
        }
    }
}
