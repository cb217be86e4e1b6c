//! The `x86-avx2` backend: two registers of eight lanes.
//!
//! Safety of every block below: the intrinsics need AVX2, and a value of [`Avx2`] is made by [`Avx2::new`] only, whose
//! caller vouches for it. Loads and stores go through references to whole arrays of 16, so they stay inside.

use super::tile::Block;
use super::{Bf16, LANES, Simd, Words};
use core::arch::x86_64::*;

/// Proof that the CPU has AVX2.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU must have AVX2.
    #[inline(always)]
    pub unsafe fn new() -> Avx2 {
        Avx2(())
    }
}

/// Lanes 0..8 and 8..16.
#[derive(Clone, Copy)]
pub struct F32x16(__m256, __m256);

/// Applies an intrinsic to both halves.
macro_rules! halves {
    ($f:ident($($a:expr),+)) => {
        // SAFETY: `self` proves AVX2.
        unsafe { F32x16($f($($a.0),+), $f($($a.1),+)) }
    };
}

impl Simd for Avx2 {
    type F32 = F32x16;

    type Part = __m256;
    const PARTS: usize = 2;
    const REGISTERS: usize = 16;
    const ACCUMULATORS: usize = 4;
    // Measured on AMD's Zen 3. Zen 5, which foresees a single stream well, has AVX-512.
    const FAR_STREAMS: bool = true;

    #[inline(always)]
    fn part_splat(self, v: f32) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_ps(v) }
    }
    #[inline(always)]
    fn part_load(self, src: &[f32; LANES], part: usize) -> __m256 {
        let half = &src[part * 8..][..8];
        // SAFETY: `self` proves AVX2; `half` holds 8 values.
        unsafe { _mm256_loadu_ps(half.as_ptr()) }
    }
    #[inline(always)]
    fn part(self, v: F32x16, part: usize) -> __m256 {
        if part == 0 { v.0 } else { v.1 }
    }
    #[inline(always)]
    fn part_store(self, v: __m256, dst: &mut [f32; LANES], part: usize) {
        let half = &mut dst[part * 8..][..8];
        // SAFETY: `self` proves AVX2; `half` holds 8 values.
        unsafe { _mm256_storeu_ps(half.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn part_add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn part_mul_then_add(self, acc: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_ps(acc, _mm256_mul_ps(a, b)) }
    }

    #[inline(always)]
    fn splat(self, v: f32) -> F32x16 {
        // SAFETY: `self` proves AVX2.
        unsafe { F32x16(_mm256_set1_ps(v), _mm256_set1_ps(v)) }
    }
    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> F32x16 {
        let p = src.as_ptr();
        // SAFETY: `self` proves AVX2; `src` holds 16 values.
        unsafe { F32x16(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    fn load_bf16(self, src: &[Bf16; LANES]) -> F32x16 {
        let p: *const __m128i = src.as_ptr().cast();
        // SAFETY: `self` proves AVX2; `src` holds 16 values of 2 bytes, two vectors of 16 bytes.
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(1)));
            F32x16(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            )
        }
    }
    #[inline(always)]
    fn store(self, v: F32x16, dst: &mut [f32; LANES]) {
        let p = dst.as_mut_ptr();
        // SAFETY: `self` proves AVX2; `dst` holds 16 values.
        unsafe {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        }
    }
    #[inline(always)]
    fn add(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: F32x16) -> F32x16 {
        halves!(_mm256_sqrt_ps(a))
    }
    /// `maxps` is `if first > second { first } else { second }`: N7 with the operands exchanged.
    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_max_ps(b, a))
    }
    #[inline(always)]
    fn min(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_min_ps(b, a))
    }
    #[inline(always)]
    fn pow2(self, n: F32x16) -> F32x16 {
        // SAFETY: `self` proves AVX2.
        let exponent = |n| unsafe {
            let biased = _mm256_add_epi32(_mm256_cvttps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        };
        F32x16(exponent(n.0), exponent(n.1))
    }
    /// Both halves of a row, then quarters of two rows side by side, eighths and sixteenths.
    #[inline(always)]
    fn fold(self, rows: &[Block; LANES]) -> F32x16 {
        let mut halves = [self.part_splat(0.0); 2];
        // SAFETY: `self` proves AVX2.
        unsafe {
            for (rows, half) in rows.as_chunks::<8>().0.iter().zip(&mut halves) {
                let mut quads = [self.part_splat(0.0); 4];
                for (i, quad) in quads.iter_mut().enumerate() {
                    let (a, b) = (self.load(&rows[i].0), self.load(&rows[i + 4].0));
                    let (a, b) = (_mm256_add_ps(a.0, a.1), _mm256_add_ps(b.0, b.1));
                    *quad = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
                }
                let [a, b, c, d] = quads;
                let ab = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
                let cd = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(c, d), _mm256_shuffle_ps::<0xee>(c, d));
                *half = _mm256_add_ps(_mm256_shuffle_ps::<0x88>(ab, cd), _mm256_shuffle_ps::<0xdd>(ab, cd));
            }
        }
        F32x16(halves[0], halves[1])
    }
    /// Quarters of two rows side by side, then their elements.
    #[inline(always)]
    fn transpose(self, rows: [&Words; LANES]) -> [F32x16; LANES] {
        let mut columns = [self.splat(0.0); LANES];
        for (q, columns) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let mut halves = [[self.part_splat(0.0); 4]; 2];
            // SAFETY: `self` proves AVX2; each row holds four quarters of 16 bytes.
            unsafe {
                for (rows, half) in rows.as_chunks::<8>().0.iter().zip(&mut halves) {
                    let mut z = [self.part_splat(0.0); 4];
                    for (r, z) in z.iter_mut().enumerate() {
                        let low = _mm_loadu_ps(rows[r].as_ptr().cast::<f32>().add(4 * q));
                        let high = _mm_loadu_ps(rows[r + 4].as_ptr().cast::<f32>().add(4 * q));
                        *z = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high);
                    }
                    let [a, b, c, d] = z;
                    let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                    half[0] = _mm256_shuffle_ps::<0x44>(ab, cd);
                    half[1] = _mm256_shuffle_ps::<0xee>(ab, cd);
                    let (ab, cd) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                    half[2] = _mm256_shuffle_ps::<0x44>(ab, cd);
                    half[3] = _mm256_shuffle_ps::<0xee>(ab, cd);
                }
            }
            for (j, column) in columns.iter_mut().enumerate() {
                *column = F32x16(halves[0][j], halves[1][j]);
            }
        }
        columns
    }
    #[inline(always)]
    fn widen_pairs(self, words: F32x16) -> [F32x16; 2] {
        // SAFETY: `self` proves AVX2.
        let widened = |words| unsafe {
            let words = _mm256_castps_si256(words);
            let second = _mm256_and_si256(words, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)), _mm256_castsi256_ps(second)]
        };
        let ([a, b], [c, d]) = (widened(words.0), widened(words.1));
        [F32x16(a, c), F32x16(b, d)]
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
