//! The `aarch64-neon` backend: four registers of four lanes, without the fused instructions (N2).
//!
//! The build has NEON wherever this file is compiled, as every 64-bit ARM target with floating-point registers does, so a
//! [`Neon`] that exists needs no further proof. Loads and stores go through references to whole arrays of 16.

use super::{Bf16, LANES, Simd};
use core::arch::aarch64::*;

/// Proof that the build has NEON.
#[derive(Clone, Copy)]
pub struct Neon;

/// Applies an intrinsic to each of the four registers, and the build has NEON.
macro_rules! quarters {
    ($f:ident($($a:expr),+)) => {
        // SAFETY: the build has NEON.
        unsafe { [$f($($a[0]),+), $f($($a[1]),+), $f($($a[2]),+), $f($($a[3]),+)] }
    };
}

impl Simd for Neon {
    type F32 = [float32x4_t; 4];

    type Part = float32x4_t;
    const PARTS: usize = 4;
    const REGISTERS: usize = 32;
    const ACCUMULATORS: usize = 4;

    #[inline(always)]
    fn part_splat(self, v: f32) -> float32x4_t {
        // SAFETY: the build has NEON.
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    fn part_load(self, src: &[f32; LANES], part: usize) -> float32x4_t {
        let quarter = &src[part * 4..][..4];
        // SAFETY: `quarter` holds 4 values, and the build has NEON.
        unsafe { vld1q_f32(quarter.as_ptr()) }
    }
    #[inline(always)]
    fn part(self, v: Self::F32, part: usize) -> float32x4_t {
        v[part]
    }
    #[inline(always)]
    fn part_store(self, v: float32x4_t, dst: &mut [f32; LANES], part: usize) {
        let quarter = &mut dst[part * 4..][..4];
        // SAFETY: `quarter` holds 4 values, and the build has NEON.
        unsafe { vst1q_f32(quarter.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn part_add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the build has NEON.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn part_mul_then_add(self, acc: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the build has NEON.
        unsafe { vaddq_f32(acc, vmulq_f32(a, b)) }
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F32 {
        [self.part_splat(v); 4]
    }
    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> Self::F32 {
        let p = src.as_ptr();
        // SAFETY: `src` holds 16 values, four registers, and the build has NEON.
        unsafe { [vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))] }
    }
    #[inline(always)]
    fn load_bf16(self, src: &[Bf16; LANES]) -> Self::F32 {
        let p: *const u16 = src.as_ptr().cast();
        // SAFETY: `src` holds 16 values of 2 bytes, two registers, and the build has NEON.
        let (halves, places) = unsafe {
            let (a, b) = (vld1q_u16(p), vld1q_u16(p.add(8)));
            ([vget_low_u16(a), vget_high_u16(a), vget_low_u16(b), vget_high_u16(b)], [vdupq_n_s32(16); 4])
        };
        let wide = quarters!(vmovl_u16(halves));
        let shifted = quarters!(vshlq_u32(wide, places));
        quarters!(vreinterpretq_f32_u32(shifted))
    }
    #[inline(always)]
    fn store(self, v: Self::F32, dst: &mut [f32; LANES]) {
        let p = dst.as_mut_ptr();
        for (i, v) in v.into_iter().enumerate() {
            // SAFETY: `dst` holds 16 values, four registers, and the build has NEON.
            unsafe { vst1q_f32(p.add(i * 4), v) }
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        quarters!(vaddq_f32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        quarters!(vsubq_f32(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        quarters!(vmulq_f32(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        quarters!(vdivq_f32(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F32) -> Self::F32 {
        quarters!(vsqrtq_f32(a))
    }
    /// Compares and selects: `fmax` has rules of its own for NaN and zeros.
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        let less = quarters!(vcltq_f32(a, b));
        quarters!(vbslq_f32(less, b, a))
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        let less = quarters!(vcltq_f32(b, a));
        quarters!(vbslq_f32(less, b, a))
    }
    #[inline(always)]
    fn pow2(self, n: Self::F32) -> Self::F32 {
        // SAFETY: the build has NEON.
        let (bias, places) = unsafe { ([vdupq_n_s32(127); 4], [vdupq_n_s32(23); 4]) };
        let integers = quarters!(vcvtq_s32_f32(n));
        let exponents = quarters!(vaddq_s32(integers, bias));
        let powers = quarters!(vshlq_s32(exponents, places));
        quarters!(vreinterpretq_f32_s32(powers))
    }
    #[inline(always)]
    fn widen_pairs(self, words: Self::F32) -> [Self::F32; 2] {
        // SAFETY: the build has NEON.
        let (high, places) = unsafe { ([vdupq_n_u32(0xffff_0000); 4], [vdupq_n_s32(16); 4]) };
        let words = quarters!(vreinterpretq_u32_f32(words));
        let first = quarters!(vshlq_u32(words, places));
        let second = quarters!(vandq_u32(words, high));
        [quarters!(vreinterpretq_f32_u32(first)), quarters!(vreinterpretq_f32_u32(second))]
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { core::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags)) }
    }
}
