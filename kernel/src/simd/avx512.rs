//! The backends `x86-avx512`, `x86-avx512-streams` and `x86-avx512-halves`: one register of sixteen lanes. They differ in what they read
//! when, and how far ahead, not in their instructions: the second is for processors that foresee a single stream of memory badly, the
//! third for those that work through a register in halves, too.
//!
//! Safety of every block below: the intrinsics need AVX-512 F, and a value of [`Avx512`] is made by [`Avx512::new`] only,
//! whose caller vouches for it. Loads and stores go through references to whole arrays of 16, so they stay inside.

use super::tile::Block;
use super::{Bf16, LANES, Simd, Words};
use core::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F; for a processor of which [`Simd::FAR_STREAMS`] and [`Simd::IN_HALVES`] are these.
#[derive(Clone, Copy)]
pub struct Avx512<const FAR_STREAMS: bool, const IN_HALVES: bool>(());

impl<const FAR_STREAMS: bool, const IN_HALVES: bool> Avx512<FAR_STREAMS, IN_HALVES> {
    /// # Safety
    /// The CPU must have AVX-512 F.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Avx512(())
    }
}

/// The processors with AVX-512 that differ in how they are best used.
pub enum Processor {
    /// AMD's: the one generation of family 19h that has AVX-512. (Leaf 8000_001Ah would tell how wide registers are inside, but virtual
    /// machines clear its bits.)
    Zen4,
    /// Any of Intel's.
    Intel,
    /// Any other.
    Other,
}

/// Which one this is.
pub fn processor() -> Processor {
    const AMD: [u32; 3] = vendor(*b"AuthenticAMD");
    const INTEL: [u32; 3] = vendor(*b"GenuineIntel");
    #[allow(unused_unsafe, reason = "safe in newer compilers")]
    // SAFETY: every 64-bit x86 processor has this instruction and these leaves.
    let (vendor, signature) = unsafe { (__cpuid(0), __cpuid(1).eax) };
    let family = ((signature >> 8) & 0xf) + ((signature >> 20) & 0xff);
    match [vendor.ebx, vendor.edx, vendor.ecx] {
        AMD if family == 0x19 => Processor::Zen4,
        INTEL => Processor::Intel,
        _ => Processor::Other,
    }
}

/// A vendor's name as the registers hold it, in the order of their words.
const fn vendor(name: [u8; 12]) -> [u32; 3] {
    let words = name.as_chunks::<4>().0;
    [u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1]), u32::from_le_bytes(words[2])]
}

impl<const FAR_STREAMS: bool, const IN_HALVES: bool> Simd for Avx512<FAR_STREAMS, IN_HALVES> {
    type F32 = __m512;

    type Part = __m512;
    const PARTS: usize = 1;
    const REGISTERS: usize = 32;
    const ACCUMULATORS: usize = 4;
    const IN_HALVES: bool = IN_HALVES;
    const FAR_STREAMS: bool = FAR_STREAMS;

    #[inline(always)]
    fn part_splat(self, v: f32) -> __m512 {
        self.splat(v)
    }
    #[inline(always)]
    fn part_load(self, src: &[f32; LANES], _part: usize) -> __m512 {
        self.load(src)
    }
    #[inline(always)]
    fn part(self, v: __m512, _part: usize) -> __m512 {
        v
    }
    #[inline(always)]
    fn part_store(self, v: __m512, dst: &mut [f32; LANES], _part: usize) {
        self.store(v, dst);
    }
    #[inline(always)]
    fn part_add(self, a: __m512, b: __m512) -> __m512 {
        self.add(a, b)
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
    /// Halves of two rows side by side, then quarters, eighths and sixteenths. A blend costs less than a shuffle: where it takes one's
    /// place the second row's halves change places, and a sum is the same from either side.
    #[inline(always)]
    fn fold(self, rows: &[Block; LANES]) -> __m512 {
        let mut quads = [self.splat(0.0); 4];
        // SAFETY: `self` proves AVX-512.
        unsafe {
            for (i, quad) in quads.iter_mut().enumerate() {
                let (a, b) = (self.load(&rows[i].0), self.load(&rows[i + 4].0));
                let (c, d) = (self.load(&rows[i + 8].0), self.load(&rows[i + 12].0));
                let ab = _mm512_add_ps(_mm512_mask_blend_ps(0xff00, a, b), _mm512_shuffle_f32x4::<0x4e>(a, b));
                let cd = _mm512_add_ps(_mm512_mask_blend_ps(0xff00, c, d), _mm512_shuffle_f32x4::<0x4e>(c, d));
                *quad = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            }
            let [a, b, c, d] = quads;
            let ab = _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, a, b), _mm512_shuffle_ps::<0x4e>(a, b));
            let cd = _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, c, d), _mm512_shuffle_ps::<0x4e>(c, d));
            _mm512_add_ps(_mm512_shuffle_ps::<0x88>(ab, cd), _mm512_shuffle_ps::<0xdd>(ab, cd))
        }
    }
    /// Quarters of four rows side by side, then their elements.
    #[inline(always)]
    fn transpose(self, rows: [&Words; LANES]) -> [__m512; LANES] {
        let mut columns = [self.splat(0.0); LANES];
        for (q, columns) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let mut z = [self.splat(0.0); 4];
            // SAFETY: `self` proves AVX-512; each row holds four quarters of 16 bytes.
            unsafe {
                for (r, z) in z.iter_mut().enumerate() {
                    let quarter = |row: &Words| _mm_loadu_ps(row.as_ptr().cast::<f32>().add(4 * q));
                    let row = _mm512_castps128_ps512(quarter(rows[r]));
                    let row = _mm512_insertf32x4::<1>(row, quarter(rows[r + 4]));
                    let row = _mm512_insertf32x4::<2>(row, quarter(rows[r + 8]));
                    *z = _mm512_insertf32x4::<3>(row, quarter(rows[r + 12]));
                }
                let [a, b, c, d] = z;
                let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
                columns[0] = _mm512_shuffle_ps::<0x44>(ab, cd);
                columns[1] = _mm512_shuffle_ps::<0xee>(ab, cd);
                let (ab, cd) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
                columns[2] = _mm512_shuffle_ps::<0x44>(ab, cd);
                columns[3] = _mm512_shuffle_ps::<0xee>(ab, cd);
            }
        }
        columns
    }
    #[inline(always)]
    fn widen_pairs(self, words: __m512) -> [__m512; 2] {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let words = _mm512_castps_si512(words);
            let second = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), _mm512_castsi512_ps(second)]
        }
    }
    /// Into the first-level cache, or the second where registers are worked through in halves: there the first costs a third.
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe {
            if IN_HALVES { _mm_prefetch::<_MM_HINT_T1>(at.cast()) } else { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    }
}
