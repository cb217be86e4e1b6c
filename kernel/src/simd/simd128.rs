//! The `wasm-simd128` backend: four registers of four lanes, without the relaxed instructions (N2).
//!
//! A module that holds these instructions is refused as a whole by an engine without simd128, so a [`Simd128`] that
//! exists needs no further proof. Loads and stores go through references to whole arrays of 16.

use super::tile::Block;
use super::{Bf16, LANES, Simd, Words};
use core::arch::wasm32::*;
use core::array::from_fn;

/// Proof that the build has simd128.
#[derive(Clone, Copy)]
pub struct Simd128;

impl Simd for Simd128 {
    type F32 = [v128; 4];

    type Part = v128;
    const PARTS: usize = 4;
    const REGISTERS: usize = 16;
    const ACCUMULATORS: usize = 1;
    const FAR_STREAMS: bool = true;
    const PREFETCHES: bool = false;

    #[inline(always)]
    fn part_splat(self, v: f32) -> v128 {
        f32x4_splat(v)
    }
    #[inline(always)]
    fn part_load(self, src: &[f32; LANES], part: usize) -> v128 {
        let quarter = &src[part * 4..][..4];
        // SAFETY: `quarter` holds 4 values; v128_load needs no alignment.
        unsafe { v128_load(quarter.as_ptr().cast()) }
    }
    #[inline(always)]
    fn part(self, v: Self::F32, part: usize) -> v128 {
        v[part]
    }
    #[inline(always)]
    fn part_store(self, v: v128, dst: &mut [f32; LANES], part: usize) {
        let quarter = &mut dst[part * 4..][..4];
        // SAFETY: `quarter` holds 4 values; v128_store needs no alignment.
        unsafe { v128_store(quarter.as_mut_ptr().cast(), v) }
    }
    #[inline(always)]
    fn part_add(self, a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }
    #[inline(always)]
    fn part_mul_then_add(self, acc: v128, a: v128, b: v128) -> v128 {
        f32x4_add(acc, f32x4_mul(a, b))
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F32 {
        [f32x4_splat(v); 4]
    }
    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> Self::F32 {
        let p: *const v128 = src.as_ptr().cast();
        // SAFETY: `src` holds 16 values, four vectors; v128_load needs no alignment.
        from_fn(|i| unsafe { v128_load(p.add(i)) })
    }
    #[inline(always)]
    fn load_bf16(self, src: &[Bf16; LANES]) -> Self::F32 {
        let p: *const v128 = src.as_ptr().cast();
        // SAFETY: `src` holds 16 values of 2 bytes, two vectors; v128_load needs no alignment.
        let (a, b) = unsafe { (v128_load(p), v128_load(p.add(1))) };
        let zero = u16x8_splat(0);
        [
            i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(zero, a),
            i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(zero, a),
            i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(zero, b),
            i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(zero, b),
        ]
    }
    #[inline(always)]
    fn store(self, v: Self::F32, dst: &mut [f32; LANES]) {
        let p: *mut v128 = dst.as_mut_ptr().cast();
        for (i, v) in v.into_iter().enumerate() {
            // SAFETY: `dst` holds 16 values, four vectors; v128_store needs no alignment.
            unsafe { v128_store(p.add(i), v) }
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| f32x4_add(a[i], b[i]))
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| f32x4_sub(a[i], b[i]))
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| f32x4_mul(a[i], b[i]))
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| f32x4_div(a[i], b[i]))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F32) -> Self::F32 {
        from_fn(|i| f32x4_sqrt(a[i]))
    }
    /// `pmax` is N7 to the letter.
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| f32x4_pmax(a[i], b[i]))
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| f32x4_pmin(a[i], b[i]))
    }
    #[inline(always)]
    fn pow2(self, n: Self::F32) -> Self::F32 {
        from_fn(|i| i32x4_shl(i32x4_add(i32x4_trunc_sat_f32x4(n[i]), i32x4_splat(127)), 23))
    }
    /// The quarters of a row, then halves of two rows side by side, and their elements.
    #[inline(always)]
    fn fold(self, rows: &[Block; LANES]) -> Self::F32 {
        from_fn(|i| {
            let quarter = |row: usize| {
                let [a, b, c, d] = self.load(&rows[4 * i + row].0);
                f32x4_add(f32x4_add(a, c), f32x4_add(b, d))
            };
            let [a, b, c, d] = from_fn(quarter);
            let ab = f32x4_add(i32x4_shuffle::<0, 1, 4, 5>(a, b), i32x4_shuffle::<2, 3, 6, 7>(a, b));
            let cd = f32x4_add(i32x4_shuffle::<0, 1, 4, 5>(c, d), i32x4_shuffle::<2, 3, 6, 7>(c, d));
            f32x4_add(i32x4_shuffle::<0, 2, 4, 6>(ab, cd), i32x4_shuffle::<1, 3, 5, 7>(ab, cd))
        })
    }
    /// The elements of quarters of four rows.
    #[inline(always)]
    fn transpose(self, rows: [&Words; LANES]) -> [Self::F32; LANES] {
        let mut columns = [self.splat(0.0); LANES];
        for (q, columns) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (part, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
                // SAFETY: each row holds four quarters of 16 bytes; v128_load needs no alignment.
                let [a, b, c, d] = from_fn(|r| unsafe { v128_load(rows[r].as_ptr().cast::<v128>().add(q)) });
                let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
                columns[0][part] = i32x4_shuffle::<0, 1, 4, 5>(ab, cd);
                columns[1][part] = i32x4_shuffle::<2, 3, 6, 7>(ab, cd);
                let (ab, cd) = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
                columns[2][part] = i32x4_shuffle::<0, 1, 4, 5>(ab, cd);
                columns[3][part] = i32x4_shuffle::<2, 3, 6, 7>(ab, cd);
            }
        }
        columns
    }
    #[inline(always)]
    fn widen_pairs(self, words: Self::F32) -> [Self::F32; 2] {
        let high = i32x4_splat(0xffff_0000_u32 as i32);
        [from_fn(|i| i32x4_shl(words[i], 16)), from_fn(|i| v128_and(words[i], high))]
    }
    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}
}
