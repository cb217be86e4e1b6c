//! The `x86-avx512` backend: one register of sixteen lanes.
//!
//! Safety of every block below: the intrinsics need AVX-512 F, and a value of [`Avx512`] is made by [`Avx512::new`] only,
//! whose caller vouches for it. Loads and stores go through references to whole arrays of 16, so they stay inside.

use super::tile::Block;
use super::{Bf16, LANES, Simd};
use core::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F.
#[derive(Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU must have AVX-512 F.
    #[inline(always)]
    pub unsafe fn new() -> Avx512 {
        Avx512(())
    }
}

impl Simd for Avx512 {
    type F32 = __m512;

    type Part = __m512;
    const PARTS: usize = 1;
    const REGISTERS: usize = 32;
    const ACCUMULATORS: usize = 4;

    #[inline(always)]
    fn part_splat(self, v: f32) -> __m512 {
        self.splat(v)
    }
    #[inline(always)]
    fn part_load(self, src: &[f32; LANES], _part: usize) -> __m512 {
        self.load(src)
    }
    #[inline(always)]
    fn part_store(self, v: __m512, dst: &mut [f32; LANES], _part: usize) {
        self.store(v, dst);
    }
    #[inline(always)]
    fn part_mul_then_add(self, acc: __m512, a: __m512, b: __m512) -> __m512 {
        self.add(acc, self.mul(a, b))
    }

    #[inline(always)]
    fn splat(self, v: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(v) }
    }
    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> __m512 {
        // SAFETY: `self` proves AVX-512; `src` holds 16 values.
        unsafe { _mm512_loadu_ps(src.as_ptr()) }
    }
    #[inline(always)]
    fn load_bf16(self, src: &[Bf16; LANES]) -> __m512 {
        // SAFETY: `self` proves AVX-512; `src` holds 16 values of 2 bytes, 32 bytes.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(src.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    fn store(self, v: __m512, dst: &mut [f32; LANES]) {
        // SAFETY: `self` proves AVX-512; `dst` holds 16 values.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_sqrt_ps(a) }
    }
    /// `maxps` is `if first > second { first } else { second }`: N7 with the operands exchanged.
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_max_ps(b, a) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_min_ps(b, a) }
    }
    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvttps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    /// Halves of two rows side by side, then quarters, eighths and sixteenths.
    #[inline(always)]
    fn fold(self, rows: &[Block; LANES]) -> __m512 {
        let mut quads = [self.splat(0.0); 4];
        // SAFETY: `self` proves AVX-512.
        unsafe {
            for (i, quad) in quads.iter_mut().enumerate() {
                let (a, b) = (self.load(&rows[i].0), self.load(&rows[i + 4].0));
                let (c, d) = (self.load(&rows[i + 8].0), self.load(&rows[i + 12].0));
                let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                *quad = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            }
            let [a, b, c, d] = quads;
            let ab = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(c, d), _mm512_shuffle_ps::<0xee>(c, d));
            _mm512_add_ps(_mm512_shuffle_ps::<0x88>(ab, cd), _mm512_shuffle_ps::<0xdd>(ab, cd))
        }
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
