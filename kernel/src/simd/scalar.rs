//! The `scalar` backend: arrays of 16, for every machine.

use super::{Bf16, LANES, Simd, Weight};
use core::array::from_fn;

/// The upper half of a word.
const HIGH: u32 = 0xffff_0000;

/// Plain arithmetic on arrays; every CPU has it.
#[derive(Clone, Copy)]
pub struct Scalar;

impl Simd for Scalar {
    type F32 = [f32; LANES];

    type Part = [f32; 4];
    const PARTS: usize = 4;
    const REGISTERS: usize = 16;
    const ACCUMULATORS: usize = 4;
    const PREFETCHES: bool = false;

    #[inline(always)]
    fn part_splat(self, v: f32) -> Self::Part {
        [v; 4]
    }
    #[inline(always)]
    fn part_load(self, src: &[f32; LANES], part: usize) -> Self::Part {
        from_fn(|i| src[part * 4 + i])
    }
    #[inline(always)]
    fn part(self, v: Self::F32, part: usize) -> Self::Part {
        from_fn(|i| v[part * 4 + i])
    }
    #[inline(always)]
    fn part_store(self, v: Self::Part, dst: &mut [f32; LANES], part: usize) {
        dst[part * 4..][..4].copy_from_slice(&v);
    }
    #[inline(always)]
    fn part_add(self, a: Self::Part, b: Self::Part) -> Self::Part {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn part_mul_then_add(self, acc: Self::Part, a: Self::Part, b: Self::Part) -> Self::Part {
        from_fn(|i| acc[i] + a[i] * b[i])
    }

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F32 {
        [v; LANES]
    }
    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> Self::F32 {
        *src
    }
    #[inline(always)]
    fn load_bf16(self, src: &[Bf16; LANES]) -> Self::F32 {
        from_fn(|i| src[i].widen())
    }
    #[inline(always)]
    fn store(self, v: Self::F32, dst: &mut [f32; LANES]) {
        *dst = v;
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F32) -> Self::F32 {
        from_fn(|i| libm::sqrtf(a[i]))
    }
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| if a[i] < b[i] { b[i] } else { a[i] })
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|i| if b[i] < a[i] { b[i] } else { a[i] })
    }
    #[inline(always)]
    fn pow2(self, n: Self::F32) -> Self::F32 {
        from_fn(|i| f32::from_bits(((n[i] as i32).wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    fn widen_pairs(self, words: Self::F32) -> [Self::F32; 2] {
        [from_fn(|i| f32::from_bits(words[i].to_bits() << 16)), from_fn(|i| f32::from_bits(words[i].to_bits() & HIGH))]
    }
    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}
}
