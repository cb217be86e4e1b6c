//! The exponential function.
//!
//! Method (Cody & Waite 1980): `x = n ln 2 + r` with `n` the integer nearest to `x / ln 2`, so `|r| <= 0.3467`;
//! `e^r = 1 + (r + r^2 q(r))` with `q` of degree 4, fitted to the least largest error relative to `e^r` (below 2^-28.2
//! after the coefficients were rounded); then two scalings by powers of two, of which only the last one can round.
//! Largest error over all binary32 arguments: 0.98 ULP.
//!
//! Results: 0 below -103.98, subnormal down from -87.34, +inf above 88.7228; `exp(-0) = 1`, `exp(-inf) = 0`,
//! `exp(inf) = inf`, NaN for NaN.

use crate::simd::Simd;

/// Adding and subtracting 1.5 * 2^23 rounds a value below 2^22 to the nearest even integer.
const ROUND: f32 = f32::from_bits(0x4b40_0000);
/// 1 / ln 2
const LOG2_E: f32 = f32::from_bits(0x3fb8_aa3b);
/// The upper 15 bits of ln 2: times an integer below 2^9 it is exact.
const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200);
/// ln 2 - `LN_2_HIGH`
const LN_2_LOW: f32 = f32::from_bits(0x35bf_be8e);
/// `q`, the constant term first.
const Q: [f32; 5] = [
    f32::from_bits(0x3eff_fffe),
    f32::from_bits(0x3e2a_aa49),
    f32::from_bits(0x3d2a_ac58),
    f32::from_bits(0x3c09_1cce),
    f32::from_bits(0x3ab5_2767),
];
/// Below the first the result is 0, above the second it is infinite.
const DOMAIN: (f32, f32) = (-104.0, 89.0);

/// e to the power of every lane.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x = s.min(s.max(x, s.splat(DOMAIN.0)), s.splat(DOMAIN.1));
    let round = s.splat(ROUND);
    let n = s.sub(s.add(s.mul(x, s.splat(LOG2_E)), round), round);
    let r = s.sub(s.sub(x, s.mul(n, s.splat(LN_2_HIGH))), s.mul(n, s.splat(LN_2_LOW)));
    let mut q = s.splat(Q[4]);
    for k in [3, 2, 1, 0] {
        q = s.add(s.mul(q, r), s.splat(Q[k]));
    }
    let p = s.add(s.add(s.mul(s.mul(q, r), r), r), s.splat(1.0));
    let half = s.sub(s.add(s.mul(n, s.splat(0.5)), round), round);
    s.mul(s.mul(p, s.pow2(half)), s.pow2(s.sub(n, half)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::scalar::Scalar;
    use crate::simd::{Backend, Op};
    use alloc::vec::Vec;

    struct ExpAll<'a>(&'a [[f32; 16]]);

    impl Op for ExpAll<'_> {
        type Output = Vec<[f32; 16]>;
        #[inline(always)]
        fn eval<S: Simd>(self, s: S) -> Self::Output {
            let mut out = Vec::from(self.0);
            for block in &mut out {
                let y = exp(s, s.load(block));
                s.store(y, block);
            }
            out
        }
    }

    /// Every 16 x 997th bit pattern and the neighbourhoods of all special values.
    fn inputs() -> Vec<[f32; 16]> {
        let special = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-45];
        let edges = [88.7228, 88.72284, 89.0, -87.336, -103.97, -103.98, -104.0, -200.0, 200.0, 0.34657];
        let listed = special.into_iter().chain(
            edges
                .into_iter()
                .flat_map(|v: f32| (-8..=8).map(move |k| f32::from_bits(v.to_bits().wrapping_add_signed(k)))),
        );
        let spaced = (0..u32::MAX / 997).map(|k| f32::from_bits(k * 997));
        let mut all: Vec<f32> = listed.chain(spaced).collect();
        all.resize(all.len().next_multiple_of(16), 0.0);
        all.as_chunks().0.to_vec()
    }

    #[test]
    fn exp_is_within_its_bound_of_the_truth() {
        let inputs = inputs();
        let mut worst = 0.0_f64;
        for (x, y) in inputs.iter().flatten().zip(ExpAll(&inputs).eval(Scalar).iter().flatten()) {
            let truth = libm::exp(f64::from(*x));
            if x.is_nan() {
                assert!(y.is_nan());
            } else if truth >= f64::from(f32::MAX) * (1.0 + 2.0_f64.powi(-25)) {
                assert_eq!(*y, f32::INFINITY, "exp({x})");
            } else {
                let ulp = libm::exp2(libm::floor(libm::log2(truth)) - 23.0).max(2.0_f64.powi(-149));
                worst = worst.max((f64::from(*y) - truth).abs() / ulp);
            }
        }
        assert!(worst <= 0.98, "{worst} ULP");
        assert!(worst > 0.9, "the documented bound of 0.98 ULP is looser than needed: {worst}");
    }

    #[test]
    fn n8_exp_has_the_documented_special_values() {
        let exp_one = |x: f32| exp(Scalar, [x; 16])[0];
        let bits = |x: f32| exp_one(x).to_bits();
        assert_eq!(bits(-0.0), 1.0_f32.to_bits());
        assert_eq!(bits(f32::NEG_INFINITY), 0);
        assert_eq!(bits(f32::INFINITY), f32::INFINITY.to_bits());
        assert!(exp_one(f32::NAN).is_nan());
        assert_eq!(bits(-103.97), 1);
        assert_eq!(bits(-103.98), 0);
        assert!(exp_one(88.7228).is_finite());
        assert_eq!(exp_one(88.7229), f32::INFINITY);
    }

    #[test]
    fn n8_exp_has_the_same_bits_on_every_backend() {
        let inputs = inputs();
        let expected = ExpAll(&inputs).eval(Scalar);
        for backend in Backend::available() {
            let got = backend.run(ExpAll(&inputs));
            let same = |a: &f32, b: &f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            assert!(got.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| same(a, b)), "{backend:?}");
        }
    }
}
